"""The page "Measure" of the Edit dock: a measurement's distribution over samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from napari.layers import Labels, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.widgets._edit_page import EditContext
from napari_flowsr.widgets._measure import QUANTITIES, Line, Region
from napari_flowsr.widgets._measured import Measured, Profile, measure
from napari_flowsr.widgets.parts.explore_forms import spin
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.layer_box import LayerBox
from napari_flowsr.widgets.parts.measured_view import MeasuredView

__all__ = ["MeasurePage"]

_LABELS = {
    "area": "area of what is bright",
    "count": "number of objects",
    "mean": "mean intensity",
    "sum": "sum of intensities",
    "min": "least intensity",
    "max": "greatest intensity",
}


class MeasurePage(QWidget):
    """A region's measurement as a histogram, a line profile with bands.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Held weakly.
    """

    title = "Measure"
    needs_target = False  # the LR image alone will do
    changed = Signal()

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self._make_fields(viewer)
        self.histogram = MeasuredView("Region", viewer)
        self.profile = MeasuredView("Line", viewer)
        told = QLabel(
            "Each sample is measured: how much the numbers differ is how well the "
            "image determines them."
        )
        told.setWordWrap(True)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Region", self.region)
        rows.addRow("", self.one_label)
        rows.addRow("Measure", self.quantity)
        rows.addRow("Above", self.threshold)
        rows.addRow("Line", self.line)
        rows.addRow("Line width", self.width_box)
        rows.addRow("Samples", self.n)
        column = QVBoxLayout(self)
        column.addWidget(told)
        column.addLayout(rows)
        column.addWidget(self.histogram)
        column.addWidget(self.profile)
        column.addStretch(1)
        self._region_changed()

    def _make_fields(self, viewer: Any) -> None:
        self.region = LayerBox(viewer, (Labels, Shapes), "no region")
        self.region.setToolTip("What was painted or drawn, on any grid")
        self.one_label = QCheckBox("only the selected label")
        self.one_label.setToolTip("Otherwise all that is painted is one region")
        self.quantity = narrow(QComboBox())
        for quantity in QUANTITIES:
            self.quantity.addItem(_LABELS[quantity], quantity)
        self.threshold = QLineEdit()
        self.threshold.setPlaceholderText("any intensity")
        self.threshold.setToolTip(
            "Only pixels of the region brighter than this are measured; empty: all"
        )
        self.line = LayerBox(viewer, (Shapes,), "no line")
        self.line.setToolTip(
            "Shapes layer with a line: the selected one, or the last one drawn"
        )
        self.width_box = spin(1, 999, 1, "Pixels across the line to average over")
        self.n = spin(2, 10_000, 32, "How many samples; 90 % intervals need many")
        self.region.changed.connect(self._region_changed)
        self.line.changed.connect(self._region_changed)
        self.threshold.textChanged.connect(self.changed)
        self.quantity.currentIndexChanged.connect(self.changed)
        self.one_label.toggled.connect(self.changed)
        self.n.valueChanged.connect(self.changed)
        self.width_box.valueChanged.connect(self.changed)

    def _region_changed(self, *_: Any) -> None:
        region = self.region.layer
        for field in (self.quantity, self.threshold):
            field.setEnabled(region is not None)
        self.one_label.setVisible(isinstance(region, Labels))
        self.width_box.setEnabled(self.line.layer is not None)
        self.changed.emit()

    # --- as EditPage says ---------------------------------------------------------

    def problems(self, context: EditContext) -> dict[str, str]:
        found = {}
        if self.region.layer is None and self.line.layer is None:
            found["region"] = (
                "Choose a region (a Labels or Shapes layer), a line (in a Shapes "
                "layer), or both."
            )
        try:
            threshold = self._threshold()
        except ValueError:
            found["threshold"] = (
                f"'{self.threshold.text()}' is no number; give an intensity of the "
                "image, or nothing."
            )
            return found
        counts = self.quantity.currentData() in ("area", "count")
        if self.region.layer is not None and counts and threshold is None:
            found["threshold"] = (
                "Area and number of objects are of what is brighter than some "
                "intensity. Give that as 'Above'."
            )
        return found

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        region = line = None
        if self.region.layer is not None:
            region = self._region(context, self.region.layer)
        if self.line.layer is not None:
            line = Line.of(context, self.line.layer, self.width_box.value())
        return measure(context, region, line, self.n.value())

    def show(self, event: Any, context: EditContext) -> None:  # type: ignore[override]
        if isinstance(event, Measured):
            self.histogram.show_region(event)
        elif isinstance(event, Profile):
            self.profile.show_profile(event)

    # --- fields -------------------------------------------------------------------

    def _threshold(self) -> float | None:
        text = self.threshold.text().strip().replace(",", ".")
        if not text:
            return None
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value

    def _region(self, context: EditContext, layer: Any) -> Region:
        label = None
        if self.one_label.isChecked() and isinstance(layer, Labels):
            label = int(layer.selected_label)
        quantity = self.quantity.currentData()
        return Region.of(context, layer, quantity, self._threshold(), label=label)

    def release(self) -> None:
        """Disconnect from the viewer."""
        for part in (self.region, self.line, self.histogram, self.profile):
            part.release()
