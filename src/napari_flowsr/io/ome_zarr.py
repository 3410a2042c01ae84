"""OME-Zarr 0.5 (NGFF) in and out, on zarr 3 directly; needs the extra ``zarr``.

Every level halves Y and X by averaging 2 x 2 pixels, so a pixel of level k covers the
same area as 2^k x 2^k of the first and its centre lies (2^k - 1) / 2 of them further:
that is the translation in the metadata.

References
----------
Next-generation file format 0.5 (Open Microscopy Environment), section 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.errors import ExportError, FlowSRError, ImageError
from napari_flowsr.io.content import jsonable
from napari_flowsr.io.image_file import (
    MICROMETRES,
    ImageFile,
    Unread,
    in_micrometres,
    lazy,
    merged,
)
from napari_flowsr.io.provenance import NAMESPACE, statement
from napari_flowsr.io.untrusted import check_depth, check_pixels, excess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_ome_zarr", "write_ome_zarr"]

_CHUNK = 512
_SMALLEST = 256
_ORDER = "TCZYX"
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
_RGB = ("red", "green", "blue", "alpha")
# Of version 2 of zarr, whose registry also has codecs that unpickle what they read.
_PLAIN_CODECS = {"blosc", "bz2", "delta", "gzip", "lz4", "lzma", "shuffle", "zlib"}
_PLAIN_CODECS |= {"zstd", "adler32", "crc32", "crc32c", "fletcher32"}
# Chunks of a volume of 10 TB with chunks of 1 MB; dask takes memory for each.
_MOST_CHUNKS = 10**7
_COLOURS = ("FF0000", "00FF00", "0000FF", "FFFFFF")


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ExportError(
            "OME-Zarr needs zarr 3; install it with `pip install napari-flowsr[zarr]`, "
            "or choose .ome.tif."
        ) from error
    return zarr


def write_ome_zarr(
    path: str | Path,
    array: Any,
    axes: str,
    *,
    pixel_size: float | Mapping[str, float] | None = None,
    unit: str | None = "µm",
    channel_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a multiscale image chunk by chunk; not atomic by itself.

    Parameters as of `ome_tiff.write_ome_tiff`. RGB becomes three channels, as NGFF has
    no colour pixels. The provenance is the attribute ``napari-flowsr`` of the group.
    """
    zarr = _zarr()
    array, axes, names = merged(lazy(array), axes, channel_names)
    if "S" in axes:
        if "C" in axes:
            raise ExportError(
                "OME-Zarr has one channel axis, and this image has channels or samples "
                "and RGB. Write one file per sample, or choose .ome.tif."
            )
        axes, names = axes.replace("S", "C"), _RGB[: array.shape[-1]]
    order = [a for a in _ORDER if a in axes]
    array, axes = array.transpose([axes.index(a) for a in order]), "".join(order)
    group = zarr.open_group(str(path), mode="w-", zarr_format=3)
    levels = _write_levels(group, array)
    sizes = in_micrometres(pixel_size, unit)
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [_multiscale(axes, levels, sizes, provenance)],
    }
    if "C" in axes:
        count = array.shape[order.index("C")]
        names = names or tuple(f"channel {i}" for i in range(count))
        ome["omero"] = {"channels": _channels(names, array)}
    group.attrs["ome"] = ome
    if provenance is not None:
        group.attrs[NAMESPACE] = jsonable(provenance)


def _write_levels(group: Any, array: Any) -> int:
    """Write all levels chunk by chunk; return how many."""
    # Here, for it brings torch, which reading does without.
    from napari_flowsr.core.interrupt import check_interrupt

    level = _level(group, 0, array.shape, array.dtype)
    for index in _blocks(level.shape):
        check_interrupt()
        level[index] = np.asarray(array[index])
    count = 1
    while max(level.shape[-2:]) > _SMALLEST:
        halved = tuple(math.ceil(side / 2) for side in level.shape[-2:])
        finer, shape = level, (*level.shape[:-2], *halved)
        level = _level(group, count, shape, array.dtype)
        for index in _blocks(shape):
            check_interrupt()
            level[index] = _halved(finer, index)
        count += 1
    return count


