"""The brush of the Edit dock: its size and the feather are kept for next time."""

from __future__ import annotations

import weakref
from typing import Any

from napari_flowsr.widgets import _preferences
from napari_flowsr.widgets._edit_session import EditSession

__all__ = ["Brush", "kept_brush"]


def kept_brush() -> dict[str, Any]:
    """Fields of a session as they were used last."""
    wanted = _preferences.read_preferences()
    return {"brush_size": wanted.brush_size, "feather": wanted.feather}


class Brush:
    """Size of the brush in a mask and in a session, both ways.

    Parameters
    ----------
    session : EditSession
        Whose ``brush_size`` and ``feather`` are kept in the preferences.
    """

    def __init__(self, session: EditSession) -> None:
        self._session = session
        self._mask: weakref.ref[Any] | None = None
        session.events.brush_size.connect(self._show)
        for name in ("brush_size", "feather"):
            getattr(session.events, name).connect(self._keep, check_nargs=False)

    @property
    def mask(self) -> Any:
        """The mask that was taken last, or ``None``."""
        return None if self._mask is None else self._mask()

    def take(self, mask: Any) -> None:
        """Follow the brush of this mask, and of no other."""
        self.drop()
        self._mask = weakref.ref(mask)
        if mask._type_string == "labels":
            mask.events.brush_size.connect(self._changed)

    def drop(self) -> None:
        """Let go of the mask."""
        mask, self._mask = self.mask, None
        if getattr(mask, "_type_string", "") == "labels":
            mask.events.brush_size.disconnect(self._changed)

    def release(self) -> None:
        """Let go of the mask, and of what is kept."""
        self.drop()
        for name in ("brush_size", "feather"):
            getattr(self._session.events, name).disconnect(self._keep)

    def _changed(self, *_: Any) -> None:
        if self._session.mask is not None:
            self._session.brush_size = round(self._session.mask.brush_size)

    def _show(self, size: int) -> None:
        mask = self._session.mask
        if getattr(mask, "_type_string", "") == "labels" and mask.brush_size != size:
            mask.brush_size = size

    def _keep(self, *_: Any) -> None:
        for name in ("brush_size", "feather"):
            if not self._session.problems_of(name):
                _preferences.keep_brush(name, getattr(self._session, name))
