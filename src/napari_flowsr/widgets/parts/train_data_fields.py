"""Fields of the Train dock: images to train on, and those to measure with."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QToolButton,
    QWidget,
)

from napari_flowsr.training.held_out import FEW, SHARE, STRIP, in_words
from napari_flowsr.widgets._layer_list import LayerList, is_own
from napari_flowsr.widgets._train_session import HELD_OUT, SOURCES, TrainSession
from napari_flowsr.widgets.parts.fields import Bindings

__all__ = ["FolderField", "TrainDataFields", "TrainLayers"]

_LIST_HEIGHT = 84


class FolderField(QWidget):
    """Path of a folder, typed or chosen."""

    changed = Signal()

    def __init__(self, title: str, placeholder: str = "") -> None:
        super().__init__()
        self._title = title
        self.line = QLineEdit()
        self.line.setPlaceholderText(placeholder)
        self.button = QToolButton()
        self.button.setText("…")
        self.button.setToolTip("Choose a folder")
        self.button.clicked.connect(self._ask)
        self.line.textChanged.connect(lambda *_: self.changed.emit())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)

    @property
    def value(self) -> str:
        """The path, or nothing."""
        return self.line.text().strip()

    def show_value(self, path: str) -> None:
        """Show a path."""
        if path != self.value:
            self.line.setText(path)

    def _ask(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._title, self.value)
        if path:
            self.line.setText(path)


class TrainLayers(LayerList):
    """Image layers to train on; the first that was not made by the plugin at first."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.shows_all = True
        self.setFixedHeight(_LIST_HEIGHT)
        self.setToolTip(
            "Layers to train on: 2-D images, stacks, channels, RGB, multiscale ones"
        )

    def _is_proposed(self, layer: Any) -> bool:
        originals = [one for one in self._images() if not is_own(one)]
        return originals[:1] == [layer]


class TrainDataFields:
    """Layers or a folder, low-resolution images, and what is held out.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    viewer : napari.Viewer
        Held weakly.
    """

    def __init__(self, rows: QFormLayout, bindings: Bindings, viewer: Any) -> None:
        self.session: TrainSession = bindings.session
        self._rows = rows
        self.source = _choice(bindings, "source", SOURCES, "Where the images are")
        rows.addRow("Train on", self.source)
        self.layers = TrainLayers(viewer)
        bindings.bind(
            "layers",
            self.layers,
            self.layers.changed,
            lambda: tuple(self.layers.checked),
            self._show_layers,
        )
        rows.addRow("", self.layers)
        self.folder = _folder(rows, bindings, "folder", "Folder", "Images to train on")
        self.lr_folder = _folder(
            rows,
            bindings,
            "lr_folder",
            "LR images",
            "Low-resolution images of the same names, if they were taken too",
            "none: they are made",
        )
        self.held_out = _choice(
            bindings, "held_out", HELD_OUT, "What is never trained on, but measured"
        )
        rows.addRow("Measure on", self.held_out)
        self.validation = _folder(
            rows, bindings, "validation_folder", "", "Images to measure with"
        )
        self.words = QLabel()
        self.words.setWordWrap(True)
        rows.addRow("", self.words)
        for name in ("source", "layers", "held_out"):
            getattr(self.session.events, name).connect(self._show)
        self._show()

    def _show_layers(self, layers: tuple[Any, ...]) -> None:
        # What a script has not set is what the list proposes.
        if not layers and not self.session.layers and self.layers.checked:
            self.session.layers = tuple(self.layers.checked)
        elif list(layers) != self.layers.checked:
            self.layers.check(layers)

    def _show(self, *_: Any) -> None:
        session, rows = self.session, self._rows
        rows.setRowVisible(self.layers, session.source == "layers")
        rows.setRowVisible(self.folder, session.source == "folder")
        rows.setRowVisible(self.validation, session.held_out == "folder")
        self.words.setText(self._told())
        rows.setRowVisible(self.words, bool(self.words.text()))

    def _told(self) -> str:
        """What is held out."""
        share = {"part": None, "half": 0.5}.get(self.session.held_out, 0.0)
        if share == 0.0:
            return ""
        if self.session.source == "layers":
            count = len(self.session.layers)
            return in_words(count, share) if count else ""
        whole, strip = (share, share) if share else (SHARE, STRIP)
        return (
            f"{100 * whole:.0f} % of the images are held out; of fewer than {FEW} "
            f"images, the last {100 * strip:.0f} % of each."
        )


def _choice(
    bindings: Bindings, name: str, items: dict[str, str], tip: str
) -> QComboBox:
    box = QComboBox()
    box.setToolTip(tip)
    for value, label in items.items():
        box.addItem(label, value)
    bindings.choice(name, box)
    return box


def _folder(
    rows: QFormLayout,
    bindings: Bindings,
    name: str,
    label: str,
    tip: str,
    placeholder: str = "",
) -> FolderField:
    found = FolderField(tip, placeholder)
    found.setToolTip(tip)
    bindings.bind(name, found, found.changed, lambda: found.value, found.show_value)
    rows.addRow(QLabel(label), found)
    return found
