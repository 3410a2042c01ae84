"""Which images are meant: folders, files, patterns, and arrays."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from napari_flowsr.errors import OptionError, TrainingError

__all__ = ["ArrayImage", "Images", "find_files", "find_images"]
__all__ += ["groups_from_manifest"]

_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".npy", ".zarr"}


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """An image that is in memory or in a store, such as what a layer shows.

    Parameters
    ----------
    data : array-like
        Numpy, dask, zarr or anything that `numpy.asarray` takes; read once, whole.
    axes : str, optional
        One letter per axis, such as ``"TZYX"``; ``"S"`` last for RGB or RGBA.
    name : str
        What messages call it, and what pairs are matched by.
    rgb : bool
        Without ``axes``: the last axis is colour.
    """

    data: Any
    axes: str | None = None
    name: str = "array"
    rgb: bool = False

    def __post_init__(self) -> None:
        if self.rgb and self.axes is None:
            letters = "Q" * (np.ndim(self.data) - 3) + "YXS"
            object.__setattr__(self, "axes", letters)


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
                "patterns of files. Save arrays first, as .npy or TIFF for example; to "
                "train on them as they are, give data.source.ArrayImage(data, axes)."
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


Images = str | Path | ArrayImage | Iterable[str | Path | ArrayImage]
"""What images may be given as: paths, glob patterns, arrays, or several of these."""


def find_images(source: Images) -> list[Path | ArrayImage]:
    """Arrays in their order, then the files of paths and patterns, as `find_files`.

    Raises
    ------
    OptionError, TrainingError
        As `find_files`.
    """
    if isinstance(source, ArrayImage):
        return [source]
    if isinstance(source, (str, Path)) or not isinstance(source, Iterable):
        return [*find_files(source)]
    given = list(source)
    arrays = [item for item in given if isinstance(item, ArrayImage)]
    paths = [item for item in given if not isinstance(item, ArrayImage)]
    return [*arrays, *(find_files(paths) if paths or not arrays else ())]


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
