"""Before and after: the input in place of the results, or beside them."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._viewer import viewer_reference

__all__ = ["Compare"]


def _grid(viewer: Any) -> Any:
    """Grid model; it moved to ``viewer.canvas`` in napari 0.9."""
    canvas = getattr(viewer, "canvas", None)
    return getattr(canvas, "grid", None) or viewer.grid


class Compare(QWidget):
    """Two toggle buttons for the chosen image and what was made of it."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer_reference(viewer)
        self._source: weakref.ref[Any] | None = None
        self._hidden: list[weakref.ref[Any]] = []
        self._shown: weakref.ref[Any] | None = None
        self.before = QPushButton("Show input")
        self.before.setCheckable(True)
        self.before.setToolTip(
            "Hide the results for as long as this is pressed: the input lies at the "
            "same place, so that differences jump to the eye"
        )
        self.beside = QPushButton("Side by side")
        self.beside.setCheckable(True)
        self.beside.setToolTip(
            "All visible layers in a grid, moved and zoomed together"
        )
        self.before.toggled.connect(self._toggle_before)
        self.beside.toggled.connect(self._toggle_beside)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.before)
        layout.addWidget(self.beside)

    def set_source(self, layer: Any) -> None:
        """Compare with this layer."""
        self._source = None if layer is None else weakref.ref(layer)

    def reset(self) -> None:
        """Back to the results."""
        self.before.setChecked(False)

    def _toggle_before(self, on: bool) -> None:
        viewer = self._viewer()
        source = self._source() if self._source is not None else None
        if viewer is None:
            return
        if on and source is not None:
            made = [x for x in viewer.layers if NAMESPACE in x.metadata and x.visible]
            self._hidden = [weakref.ref(x) for x in made]
            self._shown = None if source.visible else weakref.ref(source)
            source.visible = True
        elif self._shown is not None and (shown := self._shown()) is not None:
            shown.visible = False
        for reference in self._hidden:
            layer = reference()
            if layer is not None:
                layer.visible = not on
        self.before.setText("Show results" if on else "Show input")

    def _toggle_beside(self, on: bool) -> None:
        viewer = self._viewer()
        if viewer is not None:
            grid = _grid(viewer)
            grid.stride = 1
            grid.enabled = on
            viewer.reset_view()
