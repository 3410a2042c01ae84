"""Separable resizing: MATLAB's bicubic, the mean over pixels, and a Gaussian.

Each is linear, with the same weights for rows and columns, and covers the same field of
view before and after: outer corners of corner pixels stay where they are.

References
----------
Cubic Convolution Interpolation for Digital Image Processing (Keys, 1981), a = -0.5,
widened by 1 / scale when shrinking (antialiasing), borders mirrored with the edge
pixel repeated, as MATLAB's ``imresize`` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["area_mean", "gaussian_samples", "imresize"]

_Taps = Callable[[int, int], tuple[Tensor, Tensor]]

# A Gaussian is cut where it has fallen to 3e-4.
_SIGMAS = 4.0


def _cubic(x: Tensor) -> Tensor:
    a = x.abs()
    near = 1.5 * a**3 - 2.5 * a**2 + 1.0
    far = -0.5 * a**3 + 2.5 * a**2 - 4.0 * a + 2.0
    return torch.where(a <= 1, near, torch.where(a <= 2, far, torch.zeros_like(a)))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _taps(size_in: int, size_out: int, scale: float) -> tuple[Tensor, Tensor]:
    """Source indices and weights, each ``(taps, size_out)``.

    Never inference tensors: cached, they would break the adjoint of a later call.
    """
    shrink = min(scale, 1.0)
    support = 4.0 / shrink
    count = math.ceil(support) + 2
    centre = (torch.arange(size_out, dtype=torch.float64) + 0.5) / scale - 0.5
    first = torch.floor(centre - support / 2)
    index = first + torch.arange(count, dtype=torch.float64)[:, None]
    weights = shrink * _cubic(shrink * (centre - index))
    weights = weights / weights.sum(0)
    return _folded(index, weights, size_in)


def _folded(index: Tensor, weights: Tensor, size_in: int) -> tuple[Tensor, Tensor]:
    """Pixels beyond the border mirrored into the image; without taps of weight 0."""
    mirrored = torch.cat((torch.arange(size_in), torch.arange(size_in).flip(0)))
    index = mirrored[index.long() % (2 * size_in)]
    used = (weights != 0).any(1)
    return index[used], weights[used]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _mean_taps(size_in: int, size_out: int) -> tuple[Tensor, Tensor]:
    """As `_taps`: how much of each input pixel lies in an output pixel."""
    width = size_in / size_out
    start = torch.arange(size_out, dtype=torch.float64) * width
    # Rounding must not give a pixel that ends where another begins a share of it.
    first = torch.floor(start + 1e-9)
    index = first + torch.arange(math.ceil(width) + 1, dtype=torch.float64)[:, None]
    inside = torch.minimum(index + 1, start + width) - torch.maximum(index, start)
    weights = torch.where(inside > 1e-9, inside, 0.0)
    return _folded(index, weights / weights.sum(0), size_in)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _gaussian_taps(size_in: int, size_out: int, sigma: float) -> tuple[Tensor, Tensor]:
    """As `_taps`: a Gaussian around the centre of each output pixel."""
    width = size_in / size_out
    centre = (torch.arange(size_out, dtype=torch.float64) + 0.5) * width - 0.5
    # Never less than the nearest pixels.
    reach = max(_SIGMAS * sigma, 0.5)
    first = torch.ceil(centre - reach - 1e-9)
    count = math.floor(2 * reach + 1e-9) + 1
    index = first + torch.arange(count, dtype=torch.float64)[:, None]
    distance = (index - centre).square()
    outside = distance > (reach + 1e-9) ** 2
    # Relative to the nearest pixel, so that a very narrow one does not vanish.
    exponent = (distance - distance.min(0).values) / (2 * sigma**2)
    weights = torch.exp(-exponent).masked_fill(outside, 0.0)
    return _folded(index, weights / weights.sum(0), size_in)


def _apply(x: Tensor, axis: int, taps: tuple[Tensor, Tensor]) -> Tensor:
    index, weights = taps
    shape = [1] * x.ndim
    shape[axis] = index.shape[1]
    out = torch.zeros((), dtype=x.dtype, device=x.device)
    for i, w in zip(index.to(x.device), weights.to(x), strict=True):
        out = out + x.index_select(axis, i) * w.view(shape)
    return out


def _reduce(x: Tensor, size: tuple[int, int], taps: _Taps) -> Tensor:
    for axis in (-2, -1):
        if x.shape[axis] != size[axis]:
            x = _apply(x, axis, taps(int(x.shape[axis]), size[axis]))
    return x


def area_mean(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean of ``x (..., H, W)`` over each pixel of a coarser grid, as binning gives.

    Where pixels do not fit into each other, those cut by a border count by their part.
    """
    return _reduce(x, size, _mean_taps)


def gaussian_samples(x: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """``x (..., H, W)`` blurred by ``sigma`` pixels, at the centres of a coarser grid.

    The grid may be as fine as that of ``x``: blurred it is all the same.
    """
    for axis in (-2, -1):
        x = _apply(x, axis, _gaussian_taps(int(x.shape[axis]), size[axis], sigma))
    return x


def imresize(
    x: Tensor, scale: float | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Resize the last two axes with antialiased bicubic interpolation.

    Parameters
    ----------
    x : Tensor
        Floating ``(..., H, W)``; neither clipped nor rounded.
    scale : float, optional
        Factor of both axes; the output has ``ceil(scale * side)`` pixels.
    size : tuple of int, optional
        Output size instead of a factor.

    Returns
    -------
    Tensor
        ``(..., H', W')``.
    """
    sides = (int(x.shape[-2]), int(x.shape[-1]))
    if size is not None:
        scales = (size[0] / sides[0], size[1] / sides[1])
        sizes = size
    elif scale is not None:
        scales = (scale, scale)
        # The small term keeps 3 * (1 / 3) from being rounded up to two pixels.
        sizes = (
            math.ceil(scale * sides[0] - 1e-9),
            math.ceil(scale * sides[1] - 1e-9),
        )
    else:
        raise TypeError("imresize needs either scale or size.")
    # The axis that shrinks more goes first, as in MATLAB; ties: rows.
    for axis in sorted((0, 1), key=lambda a: scales[a]):
        if scales[axis] != 1.0:
            taps = _taps(int(x.shape[axis - 2]), sizes[axis], scales[axis])
            x = _apply(x, axis - 2, taps)
    return x
