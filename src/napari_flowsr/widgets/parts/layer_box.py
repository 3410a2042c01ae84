"""Combo box of the viewer's layers of some types, of which none is taken unasked."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_flowsr.widgets._layers import PREVIEW
from napari_flowsr.widgets._viewer import layer_events, viewer_reference
from napari_flowsr.widgets.parts.fields import find_data, narrow

__all__ = ["LayerBox"]


class LayerBox(QComboBox):
    """Choice of a layer, or of none.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    types : tuple of type
        Of layers that are offered.
    nothing : str
        Text of the choice of none.
    parent : QWidget, optional
        Owner.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: Any,
        types: tuple[Any, ...],
        nothing: str = "none",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer_reference(viewer)
        self._types, self._nothing = types, nothing
        narrow(self)
        self._sources = layer_events(viewer)
        for event in self._sources:
            event.connect(self.refresh)
        self.currentIndexChanged.connect(lambda *_: self.changed.emit())
        self.refresh()

    @property
    def layer(self) -> Any:
        """The chosen layer, or ``None``."""
        return self.currentData()

    def choose(self, layer: Any) -> None:
        """Choose a layer of the viewer; anything else chooses none."""
        self.setCurrentIndex(max(find_data(self, layer), 0))

    def refresh(self, *_: Any) -> None:
        """Take up the layers as they are now, keeping the choice."""
        viewer = self._viewer()
        if viewer is None:
            return
        kept = self.layer
        self.blockSignals(True)
        self.clear()
        self.addItem(self._nothing, None)
        for layer in reversed(viewer.layers):
            if isinstance(layer, self._types) and PREVIEW not in layer.metadata:
                self.addItem(layer.name, layer)
        self.choose(kept)
        self.blockSignals(False)
        if self.layer is not kept:
            self.changed.emit()

    def release(self) -> None:
        """Disconnect from the viewer."""
        for event in self._sources:
            event.disconnect(self.refresh)
