"""MATLAB-compatible bicubic resizing, the degradation of the papers.

References
----------
Cubic Convolution Interpolation for Digital Image Processing (Keys, 1981), a = -0.5,
widened by 1 / scale when shrinking (antialiasing), borders mirrored with the edge
pixel repeated, as MATLAB's ``imresize`` does.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["imresize"]


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
    mirrored = torch.cat((torch.arange(size_in), torch.arange(size_in).flip(0)))
    index = mirrored[index.long() % (2 * size_in)]
    used = (weights != 0).any(1)
    return index[used], weights[used]


def _resize_axis(x: Tensor, axis: int, size: int, scale: float) -> Tensor:
    index, weights = _taps(x.shape[axis], size, scale)
    shape = [1] * x.ndim
    shape[axis] = size
    out = torch.zeros((), dtype=x.dtype, device=x.device)
    for i, w in zip(index.to(x.device), weights.to(x), strict=True):
        out = out + x.index_select(axis, i) * w.view(shape)
    return out


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
            x = _resize_axis(x, axis - 2, sizes[axis], scales[axis])
    return x
