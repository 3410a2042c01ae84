"""An enlarged image of which only parts are computed, as array-likes of several sizes.

To be shown while a worker computes (`inference.lazy.fill`): reading never computes, and
gives what is there. Where nothing is computed yet that is the nearest pixel of the
input, which looks enlarged and is not taken for a result.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.interrupt import check_interrupt
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.free_memory import free_memory
from napari_flowsr.inference.intensity import cast, strips
from napari_flowsr.inference.lazy_level import LazyLevel
from napari_flowsr.inference.source import Source, plane_view

if TYPE_CHECKING:
    from napari_flowsr.inference.lazy import SampleTiles
    from napari_flowsr.inference.tiles import Tile

__all__ = ["HRBox", "LazyImage"]

Array = npt.NDArray[Any]
HRBox = tuple[int, int, int, int]
"""HR rows and columns ``(y0, y1, x0, x1)``."""
Key = tuple[int, "Tile"]

_SMALLEST_SIDE = 512
_AT_ONCE = 1 << 22  # pixels of an input on disk that a read in the main thread may take
_SHARE = 0.125  # of the free memory that computed tiles may take
_OVERVIEWS = 32  # planes whose overview is held


@dataclass(frozen=True)
class _Part:
    """A computed tile at every size: where it begins there, and its pixels."""

    box: HRBox
    levels: tuple[tuple[int, int, Array], ...]

    @property
    def nbytes(self) -> int:
        return sum(pixels.nbytes for _, _, pixels in self.levels)

    def paste(self, out: Array, level: int, top: int, left: int) -> None:
        """Write what of it lies in ``out``, which begins at ``(top, left)``."""
        y, x, pixels = self.levels[level]
        y, x = y - top, x - left
        h, w = pixels.shape[:2]
        rows = slice(max(y, 0), min(y + h, out.shape[0]))
        columns = slice(max(x, 0), min(x + w, out.shape[1]))
        if rows.start < rows.stop and columns.start < columns.stop:
            out[rows, columns] = pixels[
                rows.start - y : rows.stop - y, columns.start - x : columns.stop - x
            ]


class LazyImage:
    """What is computed of an enlarged image, and what is wanted of it.

    One thread may compute while another reads and says what is wanted.

    Parameters
    ----------
    array : array
        The input, as `open_array` returns it.
    geometry : Geometry
        Of input and result.
    budget : int, optional
        Bytes of computed tiles that are held; of those out of view the ones that were
        not seen for longest go first. Default: an eighth of the free memory.
    """

    def __init__(
        self, array: Any, geometry: Geometry, budget: int | None = None
    ) -> None:
        self.array, self.geometry = array, geometry
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")
        self._budget = int(_SHARE * free_memory()) if budget is None else budget
        self._sizes = [geometry.hr_size]
        while max(self._sizes[-1]) > _SMALLEST_SIDE and min(self._sizes[-1]) > 1:
            height, width = self._sizes[-1]
            self._sizes.append((height // 2, width // 2))
        self._lock = threading.RLock()
        self._parts: OrderedDict[Key, _Part] = OrderedDict()
        self._held = 0
        self._given_up: set[Key] = set()
        self._wanted: tuple[int, HRBox | None] = (0, None)
        self._overviews: OrderedDict[int, Array] = OrderedDict()
        self._last_read: dict[int, tuple[tuple[int, ...], Array]] = {}
        # napari keeps what it once got of the smallest size of a 2-D image.
        self._live: Array | None = None
        self.levels = [LazyLevel(self, level) for level in range(len(self._sizes))]
        """The image and its halves, quarters, ..., the largest first."""

    # --- what is wanted -----------------------------------------------------------

    def want(self, plane: int, box: HRBox | None) -> None:
        """Replace what is wanted: a box of a plane, or nothing but an overview."""
        with self._lock:
            self._wanted = plane, box
            for key in self._seen():
                self._parts.move_to_end(key)

    def _seen(self) -> list[Key]:
        plane, box = self._wanted
        if box is None:
            return []
        found = self._parts.items()
        return [k for k, p in found if k[0] == plane and _overlap(p.box, box)]

    def wants(self, plane: int, box: HRBox) -> bool:
        """Whether a tile there is wanted now."""
        wanted, seen = self._wanted
        return plane == wanted and seen is not None and _overlap(box, seen)

    def next(self, tiles: SampleTiles) -> Key | None:
        """Plane and tile to compute next: wanted, not there, nearest to the centre."""
        with self._lock:
            plane, box = self._wanted
            if box is None:
                return None
            left = [
                tile
                for tile in tiles.tiles
                if self.wants(plane, tiles.box(tile)) and self._is_open((plane, tile))
            ]
        if not left:
            return None
        return plane, min(left, key=lambda tile: _distance(tiles.box(tile), box))

    def _is_open(self, key: Key) -> bool:
        return key not in self._parts and key not in self._given_up

    def progress(self, tiles: SampleTiles) -> tuple[int, int]:
        """How many of the wanted tiles are settled, and how many there are."""
        with self._lock:
            plane, _ = self._wanted
            wanted = [t for t in tiles.tiles if self.wants(plane, tiles.box(t))]
            return sum(not self._is_open((plane, t)) for t in wanted), len(wanted)

    def has_work(self, tiles: SampleTiles) -> bool:
        """Whether there is something to do."""
        return self._lacks_overview() or self.next(tiles) is not None

    def is_complete(self, tiles: SampleTiles) -> bool:
        """Whether all of it is there, of all planes."""
        return len(self._parts) == len(tiles.tiles) * self.geometry.planes

    # --- what is there ------------------------------------------------------------

    def put(self, plane: int, tile: Tile, box: HRBox, pixels: Array) -> None:
        """Hold a computed tile ``(H, W, S)``."""
        part = _Part(box, tuple(self._at_sizes(box, pixels)))
        with self._lock:
            self._parts[plane, tile] = part
            self._held += part.nbytes
            seen = set(self._seen())
            for key in [k for k in self._parts if k not in seen]:
                if self._held <= self._budget:
                    break
                self._remove(key)
            self._renew(box)

    def give_up(self, plane: int, tile: Tile) -> None:
        """Take a tile back, if it is there, and compute it no more."""
        with self._lock:
            self._given_up.add((plane, tile))
            if (plane, tile) in self._parts:
                self._remove((plane, tile))

    def _remove(self, key: Key) -> None:
        part = self._parts.pop(key)
        self._held -= part.nbytes
        self._renew(part.box)

    def _at_sizes(self, box: HRBox, pixels: Array) -> list[tuple[int, int, Array]]:
        """A tile at every size: means of the pixels under each larger one."""
        found = [(box[0], box[2], pixels)]
        for height, width in self._sizes[1:]:
            top, rows = _cuts(box[0], box[1], self._sizes[0][0], height)
            left, columns = _cuts(box[2], box[3], self._sizes[0][1], width)
            if not (len(rows) and len(columns)):
                empty = np.empty((0, 0, pixels.shape[2]), pixels.dtype)
                found.append((top, left, empty))
                continue
            sums = np.add.reduceat(pixels.astype(np.float64), rows, axis=0)
            sums = np.add.reduceat(sums, columns, axis=1)
            high = np.diff(rows, append=pixels.shape[0])
            wide = np.diff(columns, append=pixels.shape[1])
            means = sums / (high[:, None, None] * wide[:, None])
            found.append((top, left, cast(means, pixels.dtype)))
        return found

    # --- reading ------------------------------------------------------------------

    def shape(self, level: int) -> tuple[int, ...]:
        """Shape of the array at a size, axes as of the input."""
        height, width = self._sizes[level]
        sides = {"Y": height, "X": width}
        pairs = zip(self.geometry.axes, self.geometry.input_shape, strict=True)
        return tuple(sides.get(axis, side) for axis, side in pairs)

    def read(self, level: int, plane: int, rows: slice, columns: slice) -> Array:
        """Pixels ``(h, w, S)`` of a box, as they are now."""
        out = self._enlarged(level, plane, rows, columns)
        with self._lock:
            for key, part in self._parts.items():
                if key[0] == plane:
                    part.paste(out, level, rows.start, columns.start)
        return out

    def _enlarged(self, level: int, plane: int, rows: slice, columns: slice) -> Array:
        """Nearest pixels of the input; of its overview where it would take long."""
        size = self.geometry.lr_size
        y = _under(rows, self._sizes[level][0], size[0])
        x = _under(columns, self._sizes[level][1], size[1])
        if not (y.size and x.size):
            components = self.geometry.components
            return np.empty((y.size, x.size, components), self.dtype)
        window = slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)
        area = (y[-1] + 1 - y[0]) * (x[-1] + 1 - x[0])
        if self._is_in_memory or area <= _AT_ONCE:
            view = self._input(level, plane, *window)
            found = view[(y - y[0])[:, None], x - x[0]]
        else:
            found = self._of_overview(level, plane, rows, columns)
        return np.asarray(found, self.dtype)

    def _input(self, level: int, plane: int, rows: slice, columns: slice) -> Array:
        """Pixels of the input; those on disk are not read again at each new tile."""
        if self._is_in_memory:
            return plane_view(self.array, self.geometry, plane, rows, columns)
        key = plane, rows.start, rows.stop, columns.start, columns.stop
        kept = self._last_read.get(level)
        if kept is None or kept[0] != key:
            view = plane_view(self.array, self.geometry, plane, rows, columns)
            self._last_read[level] = kept = key, view
        return kept[1]

    @property
    def _is_in_memory(self) -> bool:
        return type(self.array) is np.ndarray

    def _of_overview(
        self, level: int, plane: int, rows: slice, columns: slice
    ) -> Array:
        small = self._overviews.get(plane)
        if small is None:  # the worker makes it soon
            small = np.zeros((1, 1, self.geometry.components), self.dtype)
        y = _under(rows, self._sizes[level][0], small.shape[0])
        x = _under(columns, self._sizes[level][1], small.shape[1])
        return small[y[:, None], x]

    def _lacks_overview(self) -> bool:
        return not self._is_in_memory and self._wanted[0] not in self._overviews

    def prepare(self) -> None:
        """Read an overview of the wanted plane, if the input is not in memory."""
        if not self._lacks_overview():
            return
        plane, (height, width) = self._wanted[0], self._sizes[-1]
        y = _under(slice(0, height), height, self.geometry.lr_size[0])
        x = _under(slice(0, width), width, self.geometry.lr_size[1])
        small = np.empty((height, width, self.geometry.components), self.dtype)
        source = Source(self.array, self.geometry)
        for strip in strips(source):
            here = (y >= strip.start) & (y < strip.stop)
            if here.any():
                check_interrupt()
                pixels = source.window(plane, strip, slice(None))
                small[here] = pixels[y[here] - strip.start][:, x]
        with self._lock:
            self._overviews[plane] = small
            if len(self._overviews) > _OVERVIEWS:
                self._overviews.popitem(last=False)
            self._renew((0, self._sizes[0][0], 0, self._sizes[0][1]))

    def live(self) -> Array:
        """The smallest size of a 2-D image, an array that changes as tiles come."""
        with self._lock:
            if self._live is None:
                self._live = self.levels[-1][...]
            return self._live

    def _renew(self, box: HRBox) -> None:
        if self._live is None:
            return
        height, width = self._sizes[-1]
        rows = _around(box[0], box[1], self._sizes[0][0], height)
        columns = _around(box[2], box[3], self._sizes[0][1], width)
        view = plane_view(
            self._live, Geometry(self.geometry.axes, self._live.shape, 1.0), 0
        )
        view[rows, columns] = self.read(len(self._sizes) - 1, 0, rows, columns)


def _under(part: slice, size: int, other: int) -> npt.NDArray[np.int64]:
    """Pixels of an axis of ``other`` pixels under the centres of those of ``size``."""
    centres = np.arange(part.start, part.stop) + 0.5
    return np.minimum((centres * (other / size)).astype(np.int64), other - 1)


def _cuts(
    start: int, stop: int, size: int, reduced: int
) -> tuple[int, npt.NDArray[np.int64]]:
    """First reduced pixel whose centre lies in a box, and where each begins in it."""
    rate = size / reduced
    first, last = (int(np.ceil(at / rate - 0.5)) for at in (start, stop))
    begins = np.floor(np.arange(first, min(last, reduced)) * rate).astype(np.int64)
    return first, np.clip(begins, start, None) - start


def _around(start: int, stop: int, size: int, reduced: int) -> slice:
    rate = size / reduced
    return slice(int(start / rate), min(reduced, int(stop / rate) + 1))


def _overlap(one: HRBox, other: HRBox) -> bool:
    rows = one[0] < other[1] and other[0] < one[1]
    return rows and one[2] < other[3] and other[2] < one[3]


def _distance(box: HRBox, view: HRBox) -> float:
    """Squared, from centre to centre, in half HR pixels."""
    y = box[0] + box[1] - view[0] - view[1]
    x = box[2] + box[3] - view[2] - view[3]
    return float(y * y + x * x)
