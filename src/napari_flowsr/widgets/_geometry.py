"""Where an output lies in the world, and what part of the input it comes from.

napari puts the centre of pixel 0 at ``translate``. An output has finer pixels, so the
centre of its first pixel lies elsewhere than that of the input although their outer
corners are the same. Everything here reads public attributes of layers and of the
viewer model; neither napari nor Qt is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference.axes import parse_axes

__all__ = ["Box", "layer_array", "layer_axes", "output_geometry", "resolve_roi"]
__all__ += ["in_pixels", "pixel_um", "shapes_box", "visible_box", "whole_box"]
__all__ += ["world_zoom"]

Vector = npt.NDArray[np.float64]

# Words on axis labels that say what an axis is, in lower case.
_LETTERS = {"t": "T", "time": "T", "z": "Z", "depth": "Z", "c": "C", "channel": "C"}
_LETTERS |= {"ch": "C", "y": "Y", "x": "X", "sample": "N"}


@dataclass(frozen=True)
class Box:
    """A range of data indices along each axis of a layer (colour not counted)."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index that cuts the box out; it keeps every axis."""
        return tuple(map(slice, self.start, self.stop))

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))


# --- the input ----------------------------------------------------------------


def layer_array(layer: Any) -> Any:
    """Full-resolution data of an Image layer; level 0 of a multiscale one."""
    return layer.data[0] if layer.multiscale else layer.data


def layer_axes(layer: Any) -> str:
    """One letter per data axis, from the layer's axis labels where they say.

    The last two axes are Y and X unless labels name others; a leading axis without a
    telling label gets a letter that has no meaning of its own. ``S`` is the colour
    axis of an rgb layer.
    """
    named = [_LETTERS.get(str(label).strip().lower()) for label in layer.axis_labels]
    known = [letter for letter in named if letter]
    if len(set(known)) != len(known) or not {"Y", "X"} <= set(known):
        known, named = [], [*named[:-2], "Y", "X"]
        for i, letter in enumerate(named):
            named[i] = None if letter in known else letter
            known += [letter] if letter else []
    spare = iter(a for a in "ABDEFGHIJKLMOPQRUVW" if a not in known)
    axes = "".join(letter or next(spare) for letter in named)
    return parse_axes(axes + "S" * bool(layer.rgb), layer_array(layer).shape)


def in_pixels(layer: Any) -> bool:
    """Whether the layer's Y and X are in pixels, not in a unit of length."""
    axes = layer_axes(layer)
    return all(str(layer.units[axes.index(a)]) == "pixel" for a in "YX")


def pixel_um(layer: Any, given: float | None = None, axis: str = "X") -> float | None:
    """Edge of a pixel in µm; ``given`` is that of a layer in pixels. None: unknown."""
    if in_pixels(layer):
        return given
    i = layer_axes(layer).index(axis)
    try:  # a unit of the library pint, which napari's layers hold
        size = float((layer.scale[i] * layer.units[i]).to("micrometer").magnitude)
    except (AttributeError, TypeError, ValueError):
        return None
    return size if 0 < size < math.inf else None


def whole_box(layer: Any) -> Box:
    """Everything."""
    shape = tuple(int(n) for n in layer_array(layer).shape[: layer.ndim])
    return Box((0,) * layer.ndim, shape)


def _clipped(layer: Any, low: Vector, high: Vector, what: str) -> Box:
    """Whole pixels between two corners in data coordinates (pixel centres)."""
    whole = whole_box(layer)
    start = np.clip(np.floor(low + 0.5), 0, whole.stop).astype(int)
    stop = np.clip(np.ceil(high + 0.5), 0, whole.stop).astype(int)
    if np.any(stop <= start):
        raise ImageError(
            f"{what} does not overlap the image {layer.name!r}. Move it onto the "
            "image, or choose the whole image."
        )
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


def _at_current_slice(
    layer: Any, box: Box, point: Sequence[float], shown: set[int]
) -> Box:
    """Narrow the box to the current position along the axes that are not displayed."""
    position = np.asarray(layer.world_to_data(point), dtype=float)
    start, stop = list(box.start), list(box.stop)
    for axis in range(layer.ndim):
        if axis not in shown:
            here = int(np.clip(np.round(position[axis]), start[axis], stop[axis] - 1))
            start[axis], stop[axis] = here, here + 1
    return Box(tuple(start), tuple(stop))


