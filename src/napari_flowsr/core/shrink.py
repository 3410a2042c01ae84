r"""How much of each latent is content, told by how far noise in the image moves it.

An image :math:`y` has latents :math:`z`; with more noise of the same level they are
:math:`z'`, so that :math:`v = (z' - z)^2` estimates the variance that the noise which
was there already has given them. Of the variance :math:`\tilde\sigma^2` of a collection
the rest is content, and the linear estimate of least error is Wiener's,

.. math:: \hat z = \tilde\mu + g (\tilde z - \tilde\mu), \quad
          g = \max\Bigl(0, 1 - \frac{\bar v}{\tilde\sigma^2}\Bigr).

That is equation (7) of SRFlow with a target that each collection has for itself,
:math:`\hat\sigma = g \tilde\sigma`, which never exceeds what is there, and the mean
kept. Nothing is assumed of the flow: where it answers noise strongly, more is taken
away; without noise :math:`g = 1` and nothing happens.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, sections 4.3 and 4.5. Extrapolation,
Interpolation, and Smoothing of Stationary Time Series (Wiener, 1949).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.normalise import check_collections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.latents import Latents

__all__ = ["gains", "shrunk"]

_TINY = 1e-12
_AXES = {"spatial": (2, 3), "global": (1, 2, 3)}


def _around(values: Tensor) -> Tensor:
    """Mean over each position and its eight neighbours."""
    return F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _share(variance: Tensor, noise: Tensor) -> Tensor:
    """Part of a variance that is not noise."""
    return ((variance - noise) / variance.clamp_min(_TINY)).clamp(0, 1)


def _local(z: Tensor, v: Tensor, *, weighed: bool) -> Tensor:
    """Gain per position; a position alone has too few channels for a variance.

    Weighed, each channel counts by the inverse of what noise does to it on average.
    """
    weight = torch.ones_like(v[:, :, :1, :1])
    if weighed:
        weight = 1 / v.mean((2, 3), keepdim=True).clamp_min(_TINY)
    # White latents have no mean that would have to be kept.
    variance = _around((weight * z.square()).mean(1, keepdim=True))
    return _share(variance, _around((weight * v).mean(1, keepdim=True)))


def _means(own: Sequence[Tensor], kind: str) -> list[Tensor]:
    axes = _AXES[kind]
    if kind == "spatial":
        return [z.mean(axes, keepdim=True) for z in own]
    count = sum(z[0].numel() for z in own)
    total = torch.stack([z.sum(axes) for z in own]).sum(0) / count
    return [total[:, None, None, None]] * len(own)


def _centre(own: Sequence[Tensor], kinds: Sequence[str]) -> list[Tensor]:
    """Mean of each latent's collection, broadcast against its level."""
    if "local" in kinds:
        return [torch.zeros_like(z[:, :1, :1, :1]) for z in own]
    return _means(own, "spatial" if "spatial" in kinds else "global")


def gains(own: Latents, moved: Latents, kinds: str | Sequence[str]) -> list[Tensor]:
    """Factor from 0 (all noise) to 1 for each level, broadcast against it.

    Parameters
    ----------
    own : Latents
        Of the image.
    moved : Latents
        Of the image with more noise of the same level.
    kinds : str or sequence of str
        Collections (`core.normalise.COLLECTIONS`), in any order. ``"spatial"``: those
        of a channel share a factor; ``"local"``: those of a position and its eight
        neighbours; ``"global"``: all. With ``"local"`` and ``"spatial"`` the factor is
        that of the position, in which each channel counts the less the more noise it
        has over the plane: the first says where there is content, the second in which
        channels it can be told.
    """
    kinds = check_collections(kinds)
    pairs = list(zip(own.levels, moved.levels, strict=True))
    noise = [(after - before).square() for before, after in pairs]
    if "local" in kinds:
        weighed = "spatial" in kinds
        return [
            _local(z, v, weighed=weighed)
            for z, v in zip(own.levels, noise, strict=True)
        ]
    kind = "spatial" if "spatial" in kinds else "global"
    centre = _means(own.levels, kind)
    deviation = [
        (z - mean).square() for z, mean in zip(own.levels, centre, strict=True)
    ]
    pairs = list(zip(_means(deviation, kind), _means(noise, kind), strict=True))
    return [_share(variance, v) for variance, v in pairs]


def shrunk(
    own: Latents, factors: Sequence[Tensor], kinds: str | Sequence[str]
) -> Latents:
    """Latents with each collection drawn towards its mean by its factor.

    Parameters
    ----------
    own : Latents
        As given to `gains`.
    factors : sequence of Tensor
        As `gains` gave them.
    kinds : str or sequence of str
        As given to `gains`.
    """
    centres = iter(_centre(own.levels, check_collections(kinds)))
    factor = iter(factors)

    def shrink(z: Tensor) -> Tensor:
        mean = next(centres)
        return mean + (z - mean) * next(factor)

    return own.map(shrink)
