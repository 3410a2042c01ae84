"""The fields of the Restore dock, in their order."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_flowsr.inference.restore_usual import NORMALISATION
from napari_flowsr.widgets._restore_session import (
    RestoreSession,
    can_restore,
)
from napari_flowsr.widgets.parts.advanced_fields import NanFields
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.input_fields import InputFields
from napari_flowsr.widgets.parts.model_choice import ModelChoice
from napari_flowsr.widgets.parts.output_fields import OutputFields
from napari_flowsr.widgets.parts.sampling_fields import SamplingFields

__all__ = ["RestoreForm"]

_KINDS = {
    "restored": ("restored image", "At the size of the image"),
    "removed": ("what was removed", "Image minus restored image, 0 in the middle"),
}
_COLLECTIONS = {
    NORMALISATION: "spatial and local",
    ("spatial",): "spatial: by channel",
    ("local",): "local: by position",
    ("global",): "global: all alike",
}
_PROPOSED = 0.5  # temperature, where one is wanted


class _Statistics(SamplingFields):
    """Temperature and seed; there is one result."""

    def _samples(self, rows: QFormLayout, bindings: Bindings) -> None:
        pass

    def _temperature(self, rows: QFormLayout, bindings: Bindings) -> None:
        super()._temperature(rows, bindings)
        self.temperature.setToolTip(
            "Spread of the latents after the run, whatever the image is like: 0 "
            "replaces all fine detail by the most likely one, 1 leaves as much as the "
            "model expects"
        )
        self.models_own.setText("automatic, by the noise")
        self.models_own.setToolTip(
            "The noise of the image is measured; what is more than noise stays, and "
            "an image without noise is left alone"
        )

    def _seed(self, rows: QFormLayout, bindings: Bindings) -> None:
        super()._seed(rows, bindings)
        self._show_whose()

    def _show_temperature(self, value: float | None) -> None:
        # Where it is automatic, what would be taken up is shown, but not in use.
        super()._show_temperature(_PROPOSED if value is None else value)

    def _show_whose(self, *_: object) -> None:
        super()._show_whose()
        self.temperature.setEnabled(self.session.temperature is not None)


class RestoreForm(QWidget):
    """Fields bound to a session.

    Parameters
    ----------
    session : RestoreSession
        The state.
    viewer : napari.Viewer
        Held weakly.
    """

    restore_clicked = Signal()

    def __init__(self, session: RestoreSession, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self.bindings = bindings = Bindings(session)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.input = InputFields(
            rows,
            bindings,
            viewer,
            model=ModelChoice(accept=can_restore),
            tip="Image layer to restore",
        )
        self.normalisation = QComboBox()
        self.normalisation.setToolTip(
            "Which latents are looked at together: noise differs between channels, "
            "content between positions"
        )
        for kinds, label in _COLLECTIONS.items():
            self.normalisation.addItem(label, kinds)
        bindings.choice("normalisation", self.normalisation, label=", ".join)
        rows.addRow("Normalise", self.normalisation)
        self._add_strength(rows)
        self.statistics = _Statistics(rows, bindings)
        self.output = OutputFields(rows, bindings, _KINDS)
        self.advanced = NanFields(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.advanced)

    def _add_strength(self, rows: QFormLayout) -> None:
        self.strength = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.strength.setRange(0.0, 1.0)
        self.strength.setSingleStep(0.05)  # type: ignore[arg-type]
        self.strength.setDecimals(2)
        self.strength.setToolTip("0 leaves the image as it is, 1 does all of it")
        self.bindings.bind(
            "strength",
            self.strength,
            self.strength.valueChanged,
            lambda: round(self.strength.value(), 4),
            self.strength.setValue,
        )
        rows.addRow("Strength", self.strength)

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.input.release()