def visible_box(layer: Any, dims: Any) -> Box:
    """What the canvas shows of the layer: the visible field, in the current slice.

    Parameters
    ----------
    layer : napari.layers.Image
        Its ``corner_pixels`` are in pixels of the level that is drawn.
    dims : napari.components.Dims
        Of the viewer.

    Raises
    ------
    ImageError
        Nothing of the layer is visible.
    OptionError
        Other axes than the image's Y and X are displayed.
    """
    factors = layer.downsample_factors[layer.data_level] if layer.multiscale else 1.0
    corners = np.asarray(layer.corner_pixels, dtype=float)
    # Corner pixels are inclusive indices; a pixel reaches half a step to both sides.
    low, high = corners[0] * factors - 0.5, (corners[1] + 1) * factors - 0.5
    offset = dims.ndim - layer.ndim
    shown = {axis - offset for axis in dims.displayed if axis >= offset}
    axes = layer_axes(layer)
    if not {axes.index("Y"), axes.index("X")} <= shown:
        raise OptionError(
            f"The canvas does not show Y and X of {layer.name!r}: of a cut through "
            "other axes the visible field would be a few rows. Put the axes back in "
            "their order, or choose the whole image or a rectangle in a Shapes layer."
        )
    whole = whole_box(layer)
    for axis in range(layer.ndim):
        if axis not in shown:
            low[axis], high[axis] = -0.5, whole.stop[axis] - 0.5
    box = _clipped(layer, low, high, "The visible field")
    return _at_current_slice(layer, box, dims.point[offset:], shown)


def shapes_box(layer: Any, shapes: Any, dims: Any) -> Box:
    """Bounding box, in the image's pixels, of a shape: the selected or the last one.

    The corners go through world coordinates, so that the Shapes layer may have any
    transform of its own.

    Raises
    ------
    OptionError
        The layer has no shape.
    ImageError
        The shape lies outside the image.
    """
    if len(shapes.data) == 0:
        raise OptionError(
            f"The Shapes layer {shapes.name!r} is empty. Draw a rectangle in it, or "
            "choose another region."
        )
    chosen = sorted(shapes.selected_data) or [len(shapes.data) - 1]
    corners = np.concatenate([np.asarray(shapes.data[i], float) for i in chosen])
    point = np.asarray(dims.point, dtype=float)
    offset = dims.ndim - layer.ndim
    found = []
    for corner in corners:
        world = point.copy()
        own = np.asarray(shapes.data_to_world(corner), dtype=float)
        world[len(world) - len(own) :] = own
        found.append(layer.world_to_data(world[max(offset, 0) :]))
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    axes = layer_axes(layer)
    shown = {axes.index("Y"), axes.index("X")}
    whole = whole_box(layer)
    for axis in range(layer.ndim):
        if axis not in shown:
            low[axis], high[axis] = -0.5, whole.stop[axis] - 0.5
    # A shape covers the pixels whose centres it encloses, at least one. A centre on its
    # border counts at the start, not at the end: from 8 to 24 are 16 pixels.
    for axis in shown:
        if high[axis] - low[axis] > 1:
            first, last = np.round((low[axis], high[axis]), 6)
            low[axis], high[axis] = np.ceil(first) - 0.5, np.ceil(last) - 0.5
    box = _clipped(layer, low, high, f"The shape in {shapes.name!r}")
    return _at_current_slice(layer, box, point[max(offset, 0) :].tolist(), shown)


def resolve_roi(layer: Any, roi: Any, dims: Any | None) -> Box:
    """Return the box that a session's ``roi`` means now.

    Parameters
    ----------
    layer : napari.layers.Image
        The input.
    roi : "whole", "view", Shapes layer, or (y, x, height, width)
        In pixels of the input where it is numbers.
    dims : napari.components.Dims or None
        Needed for ``"view"`` and shapes.
    """
    if isinstance(roi, str) and roi == "whole":
        return whole_box(layer)
    if isinstance(roi, tuple):
        axes = layer_axes(layer)
        y, x, height, width = roi
        low, high = np.zeros(layer.ndim) - 0.5, np.asarray(whole_box(layer).stop) - 0.5
        for letter, start, size in (("Y", y, height), ("X", x, width)):
            axis = axes.index(letter)
            low[axis], high[axis] = start - 0.5, start + size - 0.5
        return _clipped(layer, low, high, f"The region {roi}")
    if dims is None:
        raise OptionError(
            f"roi is {roi!r}, which only a viewer can tell. Give 'whole' or "
            "(y, x, height, width)."
        )
    return visible_box(layer, dims) if roi == "view" else shapes_box(layer, roi, dims)


