"""Form fields bound to a session: both directions, with the reason where one is bad."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QWidget

__all__ = ["Bindings", "find_data", "narrow"]

_BY_VALUE = (str, int, float, tuple)
_BAD = "border: 1px solid #d9534f; border-radius: 2px;"


class Bindings:
    """Keeps widgets and fields of a session equal.

    Parameters
    ----------
    session : Session or TrainSession
        The state.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self._shown: dict[str, tuple[QWidget, str]] = {}
        self._setters: dict[str, Callable[[Any], None]] = {}
        # Names being passed on: one field may well change another in turn.
        self._busy: set[str] = set()

    def bind(
        self,
        name: str,
        widget: QWidget,
        changed: Any,
        read: Callable[[], Any],
        write: Callable[[Any], None],
    ) -> None:
        """Bind a field.

        Parameters
        ----------
        name : str
            Of the session's field.
        widget : QWidget
            Whose tooltip and frame tell problems.
        changed : signal
            Emitted when the user changes it.
        read, write : callable
            Value of the widget.
        """
        self._shown[name] = widget, widget.toolTip()
        self._setters[name] = write
        write(getattr(self.session, name))
        changed.connect(lambda *_: self._to_session(name, read))
        # Held weakly: psygnal keeps the events of a session for as long as there is the
        # session, and a function that leads to the session would keep it for ever.
        getattr(self.session.events, name).connect(
            partial(self._to_widget, name), check_nargs=False
        )

    def check_box(self, name: str, box: QCheckBox) -> None:
        """Bind a truth value."""
        self.bind(
            name, box, box.toggled, box.isChecked, lambda v: box.setChecked(bool(v))
        )

    def choice(
        self, name: str, box: QComboBox, label: Callable[[Any], str] = str
    ) -> None:
        """Bind a combo box whose items carry their values as user data.

        A value that is not listed becomes an item with the text ``label(value)``: what
        is shown is what counts, also where the session names a problem of it.
        """
        narrow(box)

        def write(value: Any) -> None:
            index = find_data(box, value)
            if index < 0:
                index = box.count()
                box.addItem(label(value), value)
            box.setCurrentIndex(index)

        self.bind(name, box, box.currentIndexChanged, box.currentData, write)
        # Choosing what is shown already is a choice as well.
        box.activated.connect(lambda *_: self._to_session(name, box.currentData))

    def _to_session(self, name: str, read: Callable[[], Any]) -> None:
        if name in self._busy:
            return
        self._busy.add(name)
        try:
            setattr(self.session, name, read())
        finally:
            self._busy.discard(name)

    def _to_widget(self, name: str, *_: Any) -> None:
        if name in self._busy:
            return
        self._busy.add(name)
        try:
            # What a widget cannot show is a problem that the session names.
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                self._setters[name](getattr(self.session, name))
        finally:
            self._busy.discard(name)

    def names_in(self, parent: QWidget) -> set[str]:
        """Fields whose widgets are within ``parent``."""
        shown = self._shown.items()
        return {name for name, (widget, _) in shown if parent.isAncestorOf(widget)}

    def set_tip(self, name: str, tip: str) -> None:
        """Set the tooltip of a field while it has no problem."""
        widget, _ = self._shown[name]
        self._shown[name] = widget, tip
        widget.setToolTip(tip)

    def mark(self, problems: dict[str, str]) -> None:
        """Frame the fields that have a problem, with the reason as tooltip."""
        for name, (widget, tip) in self._shown.items():
            reason = problems.get(name, "")
            widget.setStyleSheet(
                f"{type(widget).__name__} {{ {_BAD} }}" if reason else ""
            )
            widget.setToolTip(reason or tip)


def narrow(box: QComboBox) -> QComboBox:
    """Keep long items, such as names of layers, from widening the dock."""
    box.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )
    box.setMinimumContentsLength(6)
    return box


def find_data(box: QComboBox, value: Any) -> int:
    """Index of the item that carries ``value``; Qt's own search compares by text."""
    for index in range(box.count()):
        data = box.itemData(index)
        if data is value or (isinstance(value, _BY_VALUE) and data == value):
            return index
    return -1
