"""HR images for training and evaluation: files to normalised planes, kept in memory.

How files are decoded is a matter of the caller (`io.images.read_image`, of a layer
above this one); what pixels and axes mean here is told in `read_planes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_flowsr.data.files import (
    ArrayImage,
    Images,
    find_files,
    find_images,
    groups_from_manifest,
)
from napari_flowsr.data.pixels import (
    arranged,
    channels_first,
    check_pixels,
    checked_axes,
    intensity_range,
    luminance,
    place,
    to_unit,
)
from napari_flowsr.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.data.pairs import Pairs

__all__ = [
    "ArrayImage",
    "Images",
    "LeftOut",
    "Plane",
    "Reader",
    "find_files",
    "find_images",
    "groups_from_manifest",
    "load_planes",
    "read_planes",
]


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


def read_planes(
    image: Path | ArrayImage,
    channels: int,
    *,
    read: Reader,
    low: float = 0.1,
    high: float = 99.9,
    kind: str = "percentile",
    group: str = "",
) -> list[Plane]:
    """All planes of an image, normalised.

    Every position along the other axes (time, depth, channel, ...) is a plane. Alpha is
    dropped before anything else. For a model of one channel RGB becomes its luminance
    before it is normalised; for a model of three, grey planes are replicated. One
    range holds for all of an image, but each channel (C) has its own.

    Parameters
    ----------
    image : Path or ArrayImage
        A file, or an array.
    channels : int
        1 or 3.
    read : callable
        See `Reader`.
    low, high : float
        Percentiles that become 0 and 1.
    kind : str
        ``"percentile"``, or ``"dtype"``, see `pixels.intensity_range`.
    group : str
        Of the planes.

    Raises
    ------
    ImageError
        Unreadable file, pixels that are no real numbers, NaN or infinite pixels,
        unknown axes. The message names the image.
    """
    found = read(image) if isinstance(image, Path) else image
    said = str(image) if isinstance(image, Path) else image.name
    data = np.asarray(found.data)
    check_pixels(said, data)
    axes = checked_axes(said, data, found.axes)
    array, loops = arranged(data, axes)
    planes = []
    for channel, part in enumerate(array):
        shown, whole = part, data.dtype.kind in "ui"
        if "S" in axes:
            shown = part[..., :3] if channels == 3 else luminance(part)
        # The luminance of integers is a float, within the limits of these integers.
        by_dtype = kind == "dtype" and whole
        limits = intensity_range(said, part if by_dtype else shown, kind, low, high)
        for index in np.ndindex(*array.shape[1 : len(loops)]):
            pixels = channels_first(to_unit(shown[index], limits), channels)
            name = image.name + place(loops, (channel, *index), array.shape)
            planes.append(Plane(pixels, name, group))
    return planes


_CONSTANT = "constant within its percentile range"


def load_planes(
    images: Sequence[Path | ArrayImage],
    channels: int,
    *,
    read: Reader,
    low: float = 0.1,
    high: float = 99.9,
    kind: str = "percentile",
    groups: dict[str, str] | None = None,
    min_side: int = 1,
    pairs: Pairs | None = None,
) -> tuple[list[Plane], list[LeftOut]]:
    """Read and normalise; planes that are too small or without detail are left out.

    Parameters
    ----------
    images : sequence of Path or ArrayImage
        HR images.
    channels : int
        1 (luminance of colour images) or 3 (grey images replicated).
    read, low, high, kind
        As for `read_planes`.
    groups : dict, optional
        File name to group, for balanced sampling.
    min_side : int
        Smallest usable side in pixels.
    pairs : Pairs, optional
        Their given LR images, which the planes then have too.

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
        Nothing is left, or an LR image is missing or does not fit.
    """

    def planes_of(image: Path | ArrayImage, group: str = "") -> list[Plane]:
        return read_planes(
            image, channels, read=read, low=low, high=high, kind=kind, group=group
        )

    planes: list[Plane] = []
    left_out: list[LeftOut] = []
    for image in images:
        found = planes_of(image, (groups or {}).get(image.name, ""))
        if pairs is not None:
            given = pairs.of(image)
            found = pairs.joined(image, found, given, planes_of(given))
        for plane in found:
            if reason := _why_useless(plane, min_side):
                left_out.append(LeftOut(plane.name, reason))
            else:
                planes.append(plane)
    if not planes:
        first = left_out[0]
        flat = all(one.reason == _CONSTANT for one in left_out)
        remedy = (
            "Give images with something in them."
            if flat
            else "Give larger images, or train on smaller patches."
        )
        raise TrainingError(
            f"None of the {len(left_out)} images is at least {min_side} pixels wide "
            f"and high and has any detail; '{first.name}': {first.reason}. {remedy}"
        )
    return planes, left_out


def _why_useless(plane: Plane, min_side: int) -> str:
    """Reason to leave a plane out; empty for a useful one."""
    height, width = plane.pixels.shape[1:]
    if min(height, width) < min_side:
        return f"{height} x {width} px, at least {min_side} needed on each side"
    if not plane.pixels.std() > 0:
        return _CONSTANT
    return ""
