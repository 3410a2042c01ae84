"""Before and after: the input in place of the results, or beside them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._viewer import camera_of, grid_of, viewer_reference

__all__ = ["Compare", "same_view"]


@contextlib.contextmanager
def same_view(viewer: Any) -> Iterator[None]:
    """Keep the camera where it is: napari fits it whenever there are other axes."""
    camera = camera_of(viewer)
    view = camera.center, camera.zoom
    had_layers = bool(viewer.layers)
    yield
    if had_layers and viewer.layers:
        camera.center, camera.zoom = view


def _zoomed(center: tuple[float, ...], zoom: float) -> tuple[float, ...]:
    """Centre of a camera in the new world; the last two axes are those displayed."""
    return (*center[:-2], center[-2] * zoom, center[-1] * zoom)


class Compare(QWidget):
    """Two toggle buttons for the chosen image and what was made of it."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer_reference(viewer)
        self._source: weakref.ref[Any] | None = None
        self._hidden: list[weakref.ref[Any]] = []
        self._shown: weakref.ref[Any] | None = None
        self._view: tuple[tuple[float, ...], float] | None = None
        self._aside: dict[weakref.ref[Any], bool] = {}
        self._active: weakref.ref[Any] | None = None
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

    def show_beside(self, layers: Collection[Any]) -> None:
        """These alone, side by side, until the button is pressed again.

        Then the others are shown again, and those hidden that were hidden. A layer
        that is added, or one of the others that is selected, ends it as well: that is
        what a person wants to see now.
        """
        viewer = self._viewer()
        if viewer is None or not layers:
            return
        self.end_beside()
        for layer in viewer.layers:
            self._aside[weakref.ref(layer)] = layer.visible
            layer.visible = layer in layers
        self.beside.setChecked(True)
        active = viewer.layers.selection.active
        if active is not None and active not in layers:
            # What is hidden cannot be painted in; selecting it anew brings it back.
            self._active = weakref.ref(active)
            viewer.layers.selection.active = next(iter(layers))
        # Last: napari has taken the layer up by then.
        viewer.layers.events.inserted.connect(self.end_beside, position="last")
        viewer.layers.selection.events.active.connect(self._selected, position="last")

    def end_beside(self, *_: Any) -> None:
        """End what `show_beside` began; what a person pressed stays."""
        if self._aside:
            self.beside.setChecked(False)

    def _selected(self, *_: Any) -> None:
        viewer = self._viewer()
        active = None if viewer is None else viewer.layers.selection.active
        if active is not None and self._was_seen(active) and not active.visible:
            self._active = None  # another was chosen meanwhile
            self.end_beside()

    def _was_seen(self, layer: Any) -> bool:
        return self._aside.get(weakref.ref(layer), False)

    def release(self) -> None:
        """Show all as it was, and leave the viewer alone from now on."""
        self.before.setChecked(False)
        self.beside.setChecked(False)

    def follow_zoom(self, zoom: float) -> None:
        """Keep in view what is in view, after all lengths were multiplied."""
        viewer = self._viewer()
        if viewer is None:
            return
        camera = camera_of(viewer)
        center, seen = tuple(camera.center), float(camera.zoom)
        camera.center, camera.zoom = _zoomed(center, zoom), seen / zoom
        if self._view is not None:
            center, seen = self._view
            self._view = _zoomed(center, zoom), seen / zoom

    def _toggle_before(self, on: bool) -> None:
        viewer = self._viewer()
        source = self._source() if self._source is not None else None
        if viewer is None:
            return
        if on and source is not None:
            # The source may itself be a result, which was then edited.
            made = [
                x
                for x in viewer.layers
                if NAMESPACE in x.metadata and x.visible and x is not source
            ]
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
        if viewer is None:
            return
        if not on:
            self._take_back()
        else:
            camera = camera_of(viewer)
            self._view = (tuple(camera.center), float(camera.zoom))
        grid = grid_of(viewer)
        grid.stride = 1
        grid.enabled = on
        viewer.reset_view()
        if on:
            self._look_at_results(viewer)
        elif self._view is not None:
            camera = camera_of(viewer)
            camera.center, camera.zoom = self._view

    def _take_back(self) -> None:
        aside, self._aside = self._aside, {}
        viewer = self._viewer()
        if not aside or viewer is None:
            return
        viewer.layers.events.inserted.disconnect(self.end_beside)
        viewer.layers.selection.events.active.disconnect(self._selected)
        active = viewer.layers.selection.active
        for reference, visible in aside.items():
            layer = reference()
            if layer is not None:
                layer.visible = visible
        before = None if self._active is None else self._active()
        self._active = None
        made = active is not None and NAMESPACE in active.metadata
        if made and before in viewer.layers:
            viewer.layers.selection.active = before

    def _look_at_results(self, viewer: Any) -> None:
        """Zoom from the whole, which is in view, to what was upscaled of it."""
        made = [x for x in viewer.layers if NAMESPACE in x.metadata and x.visible]
        # Where the last two axes are not the picture, the whole is the better start.
        shown = list(viewer.dims.displayed)
        if shown != [viewer.dims.ndim - 2, viewer.dims.ndim - 1] or not made:
            return
        whole = np.asarray(viewer.layers.extent.world)[:, shown]
        corners = [np.asarray(x.extent.world)[:, -2:] for x in made]
        low = np.min([c[0] for c in corners], axis=0)
        high = np.max([c[1] for c in corners], axis=0)
        camera = camera_of(viewer)
        camera.zoom *= float(np.min((whole[1] - whole[0]) / (high - low)))
        camera.center = (low + high) / 2
