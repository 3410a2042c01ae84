"""The bundled weights: sane on images unlike any that they were trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import napari_flowsr as flowsr
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.data.degrade import downscale
from napari_flowsr.io.collection import load_model

SIDE = 64


def _poisson(rng: np.random.Generator) -> NDArray[np.float64]:
    """Two counts a pixel at most: what a dim fluorescence frame looks like."""
    y, x = np.indices((SIDE, SIDE))
    return rng.poisson(1 + np.sin(x / 9) * np.cos(y / 7))


INPUTS = {
    "shot noise": _poisson,
    "white noise": lambda rng: rng.random((SIDE, SIDE)),
    "mask": lambda rng: (
        (rng.random((SIDE // 8, SIDE // 8)) > 0.5).repeat(8, 0).repeat(8, 1)
    ),
    "chequerboard": lambda rng: np.indices((SIDE, SIDE)).sum(0) % 2,
    "single points": lambda rng: rng.random((SIDE, SIDE)) > 0.99,
    "step": lambda rng: np.indices((SIDE, SIDE))[1] > SIDE // 2,
    "dark with a hot corner": lambda rng: np.pad([[1.0]], (0, SIDE - 1)),
}


BOUNDED = ["micro-2x", "micro-4x"]


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("kind", INPUTS)
def test_raw_samples_neither_explode_nor_leave_the_data(name: str, kind: str) -> None:
    """No redraw hides anything here: this is the network's own decode."""
    flow = load_model(name, device="cpu").flow
    values = INPUTS[kind](np.random.default_rng(0)).astype(np.float32)
    lr = torch.from_numpy(values / max(values.max(), 1))[None, None]
    with torch.no_grad():
        cond = flow.condition(lr)
        noise = NoiseField(0).draw(flow.latent_spec((SIDE, SIDE)), samples=range(3))
        for temperature in (0.0, 1.0):
            samples = flow.decode(noise.tempered(temperature), cond)
            # Without bounds inside the flow these were hundreds to millions.
            assert samples.abs().max() < 10
            assert samples.abs().quantile(0.99) < 2.5
            if kind != "chequerboard":  # at LR it cannot come of any HR image
                back = downscale(samples, flow.scales[0])
                assert float((back - lr).square().mean().sqrt()) < 0.05


@pytest.mark.parametrize("name", ["micro-any", "micro-4x-sharp", "photo-4x"])
@pytest.mark.parametrize("kind", ["white noise", "mask", "chequerboard"])
def test_results_of_the_others_are_finite(name: str, kind: str) -> None:
    """Their own decodes may leave the data; then they are redrawn, and told."""
    values = INPUTS[kind](np.random.default_rng(0)).astype(np.float32)
    found = flowsr.upscale(values, load_model(name, device="cpu"), axes="YX")
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 4
