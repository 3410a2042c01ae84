"""The frame of the Edit dock: layers, model, mask, pages, undo and redo."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.widgets._edit_session import EditSession
from napari_flowsr.widgets._history import History
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.advanced_fields import AdvancedFields
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.layer_box import LayerBox
from napari_flowsr.widgets.parts.mask_fields import MaskFields
from napari_flowsr.widgets.parts.model_choice import ModelChoice
from napari_flowsr.widgets.parts.sampling_fields import SamplingFields
from napari_flowsr.widgets.parts.scale_fields import ScaleFields

__all__ = ["EditForm", "HistoryBar"]


class _Drawing(SamplingFields):
    """Temperature and seed; pages that draw samples have their number."""

    def _samples(self, rows: QFormLayout, bindings: Bindings) -> None:
        pass

    def roll(self) -> None:
        """Take the next seed: the one before can be had again."""
        self.session.seed = (int(self.session.seed) + 1) % (2**31 - 1)


class _Advanced(AdvancedFields):
    """Scale, noise, device, tile and precision."""

    def _image_options(self, rows: QFormLayout) -> None:
        self.scales = ScaleFields(rows, self._bindings)
        self.scale = self.scales.scale
        self.noise = self._choice(
            "noise",
            {"per-plane": "its own in each plane", "shared": "the same in all planes"},
            "Shared noise does not flicker along time or depth",
        )
        rows.addRow("Noise", self.noise)

    def _show_priors(self, *_: Any) -> None:
        pass  # a learned prior has one image and nothing to draw


class _ImageBox(LayerBox):
    """Choice of the LR image; it follows no other selection."""

    follow = False


class _Inputs:
    """Target, LR image and model.

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
        self.target = LayerBox(viewer, (Image,), "choose a target")
        self.target.setToolTip(
            "High-resolution image to edit, such as a sample of Upscale. It stays as "
            "it is: the first edit makes a layer of its own"
        )
        self.image = _ImageBox(viewer, (Image,), "downscale of the target")
        self.image.setToolTip(
            "Low-resolution image that every edit has to agree with. Without one, "
            "the target is reduced to it"
        )
        self.model = ModelChoice()
        for name, box in (("target", self.target), ("image", self.image)):
            self._bind(bindings, name, box)
        bindings.bind(
            "model",
            self.model,
            self.model.changed,
            lambda: self.model.value,
            self.model.choose,
        )
        rows.addRow("Target", self.target)
        rows.addRow("LR image", self.image)

    @staticmethod
    def _bind(bindings: Bindings, name: str, box: LayerBox) -> None:
        bindings.bind(name, box, box.changed, lambda: box.layer, box.choose)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.target.release()
        self.image.release()


class HistoryBar(QWidget):
    """Undo, Redo, Save and Open."""

    undo_clicked, redo_clicked = Signal(), Signal()
    save_clicked, open_clicked = Signal(), Signal()

    def __init__(self) -> None:
        super().__init__()
        self.undo, self.redo = QPushButton("Undo"), QPushButton("Redo")
        self.save, self.open = QPushButton("Save…"), QPushButton("Open…")
        self.save.setToolTip(
            "Latents, LR image and history facts in a .flowsr file, to go on later"
        )
        self.open.setToolTip("Go on with an image from a .flowsr file")
        self.told = QLabel()
        self.told.setWordWrap(True)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        buttons = (self.undo, self.redo, self.save, self.open)
        signals = (
            *(self.undo_clicked, self.redo_clicked),
            *(self.save_clicked, self.open_clicked),
        )
        for i, (button, signal) in enumerate(zip(buttons, signals, strict=True)):
            button.clicked.connect(signal)
            grid.addWidget(button, 0, i)
        grid.addWidget(self.told, 1, 0, 1, 4)
        self.show_history(None, False)

    def show_history(self, history: History | None, is_edited: bool) -> None:
        """Say what can be undone and redone."""
        done = () if history is None else history.labels
        undone = () if history is None else history.undone_labels
        self.undo.setEnabled(bool(done))
        self.redo.setEnabled(bool(undone))
        self.save.setEnabled(is_edited)
        self.undo.setToolTip(
            f"Take back: {done[-1]} (Ctrl+Z on the edited layer)" if done else ""
        )
        self.redo.setToolTip(
            f"Make again: {undone[0]} (Ctrl+Shift+Z on the edited layer)"
            if undone
            else ""
        )
        texts = []
        if done:
            texts.append(f"{len(done)} edit{'s' if len(done) > 1 else ''}: {done[-1]}")
        if history is not None and history.told():
            texts.append(history.told())
        self.told.setText(" · ".join(texts))
        self.told.setVisible(bool(texts))


