"""List of the models and learned priors at hand, with the chosen one's card."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QListWidget,
    QListWidgetItem,
    QSplitter,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.io.catalogue import Entry, entries
from napari_flowsr.widgets.parts.model_card import card_html, summary

__all__ = ["ModelList"]

_Row = Qt.ItemDataRole.UserRole


class ModelList(QWidget):
    """Names above, the card of the chosen one below."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.names = QListWidget()
        self.names.setToolTip("Built-in and imported models, and learned priors")
        self.names.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.names.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.names.setMinimumHeight(100)
        self.card = QTextBrowser()
        self.card.setOpenLinks(False)
        self.card.setMinimumHeight(160)
        self.card.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self.names)
        split.addWidget(self.card)
        split.setStretchFactor(0, 2)
        split.setStretchFactor(1, 5)
        split.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(split)
        # A drop is for the dock, also where it falls on these.
        for inner in (self.names, self.card, self.card.viewport()):
            inner.setAcceptDrops(False)
        self._entries: list[Entry] = []
        self.names.currentRowChanged.connect(self._show)
        self.refresh()

    def refresh(self) -> None:
        """Read the collection anew, and choose what was chosen."""
        chosen = self.chosen
        self._entries = entries()
        self.names.blockSignals(True)
        self.names.clear()
        for entry in self._entries:
            mark = "" if entry.licence_is_stated else "  ⚠"
            item = QListWidgetItem(f"{entry.name}{mark}\n{summary(entry)}")
            item.setData(_Row, entry.name)
            item.setSizeHint(QSize(0, 2 * self.names.fontMetrics().height() + 10))
            if mark:
                item.setToolTip("No licence is stated for these weights.")
            self.names.addItem(item)
        same = None if chosen is None else self.entry_of(chosen.name, chosen.kind)
        row = 0 if same is None else self._entries.index(same)
        self.names.setCurrentRow(row if self._entries else -1)
        self.names.blockSignals(False)
        self._show()

    @property
    def entries(self) -> list[Entry]:
        """As listed."""
        return list(self._entries)

    @property
    def chosen(self) -> Entry | None:
        """The chosen one."""
        row = self.names.currentRow()
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def entry_of(self, name: str, kind: str | None = None) -> Entry | None:
        """Entry of a name; without a ``kind`` the chosen one before others."""
        chosen = self.chosen
        if kind is None and chosen is not None and chosen.name == name:
            return chosen
        return next(
            (e for e in self._entries if e.name == name and kind in (None, e.kind)),
            None,
        )

    def choose(self, name: str, kind: str | None = None) -> None:
        """Choose by name; nothing happens if it is not listed."""
        entry = self.entry_of(name, kind)
        if entry is not None:
            self.names.setCurrentRow(self._entries.index(entry))

    def _show(self, *_: int) -> None:
        chosen = self.chosen
        self.card.setHtml("" if chosen is None else card_html(chosen))
        self.changed.emit()
