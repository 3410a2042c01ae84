r"""Latent normalisation: collections of latents get the statistics of white noise.

Of N independent :math:`z_i \sim \mathcal N(0, \tau^2)` the empirical mean and variance
follow

.. math:: \hat\mu \sim \mathcal N(0, \tau^2 / N), \quad
          \hat\sigma^2 \sim \Gamma\bigl(\tfrac{N-1}{2}, \tfrac{2\tau^2}{N-1}\bigr),
          \qquad (6)

and a collection with mean :math:`\tilde\mu` and variance :math:`\tilde\sigma^2` becomes

.. math:: \hat z = \frac{\hat\sigma}{\tilde\sigma} (\tilde z - \tilde\mu) + \hat\mu.
          \qquad (7)

New statistics are not drawn from the two densities of (6) but taken from N fresh normal
numbers, whose statistics follow (6) by its derivation. Those numbers are a function of
position (`core.noise`), so that neither tiles nor their order matter, and temperature
may be a map.

The paper writes ``tau`` for the variance, the rest of this package for the standard
deviation; here it is the standard deviation.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 4.3, eqs. (6) and (7).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_flowsr.core.latent_sets import COLLECTIONS, check_collections
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.latents import Latents

__all__ = ["COLLECTIONS", "Moments", "check_collections", "faded", "normalised"]

# Axes of a level (B, C, H, W) that a collection extends over.
_AXES = {"global": (1, 2, 3), "local": (1,), "spatial": (2, 3)}


@dataclass(frozen=True)
class Moments:
    """First two moments of collections, in float64; add those of further parts.

    Parameters
    ----------
    count, mean, deviation : Tensor
        Number, mean, and sum of the squared deviations from it, of each collection; all
        broadcast against the level ``(B, C, H, W)``.
    """

    count: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, z: Tensor, kind: str, member: Tensor | None = None) -> Moments:
        """Moments of the collections of one level.

        Parameters
        ----------
        z : Tensor
            ``(B, C, H, W)``.
        kind : str
            One of `COLLECTIONS`.
        member : Tensor, optional
            Bool, broadcast against ``z``: which latents count. Default: all.
        """
        axes, values = _AXES[kind], z.double()
        weight = torch.ones(1, 1, 1, 1, dtype=torch.float64, device=z.device)
        if member is not None:
            weight = member.to(values)
        weight = weight.expand_as(values)
        count = weight.sum(axes, keepdim=True)
        mean = (weight * values).sum(axes, keepdim=True) / count.clamp_min(1)
        deviation = (weight * (values - mean).square()).sum(axes, keepdim=True)
        return cls(count, mean, deviation)

    def __add__(self, other: Moments) -> Moments:
        """Moments of two disjoint parts together (Chan et al., 1979)."""
        count = self.count + other.count
        share = other.count / count.clamp_min(1)
        gap = other.mean - self.mean
        cross = gap.square() * self.count * share
        mean = self.mean + gap * share
        return Moments(count, mean, self.deviation + other.deviation + cross)

    @property
    def std(self) -> Tensor:
        """Standard deviation, by N - 1; 0 for a single number."""
        return (self.deviation / (self.count - 1).clamp_min(1)).sqrt()


def _check_channels(parts: Sequence[Latents], kind: str) -> None:
    channels = [level.shape[1] for level in parts[0].levels]
    if kind == "local" and min(channels) < 2:
        raise OptionError(
            f"This model has levels of {channels} channels (finest first); local "
            "normalisation is over the channels of a position and would leave nothing "
            "of one alone. Use 'spatial' or 'global'."
        )


def _moments(
    parts: Sequence[Latents], kind: str, members: Sequence[Sequence[Tensor] | None]
) -> list[list[Moments]]:
    """Moments per part and level; pooled where a collection extends over several."""
    found = [
        [
            Moments.of(z, kind, None if member is None else member[i])
            for i, z in enumerate(part.levels)
        ]
        for part, member in zip(parts, members, strict=True)
    ]
    if kind == "local":
        return found
    pooled = found[0]
    for part_moments in found[1:]:
        pooled = [a + b for a, b in zip(pooled, part_moments, strict=True)]
    if kind == "global":
        total = pooled[0]
        for level in pooled[1:]:
            total = total + level
        pooled = [total] * len(pooled)
    return [pooled] * len(parts)


def normalised(
    parts: Sequence[Latents],
    fresh: Sequence[Latents],
    kind: str,
    members: Sequence[Sequence[Tensor] | None] | None = None,
    *,
    amplify: bool = True,
) -> list[Latents]:
    """Give each collection the mean and variance of fresh noise, eq. (7).

    Parameters
    ----------
    parts : sequence of Latents
        Disjoint windows of one image, whose statistics are pooled.
    fresh : sequence of Latents
        White noise of the same windows, tempered: it gives the new statistics, eq. (6).
    kind : str
        One of `COLLECTIONS`.
    members : sequence, optional
        For each part, per level, a bool tensor ``(B or 1, 1, H, W)``: the latents that
        the collections consist of; the others come back as they were. ``None`` for a
        part, or altogether: all of them.
    amplify : bool
        If false, a collection may lose variance but not gain any.

    Returns
    -------
    list of Latents

    Notes
    -----
    A collection of one latent becomes the fresh one, and one without variance gets the
    new mean alone, for (7) leaves nothing else.
    """
    _check_channels(parts, kind)
    chosen = [None] * len(parts) if members is None else members
    old, new = _moments(parts, kind, chosen), _moments(fresh, kind, chosen)
    out = []
    for part, member, of_old, of_new in zip(parts, chosen, old, new, strict=True):
        levels = []
        for i, z in enumerate(part.levels):
            own, wanted = of_old[i], of_new[i]
            ratio = torch.where(own.std > 0, wanted.std / own.std, 0.0)
            if not amplify:
                ratio = ratio.clamp_max(1.0)
            moved = ((z.double() - own.mean) * ratio + wanted.mean).to(z.dtype)
            levels.append(moved if member is None else torch.where(member[i], moved, z))
        out.append(replace(part, levels=tuple(levels)))
    return out


def faded(own: Latents, other: Latents, weight: Tensor | float) -> Latents:
    """Interpolate linearly: ``own`` at weight 0, ``other`` at 1, exactly at both ends.

    For latents that depend on each other, such as a normalised version of the same
    ones; independent ones are mixed by `Latents.where`, which keeps their variance.

    Parameters
    ----------
    own, other : Latents
        Of one spec.
    weight : float or Tensor
        From 0 to 1; a map as in `Latents.tempered`.
    """

    def mix(index: int, a: Tensor, b: Tensor) -> Tensor:
        w = (
            own.spec.on_level(weight.to(a.dtype), index)
            if isinstance(weight, Tensor)
            else torch.tensor(weight, dtype=a.dtype)
        )
        mixed = a + w * (b - a)
        return torch.where(w <= 0, a, torch.where(w >= 1, b, mixed))

    levels = map(mix, range(len(own.levels)), own.levels, other.levels)
    return replace(own, levels=tuple(levels))
