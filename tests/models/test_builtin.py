"""The bundled weights: sane on images unlike any that they were trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_flowsr.core.noise import NoiseField
from napari_flowsr.data.degrade import downscale
from napari_flowsr.io.collection import builtin_folder, load_model
from napari_flowsr.io.header import read_header

SIDE = 40


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


# A rescaling model sees small images of its own making alone.
NAMES = [
    path.stem
    for path in sorted(builtin_folder().glob("*.safetensors"))
    if read_header(path).family != "hcflow-rescale"
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", INPUTS)
def test_raw_samples_neither_explode_nor_leave_the_data(name: str, kind: str) -> None:
    """No redraw hides anything here: this is the network's own decode."""
    flow = load_model(name, device="cpu").flow
    values = INPUTS[kind](np.random.default_rng(0)).astype(np.float32)
    lr = torch.from_numpy(values / max(values.max(), 1))[None, None]
    lr = lr.expand(1, flow.channels, SIDE, SIDE)
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
