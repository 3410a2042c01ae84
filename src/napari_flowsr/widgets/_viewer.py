"""The viewer, which napari hands to docks behind a proxy, and its camera."""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["camera_of", "grid_of", "viewer_reference"]


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
