"""Edits after each stroke of the brush, undone together with it."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.QtCore import QObject

from napari_flowsr.widgets._edit_session import is_edit_layer
from napari_flowsr.widgets._strokes import Stroke, StrokeWatch

__all__ = ["Automatic"]


class Automatic(QObject):
    """Runs its dock when the mask was painted in, undoes when that is undone.

    Parameters
    ----------
    dock : EditDock
        Owner; held weakly.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self._dock = weakref.ref(dock)
        self._pending: Stroke | None = None
        self._strokes = StrokeWatch(self)
        self._strokes.painted.connect(self._painted)
        self._strokes.stepped.connect(self._stepped)

    def watch(self, mask: Any) -> None:
        """Run after changes of this layer; ``None``: of none."""
        self._strokes.watch(mask)

    def take(self) -> Stroke | None:
        """Strokes that led to the edit that is made now, if any did."""
        pending, self._pending = self._pending, None
        return pending

    def drop(self) -> None:
        """The run did not come to an edit and will not."""
        self._pending = None

    def _painted(self, now: int) -> None:
        # Strokes whose run was cancelled for this one belong to its edit.
        pending = self._pending
        self._run(self._strokes.seen if pending is None else pending.before, now)

    def _stepped(self, now: int) -> None:
        """The mask was undone or redone: so is the edit that belongs to it."""
        dock, seen = self._dock(), self._strokes.seen
        if dock is None:
            return
        layer = dock.session.target
        history = dock.layers.history(layer) if is_edit_layer(layer) else None
        last = _strokes(None if history is None else history.last)
        following = _strokes(None if history is None else history.next)
        undone = () if history is None else history.undone
        if self._pending is not None:  # its edit has not come yet
            before = self._pending.before
            dock.cancel()
            self._run(before, now)
        elif following == Stroke(seen, now):
            dock.redo()
        elif last == Stroke(now, seen):
            dock.undo()
        elif now in (following.before, last.after):
            pass  # the image is that of this mask: the dock was undone before it
        elif seen in [_strokes(change).after for change in undone]:
            pass  # the edit of what goes from the mask was undone in the dock
        elif following.after == now:
            dock.redo()
        elif last.after == seen:
            dock.undo()
            self._run(last.before, now)
        else:
            self._run(seen, now)

    def _run(self, before: int, now: int) -> None:
        """Draw again what the mask marks now, unless that was drawn already."""
        dock = self._dock()
        mask = None if dock is None else dock.session.mask
        self._pending = None
        if dock is None or mask is None or now == before:
            return
        shapes = mask._type_string == "shapes"
        if len(mask.data) if shapes else mask.data.any():
            self._pending = Stroke(before, now)
            dock.run_again()


def _strokes(change: Any) -> Stroke:
    """Strokes that led to an edit; those of others match no state of a mask."""
    extra = getattr(change, "extra", None)
    return extra if isinstance(extra, Stroke) else Stroke(-1, -1)
