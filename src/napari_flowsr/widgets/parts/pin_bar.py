"""Pin what is shown, and look at the pins one after the other or side by side."""

from __future__ import annotations

import weakref
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from napari_flowsr.errors import FlowSRError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._pins import pin, pinned
from napari_flowsr.widgets._viewer import layer_events, viewer_reference
from napari_flowsr.widgets.parts.compare import Compare, same_view
from napari_flowsr.widgets.parts.run_bar import counted

__all__ = ["PinBar"]

_PACE = 700  # ms that each pin is shown


class PinBar(QGroupBox):
    """Buttons for pins, and a line that says which one is seen.

    Parameters
    ----------
    session : EditSession
        Whose target is pinned where no result of this plugin is selected.
    viewer : napari.Viewer
        Held weakly.
    """

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__("Pins")
        self.session = session
        self._viewer = viewer_reference(viewer)
        self._seen: dict[weakref.ref[Any], bool] = {}
        self._turn = 0
        self._compare = Compare(viewer)
        self._build()
        self._timer = QTimer(self)
        self._timer.setInterval(_PACE)
        self._timer.timeout.connect(self._next)
        self._sources = layer_events(viewer)
        for event in self._sources:
            event.connect(self._tell)
        self._tell()

    def _build(self) -> None:
        self.pin = QPushButton("Pin what is shown")
        self.pin.setToolTip(
            "Copy the selected result (of a stack the image at its slider) into a "
            "layer of its own, which no run replaces"
        )
        self.flicker = QPushButton("Flicker")
        self.flicker.setToolTip("One pin after the other, at the same place")
        self.beside = QPushButton("Side by side")
        self.beside.setToolTip("All pins in a grid, moved and zoomed together")
        for button in (self.flicker, self.beside):
            button.setCheckable(True)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.pin.clicked.connect(self._pin_clicked)
        self.flicker.toggled.connect(self._toggle_flicker)
        self.beside.toggled.connect(self._toggle_beside)
        buttons = QHBoxLayout()
        buttons.addWidget(self.flicker)
        buttons.addWidget(self.beside)
        column = QVBoxLayout(self)
        column.addWidget(self.pin)
        column.addLayout(buttons)
        column.addWidget(self.note)

    # --- pinning ------------------------------------------------------------------

    def layer(self) -> Any:
        """What would be pinned: the selected result, else the target; or ``None``."""
        viewer = self._viewer()
        active = None if viewer is None else viewer.layers.selection.active
        if isinstance(active, Image) and NAMESPACE in active.metadata:
            return active
        return self.session.target

    def pin_shown(self) -> Any:
        """Pin it; return the new layer.

        Raises
        ------
        FlowSRError
            It cannot be pinned.
        """
        viewer, layer = self._viewer(), self.layer()
        if viewer is None or layer is None:
            return None
        chosen = set(viewer.layers.selection)
        with same_view(viewer):
            made = pin(viewer, layer)
        # The next pin is of the same stack, unless the user selects another one.
        viewer.layers.selection = chosen.intersection(viewer.layers)
        made.visible = False
        self._tell()
        return made

    def _pin_clicked(self) -> None:
        try:
            made = self.pin_shown()
        except FlowSRError as error:
            self.note.setText(str(error))
            return
        if made is None:
            self.note.setText("Select a result in the layer list first.")

    # --- comparing ----------------------------------------------------------------

    def _toggle_flicker(self, on: bool) -> None:
        if on:
            self.beside.setChecked(False)
            self._remember()
            self._turn = -1
            self._next()
            self._timer.start()
        else:
            self._timer.stop()
            self._restore()

    def _next(self) -> None:
        viewer = self._viewer()
        pins = [] if viewer is None else pinned(viewer)
        if not pins:
            self.flicker.setChecked(False)
            return
        self._turn = (self._turn + 1) % len(pins)
        shown = pins[self._turn]
        self._only([shown])
        self.note.setText(shown.name)

    def _toggle_beside(self, on: bool) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        if on:
            self.flicker.setChecked(False)
            self._remember()
            self._only(pinned(viewer))
        else:
            self._restore()
        self._compare.beside.setChecked(on)

    def _only(self, shown: list[Any]) -> None:
        viewer = self._viewer()
        for layer in [] if viewer is None else viewer.layers:
            # Painted masks and shapes stay over whatever is compared.
            if isinstance(layer, Image):
                layer.visible = layer in shown

    def _remember(self) -> None:
        viewer = self._viewer()
        layers = [] if viewer is None else viewer.layers
        self._seen = {weakref.ref(x): x.visible for x in layers}

    def _restore(self) -> None:
        for reference, visible in self._seen.items():
            layer = reference()
            if layer is not None:
                layer.visible = visible
        self._seen = {}
        self._tell()

    # --- state --------------------------------------------------------------------

    def _tell(self, *_: Any) -> None:
        viewer = self._viewer()
        count = 0 if viewer is None else len(pinned(viewer))
        for button in (self.flicker, self.beside):
            button.setEnabled(count > 1 or button.isChecked())
        if not self.flicker.isChecked():
            text = f"{counted(count, 'pin')}; they stay when runs replace results."
            self.note.setText(text if count else "Nothing is pinned yet.")

    def release(self) -> None:
        """Show all as it was and disconnect from the viewer."""
        self.flicker.setChecked(False)
        self.beside.setChecked(False)
        for event in self._sources:
            event.disconnect(self._tell)
