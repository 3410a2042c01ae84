"""Weak reference to the viewer, which napari hands to docks behind a proxy."""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["viewer_reference"]


def viewer_reference(viewer: Any) -> weakref.ref[Any]:
    """Refer weakly to the viewer itself.

    The proxy that napari injects dies at once when only a weak reference holds it, and
    layers reached through it are proxies as well, which are not identical to the
    layers of events.
    """
    return weakref.ref(getattr(viewer, "__wrapped__", viewer))
