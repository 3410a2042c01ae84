"""How noisy an image is, from the image alone.

Content fades towards the highest frequency that a grid can hold, white noise does not.
So a filter that passes nearly nothing else is applied, and its energy is measured in
small blocks, of which the quietest tenth is least disturbed by structure. Blocks that
are wholly at the darkest or brightest value are clipped or masked out, and tell
nothing.

It is a lower estimate by design, for noise that is not seen only stays, while content
that is taken for noise is lost: texture finer than the filter raises it, and noise that
was smoothed (by a resize, a filter, a colour mosaic, or compression) lowers it.

References
----------
Fast Noise Variance Estimation (Immerkaer, 1996), CVIU 64(2): the filter, of third
order there. Ideal Spatial Adaptation by Wavelet Shrinkage (Donoho and Johnstone, 1994).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["FLOOR", "noise_level"]

_TAPS = (1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0)
_BLOCK = 8
_QUIETEST = 0.1
_OF_WHITE_NOISE = 0.70
"""What the quietest tenth shows of the level of white noise, measured."""
_OF_CLEAN_IMAGES = 1.5 / 255
"""What clean and compressed images show, measured; it is taken for structure."""
FLOOR = _OF_CLEAN_IMAGES / _OF_WHITE_NOISE
"""White noise that looks like a clean image: what is weaker is not told from none."""


def noise_level(plane: Tensor) -> float:
    """Standard deviation of the white noise in a plane, 0 if none can be told.

    Parameters
    ----------
    plane : Tensor
        ``(H, W)``, network units: about ``[0, 1]``.
    """
    if min(plane.shape) < len(_TAPS):
        return 0.0  # too small to tell
    taps = torch.tensor(_TAPS)
    kernel = torch.outer(taps, taps)
    kernel = (kernel / kernel.square().sum().sqrt())[None, None]
    image = plane.float()[None, None]
    energy = F.conv2d(image, kernel).square()
    side = min(_BLOCK, *energy.shape[-2:])
    blocks = F.avg_pool2d(energy, side).flatten()
    told = blocks[~_clipped(image, side, blocks.numel())]
    if not told.numel():
        return 0.0
    seen = float(torch.quantile(_thinned(told).double(), _QUIETEST))
    return math.sqrt(max(0.0, seen - _OF_CLEAN_IMAGES**2)) / _OF_WHITE_NOISE


def _clipped(image: Tensor, side: int, count: int) -> Tensor:
    """Which blocks of filtered pixels come from pixels of one extreme value alone."""
    low, high = image.min(), image.max()
    extreme = ((image == low) | (image == high)).float()
    # All pixels that the filter sees from within the block.
    field = side + len(_TAPS) - 1
    found = F.avg_pool2d(extreme, field, side).flatten() > 1 - 1e-6
    return found[:count] if found.numel() == count else torch.zeros(count).bool()


def _thinned(values: Tensor, most: int = 1 << 20) -> Tensor:
    """Every k-th value, for `torch.quantile` has a limit."""
    return values[:: max(1, -(-values.numel() // most))]
