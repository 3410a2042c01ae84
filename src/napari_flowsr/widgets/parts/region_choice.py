"""Choice of the part of the image to work on, with the chosen part in words."""

from __future__ import annotations

from typing import Any

from napari.layers import Shapes
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_flowsr.widgets._session import Session
from napari_flowsr.widgets._viewer import layer_events, viewer_reference
from napari_flowsr.widgets.parts.fields import Bindings, find_data

__all__ = ["RegionChoice"]

_LONGEST = 22  # characters of an item; longer names lose their middle


class RegionChoice(QWidget):
    """Whole image, visible field, a Shapes layer, or numbers that a script gave.

    The box holds a short name, for a dock is narrow; the line below says the rest.

    Parameters
    ----------
    bindings : Bindings
        Of the session whose ``roi`` this is.
    viewer : napari.Viewer
        Held weakly.
    """

    def __init__(self, bindings: Bindings, viewer: Any) -> None:
        super().__init__()
        self.session: Session = bindings.session
        self._viewer = viewer_reference(viewer)
        self.box = QComboBox()
        self.box.setToolTip("Which part of the image; try the visible field first")
        self.note = QLabel()
        self.note.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.box)
        column.addWidget(self.note)
        self.refresh()
        bindings.choice("roi", self.box, label=_label)
        self.session.events.roi.connect(self._changed)
        self._layer_events = layer_events(viewer)
        for event in self._layer_events:
            event.connect(self.refresh)

    def refresh(self, *_: Any) -> None:
        """List the regions that there are now."""
        viewer = self._viewer()
        if viewer is None:
            return
        kept = self.session.roi
        self.box.blockSignals(True)
        self.box.clear()
        self.box.addItem("whole image", "whole")
        self.box.addItem("visible field", "view")
        for layer in viewer.layers:
            if isinstance(layer, Shapes):
                self.box.addItem(_shortened(f"shape in {layer.name}"), layer)
        if isinstance(kept, tuple):
            self.box.addItem(_short(kept), kept)
        self.box.setCurrentIndex(max(find_data(self.box, kept), 0))
        self.box.blockSignals(False)
        if not isinstance(kept, tuple):
            self.session.roi = self.box.currentData()
        self._tell()

    def _changed(self, roi: Any) -> None:
        # Numbers, which only a script can give, become an item of the list.
        if isinstance(roi, tuple) and find_data(self.box, roi) < 0:
            self.refresh()
        self._tell()

    def _tell(self) -> None:
        text = _explained(self.session.roi)
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def release(self) -> None:
        """Disconnect from the viewer."""
        for event in self._layer_events:
            event.disconnect(self.refresh)


def _label(roi: Any) -> str:
    """Text of a region that is not listed."""
    if isinstance(roi, tuple):
        return _short(roi)
    return _shortened(str(getattr(roi, "name", roi)))


def _short(roi: tuple[Any, ...]) -> str:
    """Size of a region; what is no region is shown as it is."""
    if len(roi) != 4:
        return _shortened(str(roi))
    return _shortened(f"{roi[2]} × {roi[3]} pixels")


def _explained(roi: Any) -> str:
    if roi == "view":
        return "What the canvas shows when the run begins, in the present slice."
    if isinstance(roi, tuple) and len(roi) == 4:
        y, x, height, width = roi
        return (
            f"{height} pixels high and {width} wide, from y = {y}, x = {x} of the image"
        )
    if isinstance(roi, Shapes):
        return (
            "Rectangle around the selected shapes, or the last one, "
            f"of '{_breakable(roi.name)}'"
        )
    return ""


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _breakable(name: str) -> str:
    """Let a label wrap a name that has no blanks: it must not widen the dock."""
    return "\u200b".join(name)
