"""Messages of a worker thread, brought to the main thread by Qt."""

from __future__ import annotations

import time

from qtpy.QtCore import QObject, Signal

__all__ = ["Bridge"]

_INTERVAL = 0.1  # seconds between two messages of a worker


class Bridge(QObject):
    """Messages of the worker thread; Qt brings them to the main thread."""

    progressed = Signal(str, int, int)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._last = 0.0

    def tell(self, message: str, done: int, total: int) -> None:
        """Called in the worker thread; throttled."""
        now = time.monotonic()
        if done and now - self._last < _INTERVAL:
            return
        self._last = now
        # Qt's integers have 32 bits: kilobytes.
        self.progressed.emit(message, done >> 10, total >> 10)
