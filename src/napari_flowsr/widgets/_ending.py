"""What is to be done when a dock is closed, and when Qt deletes a widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from qtpy.QtCore import QObject

__all__ = ["LeavingWidget", "when_destroyed"]

# PyQt tells the garbage collector of a widget's connections. What is connected to
# ``destroyed`` may then be cleared before the widget goes, which calls it nevertheless
# and crashes; so it is held here, out of the collector's reach, until it was called.
_held: set[Callable[..., None]] = set()


def when_destroyed(widget: QObject, end: Callable[[], object]) -> None:
    """Call ``end`` once, when Qt's half of a widget is deleted.

    Not told is, with PyQt6, a widget without a parent that the collector finds; those
    in a viewer have one.

    Parameters
    ----------
    widget : QObject
        Its Python half may be gone by then.
    end : callable
        Must not hold the widget, which it would keep alive.
    """

    def called(*_: object) -> None:
        _held.discard(called)
        end()

    _held.add(called)
    widget.destroyed.connect(called)


class LeavingWidget(QWidget):
    """A dock that is told when it is closed."""

    def leave(self) -> None:
        """Let go of what it has; it may be called more than once."""

    def closeEvent(self, event: Any) -> None:
        self.leave()
        super().closeEvent(event)

    def event(self, event: Any) -> bool:
        # napari does not close the widget of a dock that is closed: it takes it out.
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.leave()
        return bool(super().event(event))
