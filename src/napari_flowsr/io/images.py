"""Images in and out, by the suffix of the file's name."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.errors import ExportError, ImageError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.io.image_file import ImageFile, check_axes, in_micrometres

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["READABLE", "WRITABLE", "ImageFile", "open_image", "read_image", "suffix"]
__all__ += ["write_image"]

READABLE = (
    ".ome.tif",
    ".ome.tiff",
    ".tif",
    ".tiff",
    ".png",
    ".jpg",
    ".jpeg",
    ".npy",
    ".ome.zarr",
    ".zarr",
)
WRITABLE = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".png", ".ome.zarr", ".zarr")


def suffix(path: str | Path) -> str:
    """Suffix in lower case, ``.ome.tif`` and the like as one; empty without."""
    name = Path(path).name.lower()
    return next((s for s in READABLE if name.endswith(s) and name != s), "")


def read_image(path: str | Path) -> ImageFile:
    """Read an image file: TIFF of any dialect, PNG, JPEG, .npy, OME-Zarr.

    Parameters
    ----------
    path : path
        The suffix names the format.

    Returns
    -------
    ImageFile
        Pixels, axes, pixel size in µm, channel names.

    Raises
    ------
    ImageError
        No such file, another format, or damaged content.
    """
    return _opened(path, unread=False)


def open_image(path: str | Path) -> ImageFile:
    """As `read_image`, but pixels of TIFF and OME-Zarr are read when they are used.

    Then ``data`` is a dask array; where zarr is installed.
    """
    return _opened(path, unread=find_spec("zarr") is not None)


def _opened(path: str | Path, *, unread: bool) -> ImageFile:
    path = Path(path).expanduser()
    if not path.exists():
        raise ImageError(f"There is no file '{path}'. Check the path.")
    kind = suffix(path)
    if path.is_dir() != kind.endswith(".zarr") or not kind:
        raise _no_image(path)
    try:
        return _read(path, kind, unread=unread)
    except MemoryError as error:
        raise ImageError(
            f"'{path}' is too large for the memory that is free. If its size is right, "
            "use `napari-flowsr batch`, which reads it part by part; the file may also "
            "be damaged."
        ) from error
    except OSError as error:
        raise ImageError(
            f"'{path}' could not be read: {error.strerror or error}. Check the "
            "file and its permissions."
        ) from error


def _no_image(path: Path) -> ImageError:
    expected = f"expected a file of {', '.join(READABLE)}."
    if path.is_dir():
        return ImageError(
            f"'{path}' is a folder, not an image; {expected} Name the files in it, or "
            "use `napari-flowsr batch` for all of them."
        )
    return ImageError(
        f"'{path}' is no image that can be read here; {expected} Convert it, for "
        "example with Fiji, or use the Python functions with an array."
    )


def _read(path: Path, kind: str, *, unread: bool) -> ImageFile:
    if kind.endswith((".tif", ".tiff")):
        from napari_flowsr.io.ome_tiff import read_tiff

        return read_tiff(path, unread=unread)
    if kind.endswith(".zarr"):
        from napari_flowsr.io.ome_zarr import read_ome_zarr

        return read_ome_zarr(path, unread=unread)
    if kind == ".npy":
        try:
            # Opened here, because NumPy leaves a damaged file open.
            with path.open("rb") as file:
                data = np.load(file, allow_pickle=False)
            if not isinstance(data, np.ndarray):
                raise ValueError("it is an archive of arrays")
        except MemoryError:
            raise
        except Exception as error:
            # A file of any content arrives here; its header is parsed as Python is.
            raise ImageError(
                f"'{path}' is no array that can be read: {error}. Save it with "
                "numpy.save, and not as objects."
            ) from error
        return ImageFile(
            data, "YX" if data.ndim == 2 else None, metadata={"format": "npy"}
        )
    from napari_flowsr.io.png import read_raster

    return read_raster(path)


def write_image(
    path: str | Path,
    array: Any,
    *,
    axes: str | None = None,
    pixel_size: float | Mapping[str, float] | None = None,
    unit: str | None = "µm",
    channel_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = True,
    bits: int | None = None,
    intensity_range: tuple[float, float] | None = None,
) -> list[Path]:
    """Write an image whole or not at all; the suffix names the format.

    OME-TIFF (``.ome.tif``, ``.tif``) and OME-Zarr (``.ome.zarr``, extra ``zarr``) keep
    the values. PNG keeps 8- and 16-bit unsigned integers; anything else is stretched
    to 16 bits, all samples alike, and the range is stored in the file.

    Parameters
    ----------
    path : path
        Target. Several samples as PNG go to ``name-0.png``, ``name-1.png``, ...
    array : array
        Numpy, dask or zarr.
    axes : str, optional
        One letter per axis: N samples, T, Z, C, Y, X, and S for RGB or RGBA, last.
        Samples become channels in the file, "sample 0", ...; with channels, "sample 0,
        DAPI", ... Not needed for two axes.
    pixel_size : float or mapping, optional
        Of the pixels of ``array``, per axis letter, in ``unit``.
    unit : str
        A length, or ``"pixel"`` if ``pixel_size`` is unknown.
    channel_names : sequence of str
        Along C.
    provenance : mapping, optional
        Of `provenance.record`; says among others that detail is inferred.
    overwrite : bool
        Replace existing files.
    bits : int, optional
        PNG only: 8 or 16.
    intensity_range : tuple of float, optional
        PNG only: the intensities that become black and white.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ExportError
        Unknown format, axes or data type that the format lacks, existing file, or a
        full or read-only disk. Nothing half-written is left, old files stay.
    """
    path = Path(path).expanduser()
    kind = suffix(path)
    if kind not in WRITABLE:
        raise ExportError(
            f"'{path.name}' names no format that can be written; expected a name that "
            f"ends in {', '.join(WRITABLE)}."
        )
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    axes = check_axes(axes, array.shape)
    if 0 in array.shape:
        raise ExportError(f"The image has shape {array.shape} and no pixels.")
    facts: dict[str, Any] = {
        "pixel_size": pixel_size,
        "unit": unit,
        "channel_names": channel_names,
        "provenance": provenance,
    }
    if kind == ".png":
        sizes = in_micrometres(pixel_size, unit)
        return _write_pngs(
            path, array, axes, sizes, provenance, overwrite, bits, intensity_range
        )
    if kind.endswith(".zarr"):
        from napari_flowsr.io.ome_zarr import write_ome_zarr as write
    else:
        from napari_flowsr.io.ome_tiff import write_ome_tiff as write

        facts["name"] = path.name  # not the temporary one
    with atomic_path(path, overwrite=overwrite) as temporary:
        write(temporary, array, axes, **facts)
    return [path]


def _write_pngs(
    path: Path,
    array: Any,
    axes: str,
    sizes: Mapping[str, float],
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
    bits: int | None,
    limits: tuple[float, float] | None,
) -> list[Path]:
    from napari_flowsr.io.png import intensity_range, to_png_levels, write_png

    array = np.asarray(array)
    long = [a for a, side in zip(axes, array.shape, strict=True) if side > 1]
    extra = [a for a in long if a not in "NYXS"]
    if extra:
        raise ExportError(
            f"PNG holds one plane; this image has axes '{axes}', shape {array.shape}. "
            "Choose .ome.tif, or export one plane."
        )
    order = [a for a in axes if a not in "NYXS"] + [a for a in "NYXS" if a in axes]
    array = array.transpose([axes.index(a) for a in order])
    plane_axes = 3 if "S" in axes else 2
    planes = array.reshape(-1, *array.shape[array.ndim - plane_axes :])
    if limits is None:
        limits = intensity_range(planes, rgb="S" in axes)
    targets = [path]
    if len(planes) > 1:
        targets = [path.with_name(f"{path.stem}-{i}.png") for i in range(len(planes))]
    with ExitStack() as stack:
        for number, (target, plane) in enumerate(zip(targets, planes, strict=True)):
            facts = None
            if provenance is not None:
                facts = {**provenance, "png_intensity_range": limits}
                if len(planes) > 1:
                    facts["sample"] = number
            temporary = stack.enter_context(atomic_path(target, overwrite=overwrite))
            levels = to_png_levels(plane, limits, bits)
            write_png(temporary, levels, pixel_size=sizes, provenance=facts)
    return targets
