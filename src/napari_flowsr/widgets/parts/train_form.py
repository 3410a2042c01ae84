"""The fields of the Train dock, in their order."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_flowsr.widgets._train_session import TrainSession
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.train_advanced import TrainAdvanced
from napari_flowsr.widgets.parts.train_data_fields import TrainDataFields
from napari_flowsr.widgets.parts.train_recipe_fields import TrainRecipeFields

__all__ = ["TrainForm", "scrolled"]


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
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        # In the form before it is filled: a row shown earlier is a window of its own.
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        column.addLayout(rows)
        self.data = TrainDataFields(rows, bindings, viewer)
        self.recipe = TrainRecipeFields(rows, bindings)
        self.advanced = TrainAdvanced(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column.addWidget(self.advanced)

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)


def scrolled(*widgets: QWidget) -> QScrollArea:
    """In a column that scrolls up and down only."""
    inner = QWidget()
    column = QVBoxLayout(inner)
    column.setContentsMargins(4, 4, 4, 4)
    for widget in widgets:
        column.addWidget(widget)
    column.addStretch(1)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inner)
    return scroll
