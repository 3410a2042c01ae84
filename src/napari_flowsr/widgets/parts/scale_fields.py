"""Scale of the result: one of the model's, any number, or by the pixel size wanted."""

from __future__ import annotations

import numbers
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout

from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets.parts.fields import Bindings, find_data

__all__ = ["ScaleFields"]

_MODELS_OWN = "the model's"
_TARGET = "Edge of a pixel of the result, instead of a scale"


class _ScaleBox(QComboBox):
    """Scales to choose from; another one can be typed where a model takes any."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.addItem(_MODELS_OWN, None)
        self.setToolTip("Enlargement")
        self.setMinimumContentsLength(10)
        # What is typed is a value, not one more item.
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def value(self) -> float | str | None:
        """Scale that is shown; text that is none, for the session to name."""
        text = self.currentText().rstrip("× x").replace(",", ".")
        if text == _MODELS_OWN.rstrip("× x") or not text:
            return None
        try:
            return float(text)
        except ValueError:
            return self.currentText()

    def show_value(self, value: Any) -> None:
        """Choose the item of a value, or write it into an editable box."""
        index = find_data(self, value)
        if index >= 0:
            self.setCurrentIndex(index)
        elif self.isEditable() and value is not None:
            text = isinstance(value, str)
            self.setEditText(value if text else f"{float(value):g}")

    def offer(
        self, scales: tuple[float, ...], span: tuple[float, float] | None
    ) -> None:
        """Replace the items; with a ``span`` any number within it can be typed."""
        self.clear()
        if (span is not None) != self.isEditable():
            self.setEditable(span is not None)
            line = self.lineEdit()
            if line is not None:
                line.editingFinished.connect(self.changed)
        self.addItem(_MODELS_OWN, None)
        for value in scales:
            self.addItem(f"{value:g}×", value)
        tip = "Enlargement"
        if span is not None:
            tip = f"{tip}: any number from {span[0]:g} to {span[1]:g}"
        self.setToolTip(tip)


class ScaleFields:
    """Scale, and for models of any scale the pixel size of the result.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    """

    def __init__(self, rows: QFormLayout, bindings: Bindings) -> None:
        self.session, self._bindings, self._rows = bindings.session, bindings, rows
        self.scale = _ScaleBox()
        bindings.bind(
            "scale",
            self.scale,
            self.scale.changed,
            self.scale.value,
            self.scale.show_value,
        )
        rows.addRow("Scale", self.scale)
        self.target = QDoubleSpinBox()
        self.target.setDecimals(4)
        self.target.setRange(0.0, 1e6)
        self.target.setSuffix(" µm")
        self.target.setSpecialValueText("by the scale")
        self.target.setKeyboardTracking(False)
        self.target.valueChanged.connect(self._take_target)
        rows.addRow("Result's pixels", self.target)
        self._has_range = False
        for name in ("scale", "image", "pixel_size_um"):
            getattr(self.session.events, name).connect(
                self._show_target, check_nargs=False
            )
        self._show_target()

    def set_card(self, card: ModelCard | None) -> None:
        """Offer what the chosen model takes; of an unknown one leave it as it is."""
        scales = () if card is None else card.scales
        span = None if card is None else card.scale_range
        self._has_range = span is not None
        self.scale.blockSignals(True)
        self.scale.offer(scales, span)
        kept = self._scale_set()
        fits = kept in scales or (span and kept and span[0] <= kept <= span[1])
        self.scale.show_value(kept if fits else None)
        self.scale.blockSignals(False)
        if card is not None and not fits:
            self.session.scale = None
        self._show_target()

    def _scale_set(self) -> float | None:
        """That of the session, if it is a number: scripts and people err."""
        scale: float | None = self.session.scale
        return scale if isinstance(scale, numbers.Real) else None

    def _show_target(self, *_: Any) -> None:
        size, scale = self.session.input_um, self._scale_set()
        self._rows.setRowVisible(self.target, self._has_range and size is not None)
        why_not = self.session.why_no_target()
        self.target.setEnabled(not why_not)
        self.target.setToolTip(why_not or _TARGET)
        edge = size / scale if size and scale and not why_not else 0.0
        self.target.blockSignals(True)
        self.target.setValue(edge)
        self.target.blockSignals(False)

    def _take_target(self, value: float) -> None:
        size = self.session.input_um
        if size is not None and not self.session.why_no_target():
            self.session.scale = size / value if value > 0 else None
