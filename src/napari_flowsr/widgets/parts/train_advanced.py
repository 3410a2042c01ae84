"""Fields of the Train dock that are seldom changed, folded away."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_flowsr.widgets._train_session import default_folder
from napari_flowsr.widgets.parts.device_box import DeviceBox
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.folded_fields import FoldedFields
from napari_flowsr.widgets.parts.train_data_fields import FolderField

__all__ = ["TrainAdvanced"]

_USUAL = "the preset's"


class TrainAdvanced(FoldedFields):
    """Seed, batch, patch, learning rate, device, folder, and what is shown.

    Parameters
    ----------
    bindings : Bindings
        Of the session.
    """

    def __init__(self, bindings: Bindings) -> None:
        super().__init__(bindings)
        inner = QWidget()
        rows = QFormLayout(inner)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.domain = QLineEdit()
        self.domain.setPlaceholderText("such as: nuclei, DAPI, confocal")
        self.domain.setToolTip("What the images show; it is told in the model's card")
        self._bind("domain", self.domain, self.domain.textChanged, self.domain.text)
        rows.addRow("Shows", self.domain)
        self.licence = QLineEdit()
        self.licence.setPlaceholderText("the trainer's own")
        self.licence.setToolTip("Of the weights, for the model's card")
        self._bind("licence", self.licence, self.licence.textChanged, self.licence.text)
        rows.addRow("Licence", self.licence)
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed, images and settings give the same model")
        self._bind("seed", self.seed, self.seed.valueChanged, self.seed.value)
        rows.addRow("Seed", self.seed)
        self.batch = self._whole("batch", "Patches per step; less takes less memory")
        rows.addRow("Batch", self.batch)
        self.patch = self._whole(
            "patch", "Side of a patch in LR pixels; less takes less memory"
        )
        rows.addRow("Patch", self.patch)
        self.learning_rate = self._rate()
        rows.addRow("Learning rate", self.learning_rate)
        self.device = DeviceBox(bindings, self)
        rows.addRow("Device", self.device)
        self.checkpoints = FolderField(
            "Folder of the states", placeholder=str(default_folder())
        )
        self.checkpoints.setToolTip(
            "Where the state is kept until the model is complete"
        )
        bindings.bind(
            "checkpoints",
            self.checkpoints,
            self.checkpoints.changed,
            lambda: self.checkpoints.value,
            self.checkpoints.show_value,
        )
        rows.addRow("States in", self.checkpoints)
        self.restore = QPushButton("Restore defaults")
        rows.addRow("", self.restore)
        self.addWidget(inner)

    def _bind(self, name: str, widget: Any, changed: Any, read: Any) -> None:
        def write(value: Any) -> None:
            if value == read():
                return  # a line would move its cursor
            if isinstance(widget, QLineEdit):
                widget.setText(value)
            else:
                widget.setValue(value)

        self._bindings.bind(name, widget, changed, read, write)

    def _whole(self, name: str, tip: str) -> QSpinBox:
        box = QSpinBox()
        box.setRange(0, 1 << 16)
        box.setSpecialValueText(_USUAL)
        box.setToolTip(tip)
        self._bindings.bind(
            name,
            box,
            box.valueChanged,
            lambda: box.value() or None,
            lambda value: box.setValue(value or 0),
        )
        return box

    def _rate(self) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setDecimals(6)
        box.setRange(0, 1)
        box.setSingleStep(1e-4)
        box.setSpecialValueText(_USUAL)
        box.setToolTip("The highest of all stages; the others keep their ratio to it")
        self._bindings.bind(
            "learning_rate",
            box,
            box.valueChanged,
            lambda: box.value() or None,
            lambda value: box.setValue(value or 0.0),
        )
        return box
