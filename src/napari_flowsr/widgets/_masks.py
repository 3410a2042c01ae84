"""Masks of any layer on the grid of another, through world coordinates. No Qt.

A layer's transforms (scale, translate, rotate, shear, affine) are composed once into
one matrix; `data_to_world` of many points at once gives nonsense. Layers with units of
one kind are brought to the same unit, as napari does when it draws them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError
from napari_flowsr.widgets._geometry import layer_array

__all__ = ["Grid", "check_units", "feathered", "mask_on", "values_on"]

Array = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

_FLAT = 1e-6  # smaller entries of a matrix of unit size are rounding
_ROUND = 1e-6  # a pixel's border counts to one side, whatever the rounding


@dataclass(frozen=True)
class Grid:
    """Pixels of a layer, and where they lie.

    Parameters
    ----------
    shape : tuple of int
        Colour not counted.
    matrix : ndarray
        ``(n + 1, n + 1)``: indices to world coordinates.
    units : tuple
        Of the world coordinates.
    name : str
        Of the layer.
    """

    shape: tuple[int, ...]
    matrix: Matrix
    units: tuple[Any, ...]
    name: str

    @classmethod
    def of(cls, layer: Any, drop: int = 0) -> Grid:
        """Grid of a layer without its first axes."""
        n = int(layer.ndim)
        origin = np.asarray(layer.data_to_world(np.zeros(n)), float)
        matrix = np.eye(n + 1)
        matrix[:n, n] = origin
        for axis, unit in enumerate(np.eye(n)):
            matrix[:n, axis] = np.asarray(layer.data_to_world(unit), float) - origin
        shape: tuple[int, ...] = ()
        if layer._type_string in ("image", "labels"):
            shape = tuple(int(side) for side in layer_array(layer).shape[drop:n])
        return cls(shape, matrix[drop:, drop:], tuple(layer.units[drop:]), layer.name)

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.matrix) - 1

    def without(self, drop: int) -> Grid:
        """The same without its first axes, of which the others do not depend."""
        if drop and np.abs(self.matrix[drop:-1, :drop]).max(initial=0) > _FLAT:
            raise OptionError(
                f"'{self.name}' is turned out of the plane of the image, so that it "
                "cannot be matched to it. Take the rotation or shear off its axes "
                "other than Y and X."
            )
        return Grid(
            self.shape[drop:], self.matrix[drop:, drop:], self.units[drop:], self.name
        )

    def to(self, other: Grid) -> Matrix:
        """Indices of this grid to those of another of as many axes."""
        check_units(self, other)
        factors = [*map(_factor, self.units, other.units), 1.0]
        in_units = np.diag(np.asarray(factors, float)) @ self.matrix
        return np.asarray(np.linalg.solve(other.matrix, in_units), np.float64)


def _factor(unit: Any, other: Any) -> float:
    if str(unit) == str(other):
        return 1.0
    return float((1 * unit).to(other).magnitude)


def check_units(one: Any, other: Any) -> None:
    """Raise `OptionError` unless two layers or grids have units of one kind."""
    for a, b in zip(one.units[::-1], other.units[::-1], strict=False):
        try:
            _factor(a, b)
        except (AttributeError, TypeError, ValueError) as error:
            raise OptionError(
                f"'{one.name}' is in {a} and '{other.name}' in {b}, so that it is not "
                "known where they lie to each other. Give both the same unit "
                "(layer.units and layer.scale), or use 'New mask'."
            ) from error


# --- values of a layer -----------------------------------------------------------


def values_on(grid: Grid, layer: Any, outside: float = 0) -> Array:
    """Values of a Labels or one-channel Image layer on a grid: the nearest.

    Axes that the layer does not have are broadcast; extra leading ones must have one
    plane that holds anything.

    Parameters
    ----------
    grid : Grid
        Wanted.
    layer : napari.layers.Labels or Image
        Of any transform.
    outside : float
        Value where the layer does not reach.
    """
    data, own = layer_array(layer), Grid.of(layer)
    data, own = _same_axes(data, own, grid)
    lead = grid.ndim - own.ndim
    wanted = grid.without(lead)
    dtype = np.result_type(data.dtype, np.float32) if np.isnan(outside) else data.dtype
    matrix = wanted.to(own)
    if own.shape == wanted.shape and np.allclose(matrix, np.eye(len(matrix))):
        found = np.array(data, dtype=dtype)
    else:
        found = _nearest(data, matrix, wanted.shape, dtype, outside)
    return np.broadcast_to(found, grid.shape)


def _same_axes(data: Any, own: Grid, grid: Grid) -> tuple[Any, Grid]:
    """Without leading axes that the grid does not have."""
    extra = own.ndim - grid.ndim
    if extra <= 0:
        return data, own
    planes = np.asarray(data).reshape(-1, *own.shape[extra:])
    held = [i for i, plane in enumerate(planes) if plane.any()]
    if len(planes) > 1 and len(held) != 1:
        where = f"{len(held)} of its {len(planes)} planes" if held else "no plane"
        raise OptionError(
            f"'{own.name}' has {own.ndim} axes, shape {own.shape}, with something in "
            f"{where}; '{grid.name}' has {grid.ndim}. Leave only one plane painted, "
            "or use 'New mask'."
        )
    return planes[held[0] if held else 0], own.without(extra)


def _nearest(
    data: Any, matrix: Matrix, shape: tuple[int, ...], dtype: Any, outside: float
) -> Array:
    """Plane by plane: ``matrix`` maps indices of the result to those of ``data``."""
    n = len(shape)
    lead = n - 2
    if lead and np.abs(matrix[:lead, lead:n]).max(initial=0) > _FLAT:
        raise OptionError(
            "The mask is turned out of the plane of the image. Take the rotation or "
            "shear off its axes other than Y and X."
        )
    out = np.full(shape, outside, dtype)
    for index in np.ndindex(*shape[:lead]):
        at = matrix[:n, :lead] @ np.asarray(index, float) + matrix[:n, n]
        plane = _rounded(at[:lead])
        if np.any(plane < 0) or np.any(plane >= data.shape[:lead]):
            continue
        values = np.asarray(data[tuple(plane)])
        if outside == 0 and not values.any():
            continue
        block = matrix[lead:n, lead:n]
        out[index] = _plane(values, block, at[lead:], out[index])
    return out


def _plane(values: Array, block: Matrix, shift: Matrix, out: Array) -> Array:
    """One plane: ``block`` and ``shift`` map its indices to those of ``values``."""
    y = np.arange(out.shape[0], dtype=float)[:, None]
    x = np.arange(out.shape[1], dtype=float)[None]
    rows = _rounded(block[0, 0] * y + block[0, 1] * x + shift[0])
    columns = _rounded(block[1, 0] * y + block[1, 1] * x + shift[1])
    inside = (rows >= 0) & (rows < values.shape[0])
    inside &= (columns >= 0) & (columns < values.shape[1])
    rows, columns = rows.clip(0, values.shape[0] - 1), columns.clip(0, None)
    found = values[rows, columns.clip(0, values.shape[1] - 1)]
    return np.where(inside, found, out)


def _rounded(values: Matrix) -> npt.NDArray[np.int64]:
    # Half-way between two pixels one of them is taken on both sides of rounding.
    return np.floor(values + 0.5 + _ROUND).astype(np.int64)


# --- shapes -------------------------------------------------------------------------


def _shapes_on(grid: Grid, layer: Any) -> npt.NDArray[np.bool_]:
    """Pixels of the grid whose centres lie in one of the shapes."""
    from skimage.draw import polygon  # here, for it takes a while to import

    own = Grid.of(layer)
    extra = own.ndim - grid.ndim
    if extra > 0:  # drawn at some sample: it is the place in the plane that counts
        own = own.without(extra)
    lead = grid.ndim - own.ndim
    wanted = grid.without(lead)
    matrix = own.to(wanted)
    out = np.zeros(wanted.shape, bool)
    for outline in _outlines(layer):
        vertices = np.asarray(outline, float)[:, max(extra, 0) :]
        at = vertices @ matrix[:-1, :-1].T + matrix[:-1, -1]
        plane = _rounded(at[:, :-2].mean(0))
        if np.any(plane < 0) or np.any(plane >= wanted.shape[:-2]):
            continue
        part = out[tuple(plane)]
        inside = polygon(at[:, -2], at[:, -1], part.shape)  # type: ignore[no-untyped-call]
        part[inside] = True
    return np.broadcast_to(out, grid.shape)


def _outlines(layer: Any) -> Iterator[Array]:
    """Vertices of areas: of lines and paths, a strip as wide as their edge."""
    kinds, widths = list(layer.shape_type), list(layer.edge_width)
    for kind, width, data in zip(kinds, widths, layer.data, strict=True):
        corners = np.asarray(data, float)
        if kind == "ellipse":
            yield _ellipse(corners)
        elif kind in ("line", "path"):
            for start, end in pairwise(corners):
                yield _strip(start, end, float(width))
        else:
            yield corners


def _ellipse(corners: Array) -> Array:
    """Outline of the ellipse in a (turned, sheared) rectangle."""
    centre = corners.mean(0)
    a, b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)[:, None]
    found: Array = centre + np.cos(angle) * a + np.sin(angle) * b
    return found


def _strip(start: Array, end: Array, width: float) -> Array:
    along = end - start
    across = np.zeros_like(along)
    across[-2:] = (-along[-1], along[-2])
    length = float(np.linalg.norm(along[-2:])) or 1.0
    side = across / length * width / 2
    return np.stack((start + side, end + side, end - side, start - side))


# --- masks ----------------------------------------------------------------------------


def mask_on(grid: Grid, layer: Any) -> npt.NDArray[np.bool_]:
    """Where a Labels or Shapes layer marks a grid.

    Raises
    ------
    OptionError
        Nothing is marked, or nothing of it lies on the grid; other axes or units that
        cannot be matched; another kind of layer.
    """
    kind = getattr(layer, "_type_string", type(layer).__name__)
    if kind not in ("labels", "shapes"):
        raise OptionError(
            f"The mask '{getattr(layer, 'name', layer)}' is a {kind} layer; paint in "
            "a Labels layer, or draw in a Shapes layer. 'New mask' makes one."
        )
    empty = len(layer.data) == 0 if kind == "shapes" else not np.any(layer_array(layer))
    if empty:
        raise OptionError(
            f"The mask '{layer.name}' is empty. Paint or draw where the image is to "
            "change."
        )
    found = _shapes_on(grid, layer) if kind == "shapes" else values_on(grid, layer) != 0
    if not found.any():
        raise OptionError(
            f"The mask '{layer.name}' does not cover any pixel of '{grid.name}': it "
            "lies outside of it, or between its pixels. Move it onto the image, or "
            "use 'New mask'."
        )
    return found


def feathered(mask: npt.NDArray[np.bool_], width: float) -> npt.NDArray[np.float32]:
    """Soft mask: 1 within, falling to 0 over ``width`` pixels around it.

    Outward, so that thin strokes keep their full weight.
    """
    soft: npt.NDArray[np.float32] = mask.astype(np.float32)
    if width > 0:
        for index in np.ndindex(*mask.shape[:-2]):
            if mask[index].any():
                soft[index] = _softened(mask[index], width)
    return soft


def _softened(mask: npt.NDArray[np.bool_], width: float) -> npt.NDArray[np.float32]:
    from scipy.ndimage import distance_transform_edt

    reach = int(np.ceil(width)) + 1
    box = []
    for axis in (1, 0):
        (along,) = np.nonzero(mask.any(axis))
        box.append(slice(max(0, int(along[0]) - reach), int(along[-1]) + reach + 1))
    out = mask.astype(np.float32)
    near = tuple(box)  # distances are needed there only
    distance = distance_transform_edt(~mask[near])
    out[near] = np.clip(1 - distance / (width + 1), 0, 1)
    return out
