"""What the readers return, and the words for axes and pixel sizes.

Axis letters are those of tifffile and OME: T time, Z depth, C channel, Y, X, and S for
the RGB or RGBA components, last. ``N`` is ours: the axis of posterior samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flowsr.errors import AxesError, ExportError, FlowSRError, ImageError

__all__ = ["MICROMETRES", "ImageFile", "Unread", "check_axes", "in_micrometres", "lazy"]
__all__ += ["merged"]

MICROMETRES: Mapping[str, float] = {
    "µm": 1.0,
    "μm": 1.0,  # Greek mu, which some programs write
    "\\u00b5m": 1.0,  # ImageJ escapes the micro sign
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "inch": 25400.0,
}
"""Micrometres per unit, names in lower case."""

_NO_UNIT = {"", "pixel", "pixels", "px", "none"}


@dataclass(frozen=True)
class ImageFile:
    """An image as it was read.

    Parameters
    ----------
    data : ndarray
        Pixels in the file's data type.
    axes : str or None
        One letter per axis of ``data`` such as ``"TZCYX"`` or ``"YXS"``; None if the
        file does not say and more than two axes leave room for doubt.
    pixel_size : mapping or None
        Size per axis letter (of X, Y, Z) in ``unit``; None if the file does not say.
    unit : str
        ``"µm"`` (other length units are converted), or ``"pixel"``.
    channel_names : tuple of str
        Along C; empty if unknown.
    metadata : mapping
        ``"format"``, ``"series"`` (images in the file; the first is read), and under
        ``"napari-flowsr"`` the provenance of a file that this package wrote.
    """

    data: NDArray[Any]
    axes: str | None
    pixel_size: Mapping[str, float] | None = None
    unit: str = "pixel"
    channel_names: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rgb(self) -> bool:
        """Whether the last axis holds colour components."""
        return bool(self.axes) and str(self.axes).endswith("S")


class Unread:
    """Pixels that are read when they are used, with errors that name their file.

    Parameters
    ----------
    source : array
        Reads them: has ``shape``, ``dtype``, ``chunks`` and slices.
    path : path
        Of the file or folder that they are in.
    """

    def __init__(self, source: Any, path: Any) -> None:
        self._source, self._path = source, str(path)
        self.shape, self.dtype = tuple(source.shape), source.dtype
        self.ndim, self.chunks = len(self.shape), source.chunks

    def __getitem__(self, index: Any) -> NDArray[Any]:
        try:
            return np.asarray(self._source[index])
        except FlowSRError:
            raise
        except Exception as error:
            # Files of any content arrive here; decoders raise whatever they do.
            raise ImageError(
                f"Pixels of '{self._path}' could not be read: {error!r}. The file is "
                "damaged, incomplete or was changed; copy it again."
            ) from error


def in_micrometres(
    pixel_size: float | Mapping[str, float] | None, unit: str | None
) -> dict[str, float]:
    """Pixel size per axis letter in µm; empty when there is none or ``unit`` is pixels.

    Raises
    ------
    ExportError
        ``unit`` is no length, or a size is not a positive number.
    """
    if pixel_size is None or (unit or "").strip().lower() in _NO_UNIT:
        return {}
    factor = MICROMETRES.get(str(unit).strip().lower())
    if factor is None:
        raise ExportError(
            f"The unit of the pixel size is '{unit}'; expected a length such as 'µm', "
            "'nm' or 'mm', or 'pixel'."
        )
    if not isinstance(pixel_size, Mapping):
        pixel_size = {"Y": float(pixel_size), "X": float(pixel_size)}
    sizes = {axis.upper(): float(v) * factor for axis, v in pixel_size.items()}
    for axis, size in sizes.items():
        if not (math.isfinite(size) and size > 0):
            raise ExportError(
                f"The pixel size along {axis} is {size:g}; expected a positive number."
            )
    return {axis: size for axis, size in sizes.items() if axis in "XYZ"}


def check_axes(axes: str | None, shape: Sequence[int]) -> str:
    """Axes in upper case, checked against ``shape``; 2-D arrays need none given.

    Raises
    ------
    AxesError
        They are missing, repeated, of another number, or lack Y or X.
    """
    if axes is None:
        if len(shape) == 2:
            return "YX"
        raise AxesError(
            f"The array has shape {tuple(shape)} and no axes were given; expected one "
            "letter per axis, such as 'NYX' (N: samples), 'TZCYX' or 'YXS' (S: RGB)."
        )
    axes = axes.upper()
    fits = len(axes) == len(shape) == len(set(axes)) and axes.isalpha()
    if not fits or not {"Y", "X"} <= set(axes):
        raise AxesError(
            f"The axes '{axes}' do not describe an array of shape {tuple(shape)}; "
            "expected one different letter per axis, Y and X among them."
        )
    if "S" in axes and (axes[-1] != "S" or shape[-1] not in (3, 4)):
        raise AxesError(
            f"The axes '{axes}' put colour components (S) on an axis of shape "
            f"{tuple(shape)}; expected S last, with length 3 (RGB) or 4 (RGBA)."
        )
    return axes


def lazy(array: Any) -> Any:
    """Something with ``transpose``, ``reshape`` and slices: numpy, or dask unread."""
    if isinstance(array, np.ndarray) or hasattr(array, "__dask_graph__"):
        return array
    if all(hasattr(array, name) for name in ("shape", "dtype", "chunks")):
        import dask.array

        from_array: Any = dask.array.from_array
        return from_array(array, chunks=array.chunks)
    return np.asarray(array)


def merged(
    array: Any, axes: str, channel_names: Sequence[str] = ()
) -> tuple[Any, str, tuple[str, ...]]:
    """Fit axes into T, Z, C, Y, X, S, which is all that the file formats know.

    Samples (N) become channels, named "sample 0" and so on; where there are channels
    already, every channel of sample 0 comes first ("sample 0, DAPI"). Another letter
    takes the first free one of T, Z, C. Y, X and S go last.

    Returns
    -------
    array, axes, channel_names : tuple
        The array is a view where that is possible.

    Raises
    ------
    ExportError
        There are more axes than the formats have.
    """
    names = tuple(str(name) for name in channel_names)
    if "C" in axes and names and len(names) != array.shape[axes.index("C")]:
        raise ExportError(
            f"{len(names)} channel names were given for "
            f"{array.shape[axes.index('C')]} channels; give one for each."
        )
    if "N" in axes:
        array, axes, names = _samples_to_channels(array, axes, names)
    for letter in axes:
        if letter in "TZCYXS":
            continue
        free = next((c for c in "TZC" if c not in axes), None)
        if free is None:
            raise ExportError(
                f"Axes '{axes}' are more than the format has (T, Z, C, Y, X); write "
                f"one file per position along '{letter}'."
            )
        axes = axes.replace(letter, free)
    order = [a for a in axes if a not in "YXS"] + [a for a in "YXS" if a in axes]
    return array.transpose([axes.index(a) for a in order]), "".join(order), names


def _samples_to_channels(
    array: Any, axes: str, names: tuple[str, ...]
) -> tuple[Any, str, tuple[str, ...]]:
    n = array.shape[axes.index("N")]
    if n == 1:
        before = (slice(None),) * axes.index("N")
        return array[(*before, 0)], axes.replace("N", ""), names
    samples = [f"sample {i}" for i in range(n)]
    if "C" not in axes:
        return array, axes.replace("N", "C"), tuple(samples)
    channels = array.shape[axes.index("C")]
    names = names or tuple(f"channel {i}" for i in range(channels))
    order = axes.replace("N", "").replace("C", "NC")
    array = array.transpose([axes.index(a) for a in order])
    at = order.index("N")
    shape = (*array.shape[:at], n * channels, *array.shape[at + 2 :])
    both = tuple(f"{s}, {c}" for s in samples for c in names)
    return array.reshape(shape), order.replace("N", ""), both
