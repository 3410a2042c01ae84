"""The fields of the Upscale dock, in their order."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_flowsr.widgets._session import Session
from napari_flowsr.widgets.parts.advanced_fields import AdvancedFields
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.input_fields import InputFields
from napari_flowsr.widgets.parts.lazy_field import LazyField
from napari_flowsr.widgets.parts.output_fields import OutputFields
from napari_flowsr.widgets.parts.sampling_fields import SamplingFields

__all__ = ["UpscaleForm"]


class UpscaleForm(QWidget):
    """Fields bound to a session.

    Parameters
    ----------
    session : Session
        The state.
    viewer : napari.Viewer
        Held weakly.
    """

    restore_clicked = Signal()

    def __init__(self, session: Session, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self.bindings = bindings = Bindings(session)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.input = InputFields(rows, bindings, viewer)
        self.sampling = SamplingFields(rows, bindings)
        self.output = OutputFields(rows, bindings)
        self.lazy = LazyField(rows, bindings, self.output, self.sampling.samples)
        self.advanced = AdvancedFields(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.advanced)
        self.session.events.model.connect(self._model_changed)
        self._model_changed()

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)

    def _model_changed(self, *_: Any) -> None:
        card = self.input.model.chosen_card
        self.advanced.set_card(card)
        self.sampling.set_card(card)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.input.release()
