"""LPIPS is an extra: what is missing is said, and nothing is downloaded."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_flowsr.metrics import perceptual


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Packages that look installed; a network that measures the mean difference."""

    class Network:
        def __init__(self, net_type: str, *, normalize: bool) -> None:
            assert (net_type, normalize) == ("alex", True)

        def eval(self) -> None:
            pass

        def reset(self) -> None:
            pass

        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            assert a.shape[:2] == (1, 3)
            assert 0 <= float(a.min()) <= float(a.max()) <= 1
            return (a - b).abs().mean()

    module: Any = types.ModuleType("torchmetrics.image.lpip")
    module.LearnedPerceptualImagePatchSimilarity = Network
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", module)
    monkeypatch.setattr(perceptual, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        perceptual, "find_spec", lambda name: None if name == "torchvision" else name
    )
    lpips, told = perceptual.find_lpips()
    assert lpips is None
    assert "torchvision is not installed" in told
    assert "napari-flowsr[metrics]" in told


def test_missing_weights_are_not_downloaded(installed: Path) -> None:
    lpips, told = perceptual.find_lpips()
    assert lpips is None
    assert "alexnet" in told
    assert not list(installed.iterdir())


def test_grey_images_are_replicated_clipped_and_cropped(installed: Path) -> None:
    weights = installed / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    lpips, told = perceptual.find_lpips()
    assert lpips is not None
    assert told.startswith("LPIPS with AlexNet")
    truth = np.zeros((1, 40, 40), np.float32)
    image = np.full_like(truth, 0.25)
    image[:, :4] = 7.0
    assert lpips(image, truth, 4) == pytest.approx(0.25)
    assert lpips(image, truth, 0) == pytest.approx(0.25 * 0.9 + 0.1)
    assert math.isnan(lpips(image, truth, 5))  # too small for the network
