"""What is to be done when Qt deletes a widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtCore import QObject

__all__ = ["when_destroyed"]

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
