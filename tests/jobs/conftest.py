"""A tiny model by path, and a volume whose planes differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import write_image
from napari_flowsr.jobs.order import Order
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard

SHAPE = (3, 2, 20, 17)  # Z, C, Y, X


@pytest.fixture
def order(tmp_path) -> Order:
    flow = build(
        "compact", {"scale": 2, "width": 8, "blocks": 1, "steps": 2, "hidden": 6}
    )
    card = ModelCard("tiny", "compact", (2.0,), 1, temperature=0.7)
    save_model(tmp_path / "tiny.safetensors", flow, card)
    return Order(
        model=str(tmp_path / "tiny.safetensors"),
        n=2,
        outputs=("samples", "mean", "std", "quantiles"),
        options={"device": "cpu", "seed": 4},
    )


@pytest.fixture
def stack(tmp_path) -> Path:
    """Channels of very different brightness; planes of different content."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, SHAPE)
    image[:, 1] *= 9
    path = tmp_path / "stack.ome.tif"
    write_image(
        path,
        image.astype(np.uint16),
        axes="ZCYX",
        pixel_size={"Z": 1.0, "Y": 0.2, "X": 0.2},
        channel_names=("DAPI", "GFP"),
    )
    return path
