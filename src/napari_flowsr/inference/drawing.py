"""Which latents are decoded: those of samples, and points between and around them.

A `Drawing` says, for any window, what the latents of image number ``i`` of a run are.
All of them are functions of absolute position, made from the noise of samples (or from
the learned prior), so that tiles, batches and redraws work for each of them as they do
for samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch

from napari_flowsr.core.latents import Latents
from napari_flowsr.core.mixing import by_level, interpolated
from napari_flowsr.inference.stability import cooling

if TYPE_CHECKING:
    from napari_flowsr.core.latents import LatentSpec
    from napari_flowsr.inference.decoder import UnitDecoder

__all__ = ["Drawing", "Interpolation", "LearnedPrior", "Levels", "Samples", "Sweep"]


class Drawing(Protocol):
    """Latents of the images of a run."""

    @property
    def is_single(self) -> bool:
        """Whether all images are the same one, whatever the seed."""
        ...

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, images: range, attempt: int
    ) -> Latents:
        """Latents of a placed spec, batch ``len(images)``, on the CPU.

        Parameters
        ----------
        decoder : UnitDecoder
            Of the unit: its noise, temperature and learned prior.
        spec : LatentSpec
            Of the window.
        images : range
            Numbers of the images in this run.
        attempt : int
            0, or the number of a redraw, which is cooler.
        """
        ...


@dataclass(frozen=True)
class Samples:
    """Image ``i`` is sample ``i``: noise at the temperature of the run."""

    is_single: ClassVar[bool] = False

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, images: range, attempt: int
    ) -> Latents:
        """See `Drawing.draw`."""
        drawn = decoder.noise(spec, images, attempt)
        return drawn.tempered(decoder.temperature(spec, attempt))


@dataclass(frozen=True)
class LearnedPrior:
    """All images are the prediction of the learned prior, which has no temperature."""

    is_single: ClassVar[bool] = True

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, images: range, attempt: int
    ) -> Latents:
        """See `Drawing.draw`."""
        return decoder.learned.draw(spec, images).tempered(cooling(attempt))


@dataclass(frozen=True)
class Interpolation:
    """Image ``i`` lies between two samples, at ``at[i]``; see `core.mixing`.

    Parameters
    ----------
    first, second : int
        Numbers of two different samples.
    at : tuple of float
        From 0 (the first) to 1 (the second).
    """

    first: int
    second: int
    at: tuple[float, ...]
    is_single: ClassVar[bool] = False

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, images: range, attempt: int
    ) -> Latents:
        """See `Drawing.draw`."""
        first, second = (
            decoder.noise(spec, range(number, number + 1), attempt)
            for number in (self.first, self.second)
        )
        mixed = interpolated(first, second, [self.at[i] for i in images])
        return mixed.tempered(decoder.temperature(spec, attempt))


@dataclass(frozen=True)
class Sweep:
    """The same noise at different temperatures.

    Image ``i`` is sample ``samples[i % len(samples)]`` at the temperature
    ``temperatures[i // len(samples)]``.

    Parameters
    ----------
    temperatures : tuple of float
        Instead of the temperature of the run.
    samples : tuple of int
        Numbers of samples.
    """

    temperatures: tuple[float, ...]
    samples: tuple[int, ...] = (0,)
    is_single: ClassVar[bool] = False

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, images: range, attempt: int
    ) -> Latents:
        """See `Drawing.draw`."""
        count = len(self.samples)
        numbers = [self.samples[i % count] for i in images]
        noise = {
            number: decoder.noise(spec, range(number, number + 1), attempt)
            for number in set(numbers)
        }
        taus = [self.temperatures[i // count] * cooling(attempt) for i in images]
        weights = torch.tensor(taus)[:, None, None, None]
        return Latents.cat([noise[n] for n in numbers]).map(lambda t: t * weights)


@dataclass(frozen=True)
class Levels:
    """A sample whose levels have temperatures of their own.

    Parameters
    ----------
    factors : tuple of float
        Of the temperature of the run, one a level, finest first.
    sample : int
        Its number.
    """

    factors: tuple[float, ...]
    sample: int = 0
    is_single: ClassVar[bool] = False

    def draw(
        self, decoder: UnitDecoder, spec: LatentSpec, images: range, attempt: int
    ) -> Latents:
        """See `Drawing.draw`."""
        one = range(self.sample, self.sample + 1)
        drawn = decoder.noise(spec, one, attempt)
        drawn = drawn.tempered(decoder.temperature(spec, attempt))
        drawn = by_level(drawn, self.factors)
        return drawn.map(lambda t: t.expand(len(images), -1, -1, -1))
