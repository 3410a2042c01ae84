"""What an edit makes of latents: new noise, other statistics, those of another image.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, sections 4.1 to 4.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_flowsr.core.latents import Latents, LatentSpec
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.normalise import faded, normalised
from napari_flowsr.inference.decoder import UnitDecoder
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.stability import COOLING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Normalise", "Redraw", "Replace"]

_REFERENCE = 1 << 16
"""Added to the attempt of noise that gives statistics, not content."""
_CONTENT = 1 << 24
"""Added to the attempt of new content: with the seed of a sample, that sample's own
noise would come again."""


@dataclass(frozen=True)
class _Noise:
    """Noise at a temperature, as a function of position."""

    seed: int
    temperature: FieldMap

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, attempt: int, factor: float = 1.0
    ) -> Latents:
        field = NoiseField(self.seed, decoder.noise_plane, attempt)
        plane = decoder.unit.plane
        return field.draw(spec).tempered(self.temperature.window(plane, spec, factor))


@dataclass(frozen=True)
class Redraw:
    """New latents (section 4.1: "specific parts can be re-sampled").

    Where the mask is soft, old and new ones are mixed so that they stay white. With a
    learned prior its latents are the new ones.

    Parameters
    ----------
    seed : int
        Of the noise.
    temperature : FieldMap
        Of the new latents.
    """

    seed: int
    temperature: FieldMap
    attempts: int = len(COOLING) + 1

    def __call__(
        self,
        decoder: UnitDecoder,
        own: Sequence[Latents],
        weights: Sequence[Tensor],
        attempt: int,
    ) -> list[Latents]:
        pairs = zip(own, weights, strict=True)
        return [z.where(w, self._new(decoder, z.spec, attempt)) for z, w in pairs]

    def _new(self, decoder: UnitDecoder, spec: LatentSpec, attempt: int) -> Latents:
        if decoder.setup.is_single:
            return decoder.draw(spec.window, range(1), attempt)
        factor = COOLING[attempt - 1] if attempt else 1.0
        noise = _Noise(self.seed, self.temperature)
        return noise.draw(decoder, spec, attempt + _CONTENT, factor)


@dataclass(frozen=True)
class Normalise:
    """The statistics of white noise for what is there (section 4.3).

    Parameters
    ----------
    collections : tuple of str
        What is normalised, one after the other (`core.normalise.COLLECTIONS`).
    seed : int
        Of the new statistics.
    temperature : FieldMap
        Of the new statistics.
    strength : float
        From 0 (the latents stay) to 1.
    amplify : bool
        Whether a collection may gain variance.

    Notes
    -----
    A mask's latents are the members of a collection where it is above 0; where it is
    soft, old and normalised latents are interpolated linearly, for they depend on each
    other.
    """

    collections: tuple[str, ...]
    seed: int
    temperature: FieldMap
    strength: float = 1.0
    amplify: bool = True
    attempts: int = len(COOLING) + 1

    def __call__(
        self,
        decoder: UnitDecoder,
        own: Sequence[Latents],
        weights: Sequence[Tensor],
        attempt: int,
    ) -> list[Latents]:
        noise = _Noise(self.seed, self.temperature)
        members = [
            [z.spec.on_level(w, i) > 0 for i in range(len(z.levels))]
            for z, w in zip(own, weights, strict=True)
        ]
        factor = COOLING[attempt - 1] if attempt else 1.0
        found = list(own)
        for step, kind in enumerate(self.collections):
            number = attempt + _REFERENCE * (step + 1)
            fresh = [noise.draw(decoder, z.spec, number, factor) for z in own]
            found = normalised(found, fresh, kind, members, amplify=self.amplify)
        return [
            faded(z, new, w * self.strength)
            for z, new, w in zip(own, found, weights, strict=True)
        ]


@dataclass(frozen=True)
class Replace:
    """Latents of another image (section 4.2).

    Parameters
    ----------
    latents : callable
        From the unit's decoder and a placed spec to latents of that window.
    """

    latents: Callable[[UnitDecoder, LatentSpec], Latents]
    attempts: int = 1

    def __call__(
        self,
        decoder: UnitDecoder,
        own: Sequence[Latents],
        weights: Sequence[Tensor],
        attempt: int,
    ) -> list[Latents]:
        pairs = zip(own, weights, strict=True)
        return [z.where(w, self.latents(decoder, z.spec)) for z, w in pairs]
