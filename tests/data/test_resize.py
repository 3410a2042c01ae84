"""MATLAB-compatible resizing against recorded numbers.

The recorded cases are one channel of what a MATLAB-compatible implementation gave; the
8-bit ones were rounded after each of the two passes, which `imresize`, for floats,
leaves to its caller.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_flowsr.data.resize import _apply, _taps, imresize

GOLDEN = Path(__file__).parents[1] / "golden" / "matlab_imresize.npz"
# Case, its input's name, factor or size.
CASES = [
    ("u8_down2", "u8_down2", 0.5),
    ("u8_down3", "u8_down2", 1 / 3),
    ("u8_down4", "u8_down2", 0.25),
    ("u8_down8", "u8_down2", 0.125),
    ("u8_up4", "u8_up4", 4.0),
    ("u8_up2p5", "u8_up4", 2.5),
    ("gray_down4", "gray_down4", 0.25),
    ("float_down4", "float_down4", 0.25),
    ("float_shape", "float_down4", (17, 23)),
    ("float_aniso", "float_down4", (30, 11)),
]


def eight_bit(x: Tensor, scale: float) -> Tensor:
    """Resize as for an 8-bit image: clipped and rounded after each axis."""
    for axis in (0, 1):
        size = math.ceil(scale * x.shape[axis])
        x = _apply(x, axis, _taps(x.shape[axis], size, scale)).clamp(0, 255).round()
    return x


@pytest.mark.parametrize(("name", "source", "to"), CASES, ids=[c[0] for c in CASES])
def test_recorded_cases(name: str, source: str, to: float | tuple[int, int]) -> None:
    with np.load(GOLDEN) as stored:
        x = torch.from_numpy(stored[f"{source}_in"].astype(np.float64))
        expected = stored[f"{name}_out"].astype(np.float64)
    if isinstance(to, tuple):
        got = imresize(x, size=to)
    elif name.startswith("float"):
        got = imresize(x, to)
    else:
        got = eight_bit(x, to)
    assert got.shape == expected.shape
    difference = np.abs(got.numpy() - expected)
    if name.startswith("float"):
        assert difference.max() < 1e-6
    else:
        # Values half-way between two integers may round either way.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_a_constant_stays_constant() -> None:
    x = torch.full((2, 3, 13, 7), 0.3, dtype=torch.float64)
    for scale in (0.25, 0.5, 1.7, 4.0):
        assert torch.allclose(imresize(x, scale), torch.tensor(0.3).double())


def test_output_size() -> None:
    x = torch.zeros(1, 1, 10, 7)
    assert imresize(x, 1 / 3).shape[-2:] == (4, 3)
    assert imresize(torch.zeros(9, 9), 1 / 3).shape == (3, 3)
    assert imresize(x, 2.5).shape[-2:] == (25, 18)
    assert imresize(torch.ones(1, 1), 4.0).shape == (4, 4)
    with pytest.raises(TypeError, match="either scale or size"):
        imresize(x)


@pytest.mark.parametrize("inference_first", [True, False])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_taps_serve_inference_and_gradients_in_any_order(
    inference_first: bool, scale: float
) -> None:
    """The taps are cached: those of one call must do for the other."""
    _taps.cache_clear()
    x = torch.rand(8, 6, dtype=torch.float64)
    calls = [_gradient, _inferred] if not inference_first else [_inferred, _gradient]
    # The second pair takes all its taps from the cache.
    found = [call(x, scale) for call in (*calls, *calls)]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    gradient = found[inference_first]
    assert torch.isfinite(gradient).all()
    # Each output pixel is a mean with weights that add up to 1.
    size = math.prod(math.ceil(scale * side) for side in x.shape)
    assert float(gradient.sum()) == pytest.approx(size)
    assert _taps.cache_info().hits >= 6


def _inferred(x: Tensor, scale: float) -> Tensor:
    with torch.inference_mode():
        return imresize(x, scale)


def _gradient(x: Tensor, scale: float) -> Tensor:
    at = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(imresize(at, scale).sum(), at)
    return gradient
