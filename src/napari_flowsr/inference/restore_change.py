"""What restoration makes of the latents of one unit, and what it measures for that."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.latents import Latents
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.normalise import faded
from napari_flowsr.core.shrink import gains, shrunk
from napari_flowsr.inference.encoding import encode_steps, smaller
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.memory import is_out_of_memory
from napari_flowsr.inference.stability import COOLING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_flowsr.inference.coding import UnitCoder
    from napari_flowsr.inference.decoder import UnitDecoder

__all__ = ["Clean", "Probe", "encoded", "limited", "together"]

_CAUTION = 0.8
"""Part of the noise level that is probed with: content that is taken for noise costs
more than noise that stays."""
_MOST = 0.9
"""Most of a change, as a part of the noise level: content that is lost adds to it."""
_WINDOW = 9
"""Side of the squares in which that holds, in pixels."""
_TINY = 1e-12
_PROBE = 1 << 20
"""Attempt number of the noise of a probe, which no content is drawn with."""


def together(levels: Sequence[float]) -> float:
    """Level of the noise of all components."""
    return math.sqrt(sum(level**2 for level in levels) / len(levels))


@dataclass(frozen=True)
class Probe:
    """Noise that is added to an image to see what it does to the latents.

    Parameters
    ----------
    levels : tuple of float
        Of the noise in each component, network units.
    seed : int
        Of the noise that is added.
    """

    levels: tuple[float, ...]
    seed: int

    def applied(self, hr: Tensor) -> Tensor:
        """The image with more noise."""
        size = (hr.shape[0], hr.shape[1], hr.shape[2])
        noise = NoiseField(self.seed, 0, _PROBE).normal(size)
        amount = torch.tensor(self.levels)[:, None, None] * _CAUTION
        return hr + amount * noise


@dataclass
class Clean:
    """Latents without what noise explains (`core.shrink`).

    Parameters
    ----------
    moved : Latents
        Of the image with more noise.
    collections : tuple of str
        As in `core.shrink.gains`.
    strength : float
        From 0 to 1.

    Attributes
    ----------
    kept : float
        Part of the latents' variance that was kept, of the last call.
    """

    moved: Latents
    collections: tuple[str, ...]
    strength: float
    attempts: int = len(COOLING) + 1
    kept: float = field(default=1.0, init=False)

    def __call__(
        self,
        decoder: UnitDecoder,
        own: Sequence[Latents],
        weights: Sequence[Tensor],
        attempt: int,
    ) -> list[Latents]:
        (z,) = own  # of the whole plane, whatever the tiles
        new = shrunk(z, gains(z, self.moved, self.collections), self.collections)
        if attempt:
            new = new.tempered(COOLING[attempt - 1])
        new = faded(z, new, self.strength)
        before, after = (
            sum(float(t.double().square().sum()) for t in x.levels) for x in (z, new)
        )
        self.kept = after / before if before else 1.0
        return [new]


def limited(change: Tensor, levels: Sequence[float]) -> Tensor:
    """A change of pixels, less where it is more than the noise can have been.

    A flow that cannot tell a texture takes it for noise, and changes pixels by much
    more than any noise did. There the change is scaled down to what noise explains.

    Parameters
    ----------
    change : Tensor
        ``(components, H, W)``: restored minus degraded.
    levels : sequence of float
        Standard deviation of the noise in each component.
    """
    most = _MOST * torch.tensor(levels, dtype=change.dtype)[:, None, None]
    # Each pixel is scaled by the square around it, so that one whose neighbours are
    # changed by less stays a little above: less so after the second time.
    for _ in range(2):
        change = change * (most / _around(change).clamp_min(_TINY)).clamp_max(1)
    return change


def _around(change: Tensor) -> Tensor:
    """Root of the mean square in the square around each pixel."""
    edge = _WINDOW // 2
    padded = F.pad(change.square()[None], (edge,) * 4, mode="replicate")
    return F.avg_pool2d(padded, _WINDOW, 1)[0].sqrt()


def encoded(coder: UnitCoder, hr: Tensor) -> Generator[Progress, None, Latents]:
    """Latents of ``hr`` ``(components, H, W)`` of the whole plane, tile by tile.

    Raises
    ------
    OutOfMemoryError
        Not even the smallest tile fits.
    """
    plan, padded = coder.setup.plan, coder.padded_hr(hr)
    while True:
        steps = encode_steps(coder.decoder, padded, plan)
        try:
            return (yield from _ticking(steps, len(plan)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        plan = smaller(coder.decoder, plan)


def _ticking(
    steps: Generator[None, None, Latents], count: int
) -> Generator[Progress, None, Latents]:
    done = 0
    while True:
        # Grad mode is left to others between two steps of a generator.
        with torch.no_grad():
            try:
                next(steps)
            except StopIteration as end:
                found: Latents = end.value
                return found
        done += 1
        yield Progress(done, max(count, done), "measuring the noise")
