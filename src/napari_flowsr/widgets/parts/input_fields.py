"""Fields of the Upscale dock: which image, by which model, which part."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QFormLayout

from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.layer_choice import LayerChoice
from napari_flowsr.widgets.parts.model_choice import ModelChoice
from napari_flowsr.widgets.parts.region_choice import RegionChoice

__all__ = ["InputFields"]


class InputFields:
    """Image, model and region.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    viewer : napari.Viewer
        Held weakly.
    """

    def __init__(self, rows: QFormLayout, bindings: Bindings, viewer: Any) -> None:
        self.session = bindings.session
        self.image = LayerChoice(viewer)
        self.image.setToolTip("Image layer to upscale")
        self.follow = QCheckBox("follow the selected image")
        self.follow.setChecked(True)
        self.follow.toggled.connect(self._set_follow)
        bindings.bind(
            "image",
            self.image,
            self.image.changed,
            lambda: self.image.layer,
            self._show_image,
        )
        self.model = ModelChoice()
        bindings.bind(
            "model",
            self.model,
            self.model.changed,
            lambda: self.model.value,
            self.model.choose,
        )
        self.region = RegionChoice(bindings, viewer)
        rows.addRow("Image", self.image)
        rows.addRow("", self.follow)
        rows.addRow("Model", self.model)
        rows.addRow("Region", self.region)

    def _show_image(self, layer: Any) -> None:
        # What a script has not set is what the list offers.
        unset = layer is None and self.session.image is None
        if unset and self.image.layer is not None:
            self.session.image = self.image.layer
        else:
            self.image.choose(layer)

    def _set_follow(self, on: bool) -> None:
        self.image.follow = on

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.image.release()
        self.region.release()
