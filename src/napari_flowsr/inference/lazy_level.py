"""One size of an image that is computed in part, as an array-like for napari."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.source import plane_view

if TYPE_CHECKING:
    from napari_flowsr.inference.lazy_image import LazyImage

__all__ = ["LazyLevel"]

Array = npt.NDArray[Any]


class LazyLevel:
    """One size of a `LazyImage`, or a part of it, as an array-like that is read only.

    Reading at most one plane gives a NumPy array of what is there now. Of several
    planes a narrower one of these comes, for napari cuts out the visible field first
    and chooses the plane then; `numpy.asarray` reads them.

    Parameters
    ----------
    image : LazyImage
        What is read.
    level : int
        Which size of it; 0 is the largest.
    at : tuple, optional
        Positions along each axis of the whole; an axis with one number is not there.
    """

    def __init__(
        self, image: LazyImage, level: int, at: tuple[range | int, ...] | None = None
    ) -> None:
        self._image, self._level = image, level
        self._is_whole = at is None
        self._at = tuple(map(range, image.shape(level))) if at is None else at
        self.dtype = image.dtype
        self.shape = tuple(len(r) for r in self._at if isinstance(r, range))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        items = list(index) if isinstance(index, tuple) else [index]
        if any(item is Ellipsis for item in items):
            where = next(i for i, item in enumerate(items) if item is Ellipsis)
            missing = self.ndim - len(items) + 1
            items[where : where + 1] = [slice(None)] * missing
        items += [slice(None)] * (self.ndim - len(items))
        if len(items) > self.ndim:
            raise IndexError(f"{len(items)} indices for {self.ndim} axes.")
        left = iter(items)
        at = tuple(r if isinstance(r, int) else r[_plain(next(left))] for r in self._at)
        part = LazyLevel(self._image, self._level, at)
        return part if part._planes > 1 else part._read()

    @property
    def _planes(self) -> int:
        found = [self._at[axis] for axis in self._image.geometry.loop_axes]
        return int(np.prod([1 if isinstance(r, int) else len(r) for r in found]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        image = self._image
        is_flat = not image.geometry.loop_axes
        smallest = self._level == len(image.levels) - 1
        if self._is_whole and is_flat and smallest and not copy:
            found = image.live()
        else:
            found = self._read()
        return found if dtype is None else found.astype(dtype, copy=False)

    def _read(self) -> Array:
        geometry = self._image.geometry
        ranges = [range(r, r + 1) if isinstance(r, int) else r for r in self._at]
        out = np.empty([len(r) for r in ranges], self.dtype)
        own = Geometry(geometry.axes, out.shape, 1.0)
        rows, columns = (ranges[geometry.axes.index(a)] for a in "YX")
        colours = ranges[-1] if "S" in geometry.axes else range(1)
        loops = itertools.product(*(ranges[axis] for axis in geometry.loop_axes))
        for number, position in enumerate(loops if out.size else ()):
            plane = 0
            for side, at in zip(geometry.loop_shape, position, strict=True):
                plane = plane * side + at
            box = self._image.read(self._level, plane, _hull(rows), _hull(columns))
            y, x, s = (np.asarray(r) for r in (rows, columns, colours))
            picked = box[y - y.min()][:, x - x.min()][:, :, s]
            plane_view(out, own, number)[...] = picked
        kept = tuple(0 if isinstance(r, int) else slice(None) for r in self._at)
        found: Array = out[kept]
        return found


def _plain(item: Any) -> Any:
    """A slice, or an integer of any kind."""
    return item if isinstance(item, slice) else operator.index(item)


def _hull(positions: range) -> slice:
    return slice(min(positions), max(positions) + 1)
