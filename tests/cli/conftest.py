"""A tiny random model under a name, images, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_flowsr.cli.app import run
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard


@dataclass
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capsys) -> Callable[..., Done]:
    def call(*arguments: object) -> Done:
        status = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return call


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Folder of the user's data, with one imported model."""
    folder = tmp_path / "home"
    (folder / "models").mkdir(parents=True)
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(folder))
    flow = build(
        "compact", {"scale": 2, "width": 8, "blocks": 1, "steps": 2, "hidden": 6}
    )
    count = flow.parameter_count
    card = ModelCard(
        "tiny-2x", "compact", (2.0,), 1, parameters=count, licence="CC0-1.0"
    )
    save_model(folder / "models" / "tiny-2x.safetensors", flow, card)
    return folder


@pytest.fixture
def picture(tmp_path) -> Path:
    """OME-TIFF of 30 × 24 pixels of 0.2 µm, uint16."""
    y, x = np.mgrid[:24, :30]
    data = (1000 + 900 * np.sin(x / 3) * np.cos(y / 4)).astype(np.uint16)
    path = tmp_path / "cell.ome.tif"
    sizes = {f"PhysicalSize{a}": 0.2 for a in "XY"}
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "YX", **sizes})
    return path
