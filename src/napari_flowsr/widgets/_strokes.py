"""Watching a mask that is painted in: what changed, and when the brush is lifted."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

__all__ = ["Stroke", "StrokeWatch", "checksum"]

_CALM = 120  # ms without a change, after which a change without the mouse counts
_LIFTED = 20  # ms after the mouse was let go: what napari does then is done
# Shapes are done; "adding", "changing" and "removing" come before.
_DONE = ("added", "changed", "removed")


def checksum(mask: Any) -> int:
    """Of what is painted; a changed view of the same mask changes nothing.

    A mask that is computed when it is looked at is left so: of it, the shown plane.
    """
    if mask._type_string == "shapes":
        parts = [np.asarray(x, float).tobytes() for x in mask.data]
        kinds = repr(list(mask.shape_type)).encode()
        return zlib.crc32(kinds + b"".join(parts))
    whole = isinstance(mask.data, np.ndarray)
    values = mask.data if whole else mask._slice.image.raw
    return zlib.crc32(np.ascontiguousarray(values).data)


def _glance(mask: Any) -> Any:
    """What differs after an undo, and where the shown plane has other values.

    No event tells undo from a moved slider, and to sum a large mask takes a while.
    """
    if mask._type_string == "shapes":
        return None
    steps = [len(getattr(mask, f"_{x}_history", ())) for x in ("undo", "redo")]
    plane = np.ascontiguousarray(mask._slice.image.raw)
    return *steps, zlib.crc32(plane.data)


@dataclass(frozen=True)
class Stroke:
    """States of the mask before and after the strokes that led to an edit."""

    before: int
    after: int


class StrokeWatch(QObject):
    """Tells when a mask was changed and nobody is at work on it.

    Painting emits ``paint`` and ``set_data``, but the latter comes with undo, a moved
    slider and zooming as well: a change is what changes the checksum.

    Parameters
    ----------
    parent : QObject
        Owner.

    Attributes
    ----------
    seen : int
        State of the mask when it was last looked at.
    """

    # A checksum is too large for the integers of Qt.
    painted = Signal(object)
    """A new state, reached by brush, fill, eraser or assignment."""
    stepped = Signal(object)
    """A new state, reached without painting: napari's own undo or redo."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._mask: weakref.ref[Any] | None = None
        self._is_down = self._is_painted = False
        self.seen = 0
        self._seen_plane: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look)

    @property
    def mask(self) -> Any:
        """The layer that is watched, or ``None``."""
        return None if self._mask is None else self._mask()

    @property
    def _is_shapes(self) -> bool:
        return getattr(self.mask, "_type_string", "") == "shapes"

    def watch(self, mask: Any) -> None:
        """Watch this layer, and no other; ``None``: none."""
        old = self.mask
        if old is mask:
            return
        self._timer.stop()
        if old is not None:
            for name in ("paint", "set_data", "data"):
                if hasattr(old.events, name):
                    getattr(old.events, name).disconnect(self._changed)
            if self._dragged in old.mouse_drag_callbacks:
                old.mouse_drag_callbacks.remove(self._dragged)
        self._mask, self._is_down = None, False
        if mask is not None:
            self._mask, self.seen = weakref.ref(mask), checksum(mask)
            self._seen_plane = _glance(mask)
            for name in ("paint", "set_data", "data"):
                if hasattr(mask.events, name):
                    getattr(mask.events, name).connect(self._changed)
            mask.mouse_drag_callbacks.append(self._dragged)

    def _dragged(self, layer: Any, event: Any) -> Iterator[None]:
        """From pressing the mouse to letting it go."""
        self._is_down = True
        yield
        while event.type == "mouse_move":
            yield
        self._is_down = False
        self._timer.start(_LIFTED)

    def _changed(self, event: Any = None) -> None:
        kind = getattr(event, "type", "")
        if self._is_shapes:
            # Of a shape that is being drawn there is more to come.
            action = str(getattr(event, "action", "")).rpartition(".")[2].lower()
            if kind != "data" or action not in _DONE:
                return
        if kind in ("paint", "data"):
            self._is_painted = True
        if not self._is_down:
            self._timer.start(_CALM)

    def _look(self) -> None:
        mask = self.mask
        if mask is None or self._is_down:
            return
        if self._is_shapes and not self._is_painted:
            return  # shapes have no undo: they change only when one is done
        before, self._seen_plane = self._seen_plane, _glance(mask)
        if not self._is_painted and not self._is_shapes and before == self._seen_plane:
            return  # the view is another: slider, zoom, look
        now, was_painted = checksum(mask), self._is_painted
        self._is_painted = False
        if now == self.seen:
            return
        (self.painted if was_painted else self.stepped).emit(now)
        self.seen = now
