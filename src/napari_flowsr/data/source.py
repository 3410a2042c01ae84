"""HR images for training and evaluation: files to normalised planes, kept in memory.

How files are decoded is a matter of the caller (`io.images.read_image`, of a layer
above this one); what pixels and axes mean here is told in `read_planes`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from glob import glob
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_flowsr.errors import AxesError, ImageError, OptionError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = [
    "LeftOut",
    "Plane",
    "Reader",
    "find_files",
    "groups_from_manifest",
    "load_planes",
    "luminance",
    "read_planes",
]

_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".npy", ".zarr"}
# ITU-R BT.601 luma, the weights of the field's one-channel figures.
_LUMA = np.array([0.299, 0.587, 0.114])


class _Pixels(Protocol):
    @property
    def data(self) -> NDArray[Any]: ...

    @property
    def axes(self) -> str | None: ...


Reader = Callable[[Path], _Pixels]
"""Gives pixels and axes of a file, as `io.images.read_image` does."""


@dataclass(frozen=True)
class Plane:
    """One 2-D image and where it came from.

    Parameters
    ----------
    pixels : ndarray
        ``(C, H, W)`` float32 in ``[0, 1]``.
    name : str
        Name of the file, and the place in it if it holds several planes.
    group : str
        For balanced sampling.
    lr : ndarray, optional
        ``(C, h, w)`` float32 in ``[0, 1]``: the LR image, where it was given.
    """

    pixels: NDArray[np.float32]
    name: str
    group: str = ""
    lr: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LeftOut:
    """A plane that is of no use, and why.

    Parameters
    ----------
    name : str
        As of a `Plane`.
    reason : str
        In a few words.
    """

    name: str
    reason: str


# --- files --------------------------------------------------------------------


def find_files(source: str | Path | Iterable[str | Path]) -> list[Path]:
    """Image files of a folder, a glob pattern, a file, or a list of these; sorted.

    Hidden files are left out: some systems put those beside images under their names.

    Raises
    ------
    OptionError
        Not paths, but arrays for example.
    TrainingError
        Nothing there, or nothing that is an image by its suffix.
    """
    if not isinstance(source, (str, Path)):
        found = sorted({f for item in _paths(source) for f in find_files(item)})
        if not found:
            raise TrainingError("No images were given; name a folder, files or both.")
        return found
    path = Path(source).expanduser()
    known = ", ".join(sorted(_SUFFIXES))
    if _is_image(path):
        return [path]
    if path.is_file():
        raise TrainingError(
            f"'{source}' is no image that can be read here; expected a name that ends "
            f"in {known}. Convert it, for example with Fiji."
        )
    if path.is_dir():
        found = [f for f in path.rglob("*") if _is_image(f, path)]
    else:
        found = [Path(f) for f in glob(str(path), recursive=True)]
        found = [f for f in found if _is_image(f)]
    if not found:
        there = path.exists() or any(c in str(source) for c in "*?[")
        raise TrainingError(
            f"No image was found in '{source}'"
            f"{'' if there else ', which does not exist'}; expected a folder, a file "
            f"or a glob pattern with {known}. Check the path."
        )
    return sorted(found)


def _paths(source: Any) -> list[str | Path]:
    """Each item of an iterable of paths."""
    if isinstance(source, PathLike):
        return [Path(source)]
    given = list(source) if isinstance(source, Iterable) else [source]
    for item in given:
        if not isinstance(item, (str, PathLike)):
            raise OptionError(
                f"Images were given as {type(item).__name__}; expected paths or glob "
                "patterns of files. Save arrays first, as .npy or TIFF for example."
            )
    return [item if isinstance(item, str) else Path(item) for item in given]


def _is_image(path: Path, folder: Path | None = None) -> bool:
    """Whether a file, or zarr folder, ends as an image's does and is not hidden.

    What lies inside of a zarr folder, below ``folder``, is no image of its own.
    """
    inner = path.relative_to(folder).parts[:-1] if folder else ()
    if path.name.startswith(".") or any(part.endswith(".zarr") for part in inner):
        return False
    kind = path.suffix.lower()
    return kind in _SUFFIXES and (path.is_dir() if kind == ".zarr" else path.is_file())


def groups_from_manifest(path: str | Path, column: str) -> dict[str, str]:
    """File name to group, from a CSV with a column ``file`` and another one."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(
            f"The manifest '{path}' could not be read: {error}. Give a CSV table in "
            f"UTF-8 with columns 'file' and '{column}'."
        ) from error
    if not rows or "file" not in rows[0] or column not in rows[0]:
        raise TrainingError(
            f"'{path}' has columns {list(rows[0]) if rows else []}; expected 'file' "
            f"and '{column}'."
        )
    return {Path(row["file"]).name: row[column] for row in rows}


