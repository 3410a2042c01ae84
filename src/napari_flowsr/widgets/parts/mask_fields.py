"""Fields of the Edit dock: which mask, how soft, and a new one with one click."""

from __future__ import annotations

from typing import Any

from napari.layers import Labels, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QWidget,
)

from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.layer_box import LayerBox

__all__ = ["MaskFields"]


class MaskFields(QWidget):
    """Choice of the mask, button for a new one, and feather.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    viewer : napari.Viewer
        Held weakly.
    """

    new_clicked = Signal()

    def __init__(self, rows: QFormLayout, bindings: Bindings, viewer: Any) -> None:
        super().__init__()
        self.session = bindings.session
        self.box = LayerBox(viewer, (Labels, Shapes), "none")
        self.box.setToolTip(
            "Where to edit: a Labels or Shapes layer of any size and transform; it "
            "counts where it lies in the world"
        )
        bindings.bind(
            "mask",
            self.box,
            self.box.changed,
            lambda: self.box.layer,
            self.box.choose,
        )
        self.new = QPushButton("New mask")
        self.new.setToolTip("A Labels layer on the target, with the brush in hand")
        self.new.clicked.connect(self.new_clicked)
        # napari's minimum leaves no room for the button in a dock of 320 pixels.
        self.setStyleSheet("QComboBox { min-width: 60px; }")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box, 1)
        row.addWidget(self.new)
        rows.addRow("Mask", self)
        self.feather = QDoubleSpinBox()
        self.feather.setRange(0.0, 256.0)
        self.feather.setDecimals(1)
        self.feather.setSuffix(" px")
        self.feather.setSpecialValueText("hard edge")
        self.feather.setToolTip(
            "HR pixels around the mask over which new content fades out"
        )
        bindings.bind(
            "feather",
            self.feather,
            self.feather.valueChanged,
            self.feather.value,
            lambda value: self.feather.setValue(float(value)),
        )
        rows.addRow("Feather", self.feather)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.box.release()
