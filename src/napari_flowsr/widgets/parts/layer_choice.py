"""Combo box of the viewer's layers of some types, which follows the active one."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._layers import PREVIEW
from napari_flowsr.widgets._viewer import layer_events, viewer_reference
from napari_flowsr.widgets.parts.fields import find_data

__all__ = ["LayerChoice"]


class LayerChoice(QComboBox):
    """Choice of an Image layer.

    With `follow` on, selecting an image in the layer list chooses it here too; painting
    on a mask or selecting several layers changes nothing. Results of this plugin are
    offered, but neither followed nor taken unasked: otherwise each run would move on to
    its own output, and so would a dock whose image is removed.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    parent : QWidget, optional
        Owner.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer_reference(viewer)
        self.follow = True
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.setMinimumContentsLength(12)
        self.setPlaceholderText("choose an image")
        self._sources = layer_events(viewer)
        for event in self._sources:
            event.connect(self.refresh)
        self._active = viewer.layers.selection.events.active
        self._active.connect(self._follow)
        self.currentIndexChanged.connect(lambda *_: self.changed.emit())
        self.refresh()
        self._follow()

    @property
    def layer(self) -> Any:
        """The chosen layer, or ``None``."""
        return self.currentData()

    def choose(self, layer: Any) -> None:
        """Choose a layer of the viewer; anything else chooses nothing."""
        self.setCurrentIndex(find_data(self, layer))

    def refresh(self, *_: Any) -> None:
        """Take up the layers as they are now, keeping the choice."""
        viewer = self._viewer()
        if viewer is None:
            return
        kept = self.layer
        images = [
            x
            for x in viewer.layers
            if isinstance(x, Image) and PREVIEW not in x.metadata
        ]
        self.blockSignals(True)
        self.clear()
        for layer in reversed(images):
            self.addItem(layer.name, layer)
        index = find_data(self, kept)
        if index < 0:
            originals = [i for i in images if NAMESPACE not in i.metadata]
            # A result is never taken unasked.
            index = find_data(self, originals[-1]) if originals else -1
        self.setCurrentIndex(index)
        self.blockSignals(False)
        if self.layer is not kept:
            self.changed.emit()

    def _follow(self, *_: Any) -> None:
        viewer = self._viewer()
        active = None if viewer is None else viewer.layers.selection.active
        if self.follow and active is not None and NAMESPACE not in active.metadata:
            index = find_data(self, active)
            if index >= 0:
                self.setCurrentIndex(index)

    def release(self) -> None:
        """Disconnect from the viewer."""
        for event in self._sources:
            event.disconnect(self.refresh)
        self._active.disconnect(self._follow)
