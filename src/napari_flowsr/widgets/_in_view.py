"""What a viewer shows of a layer, for work that is done only there. No Qt."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from napari_flowsr.errors import FlowSRError
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.lazy_image import HRBox
from napari_flowsr.widgets._geometry import visible_box
from napari_flowsr.widgets._viewer import (
    camera_of,
    canvas_size,
    is_in_world_units,
)

__all__ = ["shown_part"]


def shown_part(viewer: Any, layer: Any, geometry: Geometry) -> tuple[int, HRBox | None]:
    """Plane that is shown, and the box of it where upscaling can be seen.

    No box where the layer is hidden, out of view, cut through other axes, in 3-D, or so
    small that a pixel of the screen covers an input pixel or more: results look there
    as their input does.

    Parameters
    ----------
    viewer : napari.Viewer
        What is looked at.
    layer : napari.layers.Image
        A multiscale layer of the output shape.
    geometry : Geometry
        Of input and output.
    """
    dims, axes = viewer.dims, geometry.axes
    offset = dims.ndim - layer.ndim
    position = np.asarray(layer.world_to_data(dims.point[offset:]), float)
    plane = 0
    for axis, side in zip(geometry.loop_axes, geometry.loop_shape, strict=True):
        plane = plane * side + int(np.clip(np.round(position[axis]), 0, side - 1))
    factor = max(layer.downsample_factors[layer.data_level])
    is_fine = layer.data_level == 0 or factor < geometry.scale
    if not layer.visible or not is_fine or dims.ndisplay != 2:
        return plane, None
    try:
        box = visible_box(layer, dims)
    except FlowSRError:
        return plane, None
    y, x = axes.index("Y"), axes.index("X")
    found = box.start[y], box.stop[y], box.start[x], box.stop[x]
    return plane, _clipped(viewer, layer, (y, x), found)


def _clipped(viewer: Any, layer: Any, yx: tuple[int, int], box: HRBox) -> HRBox:
    """What of a box lies in the canvas.

    Of a multiscale layer napari keeps the pixels of a wider view when it is zoomed in
    within a size. Where the layer's units are not the viewer's, the box stays as it is.
    """
    if not is_in_world_units(viewer, layer):
        return box
    camera, dims = camera_of(viewer), viewer.dims
    half = np.asarray(canvas_size(viewer), float) / camera.zoom / 2
    low, high = camera.center[-2:] - half, camera.center[-2:] + half
    corners = []
    for corner in itertools.product(*zip(low, high, strict=True)):
        world = np.asarray(dims.point, float)
        world[list(dims.displayed[-2:])] = corner
        at = layer.world_to_data(world[dims.ndim - layer.ndim :])
        corners.append([at[axis] for axis in yx])
    first = np.floor(np.min(corners, axis=0) + 0.5).astype(int)
    last = np.ceil(np.max(corners, axis=0) + 0.5).astype(int)
    y0, y1 = max(box[0], int(first[0])), min(box[1], int(last[0]))
    x0, x1 = max(box[2], int(first[1])), min(box[3], int(last[1]))
    return (y0, y1, x0, x1) if y0 < y1 and x0 < x1 else box
