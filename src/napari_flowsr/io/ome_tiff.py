"""TIFF in all its dialects in, OME-TIFF out.

The pixel size is read from OME-XML, else ImageJ's metadata, else the resolution tags.
OME-TIFF carries the provenance in a ``MapAnnotation`` of the namespace
``napari-flowsr``: one entry per key, and the whole record as JSON under ``json``.

References
----------
OME-TIFF and OME-XML specification 2016-06 (Open Microscopy Environment).
"""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_flowsr.errors import ExportError, FlowSRError, ImageError
from napari_flowsr.io.image_file import (
    MICROMETRES,
    ImageFile,
    Unread,
    in_micrometres,
    lazy,
    merged,
)
from napari_flowsr.io.provenance import NAMESPACE, jsonable, statement
from napari_flowsr.io.tiff_pixels import TiffPixels
from napari_flowsr.io.untrusted import (
    PACKING,
    check_pixels,
    excess,
    inflate,
    parse_json,
    room,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["read_tiff", "write_ome_tiff"]

# A printing resolution such as 72 dpi (353 µm) says nothing about the specimen.
_LARGEST_PIXEL_UM = 10.0
# TIFF's numbers of the compressions that are zlib streams.
_ZLIB = (8, 32946)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def read_tiff(path: str | Path, *, unread: bool = False) -> ImageFile:
    """Read the first image series of a TIFF file.

    Parameters
    ----------
    path : path
        The file.
    unread : bool
        Give a dask array, whose pixels are read when they are used; except of images
        with a palette. Needs zarr.

    Raises
    ------
    ImageError
        Damaged or truncated file, or a compression that tifffile cannot read alone.
    """
    path = Path(path)
    complaints = _Complaints()
    tifffile.logger().addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as tif:
            _check_complete(tif, path, complaints)
            return _read(tif, path, unread=unread)
    except FlowSRError:
        raise
    except Exception as error:
        # A file of any content arrives here, and decoders raise whatever they do.
        raise ImageError(
            f"'{path}' could not be read as TIFF: {error}. The file is damaged or "
            "incomplete, or compressed in a way that needs `pip install imagecodecs`."
        ) from error
    finally:
        tifffile.logger().removeHandler(complaints)


class _Complaints(logging.Handler):
    """What tifffile logs and then goes on without, such as a lost description."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lost: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what tells of a tag that lies beyond the end of the file."""
        if "invalid value offset" in (text := record.getMessage()):
            self.lost.append(text)


def _check_complete(
    tif: tifffile.TiffFile, path: Path, complaints: _Complaints
) -> None:
    """Raise if pixels or tags lie beyond the end, or the pages have none.

    Some pixels would be read as zeros otherwise, and the pixel size be lost; pages that
    lead back to an earlier one would be read for ever.
    """
    size, seen = path.stat().st_size, set()
    for number, page in enumerate(tif.pages):
        if page.offset in seen:
            raise ValueError(f"page {number} is at byte {page.offset}, as an earlier")
        seen.add(page.offset)
        spans = zip(page.dataoffsets, page.databytecounts, strict=False)
        end = max((start + count for start, count in spans), default=0)
        if end > size:
            raise ImageError(
                f"'{path}' is truncated: page {number} ends at byte {end}, the file at "
                f"byte {size}. Copy the file again."
            )
    if complaints.lost:
        raise ImageError(
            f"'{path}' is truncated: {complaints.lost[0]}. Copy the file again."
        )


def _read(tif: tifffile.TiffFile, path: Path, *, unread: bool) -> ImageFile:
    if not tif.series:
        raise ImageError(
            f"'{path}' is a TIFF file without an image; it is damaged or incomplete."
        )
    series = tif.series[0]
    axes, page = series.axes, series.keyframe
    is_palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    pixels = TiffPixels(path, series) if unread and not is_palette else None
    _check_claim(path, series, whole=pixels is None)
    data = series.asarray() if pixels is None else lazy(Unread(pixels, path))
    if is_palette and page.colormap is not None:
        data, axes = np.moveaxis(page.colormap[:, data], 0, -1), f"{axes}S"
    if "S" in axes and not axes.endswith("S"):
        data = np.moveaxis(data, axes.index("S"), -1)
        axes = f"{axes.replace('S', '')}S"
    if axes.endswith("S") and data.shape[-1] not in (3, 4):
        axes = f"{axes[:-1]}C" if "C" not in axes else axes
    sizes, names, provenance = _facts(tif, page)
    metadata: dict[str, Any] = {
        "format": "OME-TIFF" if tif.is_ome else "ImageJ" if tif.is_imagej else "TIFF",
        "series": len(tif.series),
    }
    if provenance is not None:
        metadata[NAMESPACE] = provenance
    valid = len(set(axes)) == len(axes) == data.ndim and {"Y", "X"} <= set(axes)
    return ImageFile(
        data=data,
        axes=axes if valid else None,
        pixel_size=sizes or None,
        unit="µm" if sizes else "pixel",
        channel_names=names if "C" in axes else (),
        metadata=metadata,
    )


def _check_claim(path: Path, series: tifffile.TiffPageSeries, *, whole: bool) -> None:
    """Raise for more pixels, or larger packed parts, than the memory can hold."""
    check_pixels(series.shape)
    page = series.keyframe
    parts, told = math.prod(page.chunked), len(page.dataoffsets)
    if parts > told and not page.is_contiguous:
        raise ValueError(f"it has {parts} strips or tiles, and tells where {told} are")
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    if too_large := excess(series.shape if whole else page.chunks, itemsize):
        raise ImageError(
            f"'{path}' is too large: {too_large}. If its size is right, use "
            "`napari-flowsr batch`, which reads it part by part; the file may also be "
            "damaged."
        )
    if int(page.compression) in _ZLIB:
        _check_packed(path, series, math.prod(page.chunks) * itemsize)


def _check_packed(path: Path, series: tifffile.TiffPageSeries, expected: int) -> None:
    """Raise `ValueError` for a strip or tile that unpacks to more than its pixels.

    Only those that could fill the memory are looked into: others are read once.
    """
    most = room() // 2
    with path.open("rb") as file:
        for page in series.pages:
            if page is None:
                continue
            for at, count in zip(page.dataoffsets, page.databytecounts, strict=False):
                if count * PACKING > most:
                    file.seek(at)
                    inflate(file.read(count), expected, at_most=True)


def _facts(
    tif: tifffile.TiffFile, page: Any
) -> tuple[dict[str, float], tuple[str, ...], dict[str, Any] | None]:
    """Pixel size in µm, channel names, provenance."""
    if tif.is_ome and tif.ome_metadata:
        return _from_ome(tif.ome_metadata)
    if tif.is_imagej:
        facts = tif.imagej_metadata or {}
        sizes = _from_tags(page, str(facts.get("unit", "")).lower())
        depth = MICROMETRES.get(str(facts.get("unit", "")).strip().lower())
        if sizes and depth and facts.get("spacing"):
            sizes["Z"] = abs(float(facts["spacing"])) * depth
        return sizes, (), None
    return _from_tags(page, None), (), None


def _from_ome(
    xml: str,
) -> tuple[dict[str, float], tuple[str, ...], dict[str, Any] | None]:
    # Not a risk here: no entity is resolved from outside, and expat stops expansions.
    root = ElementTree.fromstring(xml)  # noqa: S314
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    pixels = root.find("Image/Pixels")
    sizes: dict[str, float] = {}
    names: list[str] = []
    if pixels is not None:
        for axis in "XYZ":
            value = pixels.get(f"PhysicalSize{axis}")
            unit = pixels.get(f"PhysicalSize{axis}Unit", "µm").strip().lower()
            if value and unit in MICROMETRES and float(value) > 0:
                sizes[axis] = float(value) * MICROMETRES[unit]
        names = [
            channel.get("Name") or f"channel {i}"
            for i, channel in enumerate(pixels.findall("Channel"))
        ]
    for annotation in root.iter("MapAnnotation"):
        if annotation.get("Namespace") == NAMESPACE:
            entries = {m.get("K"): m.text or "" for m in annotation.iter("M")}
            if "json" in entries:
                return sizes, tuple(names), parse_json(entries["json"])
    return sizes, tuple(names), None


def _from_tags(page: Any, unit: str | None) -> dict[str, float]:
    """Pixel size from the resolution tags; ``unit`` is ImageJ's, None without."""
    if unit is None:
        tag = page.tags.get("ResolutionUnit")
        unit = {2: "inch", 3: "cm"}.get(int(tag.value) if tag else 2, "")
    factor = MICROMETRES.get(unit.strip())
    sizes: dict[str, float] = {}
    for axis in "XY":
        tag = page.tags.get(f"{axis}Resolution")
        if factor is None or tag is None or not all(tag.value):
            return {}
        sizes[axis] = tag.value[1] / tag.value[0] * factor
    printed = unit in ("inch", "cm") and max(sizes.values()) > _LARGEST_PIXEL_UM
    return {} if printed else sizes


def write_ome_tiff(
    path: str | Path,
    array: Any,
    axes: str,
    *,
    pixel_size: float | Mapping[str, float] | None = None,
    unit: str | None = "µm",
    channel_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> None:
    """Write one OME-TIFF file, plane by plane; not atomic by itself.

    Parameters
    ----------
    path : path
        File to write.
    array : array
        Numpy, dask or zarr; the latter two are computed one plane at a time.
    axes : str
        One letter per axis, N for samples; see `image_file.merged` for what becomes of
        letters that OME does not have.
    pixel_size : float or mapping, optional
        Per axis letter, in ``unit``; a number is that of Y and X.
    unit : str
        A length; the file holds µm.
    channel_names : sequence of str
        Along C.
    provenance : mapping, optional
        As `provenance.record` makes it.
    name : str, optional
        Of the image in the file; that of ``path`` by default.

    Raises
    ------
    ExportError
        OME-TIFF cannot hold the axes or the data type.
    """
    original = axes
    array, axes, names = merged(lazy(array), axes, channel_names)
    dtype = _storable(array)
    metadata: dict[str, Any] = {
        "axes": axes,
        "Name": _CONTROL.sub(" ", name or Path(path).name),
    }
    for axis, size in in_micrometres(pixel_size, unit).items():
        if axis in axes:
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if names and "C" in axes:
        metadata["Channel"] = {"Name": [_CONTROL.sub(" ", name) for name in names]}
    if provenance is not None:
        metadata["Description"] = _CONTROL.sub(" ", statement(provenance))
        metadata["MapAnnotation"] = _annotation(provenance, original)
    tifffile.imwrite(
        path,
        _planes(array, axes, dtype),
        shape=array.shape,
        dtype=dtype,
        ome=True,
        bigtiff=math.prod(array.shape) * dtype.itemsize > 2**32 - 2**25,
        photometric="rgb" if "S" in axes else "minisblack",
        metadata=metadata,
        software="napari-flowsr",
    )


def _annotation(provenance: Mapping[str, Any], axes: str) -> dict[str, str]:
    plain = jsonable(provenance)
    flat = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in plain.items()
    }
    whole = json.dumps(plain)
    entries = {**flat, "written_axes": axes, "json": whole}
    entries = {key: _CONTROL.sub(" ", value) for key, value in entries.items()}
    return {"Namespace": NAMESPACE, **entries}


def _storable(array: Any) -> np.dtype[Any]:
    """Data type in which OME-TIFF can hold the values without loss."""
    dtype = np.dtype(array.dtype)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind in "iu" and dtype.itemsize == 8:
        low, high = int(array.min()), int(array.max())
        for name in ("uint32", "int32"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return np.dtype(name)
        raise ExportError(
            f"OME-TIFF has no {dtype} and the values {low} to {high} do not fit into "
            "32 bits. Convert the image to float64 or subtract an offset."
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ExportError(
            f"OME-TIFF has no {dtype}; expected integers, bool or floats. Convert it."
        )
    native: np.dtype[Any] = dtype.newbyteorder("=")
    return native


def _planes(array: Any, axes: str, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    plane_axes = 3 if "S" in axes else 2
    for index in np.ndindex(*array.shape[: array.ndim - plane_axes]):
        yield np.ascontiguousarray(array[index], dtype=dtype)
