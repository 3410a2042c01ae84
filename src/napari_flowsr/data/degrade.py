"""Degradations at work: the linear operators, and the noise of LR images.

`downscale` is the operator alone, which consistency with an LR image is about;
`degrade` adds the noise, for LR images to train and to measure on.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_flowsr.core.places import hr_side, lr_side
from napari_flowsr.data.degradation import (
    AREA,
    BICUBIC,
    DEGRADATIONS,
    OWN_NETWORK,
    PAIRED,
    Degradation,
)
from napari_flowsr.data.resize import area_mean, gaussian_samples, imresize
from napari_flowsr.errors import OptionError, SizeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DEGRADATIONS", "Degradation", "add_noise", "degrade", "downscale"]
__all__ += ["margin", "upscale_bicubic", "white_noise_gain"]

_DEFAULT = Degradation()
# Where `data.resize` cuts a Gaussian, in standard deviations.
_SIGMAS = 4.0


def _check(degradation: Degradation) -> None:
    if degradation.name == PAIRED:
        raise OptionError(
            "The model was trained on pairs of given HR and LR images, so how its LR "
            "images arise from HR images is not known. Give the LR image, or use a "
            f"model with one of the degradations {', '.join(DEGRADATIONS)}."
        )
    if degradation.name == OWN_NETWORK:
        raise OptionError(
            "A rescaling model makes its LR images by its own network; use "
            "rescale_down for that."
        )
    degradation.checked()


def downscale(hr: Tensor, scale: float, degradation: Degradation = _DEFAULT) -> Tensor:
    """Reduce ``hr`` by ``scale`` the way the model expects its input to have arisen.

    Linear and without noise; neither clipped nor rounded.

    Parameters
    ----------
    hr : Tensor
        Floating ``(..., H, W)``, sides that `hr_side` gives for some LR side:
        divisible by an integer ``scale``.
    scale : float
        Factor, at least 1; any real one.
    degradation : Degradation
        One of `DEGRADATIONS`.

    Returns
    -------
    Tensor
        ``(..., h, w)``, about ``H / scale`` and ``W / scale``.

    Raises
    ------
    OptionError
        The degradation has no known operator.
    SizeError
        No whole LR pixels.
    """
    _check(degradation)
    height, width = (int(side) for side in hr.shape[-2:])
    size = lr_side(height, scale), lr_side(width, scale)
    fitting = hr_side(size[0], scale), hr_side(size[1], scale)
    if fitting != (height, width):
        raise SizeError(
            f"HR image is {height} x {width}; reducing it by {scale:g} needs sides "
            f"divisible by {scale:g} (rounded to whole pixels). Crop it first, to "
            f"{fitting[0]} x {fitting[1]}."
        )
    if degradation.name == BICUBIC:
        return imresize(hr, size=size)
    if degradation.name == AREA:
        return area_mean(hr, size)
    return gaussian_samples(hr, size, degradation.sigma)


def add_noise(lr: Tensor, degradation: Degradation, rng: np.random.Generator) -> Tensor:
    """Poisson noise of ``photons`` counts for 1, then Gaussian ``read_noise``.

    Parameters
    ----------
    lr : Tensor
        Any shape, about ``[0, 1]``; what is negative (bicubic reduction overshoots)
        counts no photons and stays as it is.
    degradation : Degradation
        ``lr`` itself is returned if it has no noise.
    rng : numpy.random.Generator
        Source of the noise, on the CPU.
    """
    if not degradation.is_noisy:
        return lr
    values = lr.detach().cpu().numpy().astype(np.float64)
    if photons := degradation.parameters.get("photons"):
        mean = np.clip(values, 0, None)
        values = rng.poisson(mean * photons) / photons + np.minimum(values, 0)
    if sigma := degradation.parameters.get("read_noise"):
        values = values + sigma * rng.standard_normal(values.shape)
    return torch.from_numpy(values).to(lr)


def degrade(
    hr: Tensor, scale: float, degradation: Degradation, rng: np.random.Generator
) -> Tensor:
    """`downscale`, and the noise of the LR image."""
    return add_noise(downscale(hr, scale, degradation), degradation, rng)


def upscale_bicubic(lr: Tensor, scale: float) -> Tensor:
    """Bicubic enlargement, the baseline of every comparison."""
    height, width = lr.shape[-2:]
    return imresize(lr, size=(hr_side(height, scale), hr_side(width, scale)))


def margin(scale: float, degradation: Degradation = _DEFAULT) -> int:
    """LR pixels around an LR pixel whose HR content it depends on."""
    _check(degradation)
    if degradation.name == BICUBIC:
        # Half the widened kernel is 2 LR pixels; one more for the half-pixel centre.
        return math.ceil(2 + 1 / scale) if scale > 1 else 3
    if degradation.name == AREA:
        # At other scales an HR pixel may lie in two LR pixels.
        return 0 if scale == int(scale) else 1
    beyond = max(_SIGMAS * degradation.sigma, 0.5) + 0.5 - scale / 2
    # Rounded sides move centres by less than an HR pixel.
    return math.ceil(max(0.0, beyond + (scale != int(scale))) / scale)


@cache
def white_noise_gain(scale: float, degradation: Degradation = _DEFAULT) -> float:
    """Part of the standard deviation of white noise that a reduction leaves.

    Parameters
    ----------
    scale : float
        Whole, so that all pixels of the reduction are alike.
    degradation : Degradation
        As in `downscale`; noise of its own is not part of it.
    """
    # Rows and columns are reduced by the same weights R. Reduced on both sides, the
    # identity becomes R R^T, whose diagonal has the sums of their squares: the factor
    # of the variance along one axis, and so that of the deviation along two.
    lr = 4 * margin(scale, degradation) + 1
    identity = torch.eye(round(lr * scale), dtype=torch.float64)
    found = downscale(identity, scale, degradation)
    return float(found[lr // 2, lr // 2])
