"""What the Batch tab tells besides its status line: before a run, and of its files."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QTextBrowser,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.jobs.outlook import Outlook

__all__ = ["CommandLine", "Messages", "Outlooks"]

_LISTED = 30  # unreadable files in a tooltip
_HEIGHT = 96  # of the list, px


class Outlooks(QLabel):
    """What will be done, in words; the tooltip names what cannot be read, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)

    def say(self, text: str) -> None:
        """Show a line, or nothing."""
        self.setText(text)
        self.setToolTip("")
        self.setVisible(bool(text))

    def show_outlook(self, text: str, outlook: Outlook) -> None:
        """Show what will be done; more than the disk has room for is marked."""
        large = (outlook.size or 0) > outlook.free
        self.say(f"{text} ⚠ The disk has less room than that." if large else text)
        bad = list(outlook.bad.items())[:_LISTED]
        self.setToolTip("\n".join(f"{path.name}: {why}" for path, why in bad))


class CommandLine(QWidget):
    """The equivalent command, to be read and to be copied."""

    copy_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.line = QLineEdit()
        self.line.setReadOnly(True)
        self.line.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.copy = QToolButton()
        self.copy.setText("Copy command")
        self.copy.setToolTip("Put the command that does the same on the clipboard")
        self.copy.clicked.connect(self.copy_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.copy)
        self.show_text("")

    def show_text(self, text: str) -> None:
        """Show the command; without one there is none to copy."""
        self.line.setText(text)
        self.line.setCursorPosition(0)
        self.line.setToolTip(text)
        self.copy.setEnabled(bool(text))


class Messages(QWidget):
    """What failed and what is doubtful, file by file; hidden while there is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._bad: list[str] = []
        self._doubtful: list[str] = []
        self.title = QLabel()
        self.list = QTextBrowser()
        self.list.setFixedHeight(_HEIGHT)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.title)
        column.addWidget(self.list)
        self.hide()

    @property
    def text(self) -> str:
        """All that was said."""
        return self.list.toPlainText()

    def clear(self) -> None:
        """Begin anew."""
        self._bad, self._doubtful = [], []
        self.list.clear()
        self.hide()

    def add(self, name: str, reason: str, *, bad: bool = False) -> None:
        """Say something of a file; what failed comes first."""
        line = f"<p><b>{escape(name)}</b>: {escape(reason)}</p>"
        (self._bad if bad else self._doubtful).append(line)
        said = {"failed": len(self._bad), "doubtful": len(self._doubtful)}
        counts = ", ".join(f"{count} {what}" for what, count in said.items() if count)
        self.title.setText(f"<b>{counts}</b>")
        self.list.setHtml("".join(self._bad + self._doubtful))
        self.show()
