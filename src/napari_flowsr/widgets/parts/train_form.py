"""The fields of the Train dock, in their order."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_flowsr.widgets._train_session import TrainSession
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.train_advanced import TrainAdvanced
from napari_flowsr.widgets.parts.train_data_fields import TrainDataFields
from napari_flowsr.widgets.parts.train_recipe_fields import TrainRecipeFields

__all__ = ["TrainForm"]


class TrainForm(QWidget):
    """Fields bound to a session.

    Parameters
    ----------
    session : TrainSession
        The state.
    viewer : napari.Viewer
        Held weakly.
    """

    restore_clicked = Signal()

    def __init__(self, session: TrainSession, viewer: Any) -> None:
        super().__init__()
        self.bindings = bindings = Bindings(session)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.data = TrainDataFields(rows, bindings, viewer)
        self.recipe = TrainRecipeFields(rows, bindings)
        self.advanced = TrainAdvanced(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.advanced)

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)
