"""Degradations: how an LR image arises from an HR image, by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_flowsr.data.resize import imresize
from napari_flowsr.errors import OptionError, SizeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DEGRADATIONS", "downscale", "margin", "upscale_bicubic"]

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
        Floating ``(..., H, W)``, sides divisible by an integer ``scale``.
    scale : float
        Factor, at least 1.
    name : str
        ``"matlab-bicubic"``: antialiased, in floating point, not rounded.

    Returns
    -------
    Tensor
        ``(..., H / scale, W / scale)``.
    """
    _check(name)
    if any(round(side / scale) * scale != side for side in hr.shape[-2:]):
        raise SizeError(
            f"HR image is {hr.shape[-2]} x {hr.shape[-1]}; reducing it by {scale:g} "
            f"needs sides divisible by {scale:g}. Crop it first."
        )
    return imresize(hr, size=(round(hr.shape[-2] / scale), round(hr.shape[-1] / scale)))


def upscale_bicubic(lr: Tensor, scale: float) -> Tensor:
    """Bicubic enlargement, the baseline of every comparison."""
    height, width = lr.shape[-2:]
    return imresize(lr, size=(round(height * scale), round(width * scale)))


def margin(scale: float, name: str = "matlab-bicubic") -> int:
    """LR pixels around an LR pixel whose HR content it depends on."""
    _check(name)
    # Half the widened kernel is 2 LR pixels; one more for the half-pixel centre.
    return math.ceil(2 + 1 / scale) if scale > 1 else 3
