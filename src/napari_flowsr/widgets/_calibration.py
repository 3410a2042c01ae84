"""Pixel sizes given in a dock: the input gets them as well as what is made of it.

An output in µm beside an input in pixels would lie elsewhere and be of another size.
No Qt, no viewer of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from napari_flowsr.widgets._geometry import in_pixels, layer_axes, pixel_um, world_zoom

__all__ = ["calibrate", "left_in_pixels", "takes_pixel_size", "was_given"]

# Layers whose size was given here. It may be corrected, unlike one of their own.
_given: weakref.WeakSet[Any] = weakref.WeakSet()


def was_given(layer: Any) -> bool:
    """Whether the layer has a pixel size that `calibrate` gave it."""
    axes = layer_axes(layer)
    units = {str(layer.units[axes.index(letter)]) for letter in "YX"}
    return layer in _given and units == {"micrometer"}


def takes_pixel_size(layer: Any) -> bool:
    """Whether a pixel size can be given: there is none, or one that was given."""
    return in_pixels(layer) or was_given(layer)


def calibrate(layer: Any, size: float, alike: Iterable[Any] = ()) -> float:
    """Set the edge of a layer's pixels, as `output_geometry` does it for outputs.

    Parameters
    ----------
    layer : napari.layers.Image
        The input; see `takes_pixel_size`.
    size : float
        In µm.
    alike : iterable of layers
        What has to keep its place on the image; left alone where its units differ.

    Returns
    -------
    float
        Factor of all lengths in the plane; 1 where nothing had to be changed.
    """
    if not in_pixels(layer) and np.isclose(pixel_um(layer) or 0, size, rtol=1e-9):
        return 1.0
    zoom = world_zoom(layer, size)
    plane = _plane(layer)
    units = [str(layer.units[axis]) for axis in plane]
    for other in {id(x): x for x in (*alike, layer)}.values():
        fits = other.ndim >= -min(plane)
        if fits and [str(other.units[axis]) for axis in plane] == units:
            _zoom(other, zoom, plane)
    _given.add(layer)
    return float(zoom[plane[1]])


def left_in_pixels(layers: Iterable[Any], layer: Any) -> list[Any]:
    """Layers that are in pixels where ``layer`` has its Y and X."""
    plane = _plane(layer)
    return [
        other
        for other in layers
        if other.ndim >= -min(plane)
        and any(str(other.units[axis]) == "pixel" for axis in plane)
    ]


def _plane(layer: Any) -> tuple[int, int]:
    """Y and X counted from the last axis, at which napari aligns layers."""
    axes = layer_axes(layer)
    return axes.index("Y") - layer.ndim, axes.index("X") - layer.ndim


def _zoom(layer: Any, zoom: Any, plane: tuple[int, int]) -> None:
    factor = np.ones(layer.ndim)
    affine = np.array(layer.affine.affine_matrix, dtype=float)
    units = [str(unit) for unit in layer.units]
    for axis in plane:
        factor[axis] = zoom[axis]
        units[axis] = "micrometer"
    affine[:-1, -1] *= factor
    scale, translate = np.asarray(layer.scale), np.asarray(layer.translate)
    layer.scale, layer.translate = scale * factor, translate * factor
    layer.affine, layer.units = affine, units
