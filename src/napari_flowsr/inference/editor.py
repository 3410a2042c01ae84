"""Editing one unit of an HR image: encode, change the latents in a mask, decode.

Every edit is this, whatever it is called: new noise (`Redraw`), other statistics
(`Normalise`), the latents of another image. Only what can change is computed, and what
cannot stays bit for bit (`inference.regions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.errors import UnstableDecodeError
from napari_flowsr.inference.encoding import encode_steps, smaller
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.memory import is_out_of_memory
from napari_flowsr.inference.regions import Region, marked, regions
from napari_flowsr.inference.stability import explosion_limit

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_flowsr.core.latents import Latents
    from napari_flowsr.inference.coding import UnitCoder
    from napari_flowsr.inference.decoder import UnitDecoder
    from napari_flowsr.inference.maps import FieldMap

__all__ = ["Change", "Edit", "Patch", "edit_unit"]


class Change(Protocol):
    """What becomes of the latents inside a mask."""

    @property
    def attempts(self) -> int:
        """How often it may be tried, should the result explode."""
        ...

    def __call__(
        self,
        decoder: UnitDecoder,
        own: Sequence[Latents],
        weights: Sequence[Tensor],
        attempt: int,
    ) -> Sequence[Latents]:
        """New latents of each window.

        Parameters
        ----------
        decoder : UnitDecoder
            Of the unit.
        own : sequence of Latents
            As they are, of disjoint parts of the mask; each has a placed spec.
        weights : sequence of Tensor
            ``(rows, columns)`` for each, 0 (keep) to 1, on the LR grid of its window or
            the HR grid of its spec's box.
        attempt : int
            From 0.
        """
        ...


@dataclass(frozen=True)
class Patch:
    """New pixels.

    Parameters
    ----------
    box : tuple of int
        HR rows and columns ``(y0, y1, x0, x1)``.
    values : ndarray
        ``(components, h, w)``, network units, with the excess.
    changed : ndarray of bool
        ``(h, w)``: pixels that count; the others are not new.
    """

    box: tuple[int, int, int, int]
    values: npt.NDArray[np.float32]
    changed: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Edit:
    """An edit of one unit, and what it took.

    Parameters
    ----------
    patches : tuple of Patch
        Empty where the mask is.
    computed : int
        LR pixels that were decoded, halos included.
    attempts : int
        Of the change, 1 where the first gave finite pixels.
    """

    patches: tuple[Patch, ...]
    computed: int = 0
    attempts: int = 0


def edit_unit(
    coder: UnitCoder, hr: Tensor, mask: FieldMap, change: Change
) -> Generator[Progress, None, Edit]:
    """Change the latents of one unit where the mask is above 0.

    Parameters
    ----------
    coder : UnitCoder
        Of the unit.
    hr : Tensor
        ``(components, H, W)`` in network units.
    mask : FieldMap
        From 0 (keep) to 1.
    change : Change
        What becomes of the latents.

    Yields
    ------
    Progress
        After each tile that was encoded or decoded.

    Raises
    ------
    UnstableDecodeError
        No attempt gave finite pixels.
    OutOfMemoryError
        Not even the smallest tile fits.
    """
    setup = coder.setup
    weights = mask.window(coder.unit.plane, coder.spec)
    if not isinstance(weights, Tensor):
        weights = torch.full(setup.plan.size, weights)
    found, plan = marked(weights, setup), setup.plan
    if not found.any():
        return Edit(())
    run = _Run(coder, hr, weights, change)
    while True:
        try:
            return (yield from run.edit(regions(found, setup, plan)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        plan = smaller(coder.decoder, plan)


class _Run:
    """One edit of one unit, with any division into regions."""

    def __init__(
        self, coder: UnitCoder, hr: Tensor, weights: Tensor, change: Change
    ) -> None:
        self.coder, self.weights, self.change = coder, weights, change
        shown = coder.shown(hr)
        self.padded = coder.padded(shown)
        # What is kept of the image may be brighter than anything that is drawn.
        self.limit = max(coder.decoder.input.limit, explosion_limit(shown))
        self.done = self.total = 0

    def edit(self, parts: list[Region]) -> Generator[Progress, None, Edit]:
        self.done = 0
        self.total = sum(len(part.encoded) + len(part.decoded) for part in parts)
        own: list[Latents] = []
        for part in parts:
            own += [(yield from self._encode(part))]
        weights = [self._weights_of(latents) for latents in own]
        for attempt in range(self.change.attempts):
            new = self.change(self.coder.decoder, own, weights, attempt)
            patches: list[Patch] = []
            for part, latents in zip(parts, new, strict=True):
                patches += yield from self._decode(part, latents)
            if all(self._is_finite(patch) for patch in patches):
                computed = sum(t.area for part in parts for t in part.decoded)
                finished = tuple(map(self._with_excess, patches))
                return Edit(finished, computed, attempt + 1)
        raise UnstableDecodeError(
            f"The new content is not finite in {self.change.attempts} attempts. Use "
            "another seed, a smaller mask, a lower temperature, or another model."
        )

    def _tick(self, deed: str) -> Progress:
        self.done += 1
        self.total = max(self.total, self.done)
        return Progress(self.done, self.total, f"plane {self.coder.unit.plane}: {deed}")

    def _encode(self, part: Region) -> Generator[Progress, None, Latents]:
        steps = encode_steps(
            self.coder.decoder,
            self.padded,
            part.encoded,
            window=part.window,
            keep=part.is_single,
        )
        while True:
            # Grad mode is left to others between two steps of a generator.
            with torch.no_grad():
                try:
                    next(steps)
                except StopIteration as end:
                    found: Latents = end.value
                    return found
            yield self._tick("encoded")

    def _decode(
        self, part: Region, latents: Latents
    ) -> Generator[Progress, None, list[Patch]]:
        found = []
        for tile in part.decoded:
            box = self.coder.setup.box(tile.core)
            with torch.no_grad():
                values = self.coder.decode_tile(latents, tile)
            found.append(Patch(box, values, self._on_hr(part, box)))
            if not part.is_single:
                self.coder.decoder.forget(tile)
            yield self._tick("decoded")
        return found

    def _weights_of(self, latents: Latents) -> Tensor:
        """The part of the map that belongs to a window's latents."""
        spec, w = latents.spec, latents.spec.window
        y0, y1, x0, x1 = w.y, w.y + w.height, w.x, w.x + w.width
        if tuple(self.weights.shape) != self.coder.setup.plan.size:
            y0, y1, x0, x1 = spec.hr_box
        return self.weights[y0:y1, x0:x1]

    def _on_hr(self, part: Region, box: tuple[int, int, int, int]) -> npt.NDArray[Any]:
        y0, y1, x0, x1 = box
        under = self.coder.setup.under
        rows, columns = under[0][y0:y1], under[1][x0:x1]
        return np.asarray(part.changed[rows[:, None], columns])

    def _is_finite(self, patch: Patch) -> bool:
        values = patch.values[:, patch.changed][:, None]
        return self.coder.finite(values, self.limit)

    def _with_excess(self, patch: Patch) -> Patch:
        excess = self.coder.decoder.input.excess.on_hr(patch.box)
        if excess is None:
            return patch
        return replace(patch, values=patch.values + excess.numpy())
