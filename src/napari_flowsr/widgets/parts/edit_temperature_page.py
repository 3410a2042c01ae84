"""The page "Temperature" of the Edit dock: a temperature for each place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.errors import OptionError
from napari_flowsr.io.edit_record import edit_step
from napari_flowsr.widgets._edit_page import EditContext, Edited
from napari_flowsr.widgets._geometry import layer_array
from napari_flowsr.widgets._session import MAX_TEMPERATURE
from napari_flowsr.widgets._temperature import WAYS, Recipe, redrawn
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.layer_box import LayerBox

__all__ = ["TemperaturePage"]

_WHERE = ("the whole image, drawn anew", "inside the mask")
_MOST_LABELS = 64
_FIRST = 0.8  # temperature of a label until another is typed


def _number(value: float, tip: str, top: float = MAX_TEMPERATURE) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.0, top)
    box.setSingleStep(0.05)
    box.setDecimals(2)
    box.setValue(value)
    box.setToolTip(tip)
    return box


class TemperaturePage(QWidget):
    """A temperature map from painted labels, an image layer, or the uncertainty.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Held weakly.
    """

    title = "Temperature"
    changed = Signal()

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self.way, self.where = narrow(QComboBox()), narrow(QComboBox())
        self.way.addItems(WAYS)
        self.where.addItems(_WHERE)
        self._fields(viewer)
        self._rows = rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Map from", self.way)
        for label, widget in (
            *(("Labels", self.labels), ("", self.read), ("", self.table)),
            *(("Image", self.map_layer), ("Uncertainty", self.std_layer)),
            *(("Samples", self.samples), ("Where calm", self.low)),
            *(("Where uncertain", self.high), ("Elsewhere", self.default)),
        ):
            rows.addRow(label, widget)
        rows.addRow("Applies to", self.where)
        self.note = QLabel()
        self.note.setWordWrap(True)
        column = QVBoxLayout(self)
        column.addLayout(rows)
        column.addWidget(self.note)
        column.addStretch(1)
        self._connect()
        self._show_fields()

    def _fields(self, viewer: Any) -> None:
        self.labels = LayerBox(viewer, (Labels,), "choose a Labels layer")
        self.read = QPushButton("Read labels")
        self.read.setToolTip("List the labels that are painted now")
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(["Label", "Temperature"])
        self.table.setMaximumHeight(140)
        self.map_layer = LayerBox(viewer, (Image,), "choose an Image layer")
        self.map_layer.setToolTip("Its values are temperatures, on any grid")
        self.std_layer = LayerBox(viewer, (Image,), "compute it")
        self.std_layer.setToolTip("Standard deviation, such as Upscale makes it")
        self.samples = QSpinBox()
        self.samples.setRange(2, 256)
        self.samples.setValue(max(2, int(self.session.samples)))
        self.low = _number(0.9, "Where samples agree: texture does no harm there")
        self.high = _number(0.4, "Where samples disagree: nearer to the likeliest")
        self.default = _number(_FIRST, "Where nothing is painted")

    def _connect(self) -> None:
        for box in (self.labels, self.map_layer, self.std_layer):
            box.changed.connect(self._show_fields)
        for choice in (self.way, self.where):
            choice.currentIndexChanged.connect(self._show_fields)
        self.read.clicked.connect(self.read_labels)
        self.labels.changed.connect(self.read_labels)
        self.table.itemChanged.connect(lambda *_: self.changed.emit())

    def _show_fields(self, *_: Any) -> None:
        way = self.way.currentText()
        ways: dict[str, tuple[QWidget, ...]] = {
            WAYS[0]: (self.labels, self.read, self.table, self.default),
            WAYS[1]: (self.map_layer, self.default),
            WAYS[2]: (self.std_layer, self.low, self.high),
        }
        shown = ways[way]
        if way == WAYS[2] and self.std_layer.layer is None:
            shown += (self.samples,)
        for widget in (
            *(self.labels, self.read, self.table, self.default, self.map_layer),
            *(self.std_layer, self.samples, self.low, self.high),
        ):
            self._rows.setRowVisible(widget, widget in shown)
        self.note.setText(
            "Painted regions of a Labels layer, one temperature for each label."
            if way == WAYS[0]
            else ""
        )
        self.note.setVisible(bool(self.note.text()))
        self.changed.emit()

    # --- the table --------------------------------------------------------------------

    def read_labels(self, *_: Any) -> None:
        """List the labels of the chosen layer, keeping temperatures that were typed."""
        layer = self.labels.layer
        if layer is None:
            return
        kept = self.temperatures(strict=False)
        found = [int(v) for v in np.unique(layer_array(layer)) if v != 0]
        self.table.blockSignals(True)
        self.table.setRowCount(0)
        for label in found[:_MOST_LABELS]:
            row = self.table.rowCount()
            self.table.insertRow(row)
            name = QTableWidgetItem(str(label))
            name.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self.table.setItem(row, 0, name)
            value = QTableWidgetItem(f"{kept.get(label, _FIRST):g}")
            self.table.setItem(row, 1, value)
        self.table.blockSignals(False)
        self.changed.emit()

    def temperatures(self, *, strict: bool = True) -> dict[int, float]:
        """Label to temperature, as the table says.

        Raises
        ------
        OptionError
            A cell does not hold a number, unless not ``strict``.
        """
        found = {}
        for row in range(self.table.rowCount()):
            label, value = self.table.item(row, 0), self.table.item(row, 1)
            if label is None or value is None:
                continue
            try:
                found[int(label.text())] = float(value.text().replace(",", "."))
            except ValueError as error:
                if strict:
                    raise OptionError(
                        f"The temperature of label {label.text()} is "
                        f"{value.text()!r}; give a number from 0, such as 0.8."
                    ) from error
        return found

    def set_temperature(self, label: int, value: float) -> None:
        """Type a temperature; the label is to be in the table."""
        for row in range(self.table.rowCount()):
            item, cell = self.table.item(row, 0), self.table.item(row, 1)
            if item is not None and cell is not None and item.text() == str(label):
                cell.setText(f"{value:g}")
                return
        raise OptionError(f"Label {label} is not painted. Press 'Read labels'.")

    # --- as EditPage says -----------------------------------------------------------

    def problems(self, context: EditContext) -> dict[str, str]:
        way = self.way.currentText()
        if way == WAYS[0] and self.labels.layer is None:
            return {"labels": "Choose the Labels layer with the painted regions."}
        if way == WAYS[1] and self.map_layer.layer is None:
            return {"map": "Choose the Image layer whose values are temperatures."}
        if self.where.currentText() == _WHERE[1] and context.mask is None:
            return {"mask": "There is no mask. Press 'New mask' and paint, or choose "
                    "the whole image."}  # fmt: skip
        try:
            self.temperatures()
        except OptionError as error:
            return {"temperatures": str(error)}
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        if self.way.currentText() == WAYS[0]:
            self.read_labels()  # as it is painted now
        inside = self.where.currentText() == _WHERE[1]
        hr = context.target_array()
        mask = context.mask_array() if inside else None
        recipe, seed = self._recipe(context), int(self.session.seed)
        told: dict[str, Any] = {"from": recipe.way, "seed": seed, **recipe.facts()}

        def events() -> Iterator[Any]:
            from napari_flowsr.inference.events import Progress

            found: Any = None
            for event in recipe.map(context):
                if isinstance(event, Progress):
                    yield event
                else:
                    found = event
            array = yield from redrawn(context, found, hr, mask, seed)
            low, high = float(found.min()), float(found.max())
            label = f"temperature {low:g} to {high:g} {recipe.way}, seed {seed}"
            yield Edited(array, label, edit_step("temperature", mask=mask, **told))

        return events

    def _recipe(self, context: EditContext) -> Recipe:
        way = self.way.currentText()
        layer = {
            WAYS[0]: self.labels.layer,
            WAYS[1]: self.map_layer.layer,
            WAYS[2]: self.std_layer.layer,
        }[way]
        values = None if layer is None else context.labels_array(layer)
        return Recipe(
            way,
            values,
            self.temperatures() if way == WAYS[0] else {},
            self.default.value(),
            self.low.value(),
            self.high.value(),
            self.samples.value(),
        )

    def show(  # type: ignore[override]
        self, event: Any, context: EditContext
    ) -> None:
        """Nothing: what it makes are edits."""

    def release(self) -> None:
        """Disconnect from the viewer."""
        for box in (self.labels, self.map_layer, self.std_layer):
            box.release()
