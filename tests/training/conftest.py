"""Tiny images and a tiny recipe, so that a training takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_flowsr.training.config import Stage, TrainConfig

TINY = {"scale": 2, "width": 4, "blocks": 1, "steps": 1, "hidden": 4}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of smooth noise."""
    path = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for number in range(2):
        coarse = rng.integers(0, 4000, (20, 24))
        image = np.kron(coarse, np.ones((2, 2))) + rng.normal(0, 50, (40, 48))
        tifffile.imwrite(path / f"{number}.tif", image.clip(0).astype(np.uint16))
    return path


@pytest.fixture(scope="session")
def recipe() -> Callable[..., TrainConfig]:
    """Two stages of three steps; no checkpoint but at the end of a stage."""

    def make(stage: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
        common = {"steps": 3, "batch": 2, "patch": 4, "warmup": 2, **(stage or {})}
        stages = (
            Stage(name="encoder", losses={"predict_l1": 1.0}, **common),
            Stage(name="flow", losses={"nll": 1.0}, **common),
        )
        base = TrainConfig(
            family="compact",
            model=TINY,
            stages=stages,
            ema=0.9,
            checkpoint_every=100,
            device="cpu",
            name="tiny",
        )
        return base.with_(**changes) if changes else base

    return make