class _Stack(QStackedWidget):
    """As high as the page that is shown needs, not the highest of all."""

    def __init__(self) -> None:
        super().__init__()
        # Its own height: what is left goes below the form.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.currentChanged.connect(lambda *_: self.updateGeometry())

    def hasHeightForWidth(self) -> bool:
        return False  # Qt would ask all pages

    def sizeHint(self) -> QSize:
        return self._fitted(super().sizeHint())

    def minimumSizeHint(self) -> QSize:
        return self._fitted(super().minimumSizeHint())

    def _fitted(self, size: QSize) -> QSize:
        page = self.currentWidget()
        if page is None:
            return size
        needed = max(page.sizeHint().height(), page.minimumSizeHint().height())
        if page.hasHeightForWidth():
            needed = max(needed, page.heightForWidth(max(1, self.width())))
        return QSize(size.width(), needed)


class EditForm(QWidget):
    """Fields bound to a session, and a page for each tool.

    All tools are in one box: seven tabs do not fit into a dock.

    Parameters
    ----------
    session : EditSession
        The state.
    viewer : napari.Viewer
        Held weakly.
    pages : sequence of type
        Classes of the pages, made as ``Page(session, viewer)``.
    """

    restore_clicked = Signal()
    page_made = Signal(object)
    """A page is there that was not before."""

    def __init__(self, session: EditSession, viewer: Any, pages: Sequence[Any]) -> None:
        super().__init__()
        self.session = session
        self.bindings = bindings = Bindings(session)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.input = _Inputs(rows, bindings, viewer)
        self.marking = MaskFields(rows, bindings, viewer)
        self.drawing = _Drawing(rows, bindings)
        # Mostly brought by the target: its card may stand below.
        model = QFormLayout()
        model.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        model.addRow("Model", self.input.model)
        self.history = HistoryBar()
        self.tool, self.stack = QComboBox(), _Stack()
        self.tool.setStyleSheet("font-weight: bold;")
        self._viewer = viewer_reference(viewer)
        self._kinds = {kind.title: kind for kind in pages}
        self._made: dict[str, Any] = {}
        self._is_released = False
        for title in self._kinds:
            self.tool.addItem(title)
        self.tool.currentIndexChanged.connect(self._tool_changed)
        session.events.page.connect(self._show_page)
        self.advanced = _Advanced(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        tool = QFormLayout()
        tool.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        tool.addRow("Tool", self.tool)
        column.addLayout(tool)
        column.addWidget(self.stack)
        column.addWidget(self.history)
        column.addLayout(model)
        column.addWidget(self.advanced)
        self._show_page(session.page)
        session.events.model.connect(self._update, check_nargs=False)
        self._update()

    @property
    def page(self) -> Any:
        """The page that is shown."""
        return self.stack.currentWidget()

    @property
    def made(self) -> list[Any]:
        """Pages that are there."""
        return list(self._made.values())

    @property
    def pages(self) -> list[Any]:
        """All pages; those that were not shown yet are made now."""
        found = [self.page_of(title) for title in self._kinds]
        return [page for page in found if page is not None]

    def page_of(self, title: str) -> Any:
        """The page of a title, made now if it was not shown yet; or ``None``."""
        if title in self._kinds and title not in self._made:
            self._make(title)
        return self._made.get(title)

    def _make(self, title: str) -> None:
        # When it is shown: to make and to style all of them would keep the dock back.
        viewer = self._viewer()
        if viewer is None:  # it was closed
            return
        page = self._made[title] = self._kinds[title](self.session, viewer)
        fields = _takers_of_keys(page)
        self.stack.addWidget(page)
        # Qt puts what comes late after all else of the window.
        for before, after in pairwise([self.tool, *fields]):
            QWidget.setTabOrder(before, after)
        # Fields of it may come and go.
        page.changed.connect(self.stack.updateGeometry)
        if self._is_released:
            self._let_go(page)
        self.page_made.emit(page)

    def _tool_changed(self, index: int) -> None:
        self.session.page = self.tool.itemText(index)

    def _show_page(self, title: str) -> None:
        page = self.page_of(title)
        if page is None:
            self._tool_changed(self.tool.currentIndex())
        else:
            self.stack.setCurrentWidget(page)
            self.tool.setCurrentText(title)

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)

    def _update(self, *_: Any) -> None:
        card = self.input.model.chosen_card
        self.drawing.set_card(card)
        self.advanced.set_card(card)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.input.release()
        self.marking.release()
        self._is_released = True
        for page in self._made.values():
            self._let_go(page)

    @staticmethod
    def _let_go(page: Any) -> None:
        if hasattr(page, "release"):
            page.release()


def _takers_of_keys(page: QWidget) -> list[QWidget]:
    """Fields of a page in the order of the Tab key, before it is part of a window.

    Afterwards the next of the last one is a field of napari's window, and to look at it
    would keep the viewer alive.
    """
    fields: list[QWidget] = []
    field = page.nextInFocusChain()
    while field is not None and field is not page:
        # A list of a box that opens is a window of its own.
        takes_keys = field.focusPolicy() != Qt.FocusPolicy.NoFocus
        if takes_keys and field.window() is page:
            fields.append(field)
        field = field.nextInFocusChain()
    return fields
