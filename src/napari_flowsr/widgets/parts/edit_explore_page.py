"""The page "Explore" of the Edit dock: ways through the space of samples."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QSlider, QVBoxLayout, QWidget

from napari_flowsr.widgets._edit_page import EditContext
from napari_flowsr.widgets._explore import Levels, Scores, Strip
from napari_flowsr.widgets._stacks import (
    show_step,
    shown_index,
    stack_axis,
    stack_value,
)
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.explore_forms import (
    Best,
    Between,
    Form,
    PerLevel,
    Sweep,
)
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.pin_bar import PinBar

__all__ = ["ExplorePage"]


class ExplorePage(QWidget):
    """Between samples, level by level, the best of many, over temperatures; pins.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Held weakly.
    """

    title = "Explore"
    needs_target = False  # the LR image alone will do
    changed = Signal()
    run_requested = Signal()
    """A slider was let go: run, in place of a run that is going on."""

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self._viewer = viewer_reference(viewer)
        self._strips: dict[str, weakref.ref[Any]] = {}  # by the label of their axis
        self.between, self.sweep = Between(viewer), Sweep(viewer)
        self.levels, self.best = PerLevel(viewer), Best(viewer)
        self.forms: tuple[Form, ...] = (
            self.between,
            self.levels,
            self.best,
            self.sweep,
        )
        self.pins = PinBar(session, viewer)
        self._build()
        self._point = viewer.dims.events.point
        self._point.connect(self._dims_moved)
        self._way_changed()

    def _build(self) -> None:
        self.way = narrow(QComboBox())
        self.way.setToolTip("Which way through the space of samples")
        column = QVBoxLayout(self)
        column.addWidget(self.way)
        for form in self.forms:
            self.way.addItem(form.name)
            form.changed.connect(self.changed)
            form.wanted.connect(self.run_requested)
            column.addWidget(form)
        self.where = QLabel()
        self.where.setWordWrap(True)
        self.step = QSlider(Qt.Orientation.Horizontal)
        self.step.setToolTip("The viewer's slider: nothing is computed")
        self.step.valueChanged.connect(self._step_moved)
        column.addWidget(self.where)
        column.addWidget(self.step)
        column.addWidget(self.pins)
        column.addStretch(1)
        self.way.currentIndexChanged.connect(self._way_changed)

    # --- as EditPage says ---------------------------------------------------------

    @property
    def form(self) -> Form:
        """The form that is shown."""
        return self.forms[self.way.currentIndex()]

    def problems(self, context: EditContext) -> dict[str, str]:
        if context.image is None and context.target is None:
            return {"image": "Choose an LR image, or an HR image to explore."}
        return self.form.problems(context)

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        return self.form.prepare(context)

    def show(self, event: Any, context: EditContext) -> None:  # type: ignore[override]
        if isinstance(event, Strip):
            self._show_strip(event)
        elif isinstance(event, Levels):
            self.levels.show_levels(event)
        elif isinstance(event, Scores):
            self.best.show_scores(event)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._point.disconnect(self._dims_moved)
        self.pins.release()
        for form in self.forms:
            form.release()

    # --- strips -------------------------------------------------------------------

    def _way_changed(self, *_: Any) -> None:
        for form in self.forms:
            form.setVisible(form is self.form)
        self._set_up_step()
        self.changed.emit()

    def _show_strip(self, event: Strip) -> None:
        viewer = self._viewer()
        layers = [] if viewer is None else viewer.layers
        made = [x for x in layers if stack_axis(x) == event.axis]
        if made:
            self._strips[event.axis] = weakref.ref(made[-1])
        self._set_up_step()

    def strip(self) -> Any:
        """The stack that the form made, while it is in the viewer; or ``None``."""
        reference = self._strips.get(self.form.axis)
        layer, viewer = reference() if reference else None, self._viewer()
        if layer is None or viewer is None or layer not in viewer.layers:
            return None
        return layer

    def _set_up_step(self) -> None:
        layer = self.strip()
        for widget in (self.step, self.where):
            widget.setVisible(layer is not None)
        if layer is None:
            return
        self.step.blockSignals(True)
        self.step.setRange(0, len(layer.data) - 1)
        self.step.setValue(shown_index(self._viewer(), layer))
        self.step.blockSignals(False)
        self._tell_step(layer)

    def _step_moved(self, index: int) -> None:
        layer = self.strip()
        if layer is None:
            self._set_up_step()
            return
        layer.visible = True
        show_step(self._viewer(), layer, index)
        self._tell_step(layer)

    def _dims_moved(self, *_: Any) -> None:
        """The viewer's slider was moved: so is the page's, which moves nothing then."""
        if not self.step.isHidden():
            self._set_up_step()

    def _tell_step(self, layer: Any) -> None:
        value = stack_value(layer, self.step.value())
        self.where.setText(self.form.told(value))
