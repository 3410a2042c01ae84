"""Run and Cancel, progress with time left, and one line of status."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

__all__ = ["RunBar", "counted", "human_seconds"]

_BAD = "color: #d9534f;"
# Dark on amber can be read in napari's dark theme and in its light one.
WARNING = "background: #e3b617; color: black; padding: 3px; border-radius: 2px;"


def human_seconds(seconds: float) -> str:
    """``"0.4 s"``, ``"12 s"``, ``"3 min 05 s"``, ``"2 h 10 min"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(count: int, thing: str) -> str:
    """``"1 layer"``, ``"3 layers"``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


class RunBar(QWidget):
    """Buttons, bar and status line of a dock."""

    run_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, label: str = "Run", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run = QPushButton(label)
        self.run.setObjectName("run")
        self.run.setStyleSheet("QPushButton:enabled { font-weight: bold; }")
        self.cancel = QPushButton("Cancel")
        self.cancel.setEnabled(False)
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.progress.hide()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.run.clicked.connect(self.run_clicked)
        self.cancel.clicked.connect(self.cancel_clicked)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run, 2)
        buttons.addWidget(self.cancel, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        self._running = False
        self._watched = False
        self._reason = ""
        self._told = ""  # by set_ready
        self._refused = ""  # by refuse

    def set_ready(self, reason: str, warning: str = "") -> None:
        """Enable Run, or say as its tooltip why it is not.

        A warning does not keep from running. Both are said once: what is said after
        them, such as a result or an error, stays.
        """
        self._reason = reason
        self.run.setEnabled(not self._running and not reason)
        self.run.setToolTip(reason or warning or "Compute the outputs")
        if self._running:
            return
        if self._refused and self.status.text() == self._refused:
            self.say("")  # what it was refused for may be in order now
            self._told = ""
        self._refused = ""
        told, self._told = self._told, reason or warning
        if reason:
            if reason != told:
                self.say(reason)
        elif warning and warning != told:
            self.say(warning, warning=True)
        elif told and not warning and self.status.text() == told:
            self.say("")

    def start(self, message: str) -> None:
        """Show the bar."""
        self._running = True
        self.run.setEnabled(False)
        self.cancel.setEnabled(True)
        self.progress.setRange(0, 0)
        self.progress.show()
        self.say(message)

    def advance(self, done: int, total: int, left: float | None, message: str) -> None:
        """Move the bar."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        remaining = "" if left is None else f" · {human_seconds(left)} left"
        self.progress.setFormat(f"%p %{remaining}")
        self.say(message)

    def stop(self) -> None:
        """Hide the bar; the last message stays until a field is another."""
        self._running = False
        self.progress.hide()
        self.cancel.setEnabled(self._watched)
        self.run.setEnabled(not self._reason)

    def watch(self, watched: bool) -> None:
        """Keep Cancel enabled for something that goes on but does not keep from Run."""
        self._watched = watched
        self.cancel.setEnabled(watched or self._running)

    def add(self, text: str) -> None:
        """Say this after what is said already."""
        self.status.setText(f"{self.status.text()} {text}")

    def refuse(self, text: str) -> None:
        """Say an error that keeps from something until a field is another."""
        self.say(text, bad=True)
        self._refused = text

    def say(self, text: str, *, bad: bool = False, warning: bool = False) -> None:
        """Set the status line: plain, as an error, or as a warning."""
        self.status.setStyleSheet(_BAD if bad else WARNING if warning else "")
        self.status.setText(text)
