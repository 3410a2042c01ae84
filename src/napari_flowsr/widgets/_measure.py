"""Where the page "Measure" of the Edit dock measures, and what. No Qt.

Regions and lines are brought to the pixels of the result through world coordinates;
lengths and areas come out in the unit of the target where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError
from napari_flowsr.widgets._edit_page import EditContext
from napari_flowsr.widgets._masks import Grid, mask_on, values_on

__all__ = ["QUANTITIES", "Line", "Region"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]

QUANTITIES = ("area", "count", "mean", "sum", "min", "max")
_SHORT = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "pixel": "px"}


def unit_name(unit: Any) -> str:
    """Unit as it is written: ``"µm"``."""
    return _SHORT.get(str(unit), str(unit))


# --- where, read in the main thread ---------------------------------------------


@dataclass(frozen=True)
class Region:
    """Pixels to measure, and what of them.

    Parameters
    ----------
    name : str
        Of the layer.
    mask : ndarray
        Bool, of the result, or of its plane ``plane``; colour not counted.
    plane : tuple of int or None
        Indices of leading axes; ``None``: all of the result.
    quantity : str
        Of `QUANTITIES`.
    threshold : float or None
        Pixels brighter than this count.
    pixel : float
        Area of a pixel in ``unit`` squared.
    unit : str
        Of lengths.
    """

    name: str
    mask: npt.NDArray[np.bool_]
    plane: tuple[int, ...] | None
    quantity: str
    threshold: float | None
    pixel: float
    unit: str

    @classmethod
    def of(
        cls,
        context: EditContext,
        layer: Any,
        quantity: str,
        threshold: float | None,
        *,
        label: int | None = None,
    ) -> Region:
        """Read a Labels or Shapes layer; of one label, if it is given."""
        grid, plane = _grid(context), None
        if _flat(layer, grid) and grid.ndim > 2:
            plane = shown_plane(context, grid)
            grid = Grid(
                grid.shape[-2:], grid.without(grid.ndim - 2).matrix, grid.units[-2:],
                grid.name,
            )  # fmt: skip
        if label is None:
            mask = mask_on(grid, layer)
        else:
            mask = np.asarray(values_on(grid, layer)) == label
            if not mask.any():
                raise OptionError(
                    f"No pixel of '{grid.name}' has the label {label} of "
                    f"'{layer.name}'. Choose another label in the layer's controls, "
                    "or measure all labels."
                )
        block = grid.matrix[-3:-1, -3:-1]
        area = float(abs(np.linalg.det(block)))
        return cls(
            layer.name,
            np.array(mask, bool),
            plane,
            quantity,
            threshold,
            area,
            unit_name(grid.units[-1]),
        )

    def value(self, image: Array) -> float:
        """Measure an image of the result; in colour the mean of the colours."""
        from napari_flowsr.inference.measured import region_measurement

        part = np.asarray(image if self.plane is None else image[self.plane])
        if part.ndim > self.mask.ndim:
            part = part.mean(-1)
        found = float(
            region_measurement(part, self.mask, self.quantity, threshold=self.threshold)
        )
        return found * self.pixel if self.quantity == "area" else found

    @property
    def label(self) -> str:
        """What is measured, with its unit."""
        if self.quantity == "area":
            return f"area, {self.unit}²"
        if self.quantity == "count":
            return "number of objects"
        return f"{self.quantity} intensity"


@dataclass(frozen=True)
class Line:
    """A line in a plane of the result, in its pixels.

    Parameters
    ----------
    name : str
        Of the layer.
    start, stop : tuple of float
        Y and X.
    plane : tuple of int
        Indices of leading axes.
    width : int
        Pixels to average over.
    length : float
        Of the line in ``unit``.
    unit : str
        Of lengths.
    """

    name: str
    start: tuple[float, float]
    stop: tuple[float, float]
    plane: tuple[int, ...]
    width: int
    length: float
    unit: str

    @classmethod
    def of(cls, context: EditContext, layer: Any, width: int) -> Line:
        """Read the selected line of a Shapes layer, or its last one."""
        grid = _grid(context)
        ends = _line_ends(layer)
        own = Grid.of(layer)
        extra = max(own.ndim - grid.ndim, 0)
        own = own.without(extra)
        wanted = grid.without(grid.ndim - own.ndim)
        matrix = own.to(wanted)
        at = ends[:, extra:] @ matrix[:-1, :-1].T + matrix[:-1, -1]
        lead = np.rint(at[:, :-2].mean(0)).astype(int)
        plane = tuple(int(i) for i in lead)
        if len(plane) < grid.ndim - 2:
            plane = shown_plane(context, grid)
        _check_inside(layer, at[:, -2:], plane, grid)
        world = (at[1] - at[0])[-2:] @ grid.matrix[-3:-1, -3:-1].T
        (y0, x0), (y1, x1) = at[:, -2:].tolist()
        return cls(
            layer.name,
            (y0, x0),
            (y1, x1),
            plane,
            width,
            float(np.linalg.norm(world)),
            unit_name(grid.units[-1]),
        )

    def values(self, image: Array) -> Vector:
        """Intensities along it; of a colour image the mean of the colours."""
        from napari_flowsr.inference.measured import line_profile

        part = np.asarray(image[self.plane])
        if part.ndim > 2:
            part = part.mean(-1)
        found = line_profile(part, self.start, self.stop, width=self.width)
        return np.asarray(found, np.float64)


def _grid(context: EditContext) -> Grid:
    pairing = context.session.pairing()
    if pairing.axes.replace("S", "")[-2:] != "YX":
        raise OptionError(
            f"The axes of '{pairing.target.name}' are {pairing.axes}; measuring needs "
            "Y and X last. Put them there (napari: layer menu, or numpy.moveaxis)."
        )
    return pairing.grid


def _flat(layer: Any, grid: Grid) -> bool:
    """Whether a layer has fewer axes than the result: it means the plane shown."""
    return int(layer.ndim) < grid.ndim


def shown_plane(context: EditContext, grid: Grid) -> tuple[int, ...]:
    """Indices of the plane that the viewer shows."""
    lead = grid.ndim - 2
    if lead <= 0:
        return ()
    point = np.asarray(context.viewer.dims.point, float)[-grid.ndim :]
    at = np.linalg.solve(grid.matrix, np.append(point, 1.0))[:lead]
    last = np.asarray(grid.shape[:lead]) - 1
    return tuple(int(i) for i in np.clip(np.rint(at), 0, last))


def _line_ends(layer: Any) -> Vector:
    """Both ends of the selected line, or of the last one."""
    kinds = list(layer.shape_type)
    lines = [i for i, kind in enumerate(kinds) if kind in ("line", "path")]
    chosen = [i for i in lines if i in layer.selected_data] or lines
    if not chosen:
        raise OptionError(
            f"'{layer.name}' has no line. Draw one with the line tool of the Shapes "
            "layer (key L)."
        )
    ends = np.asarray(layer.data[chosen[-1]], float)
    if len(ends) != 2:
        raise OptionError(
            f"The path in '{layer.name}' has {len(ends)} corners; a profile needs a "
            "straight line. Draw one with the line tool (key L), and select it."
        )
    return ends


def _check_inside(layer: Any, ends: Vector, plane: tuple[int, ...], grid: Grid) -> None:
    sides = np.asarray(grid.shape[-2:])
    outside = np.any(ends < -0.5) or np.any(ends > sides - 0.5)
    lead = zip(plane, grid.shape[: len(plane)], strict=True)
    if outside or not all(0 <= i < n for i, n in lead):
        raise OptionError(
            f"The line in '{layer.name}' leaves '{grid.name}'. Draw it within the "
            "image."
        )
    if np.allclose(ends[0], ends[1]):
        raise OptionError(f"The line in '{layer.name}' has no length. Draw it anew.")
