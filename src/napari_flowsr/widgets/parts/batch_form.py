"""The fields of the Batch tab, in their order."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.io.images import READABLE
from napari_flowsr.widgets._batch_session import BatchSession
from napari_flowsr.widgets._export_questions import FormatBox
from napari_flowsr.widgets.parts.advanced_fields import AdvancedFields
from napari_flowsr.widgets.parts.fields import Bindings, narrow
from napari_flowsr.widgets.parts.model_choice import ModelChoice
from napari_flowsr.widgets.parts.output_fields import KindBoxes
from napari_flowsr.widgets.parts.sampling_fields import SamplingFields
from napari_flowsr.widgets.parts.train_data_fields import FolderField

__all__ = ["BatchForm", "SourceField"]

_KINDS = {
    "samples": ("samples", "Plausible high-resolution images, in one file"),
    "mean": ("mean", "Mean of the samples: closest to the truth on average"),
    "std": ("uncertainty", "Standard deviation between the samples"),
    "quantiles": ("5 and 95 % quantiles", "Between them lie 90 % of the samples"),
}
_EXISTING = {"keep": "keep, do the missing", "replace": "replace"}


class SourceField(FolderField):
    """Path of a folder, of an OME-Zarr, or of an image file."""

    def __init__(self) -> None:
        super().__init__("Folder of images, or OME-Zarr", "folder, image or OME-Zarr")
        menu = QMenu(self)
        menu.addAction("Folder or OME-Zarr…").triggered.connect(lambda *_: self._ask())
        menu.addAction("Image file…").triggered.connect(lambda *_: self._ask_file())
        self.button.clicked.disconnect()
        self.button.setMenu(menu)
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.button.setStyleSheet("QToolButton::menu-indicator { image: none; }")

    def _ask_file(self) -> None:
        kinds = " ".join(f"*{end}" for end in READABLE if not end.endswith(".zarr"))
        path, _ = QFileDialog.getOpenFileName(
            self, "Image file", self.value, f"Images ({kinds})"
        )
        if path:
            self.line.setText(path)


class BatchForm(QWidget):
    """Fields bound to a session.

    Parameters
    ----------
    session : BatchSession
        The state.
    """

    restore_clicked = Signal()

    def __init__(self, session: BatchSession) -> None:
        super().__init__()
        self.session = session
        self.bindings = bindings = Bindings(session)
        rows = self._rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._places(rows)
        self.model = ModelChoice()
        bindings.bind(
            "model",
            self.model,
            self.model.changed,
            lambda: self.model.value,
            self.model.choose,
        )
        # There are many fields: what the card says is a tooltip here.
        self.model.card.hide()
        rows.addRow("Model", self.model)
        self.sampling = SamplingFields(rows, bindings)
        self.output = KindBoxes(rows, session, _KINDS)
        self._results(rows)
        self.advanced = AdvancedFields(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.advanced)
        session.events.model.connect(self._model_changed)
        session.events.source.connect(self._source_changed)
        self._model_changed()
        self._source_changed()

    def _places(self, rows: QFormLayout) -> None:
        self.source = SourceField()
        self.source.setToolTip("Images to upscale: a folder, an image, or an OME-Zarr")
        self.target = FolderField("Folder for the results", "folder")
        self.target.setToolTip("Folder of the results; folders inside are kept")
        self._place("source", self.source)
        self._place("target", self.target)
        self.pattern = self._line("pattern", "Which files of the folder, such as *.tif")
        self.recursive = QCheckBox("folders inside too")
        self.bindings.check_box("recursive", self.recursive)
        rows.addRow("Input", self.source)
        rows.addRow("Files", self.pattern)
        rows.addRow("", self.recursive)
        rows.addRow("Results in", self.target)

    def _place(self, name: str, box: FolderField) -> None:
        self.bindings.bind(name, box, box.changed, lambda: box.value, box.show_value)

    def _results(self, rows: QFormLayout) -> None:
        self.format = FormatBox()
        narrow(self.format)
        self.bindings.bind(
            "file_format",
            self.format,
            self.format.currentIndexChanged,
            # Named as the command names it.
            lambda: self.format.kind.lstrip("."),
            lambda name: setattr(self.format, "kind", f".{name.lstrip('.')}"),
        )
        rows.addRow("Format", self.format)
        self.existing = QComboBox()
        for value, label in _EXISTING.items():
            self.existing.addItem(label, value)
        self.existing.setToolTip(
            "Results that are there already. What a run that was stopped has not done "
            "is done when it is started again"
        )
        self.bindings.choice("existing", self.existing)
        rows.addRow("Existing", self.existing)
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setDecimals(6)
        self.pixel_size.setRange(0.0, 1e6)
        self.pixel_size.setSuffix(" µm")
        self.pixel_size.setSpecialValueText("as in the files")
        # As wide as its largest number wishes, it would make the dock too wide.
        self.pixel_size.setSizePolicy(
            QSizePolicy.Policy.Ignored, self.pixel_size.sizePolicy().verticalPolicy()
        )
        self.pixel_size.setToolTip("Edge of a pixel of the inputs")
        self.bindings.bind(
            "pixel_size_um",
            self.pixel_size,
            self.pixel_size.valueChanged,
            lambda: self.pixel_size.value() or None,
            lambda value: self.pixel_size.setValue(value or 0.0),
        )
        rows.addRow("Pixel size", self.pixel_size)
        self.scheduler = self._line(
            "scheduler",
            "Address of a dask.distributed scheduler, such as tcp://node1:8786, whose "
            "workers compute; they need to see the files under the same paths",
            "none: this computer",
        )
        rows.addRow("Scheduler", self.scheduler)

    def _line(self, name: str, tip: str, placeholder: str = "") -> QLineEdit:
        line = QLineEdit()
        line.setToolTip(tip)
        line.setPlaceholderText(placeholder)
        self.bindings.bind(
            name, line, line.textChanged, lambda: line.text().strip(), line.setText
        )
        return line

    # --- reacting -----------------------------------------------------------------

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)

    def _model_changed(self, *_: Any) -> None:
        card = self.model.chosen_card
        self.model.box.setToolTip(self.model.card.text())
        self.advanced.set_card(card)
        self.sampling.set_card(card)

    def _source_changed(self, *_: Any) -> None:
        for widget in (self.pattern, self.recursive):
            self._rows.setRowVisible(widget, self.session.has_many)
