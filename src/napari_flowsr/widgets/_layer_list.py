"""List of image layers with check boxes that follows a viewer's layer list."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._ending import when_destroyed
from napari_flowsr.widgets._viewer import layer_events, viewer_reference

__all__ = ["LayerList", "is_own"]


def is_own(layer: Any) -> bool:
    """Whether the plugin made the layer, told by its metadata."""
    return NAMESPACE in layer.metadata


class LayerList(QListWidget):
    """Image layers of a viewer; those that the plugin made are checked at first.

    Layers are held weakly.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Held weakly.
    parent : QWidget, optional
        Owner.
    """

    changed = Signal()
    """Other layers are listed or checked."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer_reference(viewer)
        self._listed: list[weakref.ref[Any]] = []
        self._checked: weakref.WeakKeyDictionary[Any, bool] = (
            weakref.WeakKeyDictionary()
        )
        self._shows_all = False
        self._follower = _Follower(self)
        for event in layer_events(viewer):
            event.connect(self._follower.refresh)
        when_destroyed(self, partial(_disconnect, self._viewer, self._follower))
        self.itemChanged.connect(self._remember)
        self.refresh()

    @property
    def shows_all(self) -> bool:
        """Whether layers that the plugin did not make are listed as well."""
        return self._shows_all

    @shows_all.setter
    def shows_all(self, value: bool) -> None:
        self._shows_all = bool(value)
        self.refresh()

    @property
    def checked(self) -> list[Any]:
        """Checked layers, in the order of the viewer's layer list."""
        alive = [reference() for reference in self._listed]
        return [layer for layer in alive if layer is not None and self._checked[layer]]

    def check(self, layers: Iterable[Any]) -> None:
        """Check exactly these layers, given as such or by name.

        Raises
        ------
        OptionError
            One of them is no image layer of the viewer.
        """
        images = self._images()
        chosen = []
        for given in layers:
            found = [i for i in images if i is given or i.name == given]
            if not found:
                names = ", ".join(f"'{image.name}'" for image in images) or "none"
                raise OptionError(
                    f"There is no image layer {getattr(given, 'name', given)!r}. The "
                    f"viewer's image layers: {names}."
                )
            chosen += found
        for image in images:
            self._checked[image] = any(image is layer for layer in chosen)
        self._shows_all = self._shows_all or not all(map(is_own, chosen))
        self.refresh()

    def refresh(self, event: Any = None) -> None:
        """List the layers as they are now."""
        layers = [i for i in self._images() if self._shows_all or is_own(i)]
        self.blockSignals(True)
        self.clear()
        for layer in layers:
            self._checked.setdefault(layer, self._is_proposed(layer))
            item = QListWidgetItem(layer.name, self)
            item.setToolTip(layer.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            on = self._checked[layer]
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        self._listed = [weakref.ref(layer) for layer in layers]
        self.blockSignals(False)
        self.changed.emit()

    def _is_proposed(self, layer: Any) -> bool:
        """Whether a layer is checked at first."""
        return is_own(layer)

    def _images(self) -> list[Any]:
        viewer = self._viewer()
        if viewer is None:
            return []
        return [layer for layer in viewer.layers if isinstance(layer, Image)]

    def _remember(self, item: QListWidgetItem) -> None:
        layer = self._listed[self.row(item)]()
        if layer is not None:
            self._checked[layer] = item.checkState() == Qt.CheckState.Checked
        self.changed.emit()


class _Follower:
    """Tells a list that other layers are there.

    No object of Qt: napari compares the owners of callbacks, and that raises for one
    whose Qt half is gone (napari before 0.7 with PyQt6).
    """

    def __init__(self, owner: LayerList) -> None:
        self._owner = weakref.ref(owner)

    def refresh(self, _event: Any = None) -> None:
        """Let the list look at the layers."""
        owner = self._owner()
        if owner is not None:
            owner.refresh()


def _disconnect(viewer: weakref.ref[Any], follower: _Follower) -> None:
    """Stop following the layers: Qt's half of the list is gone."""
    alive = viewer()
    for event in () if alive is None else layer_events(alive):
        event.disconnect(follower.refresh)
