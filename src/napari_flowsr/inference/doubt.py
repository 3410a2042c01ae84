"""Where an HR image is likely under a model, and whether its LR image is usual."""

from __future__ import annotations

import math
import numbers
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_flowsr.core.places import Place, hr_side
from napari_flowsr.core.precision import conditioned
from napari_flowsr.errors import OptionError, OutOfMemoryError
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.decoder import on_device, pad_plane
from napari_flowsr.inference.events import Edited, Finished, Progress
from napari_flowsr.inference.excess import split_excess
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory
from napari_flowsr.inference.source import plane_view
from napari_flowsr.inference.tiles import padded_size
from napari_flowsr.inference.typical import Doubt, doubt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.units import Unit

__all__ = ["Doubting", "measuring_bits", "with_doubt"]

Array = npt.NDArray[Any]

_SMALLEST_TILE = 8
_AT_ONCE = 1 << 14  # LR pixels that are measured together, in tiles of one size


class Doubting:
    """The methods of `Posterior` that say how far a result is to be trusted."""

    _bound: Bound
    finish: Callable[..., Edited]
    _doubt: Doubt | None = None

    def bits(
        self,
        hr: Any,
        tile: int = 32,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Array:
        """Map of how unlikely an HR image is, in bits per dimension, tile by tile.

        Each tile is measured as an image of its own, given its part of the LR image,
        which is why all families can do it and why its border counts for more than in
        the whole. The density is that of the normalised intensities, continuous: no
        noise is added and no constant for grey levels, so that bits are negative where
        an image is more likely than uniform values from 0 to 1. Lower is more likely.
        Compare tiles of one image, or images of one model.

        Parameters
        ----------
        hr : array-like
            Of the upscaled shape.
        tile : int
            Side in LR pixels, about; at least 8.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Returns
        -------
        ndarray
            Float32, the upscaled shape without colour: all pixels of a tile have its
            number. NaN in constant channels.

        Raises
        ------
        OptionError
            A deterministic model has no density; ``tile`` below 8.
        """
        steps = measuring_bits(self._bound, hr, tile)
        return self.finish(steps, cancelled=cancelled).array

    def doubt(self) -> Doubt:
        """Whether the LR image is unlike those that the model learned from.

        Returns
        -------
        Doubt
            ``score``, ``threshold`` (of the model's card), ``is_outside`` and ``text``.
        """
        if self._doubt is None:
            self._doubt = doubt(self._bound)
        return self._doubt


def with_doubt(event: Finished, found: Doubt) -> Finished:
    """A run's last event, whose report tells whether its LR image is a usual one.

    As ``typicality``, and where it is not among the ``notices``.
    """
    report = {**event.result.report, "typicality": found.facts()}
    if found.is_outside:
        report["notices"] = [*report.get("notices", ()), found.text]
    return Finished(replace(event.result, report=report))


# --- bits ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """A tile: LR box ``(y, x, height, width)``, and HR rows and columns."""

    lr: tuple[int, int, int, int]
    hr: tuple[int, int, int, int]


def measuring_bits(bound: Bound, hr: Any, tile: int) -> Iterator[Progress | Edited]:
    """`Doubting.bits`, step by step; the map is the ``array`` of the last event."""
    if bound.flow.deterministic:
        raise OptionError(
            f"The model '{bound.card.name}' ({bound.card.family}) is deterministic: it "
            "has no density, and so no bits. Choose a model with a flow."
        )
    whole = isinstance(tile, numbers.Integral) and not isinstance(tile, bool)
    if not whole or tile < _SMALLEST_TILE:
        raise OptionError(
            f"tile is {tile!r}; it is a number of LR pixels, at least {_SMALLEST_TILE}."
        )
    return _events(bound, hr, int(tile))


def _events(bound: Bound, hr: Any, tile: int) -> Iterator[Progress | Edited]:
    started, source, workload = time.perf_counter(), bound.hr_source(hr), bound.workload
    flat = _without_colour(bound.geometry)
    out = np.zeros(flat.input_shape, np.float32)
    pieces = _pieces(bound, tile)
    units = list(workload)
    for number, unit in enumerate(units):
        share = len(unit.components) / sum(
            len(u.components) for u in units if u.plane == unit.plane
        )
        view = plane_view(out, flat, unit.plane)[..., 0]
        for done, group in _measured(bound, source, unit, pieces):
            for piece, bits in group:
                y0, y1, x0, x1 = piece.hr
                view[y0:y1, x0:x1] += share * bits
            at = number * len(pieces) + done
            yield Progress(at, len(units) * len(pieces), f"plane {unit.plane}")
    seconds = round(time.perf_counter() - started, 3)
    yield Edited(out, {"tile": tile, "tiles": len(pieces), "seconds": seconds})


def _without_colour(geometry: Geometry) -> Geometry:
    pairs = zip(geometry.axes, geometry.output_shape, strict=True)
    kept = [(axis, side) for axis, side in pairs if axis != "S"]
    return Geometry("".join(a for a, _ in kept), tuple(n for _, n in kept), 1.0)


def _pieces(bound: Bound, tile: int) -> list[_Piece]:
    """Tiles that partition the plane, all of about the same size."""
    multiple, scale = bound.flow.multiple_of, bound.geometry.scale
    edges = []
    for side in bound.geometry.lr_size:
        count = max(1, round(side / tile))
        # Only the last one needs padding where the flow takes certain sizes alone.
        inner = np.round(np.linspace(0, side, count + 1)[1:-1] / multiple) * multiple
        edges.append(sorted({0, *(int(edge) for edge in inner), side}))
    rows, columns = edges
    out = []
    for y, bottom in pairwise(rows):
        for x, right in pairwise(columns):
            ends = (hr_side(edge, scale) for edge in (y, bottom, x, right))
            y0, y1, x0, x1 = ends
            out.append(_Piece((y, x, bottom - y, right - x), (y0, y1, x0, x1)))
    return out


def _measured(
    bound: Bound, source: Any, unit: Unit, pieces: list[_Piece]
) -> Iterator[tuple[int, list[tuple[_Piece, float]]]]:
    """Bits per dimension of each tile of a unit, and how many are done."""
    workload = bound.workload
    if workload.constant(unit):
        yield len(pieces), [(piece, math.nan) for piece in pieces]
        return
    lr, excess = split_excess(workload.normalised(unit), bound.geometry.hr_size)
    hr = bound.normalised_hr(source, unit)
    beyond = excess.on_hr((0, hr.shape[-2], 0, hr.shape[-1]))
    shown = hr if beyond is None else hr - beyond
    groups: dict[tuple[int, ...], list[_Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.lr[2:], []).append(piece)
    done = 0
    for (height, width), group in groups.items():
        size = max(1, _AT_ONCE // (height * width))
        while group:
            batch, group = group[:size], group[size:]
            try:
                bits = _bits(bound, lr, shown, batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise OutOfMemoryError(
                        f"Memory does not suffice for the density of a tile of "
                        f"{height} x {width} LR pixels. Choose smaller tiles."
                    ) from error
                group, size = batch + group, size // 2
                empty_cache(bound.flow.device)
                continue
            done += len(batch)
            yield done, list(zip(batch, bits, strict=True))


@torch.no_grad()
def _bits(bound: Bound, lr: Tensor, hr: Tensor, batch: list[_Piece]) -> list[float]:
    """Bits per dimension of tiles of one size."""
    flow, scale = bound.flow, bound.geometry.scale
    height, width = batch[0].lr[2:]
    size = padded_size((height, width), flow.multiple_of)
    target = flow.latent_spec(size, scale).hr_size
    small, large = [], []
    for piece in batch:
        y, x = piece.lr[:2]
        crop = lr[..., y : y + height, x : x + width]
        small.append(bound.workload.network_input(pad_plane(crop, size)))
        sides = hr_side(height, scale), hr_side(width, scale)
        large.append(bound.workload.network_input(_large(hr, piece, sides, target)))
    moved = on_device(torch.cat(small), flow)
    cond = conditioned(flow, moved, bound.options.precision)
    cond = cond.at(Place.all_of(size, scale))
    found = flow.log_prob(on_device(torch.cat(large), flow), cond)
    dimensions = large[0].numel() * math.log(2.0)
    return [float(-value) / dimensions for value in found.double().cpu()]


def _large(
    hr: Tensor, piece: _Piece, sides: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """HR pixels of a tile, as many as the tile has as an image of its own.

    At a scale that is not whole these may be one more or fewer than its share.
    """
    y, x = (
        max(0, min(first, have - side))
        for first, have, side in zip(
            (piece.hr[0], piece.hr[2]), hr.shape[-2:], sides, strict=True
        )
    )
    crop = hr[..., y : y + sides[0], x : x + sides[1]]
    return pad_plane(crop, target)
