"""Reading an image plane by plane, whatever kind of array it is."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.interrupt import check_interrupt
from napari_flowsr.errors import AxesError, ImageError
from napari_flowsr.inference.axes import Geometry

__all__ = ["FILL", "Source", "open_array", "plane_view"]

FILL = "nan='fill', --nan fill, or 'NaN pixels' under More options"
"""How to have pixels without a value filled: in Python, in a shell, in a dock."""

Array = npt.NDArray[Any]

# Arrays up to this many bytes are read at once; larger lazy ones plane by plane, each
# plane as often as it is needed.
READ_AT_ONCE = 1 << 26


def _is_lazy(image: Any) -> bool:
    """Whether ``image`` is a foreign array that can be sliced like a NumPy array."""
    return (
        isinstance(getattr(image, "dtype", None), np.dtype)
        and isinstance(getattr(image, "shape", None), tuple)
        and hasattr(image, "__getitem__")
    )


def open_array(image: Any, name: str = "image") -> Any:
    """Return ``image`` as an array that can be sliced, read only if it is small.

    Parameters
    ----------
    image : array-like
        NumPy, dask, zarr, nested lists, or anything with ``__array__``.
    name : str
        Of the argument, for the messages.

    Raises
    ------
    ImageError
        A path, complex, masked, not numeric, ragged, or of unknown shape.
    """
    if isinstance(image, str | bytes | os.PathLike):
        raise ImageError(
            f"{name} is {os.fspath(image)!r}; pixels are needed, not the path of a "
            f"file. Read it first: {name} = tifffile.imread(path) for a TIFF file, or "
            f"{name} = napari_flowsr.io.images.read_image(path).data for any format."
        )
    if np.ma.isMaskedArray(image) and np.ma.is_masked(image):
        raise ImageError(
            f"{name} is a masked array with masked pixels, which have no value. Fill "
            "them first, for example with image.filled(np.nan), and choose to have "
            f"those filled ({FILL})."
        )
    lazy = not isinstance(image, np.ndarray) and _is_lazy(image)
    if lazy:
        if any(not math.isfinite(side) for side in image.shape):
            raise ImageError(
                f"{name} has the unknown shape {image.shape}. Call its "
                "compute_chunk_sizes() first."
            )
        if math.prod(image.shape) * image.dtype.itemsize <= READ_AT_ONCE:
            lazy = False
    if not lazy:
        image = _materialise(image, name)
    _check_dtype(image.dtype, name)
    return image


def _materialise(image: Any, name: str) -> Array:
    try:
        return np.asarray(image)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ImageError(
            f"{name} of type {type(image).__name__} cannot be made an array: {error}. "
            "Pass a NumPy, dask or zarr array, or lists of equal length."
        ) from error


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind == "c":
        raise ImageError(
            f"{name} is complex ({dtype}); real values are needed. Pass its magnitude "
            "(numpy.abs) or its parts one by one."
        )
    if dtype.kind not in "buif":
        raise ImageError(
            f"{name} has dtype {dtype}; integers, booleans or real floats are needed. "
            "Convert it with astype."
        )


def plane_view(
    array: Any,
    geometry: Geometry,
    plane: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> Array:
    """``(Y, X, S)`` of a box of a plane; can be written to if of a NumPy array."""
    view = np.asarray(array[geometry.index(plane, rows, columns)])
    if geometry.transposed:
        view = view.swapaxes(0, 1)
    return view if "S" in geometry.axes else view[:, :, None]


@dataclass(frozen=True)
class Source:
    """An image and its geometry.

    Parameters
    ----------
    array : array
        As `open_array` returns it.
    geometry : Geometry
        Of this array and its upscaled version.
    """

    array: Any
    geometry: Geometry

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type in native byte order."""
        dtype: np.dtype[Any] = self.array.dtype.newbyteorder("=")
        return dtype

    def plane(self, plane: int) -> Array:
        """Pixels ``(h, w, S)`` of one plane, native byte order."""
        return self.window(plane, slice(None), slice(None))

    def window(self, plane: int, rows: slice, columns: slice) -> Array:
        """Pixels ``(h, w, S)`` of a box of a plane, native byte order."""
        # An image that is larger than memory is read for minutes.
        check_interrupt()
        view = plane_view(self.array, self.geometry, plane, rows, columns)
        return np.ascontiguousarray(view, dtype=self.dtype)

    def upscaled(self, hr: Any, name: str = "hr") -> Source:
        """Check an HR array against the output geometry.

        Returns
        -------
        Source
            Whose planes are those of ``hr``.
        """
        array = open_array(hr, name)
        expected = self.geometry.output_shape
        if tuple(array.shape) != expected:
            raise AxesError(
                f"{name} has shape {tuple(array.shape)}; for this image (shape "
                f"{self.geometry.input_shape}, axes {self.geometry.axes}, scale "
                f"{self.geometry.scale:g}) it must be {expected}."
            )
        return Source(array, self.geometry.upscaled)
