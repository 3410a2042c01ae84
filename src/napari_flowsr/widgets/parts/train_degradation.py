"""Fields of a degradation: how low-resolution images are made of those given."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.data.degradation import AREA, BICUBIC, GAUSSIAN, Degradation
from napari_flowsr.widgets.parts.fields import find_data, narrow

__all__ = ["DegradationFields"]

_KINDS = {
    BICUBIC: "bicubic, as in the papers",
    AREA: "binning of a camera (mean)",
    GAUSSIAN: "microscope's PSF (Gaussian)",
}
_WIDTHS = {"sigma": "by its σ", "optics": "by NA and wavelength"}
# Name: label, least, largest, decimals, at first, unit.
_NUMBERS: dict[str, tuple[str, float, float, int, float, str]] = {
    "sigma": ("σ", 0.05, 50, 2, 1.5, " HR px"),
    "na": ("NA", 0.05, 2, 2, 1.4, ""),
    "wavelength_nm": ("Emission", 100, 3000, 0, 520, " nm"),
    "pixel_nm": ("HR pixel", 1, 100_000, 1, 65, " nm"),
    "photons": ("Photons", 0, 1_000_000, 0, 0, " at the brightest"),
    "read_noise": ("Read noise", 0, 1, 3, 0, " of the range"),
}
_OPTICS = ("na", "wavelength_nm", "pixel_nm")
_NOISE = ("photons", "read_noise")


class DegradationFields(QWidget):
    """A kind, and its numbers below it."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.kind = self._box(_KINDS, "How a low-resolution image is made")
        self.told_by = self._box(_WIDTHS, "What the width of the PSF is told by")
        self.numbers: dict[str, QDoubleSpinBox] = {}
        self.rows = QFormLayout()
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.rows.setFieldGrowthPolicy(
            QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow
        )
        self.rows.addRow("Width", self.told_by)
        for name in _NUMBERS:
            self.numbers[name] = self._number(name)
        self.words = QLabel()
        self.words.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.kind)
        column.addLayout(self.rows)
        column.addWidget(self.words)
        self._show()

    @property
    def value(self) -> Degradation:
        """The degradation that the fields tell."""
        kind = self.kind.currentData()
        names: tuple[str, ...] = ()
        if kind == GAUSSIAN:
            by_sigma = self.told_by.currentData() == "sigma"
            names = ("sigma",) if by_sigma else _OPTICS
        found = {name: self.numbers[name].value() for name in (*names, *_NOISE)}
        # No noise is no parameter.
        return Degradation(kind, {k: v for k, v in found.items() if v > 0})

    def show_value(self, degradation: Degradation) -> None:
        """Show a degradation; one of another kind, such as of pairs, is left out."""
        if degradation.name not in _KINDS or degradation == self.value:
            return
        self.blockSignals(True)
        given = degradation.parameters
        self.kind.setCurrentIndex(find_data(self.kind, degradation.name))
        width = "optics" if "na" in given else "sigma"
        self.told_by.setCurrentIndex(find_data(self.told_by, width))
        for name, box in self.numbers.items():
            box.setValue(float(given.get(name, _NUMBERS[name][4])))
        self.blockSignals(False)
        self._show()

    def _box(self, items: dict[str, str], tip: str) -> QComboBox:
        box = narrow(QComboBox())
        box.setToolTip(tip)
        for value, label in items.items():
            box.addItem(label, value)
        box.currentIndexChanged.connect(self._edited)
        return box

    def _number(self, name: str) -> QDoubleSpinBox:
        label, low, high, decimals, first, unit = _NUMBERS[name]
        box = QDoubleSpinBox()
        box.setDecimals(decimals)
        box.setRange(low, high)
        box.setValue(first)
        box.setSuffix(unit)
        box.setSingleStep(10**-decimals * (10 if decimals else 50))
        if name in _NOISE:
            box.setSpecialValueText("none")
        box.valueChanged.connect(self._edited)
        self.rows.addRow(label, box)
        return box

    def _edited(self, *_: Any) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        if not hasattr(self, "words"):
            return  # the fields are being made
        gaussian = self.kind.currentData() == GAUSSIAN
        by_sigma = self.told_by.currentData() == "sigma"
        self.rows.setRowVisible(self.told_by, gaussian)
        self.rows.setRowVisible(self.numbers["sigma"], gaussian and by_sigma)
        for name in _OPTICS:
            self.rows.setRowVisible(self.numbers[name], gaussian and not by_sigma)
        told = gaussian and not by_sigma
        self.words.setVisible(told)
        if told:
            self.words.setText(f"σ is {self.value.sigma:.2f} HR pixels.")