def _level(group: Any, number: int, shape: tuple[int, ...], dtype: Any) -> Any:
    chunks = (*(1 for _ in shape[:-2]), *(min(_CHUNK, side) for side in shape[-2:]))
    return group.create_array(str(number), shape=shape, chunks=chunks, dtype=dtype)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Indices of the chunks."""
    for plane in np.ndindex(*shape[:-2]):
        for y in range(0, shape[-2], _CHUNK):
            for x in range(0, shape[-1], _CHUNK):
                yield (*plane, slice(y, y + _CHUNK), slice(x, x + _CHUNK))


def _halved(finer: Any, index: tuple[Any, ...]) -> NDArray[Any]:
    """One chunk of the next level: means of 2 x 2 pixels, the last one repeated."""
    *plane, rows, columns = index
    twice = [slice(2 * s.start, 2 * s.stop) for s in (rows, columns)]
    block = np.asarray(finer[(*plane, *twice)])
    dtype = block.dtype
    odd = [(0, side % 2) for side in block.shape]
    block = np.pad(block, odd, mode="edge").astype(np.float64)
    mean = (
        block[::2, ::2] + block[1::2, ::2] + block[::2, 1::2] + block[1::2, 1::2]
    ) / 4
    out: NDArray[Any] = mean if dtype.kind == "f" else np.rint(mean)
    return out.astype(dtype)


def _multiscale(
    axes: str,
    levels: int,
    sizes: Mapping[str, float],
    provenance: Mapping[str, Any] | None,
) -> dict[str, Any]:
    described = []
    for a in axes:
        entry = {"name": a.lower(), "type": _TYPES[a]}
        if a in sizes:
            entry["unit"] = "micrometer"
        described.append(entry)
    datasets = []
    for level in range(levels):
        factor = {a: 2**level if a in "YX" else 1 for a in axes}
        scale = [sizes.get(a, 1.0) * factor[a] for a in axes]
        shift = [sizes.get(a, 1.0) * (factor[a] - 1) / 2 for a in axes]
        transformations = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ]
        datasets.append(
            {"path": str(level), "coordinateTransformations": transformations}
        )
    out: dict[str, Any] = {
        "name": "image",
        "axes": described,
        "datasets": datasets,
        "type": "mean",
    }
    if provenance is not None:
        out["metadata"] = {"description": statement(provenance)}
    return out


def _channels(names: Sequence[str], array: Any) -> list[dict[str, Any]]:
    """Display settings; napari and others read the names from here."""
    limits = (0.0, 1.0)
    if array.dtype.kind in "iu":
        limits = (float(np.iinfo(array.dtype).min), float(np.iinfo(array.dtype).max))
    window = {"min": limits[0], "max": limits[1], "start": limits[0], "end": limits[1]}
    rgb = tuple(names[:3]) == _RGB[:3]
    colours = _COLOURS if rgb else ("FFFFFF",) * len(names)
    return [
        {"label": name, "active": True, "color": colour, "window": window}
        for name, colour in zip(names, colours, strict=False)
    ]


def read_ome_zarr(path: str | Path, *, unread: bool = False) -> ImageFile:
    """Read the finest level of an OME-Zarr image, version 0.4 or 0.5.

    Channels named red, green and blue (and alpha), as `write_ome_zarr` calls them, are
    a colour image.

    Parameters
    ----------
    path : path
        The folder.
    unread : bool
        Give a dask array, whose pixels are read when they are used.

    Raises
    ------
    ImageError
        No multiscale image, or zarr is not installed.
    """
    try:
        zarr = _zarr()
        group = zarr.open(str(path), mode="r")
        if not isinstance(group, zarr.Group):
            raise ValueError("it is an array")
        attributes = dict(group.attrs)
        ome = attributes.get("ome", attributes)
        multiscale = ome["multiscales"][0]
        first = multiscale["datasets"][0]
        level = group[first["path"]]
        _check_claim(path, zarr, level, whole=not unread)
        data = lazy(Unread(level, path)) if unread else np.asarray(level[...])
        described = multiscale["axes"]
        axes = "".join(str(a["name"]).upper() for a in described)
        if len(axes) != data.ndim:
            raise ValueError(f"{len(axes)} axes are named, of {data.ndim}")
        sizes = _sizes(first, described)
        channels = ome.get("omero", {}).get("channels", ())
        labels = tuple(str(c.get("label", "")) for c in channels)
        if NAMESPACE in attributes:
            check_depth(attributes[NAMESPACE])
    except ExportError as error:
        raise ImageError(str(error)) from error
    except FlowSRError:
        raise
    except Exception as error:
        # Folders of any content arrive here, and codecs raise whatever they do.
        raise ImageError(
            f"'{path}' holds no OME-Zarr image of version 0.4 or 0.5 ({error}). Give "
            "the folder whose metadata list the multiscales. Save a plain zarr array, "
            "which does not name its axes, as OME-Zarr or OME-TIFF, or give it as an "
            "array in Python."
        ) from error
    if "C" in axes and labels in (_RGB[:3], _RGB):
        # OME-Zarr has no samples; `write_ome_zarr` makes channels of them.
        data = np.moveaxis(data, axes.index("C"), -1)
        axes, labels = axes.replace("C", "") + "S", ()
    metadata = {"format": "OME-Zarr", "series": 1}
    if NAMESPACE in attributes:
        metadata[NAMESPACE] = attributes[NAMESPACE]
    return ImageFile(
        data,
        axes,
        pixel_size=sizes or None,
        unit="µm" if sizes else "pixel",
        channel_names=labels,
        metadata=metadata,
    )


def _check_claim(path: str | Path, zarr: Any, level: Any, *, whole: bool) -> None:
    """Raise for what holds no plain pixels, or more than the memory can."""
    if not isinstance(level, zarr.Array):
        raise ValueError("its finest level is no array")
    codecs = [getattr(level.metadata, "compressor", None)]
    codecs += getattr(level.metadata, "filters", None) or ()
    names = {str(getattr(codec, "codec_id", "?")) for codec in codecs if codec}
    if level.dtype.kind not in "buif" or names - _PLAIN_CODECS:
        raise ValueError(f"its pixels are {level.dtype}, packed by {sorted(names)}")
    check_pixels(level.shape)
    counts = (-(-n // c) for n, c in zip(level.shape, level.chunks, strict=True))
    if math.prod(counts) > _MOST_CHUNKS:
        raise ValueError(f"{level.shape} pixels in chunks of {level.chunks}")
    sides = level.shape if whole else level.chunks
    if too_large := excess(sides, level.dtype.itemsize):
        raise ImageError(
            f"'{path}' is too large: {too_large}. If its size is right, use "
            "`napari-flowsr batch`, which reads it part by part; the metadata may also "
            "be damaged."
        )


def _sizes(
    dataset: Mapping[str, Any], described: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Pixel size in µm per axis letter."""
    sizes = {}
    for entry in dataset.get("coordinateTransformations", ()):
        if entry.get("type") != "scale":
            continue
        for a, value in zip(described, entry["scale"], strict=True):
            factor = MICROMETRES.get(str(a.get("unit", "")).lower())
            if a["name"] in ("x", "y", "z") and factor is not None:
                sizes[a["name"].upper()] = float(value) * factor
    return sizes
