"""Training images: files to normalised planes, kept in memory."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_flowsr.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = ["Plane", "find_files", "groups_from_manifest", "load_planes", "luminance"]

_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".npy"}
# ITU-R BT.601 luma, the weights of the field's one-channel figures.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Plane:
    """One 2-D image, ``(C, H, W)`` float32 in ``[0, 1]``, and where it came from."""

    pixels: NDArray[np.float32]
    name: str
    group: str = ""


def find_files(source: str | Path | Iterable[str | Path]) -> list[Path]:
    """Image files of a folder, a glob pattern, a file, or a list of these; sorted."""
    if not isinstance(source, (str, Path)):
        return sorted({f for item in source for f in find_files(item)})
    path = Path(source)
    if path.is_dir():
        found = [f for f in path.rglob("*") if f.suffix.lower() in _SUFFIXES]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(f) for f in glob(str(source), recursive=True)]
    found = [f for f in found if f.suffix.lower() in _SUFFIXES]
    if not found:
        raise TrainingError(
            f"No image was found in '{source}'; expected a folder, a file or a glob "
            f"pattern with {', '.join(sorted(_SUFFIXES))}. Check the path."
        )
    return sorted(found)


def groups_from_manifest(path: str | Path, column: str) -> dict[str, str]:
    """File name to group, from a CSV with a column ``file`` and another one."""
    with Path(path).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "file" not in rows[0] or column not in rows[0]:
        raise TrainingError(
            f"'{path}' has columns {list(rows[0]) if rows else []}; expected 'file' "
            f"and '{column}'."
        )
    return {Path(row["file"]).name: row[column] for row in rows}


def luminance(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(H, W, 3 or 4)`` to ``(H, W)``."""
    out: NDArray[np.float32] = rgb[..., :3] @ _LUMA
    return out


def _read(path: Path) -> NDArray[np.float32]:
    if path.suffix.lower() == ".npy":
        raw = np.load(path, allow_pickle=False)
    elif path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        raw = tifffile.imread(path)
    else:
        from skimage.io import imread

        raw = imread(path)
    return np.asarray(raw, np.float32)


def _normalise(
    image: NDArray[np.float32], low: float, high: float
) -> NDArray[np.float32]:
    """Percentile range to ``[0, 1]``, clipped; a constant image becomes zero."""
    lo, hi = np.percentile(image, (low, high))
    if hi <= lo:
        return np.zeros_like(image)
    out: NDArray[np.float32] = np.clip((image - lo) / (hi - lo), 0, 1).astype(
        np.float32
    )
    return out


def _planes_of(image: NDArray[np.float32], channels: int) -> list[NDArray[np.float32]]:
    """``(C, H, W)`` planes of an array ``(..., H, W)`` or ``(H, W, 3 or 4)``."""
    coloured = image.ndim == 3 and image.shape[-1] in (3, 4)
    if channels == 3:
        if not coloured:
            return [
                np.repeat(p[None], 3, 0) for p in image.reshape(-1, *image.shape[-2:])
            ]
        return [np.moveaxis(image[..., :3], -1, 0)]
    if coloured:
        image = luminance(image)
    return [p[None] for p in image.reshape(-1, *image.shape[-2:])]


def load_planes(
    files: Sequence[Path],
    channels: int,
    *,
    low: float = 0.1,
    high: float = 99.9,
    groups: dict[str, str] | None = None,
    min_side: int = 1,
) -> list[Plane]:
    """Read and normalise; planes smaller than ``min_side`` are left out.

    Parameters
    ----------
    files : sequence of Path
        Image files.
    channels : int
        1 (luminance of colour images) or 3 (grey images replicated).
    low, high : float
        Percentiles of each image that become 0 and 1.
    groups : dict, optional
        File name to group, for balanced sampling.
    min_side : int
        Smallest usable side in pixels.
    """
    planes = []
    for file in files:
        image = _normalise(_read(file), low, high)
        for pixels in _planes_of(image, channels):
            if min(pixels.shape[1:]) >= min_side and pixels.std() > 0:
                group = (groups or {}).get(file.name, "")
                planes.append(Plane(np.ascontiguousarray(pixels), file.name, group))
    if not planes:
        raise TrainingError(
            f"None of the {len(files)} images is at least {min_side} pixels wide and "
            "high and has any detail. Give larger images, or train on smaller patches."
        )
    return planes