# --- the output ---------------------------------------------------------------


def _world_shift(layer: Any, delta: Vector) -> Vector:
    """``R · Shear · diag(scale) · delta``: data offset to physical offset.

    Taken from the layer's own transform, without its ``affine``, which acts afterwards
    and is copied as it is.
    """
    world = np.asarray(layer.data_to_world(delta), float)
    world -= np.asarray(layer.data_to_world(np.zeros_like(delta)), float)
    linear = np.asarray(layer.affine.affine_matrix, float)[:-1, :-1]
    shift: Vector = np.linalg.solve(linear, world)
    return shift


def world_zoom(layer: Any, size: float | None) -> Vector:
    """Factor of the lengths along each axis that gives X pixels of ``size``.

    Y and X have one factor, so that rotations between them stay rotations.
    """
    zoom = np.ones(layer.ndim)
    if size is not None:
        axes = layer_axes(layer)
        plane = [axes.index("Y"), axes.index("X")]
        zoom[plane] = size / float(layer.scale[plane[1]])
    return zoom


def _embedded(matrix: npt.ArrayLike, extra: int) -> Vector:
    """Put a matrix behind ``extra`` leading axes that it leaves alone."""
    matrix = np.asarray(matrix, dtype=float)
    out = np.eye(len(matrix) + extra)
    out[extra:, extra:] = matrix
    return out


def output_geometry(
    layer: Any,
    box: Box,
    hr_shape: Sequence[float],
    *,
    leading: Iterable[str] = (),
    pixel_size_um: float | None = None,
) -> dict[str, Any]:
    """Keyword arguments that put an output where its input lies.

    Parameters
    ----------
    layer : napari.layers.Image
        The input.
    box : Box
        The part of it that was enlarged.
    hr_shape : sequence of float
        Of one sample; colour, if any, last. Its ratio to the shape of ``box`` is the
        scale.
    leading : iterable of str
        Labels of axes in front of the layer's own, such as ``"sample"``.
    pixel_size_um : float, optional
        Edge of an input pixel. The output lies on the input when that has got the
        same size, by `napari_flowsr.widgets._calibration.calibrate`.

    Returns
    -------
    dict
        ``scale, translate, rotate, shear, affine, units, axis_labels``.
    """
    axes = layer_axes(layer)[: layer.ndim]
    factor = np.ones(layer.ndim)
    for letter in "YX":
        axis = axes.index(letter)
        factor[axis] = hr_shape[axis] / box.shape[axis]
    delta = np.asarray(box.start, float) + 0.5 / factor - 0.5
    zoom = world_zoom(layer, pixel_size_um)
    scale = np.asarray(layer.scale, float) * zoom / factor
    translate = np.asarray(layer.translate, float) * zoom
    translate += _world_shift(layer, zoom * delta)
    affine = np.array(layer.affine.affine_matrix, dtype=float)
    affine[:-1, -1] *= zoom
    units = [str(unit) for unit in layer.units]
    if pixel_size_um is not None:
        for letter in "YX":
            units[axes.index(letter)] = "micrometer"
    labels = tuple(leading)
    extra = len(labels)
    return {
        "scale": np.concatenate([np.ones(extra), scale]),
        "translate": np.concatenate([np.zeros(extra), translate]),
        "rotate": _embedded(layer.rotate, extra),
        "shear": _shear_matrix(layer.shear, layer.ndim, extra),
        "affine": _embedded(affine, extra),
        "units": ("pixel",) * extra + tuple(units),
        "axis_labels": labels + tuple(layer.axis_labels),
    }


def _shear_matrix(shear: npt.ArrayLike, ndim: int, extra: int) -> Vector:
    """Shear as a matrix: napari tells it as the values above the diagonal."""
    values = np.asarray(shear, dtype=float)
    if values.ndim == 1:
        matrix = np.eye(ndim)
        matrix[np.triu_indices(ndim, 1)] = values
        values = matrix
    return _embedded(values, extra)
