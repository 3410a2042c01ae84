"""Degradations: how an LR image arises from an HR image, by name."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import torch

from napari_flowsr.core.places import hr_side, lr_side
from napari_flowsr.data.resize import imresize
from napari_flowsr.errors import OptionError, SizeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DEGRADATIONS", "downscale", "margin", "upscale_bicubic"]
__all__ += ["white_noise_gain"]

DEGRADATIONS = ("matlab-bicubic",)


def _check(name: str) -> None:
    if name not in DEGRADATIONS:
        raise OptionError(
            f"Degradation '{name}' is unknown; known are {', '.join(DEGRADATIONS)}."
        )


def downscale(hr: Tensor, scale: float, name: str = "matlab-bicubic") -> Tensor:
    """Reduce ``hr`` by ``scale`` the way the model expects its input to have arisen.

    Parameters
    ----------
    hr : Tensor
        Floating ``(..., H, W)``, sides that `hr_side` gives for some LR side:
        divisible by an integer ``scale``.
    scale : float
        Factor, at least 1.
    name : str
        ``"matlab-bicubic"``: antialiased, in floating point, not rounded.

    Returns
    -------
    Tensor
        ``(..., h, w)``, about ``H / scale`` and ``W / scale``.
    """
    _check(name)
    height, width = (int(side) for side in hr.shape[-2:])
    size = lr_side(height, scale), lr_side(width, scale)
    fitting = hr_side(size[0], scale), hr_side(size[1], scale)
    if fitting != (height, width):
        raise SizeError(
            f"HR image is {height} x {width}; reducing it by {scale:g} needs sides "
            f"divisible by {scale:g} (rounded to whole pixels). Crop it first, to "
            f"{fitting[0]} x {fitting[1]}."
        )
    return imresize(hr, size=size)


def upscale_bicubic(lr: Tensor, scale: float) -> Tensor:
    """Bicubic enlargement, the baseline of every comparison."""
    height, width = lr.shape[-2:]
    return imresize(lr, size=(hr_side(height, scale), hr_side(width, scale)))


def margin(scale: float, name: str = "matlab-bicubic") -> int:
    """LR pixels around an LR pixel whose HR content it depends on."""
    _check(name)
    # Half the widened kernel is 2 LR pixels; one more for the half-pixel centre.
    return math.ceil(2 + 1 / scale) if scale > 1 else 3


@cache
def white_noise_gain(scale: float, name: str = "matlab-bicubic") -> float:
    """Part of the standard deviation of white noise that a reduction leaves.

    Parameters
    ----------
    scale : float
        Whole, so that all pixels of the reduction are alike.
    name : str
        As in `downscale`.
    """
    # Rows and columns are reduced by the same weights R. Reduced on both sides, the
    # identity becomes R R^T, whose diagonal has the sums of their squares: the factor
    # of the variance along one axis, and so that of the deviation along two.
    lr = 4 * margin(scale, name) + 1
    found = downscale(torch.eye(round(lr * scale), dtype=torch.float64), scale, name)
    return float(found[lr // 2, lr // 2])
