"""Pixels of a TIFF file that are read when they are used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TiffPixels"]

_AT_ONCE = 1 << 22
"""Bytes of a part of an image that lies in its file as it is."""


class TiffPixels:
    """Pixels of the first series of a file, which is open only while they are read.

    Where they lie in the file as they are, one after the other, no more of them is read
    than is asked for. Otherwise whole strips or tiles are, and many programs write a
    page as one strip.
    """

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        self._path = path
        self.shape, self.dtype = tuple(series.shape), series.dtype
        self.ndim = len(self.shape)
        self._offset: int | None = None
        if series.dataoffset is not None and series.keyframe.is_memmappable:
            self._offset = series.dataoffset
            self._stored = np.dtype(series.keyframe.parent.byteorder + self.dtype.char)
            rows = series.axes.index("Y") if "Y" in series.axes else 0
            row = math.prod(self.shape[rows + 1 :]) * self.dtype.itemsize
            height = min(self.shape[rows], max(1, _AT_ONCE // max(1, row)))
            self.chunks = (*([1] * rows), height, *self.shape[rows + 1 :])
            return
        with series.aszarr(level=0) as store:
            self.chunks = self._array(store).chunks

    @staticmethod
    def _array(store: Any) -> Any:
        import zarr

        return zarr.open_array(store, mode="r")

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if self._offset is not None:
            pixels = np.memmap(self._path, self._stored, "r", self._offset, self.shape)
            return np.array(pixels[index], self.dtype)
        with (
            tifffile.TiffFile(self._path) as tif,
            tif.series[0].aszarr(level=0) as store,
        ):
            return np.asarray(self._array(store)[index])
