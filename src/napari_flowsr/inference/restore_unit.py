"""One unit of an image restored, given a reduction that was restored first.

What is left of the noise in the reduction conditions the flow, which takes it for
content. So where that is more than nothing, the reduction is cleaned by the same model,
as an image of its own. Once is enough: the reduction of the reduction is cleaner still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.data.degrade import downscale, white_noise_gain
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.bound import Bound
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.editor import edit_unit
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.intensity import Intensities, Range
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.noise_level import FLOOR
from napari_flowsr.inference.restore_change import (
    Clean,
    Probe,
    encoded,
    limited,
    together,
)
from napari_flowsr.inference.source import Source

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.inference.editor import Change
    from napari_flowsr.inference.options import Options
    from napari_flowsr.models.card import ModelCard

__all__ = ["STEPS", "Restoration", "UnitRestorer"]

STEPS = 1000
"""Of progress that a unit has."""

_PROBING = 1 / 3  # of the time: an encode of an encode, another and a decode
_SMALLEST = 32
"""Side of a padded reduction below which it is not cleaned: mostly border."""


@dataclass(frozen=True)
class Restoration:
    """What restoring makes of an image, and what it took.

    Parameters
    ----------
    change : Tensor
        ``(components, H, W)``: what has to be added to the image.
    tile, halo : int
        In pixels of the reduction.
    attempts : int
        Of the change, or of that of the reduction if those were more.
    kept : float
        Part of the latents' variance that was kept, where noise decides about it.
    reduction_cleaned : bool
        Whether its reduction was cleaned before.
    """

    change: Tensor
    tile: int
    halo: int
    attempts: int
    kept: float = 1.0
    reduction_cleaned: bool = False


class UnitRestorer:
    """What restores one unit after another.

    Parameters
    ----------
    card : ModelCard
        Of the flow.
    flow : ConditionalFlow
        On its device.
    scale : int
        Of the reduction.
    kinds : tuple of str
        Collections, as in `core.shrink.gains`.
    options : Options
        Seed and tile.
    """

    def __init__(
        self,
        card: ModelCard,
        flow: ConditionalFlow,
        scale: int,
        kinds: tuple[str, ...],
        options: Options,
    ) -> None:
        self.card, self.flow, self.scale = card, flow, scale
        self.kinds, self.options = kinds, options

    def cleaned(
        self,
        image: Tensor,
        levels: tuple[float, ...],
        strength: float = 1.0,
        *,
        deeper: bool = True,
    ) -> Generator[Progress, None, Restoration]:
        """Take noise of known levels out of an image.

        Parameters
        ----------
        image : Tensor
            ``(components, H, W)``, network units, of any size.
        levels : tuple of float
            Standard deviation of the noise in each component.
        strength : float
            From 0 to 1; the reduction is cleaned fully whatever it is, so that all
            strengths are of latents given the same image.
        deeper : bool
            Clean the reduction too, where it has noise.
        """
        hr = self._padded(image)
        probe = Probe(levels, self.options.seed)
        noisy = probe.applied(hr)
        lr, noisy_lr = self._reduced(hr), self._reduced(noisy)
        left = tuple(level * self._gain for level in levels)
        cleans = deeper and self._worth_cleaning(lr, left)
        before = 0.0
        if cleans:
            # Of the time: the reduction has so many pixels fewer.
            before = 1 / (1 + self.scale**2)
            first = self.cleaned(lr, left, deeper=False)
            below = yield from _shifted(first, 0, before)
            # The probe asks how noise in the image alone moves the latents: none is
            # left in what conditions them.
            lr = noisy_lr = lr + below.change
        share = (1 - before) * _PROBING
        steps = encoded(self._coder(noisy_lr), noisy)
        moved = yield from _shifted(steps, before, share)
        change = Clean(moved, self.kinds, strength)
        edit = self._edited(image, hr, lr, change)
        done = yield from _shifted(edit, before + share, 1 - before - share)
        attempts = max(done.attempts, below.attempts if cleans else 0)
        new = limited(done.change, levels)
        return Restoration(new, done.tile, done.halo, attempts, change.kept, cleans)

    def changed(
        self, image: Tensor, change: Change
    ) -> Generator[Progress, None, Restoration]:
        """Change the latents of an image given its own reduction, and no more."""
        hr = self._padded(image)
        return (yield from self._edited(image, hr, self._reduced(hr), change))

    # --- parts ----------------------------------------------------------------------

    def _edited(
        self, image: Tensor, hr: Tensor, lr: Tensor, change: Change
    ) -> Generator[Progress, None, Restoration]:
        """Change the latents of ``hr``, which is ``image`` padded, given ``lr``."""
        coder = self._coder(lr)
        edit = yield from edit_unit(coder, hr, FieldMap(1.0), change)
        found = np.empty(hr.shape, np.float32)
        for patch in edit.patches:
            y0, y1, x0, x1 = patch.box
            found[:, y0:y1, x0:x1] = patch.values
        height, width = image.shape[-2:]
        new = torch.from_numpy(found)[:, :height, :width] - image
        plan = coder.setup.plan
        return Restoration(new, plan.tile, plan.halo, edit.attempts)

    def _worth_cleaning(self, lr: Tensor, left: tuple[float, ...]) -> bool:
        """Whether noise of the levels ``left`` would be found in an image ``lr``."""
        sides = (side + -side % self._multiple for side in lr.shape[-2:])
        return together(left) > FLOOR and min(sides) >= _SMALLEST

    @property
    def _multiple(self) -> int:
        return self.scale * self.flow.multiple_of

    @property
    def _gain(self) -> float:
        return white_noise_gain(float(self.scale), self.card.degradation)

    def _padded(self, image: Tensor) -> Tensor:
        """Mirror ``(C, H, W)`` at the bottom and right to multiples."""
        missing = (-side % self._multiple for side in image.shape[-2:])
        width = [(0, 0), *((0, count) for count in missing)]
        return torch.from_numpy(np.pad(image.numpy(), width, mode="symmetric"))

    def _reduced(self, hr: Tensor) -> Tensor:
        return downscale(hr, float(self.scale), self.card.degradation)

    def _coder(self, lr: Tensor) -> UnitCoder:
        """Of one unit, given ``lr`` ``(components, h, w)``."""
        array, colours = lr.numpy(), len(lr)
        array = array[0] if colours == 1 else np.moveaxis(array, 0, -1)
        axes = "YX" if colours == 1 else "YXS"
        source = Source(array, Geometry(axes, array.shape, float(self.scale)))
        # Intensities are those of the image, not of its reduction.
        ranges = {(0, c): Range(0.0, 1.0) for c in range(colours)}
        bound = Bound(
            card=self.card,
            flow=self.flow,
            intensities=Intensities(source, ranges, {}),
            temperature=FieldMap(0.0),
            options=self.options,
        )
        setup = bound.setup(1)
        (one,) = setup.workload
        return UnitCoder(setup, one)


def _shifted(steps: Generator[Progress, None, Any], start: float, share: float) -> Any:
    """Pass progress on as that of a part of the whole; return what the steps return."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        done = start + share * step.done / max(1, step.total)
        yield Progress(round(STEPS * done), STEPS, step.message)