# --- pixels -------------------------------------------------------------------


def luminance(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """``(..., 3 or 4)`` to ``(...)``; alpha has no part in it."""
    out: NDArray[np.float64] = rgb[..., :3].astype(np.float64) @ _LUMA
    return out


def _checked_axes(file: Path, data: NDArray[Any], axes: str | None) -> str:
    """One letter per axis; ``Q`` for those of which nothing is known."""
    if axes is None:
        if data.ndim >= 3 and data.shape[-1] in (3, 4):
            raise AxesError(
                f"'{file}' has shape {data.shape}, and the file does not say whether "
                "its last axis is colour or X. Save it as PNG (colour) or OME-TIFF, "
                "which name their axes."
            )
        axes = "Q" * (data.ndim - 2) + "YX"
    fits = len(axes) == data.ndim and all(axes.count(a) == 1 for a in "YX")
    if not fits or axes.count("S") > 1 or axes.count("C") > 1:
        raise AxesError(
            f"'{file}' has shape {data.shape} and axes '{axes}'; expected an image "
            "with Y and X. Save it as OME-TIFF."
        )
    if "S" in axes and data.shape[axes.index("S")] not in (3, 4):
        raise AxesError(
            f"'{file}' has {data.shape[axes.index('S')]} colour components; expected "
            "3 (RGB) or 4 (RGBA). Save its parts as channels of an OME-TIFF."
        )
    return axes


def _check_pixels(file: Path, data: NDArray[Any]) -> None:
    if data.dtype.kind not in "buif":
        raise ImageError(
            f"'{file}' holds {data.dtype} pixels; expected integers, bool or real "
            "floats. Save what is to be learned as a real image, for example the "
            "magnitude or the phase of a complex one."
        )
    if data.size == 0:
        raise ImageError(f"'{file}' has shape {data.shape} and no pixels. Remove it.")


def _normalise(
    file: Path, image: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float32]:
    """Percentile range to ``[0, 1]``, clipped; zero where that range is empty."""
    bad = image.size - int(np.count_nonzero(np.isfinite(image)))
    if bad:
        raise ImageError(
            f"'{file}' has {bad} pixels that are NaN or infinite, of which nothing can "
            "be learned or measured. Give them a value, or leave the file out."
        )
    darkest, brightest = float(image.min()), float(image.max())
    if not brightest - darkest < math.inf:
        raise ImageError(
            f"'{file}' has intensities from {darkest:g} to {brightest:g}, a range that "
            "floating point cannot resolve. Rescale the image."
        )
    lo, hi = (float(v) for v in np.percentile(image, (low, high)))
    if hi <= lo:
        return np.zeros(image.shape, np.float32)
    out: NDArray[np.float32] = np.clip((image - lo) / (hi - lo), 0, 1).astype(
        np.float32
    )
    return out


def read_planes(
    file: Path,
    channels: int,
    *,
    read: Reader,
    low: float = 0.1,
    high: float = 99.9,
    group: str = "",
) -> list[Plane]:
    """All planes of a file, normalised.

    Every position along the other axes (time, depth, channel, ...) is a plane. Alpha is
    dropped before anything else. For a model of one channel RGB becomes its luminance
    before it is normalised; for a model of three, grey planes are replicated. One
    percentile range holds for all of an image, but each channel (C) has its own.

    Parameters
    ----------
    file : Path
        Of an image.
    channels : int
        1 or 3.
    read : callable
        See `Reader`.
    low, high : float
        Percentiles that become 0 and 1.
    group : str
        Of the planes.

    Raises
    ------
    ImageError
        Unreadable file, pixels that are no real numbers, NaN or infinite pixels,
        unknown axes. The message names the file.
    """
    image = read(file)
    data = np.asarray(image.data)
    _check_pixels(file, data)
    axes = _checked_axes(file, data, image.axes)
    array, loops = _arranged(data, axes)
    planes = []
    for channel, part in enumerate(array):
        if "S" in axes:
            part = part[..., :3] if channels == 3 else luminance(part)
        unit = _normalise(file, part.astype(np.float64), low, high)
        for index in np.ndindex(*array.shape[1 : len(loops)]):
            pixels = _channels_first(unit[index], channels)
            name = file.name + _place(loops, (channel, *index), array.shape)
            planes.append(Plane(pixels, name, group))
    return planes


def _arranged(data: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """Array with axes C (of length 1 if there is none), others, Y, X, S; C and others.

    Without a copy.
    """
    if "C" not in axes:
        data, axes = data[None], f"C{axes}"
    rank = {"C": -2, "Y": 0, "X": 1, "S": 2}
    order = sorted(range(len(axes)), key=lambda i: rank.get(axes[i], -1))
    loops = "".join(axes[i] for i in order if rank.get(axes[i], -1) < 0)
    return data.transpose(order), loops


def _place(loops: str, index: Sequence[int], shape: Sequence[int]) -> str:
    """Where in its file a plane lies, such as `` [C1 Z20]``; empty if it is alone."""
    parts = [
        f"{'' if letter == 'Q' else letter}{i}"
        for letter, i, side in zip(loops, index, shape, strict=False)
        if side > 1
    ]
    return f" [{' '.join(parts)}]" if parts else ""


def _channels_first(plane: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """``(H, W)`` or ``(H, W, 3)`` to ``(channels, H, W)``."""
    if plane.ndim == 3:
        return np.ascontiguousarray(np.moveaxis(plane, -1, 0))
    return np.repeat(plane[None], channels, 0)


def load_planes(
    files: Sequence[Path],
    channels: int,
    *,
    read: Reader,
    low: float = 0.1,
    high: float = 99.9,
    groups: dict[str, str] | None = None,
    min_side: int = 1,
) -> tuple[list[Plane], list[LeftOut]]:
    """Read and normalise; planes that are too small or without detail are left out.

    Parameters
    ----------
    files : sequence of Path
        Image files.
    channels : int
        1 (luminance of colour images) or 3 (grey images replicated).
    read, low, high
        As for `read_planes`.
    groups : dict, optional
        File name to group, for balanced sampling.
    min_side : int
        Smallest usable side in pixels.

    Returns
    -------
    planes : list of Plane
        At least one.
    left_out : list of LeftOut
        The others.

    Raises
    ------
    ImageError
        As `read_planes`.
    TrainingError
        Nothing is left.
    """
    planes: list[Plane] = []
    left_out: list[LeftOut] = []
    for file in files:
        group = (groups or {}).get(file.name, "")
        for plane in read_planes(
            file, channels, read=read, low=low, high=high, group=group
        ):
            if reason := _why_useless(plane, min_side):
                left_out.append(LeftOut(plane.name, reason))
            else:
                planes.append(plane)
    if not planes:
        first = left_out[0]
        raise TrainingError(
            f"None of the {len(left_out)} images is at least {min_side} pixels wide "
            f"and high and has any detail; '{first.name}': {first.reason}. Give larger "
            "images, or train on smaller patches."
        )
    return planes, left_out


def _why_useless(plane: Plane, min_side: int) -> str:
    """Reason to leave a plane out; empty for a useful one."""
    height, width = plane.pixels.shape[1:]
    if min(height, width) < min_side:
        return f"{height} x {width} px, at least {min_side} needed on each side"
    if not plane.pixels.std() > 0:
        return "constant within its percentile range"
    return ""
