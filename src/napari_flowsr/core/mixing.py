"""Mixing white latents so that the result is as probable as what was mixed.

Latents of samples are white: each of the ``D`` numbers is standard normal, so that
``|z|^2`` follows a chi-squared distribution of mean ``D`` and relative spread
``sqrt(2 / D)``. Nearly all probability lies on the sphere of radius ``sqrt(D)``, and a
straight line ``(1 - t) a + t b`` leaves it: half way ``|z|^2`` is ``D / 2``, which is
the radius of samples at temperature ``sqrt(1 / 2)``, blurred ones.

The great circle through ``a`` and ``b`` stays on the sphere:
``z(t) = (sin((1 - t) w) a + sin(t w) b) / sin(w)`` with the angle ``w`` between them.
Two samples are independent, ``E[a . b] = 0``, and so ``w`` is ``pi / 2`` up to
``O(1 / sqrt(D))``. With exactly ``pi / 2`` the great circle is the rotation
``z(t) = cos(t pi / 2) a + sin(t pi / 2) b``, which we use, for two reasons:

* variances add up to 1, so that ``z(t)`` is white *exactly*, for every ``t`` and in
  each cell, and thus follows the distribution of any other sample, norm included;
* a cell depends on that cell of ``a`` and ``b`` and on no sum over the image, so that
  tiles, masks and weights that vary from place to place change nothing.

At ``t = 0`` and ``t = 1`` it gives ``a`` and ``b``, bit for bit.

References
----------
Animating Rotation with Quaternion Curves (Shoemake, 1985), SIGGRAPH: the great circle.
Sampling Generative Networks (White, 2016), arXiv:1609.04468: why latents are
interpolated on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.latents import Latents

__all__ = ["by_level", "interpolated", "rotated"]


def rotated(own: Tensor, new: Tensor, weight: Tensor) -> Tensor:
    """``cos(t) own + sin(t) new`` with ``t = weight pi / 2``.

    Parameters
    ----------
    own, new : Tensor
        Independent and standard normal.
    weight : Tensor
        0 (``own``) to 1 (``new``), broadcast.
    """
    angle = weight * torch.pi / 2
    mixed = torch.cos(angle) * own + torch.sin(angle) * new
    # cos(pi / 2) is not exactly 0 in floating point: keep both ends exact.
    return torch.where(weight <= 0, own, torch.where(weight >= 1, new, mixed))


def interpolated(first: Latents, second: Latents, at: Sequence[float]) -> Latents:
    """Points between two independent white latents, each as probable as a sample.

    Parameters
    ----------
    first, second : Latents
        Of batch 1, white (not yet tempered), of the same spec.
    at : sequence of float
        0 (``first``) to 1 (``second``), one for each entry of the result's batch.
    """
    weights = torch.tensor(list(at), dtype=first.levels[0].dtype)[:, None, None, None]
    pairs = zip(first.levels, second.levels, strict=True)
    return replace(first, levels=tuple(rotated(a, b, weights) for a, b in pairs))


def by_level(latents: Latents, factors: Sequence[float]) -> Latents:
    """Multiply each level by a factor of its own, finest first.

    Of latents at a temperature, the factor times it is the temperature of the level.
    """
    pairs = zip(latents.levels, factors, strict=True)
    return replace(latents, levels=tuple(level * factor for level, factor in pairs))
