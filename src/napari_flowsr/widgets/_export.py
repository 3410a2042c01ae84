"""From image layers to files: data, axes, pixel size, provenance, names. No Qt.

A layer becomes a file of its own, so that each keeps its own provenance. Layers that
this plugin did not make are written as well, without the mark that detail is inferred.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import ExportError, FlowSRError
from napari_flowsr.io.image_file import MICROMETRES
from napari_flowsr.io.images import WRITABLE, suffix, write_image
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._checks import PARTIAL
from napari_flowsr.widgets._geometry import layer_axes

__all__ = ["Export", "file_names", "named_targets", "write_all"]

_UNSAFE = re.compile(r"[^\w.,()+=-]+")
_AXIS_LETTERS = "TZCYXNS"


@dataclass(frozen=True)
class Export:
    """What of an image layer goes into a file.

    Parameters
    ----------
    data : array
        Full-resolution data.
    name : str
        Of the layer.
    axes : str
        One letter per axis of ``data``.
    pixel_size : dict
        Axis letter to µm; empty where the unit is no length.
    provenance : dict or None
        None for a layer that the plugin did not make.
    """

    data: Any
    name: str
    axes: str
    pixel_size: dict[str, float]
    provenance: dict[str, Any] | None

    @classmethod
    def of(
        cls, data: Any, meta: Mapping[str, Any], *, world_pixel_um: float | None = None
    ) -> Export:
        """Read a layer's data and keyword arguments, as napari gives them to writers.

        Parameters
        ----------
        data : array or sequence of arrays
            A sequence for multiscale layers.
        meta : mapping
            ``layer.as_layer_data_tuple()[1]``.
        world_pixel_um : float, optional
            Length of one world unit along Y and X, used where that unit is the pixel.
        """
        array = data[0] if _is_multiscale(data, meta) else data
        if not hasattr(array, "shape"):
            array = np.asarray(array)
        rgb = bool(meta.get("rgb"))
        ndim = array.ndim - rgb
        units = _per_axis(meta.get("units"), ndim, "pixel")
        axes = _axes(array, meta, units, rgb=rgb)
        record = (meta.get("metadata") or {}).get(NAMESPACE)
        return cls(
            data=array,
            name=str(meta.get("name") or "image"),
            axes=axes,
            pixel_size=_pixel_size(axes, meta, units, world_pixel_um),
            provenance=copy.deepcopy(dict(record)) if record else None,
        )

    @property
    def sample_count(self) -> int:
        """Length of the sample axis; 1 without."""
        return int(self.data.shape[self.axes.index("N")]) if "N" in self.axes else 1

    def write(self, path: str | Path, *, overwrite: bool = True) -> list[Path]:
        """Write the file whose suffix names the format; see `io.images.write_image`.

        Raises
        ------
        ExportError
            The layer is computed only in part.
        """
        if self.provenance and self.provenance.get(PARTIAL):
            raise ExportError(
                f"'{self.name}' is computed only where it was looked at; elsewhere it "
                "shows the enlarged input, which is no result. Clear 'only what is in "
                "view' in the Upscale dock, run it, and export what it gives."
            )
        return write_image(
            path,
            self.data,
            axes=self.axes,
            pixel_size=self.pixel_size or None,
            unit="µm" if self.pixel_size else "pixel",
            provenance=self.provenance,
            overwrite=overwrite,
        )

    def files(self, path: Path) -> list[Path]:
        """Files that `write` makes of ``path``: PNG has one for each sample."""
        if suffix(path) == ".png" and self.sample_count > 1:
            count = range(self.sample_count)
            return [path.with_name(f"{path.stem}-{i}.png") for i in count]
        return [path]


# --- from a layer -------------------------------------------------------------


def _is_multiscale(data: Any, meta: Mapping[str, Any]) -> bool:
    if "multiscale" in meta:
        return bool(meta["multiscale"])
    return isinstance(data, (list, tuple)) and hasattr(data[0], "shape")


def _per_axis(values: Any, ndim: int, default: Any) -> list[Any]:
    """One value per axis: a single one is repeated, missing ones are the default."""
    if values is None:
        return [default] * ndim
    if isinstance(values, str) or not np.iterable(values):
        return [values] * ndim
    found = list(values)
    return [default] * (ndim - len(found)) + found[-ndim:]


def _axes(array: Any, meta: Mapping[str, Any], units: list[Any], *, rgb: bool) -> str:
    """Letters of the axes; an unnamed axis in a unit of length is depth."""
    ndim = array.ndim - rgb
    labels = _per_axis(meta.get("axis_labels"), ndim, "")
    layer = SimpleNamespace(axis_labels=labels, rgb=rgb, multiscale=False, data=array)
    axes = layer_axes(layer)
    unnamed = [a for a in axes if a not in _AXIS_LETTERS]
    for letter in reversed(unnamed):
        in_length = _micrometres(units[axes.index(letter)]) is not None
        if in_length and "Z" not in axes:
            axes = axes.replace(letter, "Z")
    return axes


def _micrometres(unit: Any) -> float | None:
    """One ``unit`` in µm; None if it is no length."""
    known = MICROMETRES.get(str(unit).strip().lower())
    if known is not None:
        return float(known)
    try:  # a unit of the library pint, which napari's layers hold
        return float((1.0 * unit).to("micrometer").magnitude)
    except (AttributeError, TypeError, ValueError):
        return None


def _steps(meta: Mapping[str, Any], ndim: int) -> npt.NDArray[np.float64]:
    """Edge of a pixel along each axis in world units.

    Rotation keeps lengths. ``affine`` may hold the pixel size, and is applied.
    """
    linear = np.diag(np.asarray(_per_axis(meta.get("scale"), ndim, 1.0), float))
    rotate = np.asarray(meta.get("rotate", np.eye(ndim)), float)
    if rotate.shape == (ndim, ndim):
        linear = rotate @ linear
    affine = meta.get("affine")
    if affine is not None:
        matrix = np.asarray(getattr(affine, "affine_matrix", affine), float)
        linear = matrix[:ndim, :ndim] @ linear
    steps: npt.NDArray[np.float64] = np.linalg.norm(linear, axis=0)
    return steps


def _pixel_size(
    axes: str, meta: Mapping[str, Any], units: list[Any], world_pixel_um: float | None
) -> dict[str, float]:
    """Axis letter to µm for the axes whose length is known; empty without Y and X."""
    steps = _steps(meta, len(units))
    found = {}
    for letter, unit, step in zip(axes, units, steps, strict=False):
        factor = _micrometres(unit)
        if factor is None and letter in "YX" and str(unit) == "pixel":
            factor = world_pixel_um
        if factor is not None and letter in "XYZ":
            found[letter] = float(step) * factor
    return found if {"Y", "X"} <= set(found) else {}


# --- to files -----------------------------------------------------------------


def named_targets(
    path: str | Path, names: Sequence[str], kind: str = ".ome.tif"
) -> list[Path]:
    """One file for each layer name.

    Parameters
    ----------
    path : path
        A file name with a suffix that can be written: used as it is for one layer, with
        the layers' names added for several. Anything else is a folder, in which the
        files get the layers' names.
    names : sequence of str
        Of the layers; need not differ.
    kind : str
        Suffix in a folder.
    """
    path = Path(path).expanduser()
    found = suffix(path)
    is_file = found in WRITABLE
    if is_file and len(names) == 1:
        return [path]
    stem = f"{path.name[: -len(found)]}-" if is_file else ""
    folder, end = (path.parent, found) if is_file else (path, kind)
    targets: list[Path] = []
    taken: set[str] = set()
    for name in names:
        base = stem + (_UNSAFE.sub("-", name).strip("-.") or "layer")
        candidate, count = base, 1
        while candidate.lower() in taken:
            count += 1
            candidate = f"{base}-{count}"
        taken.add(candidate.lower())
        targets.append(folder / f"{candidate}{end}")
    return targets


def write_all(
    exports: Iterable[Export], targets: Iterable[Path], *, overwrite: bool
) -> list[Path]:
    """Write each export to its target.

    Raises
    ------
    FlowSRError
        Names the layer at fault; files of the layers before it stay, and are named.
    """
    written: list[Path] = []
    for export, target in zip(exports, targets, strict=True):
        try:
            written += export.write(target, overwrite=overwrite)
        except FlowSRError as error:
            done = f" Written before it: {file_names(written)}." if written else ""
            message = f"Layer '{export.name}': {error}{done}"
            raise type(error)(message) from error
    return written


def file_names(paths: Iterable[Path]) -> str:
    """File names in one line."""
    return ", ".join(path.name for path in paths)
