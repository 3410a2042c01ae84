"""The viewer, which napari hands to docks behind a proxy, and what releases moved."""

from __future__ import annotations

import weakref
from typing import Any

from napari.utils.events import EventEmitter

__all__ = [
    "camera_of",
    "canvas_size",
    "grid_of",
    "is_in_world_units",
    "layer_events",
    "viewer_reference",
]

_renamings: weakref.WeakKeyDictionary[Any, EventEmitter] = weakref.WeakKeyDictionary()


def viewer_reference(viewer: Any) -> weakref.ref[Any]:
    """Refer weakly to the viewer itself.

    The proxy that napari injects dies at once when only a weak reference holds it, and
    layers reached through it are proxies as well, which are not identical to the
    layers of events.
    """
    return weakref.ref(getattr(viewer, "__wrapped__", viewer))


def grid_of(viewer: Any) -> Any:
    """Grid model; it moved to ``viewer.canvas`` in napari 0.9."""
    canvas = getattr(viewer, "canvas", None)
    return getattr(canvas, "grid", None) or viewer.grid


def camera_of(viewer: Any) -> Any:
    """Camera; it moved to ``viewer.scene`` in napari 0.9."""
    scene = getattr(viewer, "scene", None)
    return getattr(scene, "camera", None) or viewer.camera


def canvas_size(viewer: Any) -> tuple[int, int]:
    """Height and width of the canvas; public in ``viewer.canvas`` from napari 0.9."""
    canvas = getattr(viewer, "canvas", None)
    height, width = viewer._canvas_size if canvas is None else canvas.size
    return height, width


def is_in_world_units(viewer: Any, layer: Any) -> bool:
    """Whether a layer's transform gives world coordinates without converting units.

    The viewer converts lengths from napari 0.7 on; before, a layer's unit is only a
    label.
    """
    extent = viewer.layers.extent
    if not hasattr(extent, "units"):
        return True
    units = extent.units
    return units is not None and tuple(units[-layer.ndim :]) == layer.units


def layer_events(viewer: Any) -> list[Any]:
    """Events after which layers or their names and order are others."""
    layers = viewer.layers
    events = layers.events
    renamed = getattr(events, "renamed", None) or _renaming(layers)
    return [events.inserted, events.removed, events.reordered, renamed]


def _renaming(layers: Any) -> EventEmitter:
    """Stand in for ``renamed``, which old layer lists lack (napari before 0.7)."""
    found = _renamings.get(layers)
    if found is None:
        found = _renamings[layers] = EventEmitter(type_name="renamed")

        # A list passes on the events of what is in it.
        def tell(event: Any, emitter: EventEmitter = found) -> None:
            if event.type == "name":
                emitter()

        layers.events.connect(tell)
    return found
