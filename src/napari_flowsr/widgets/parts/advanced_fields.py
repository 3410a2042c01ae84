"""Fields of the Upscale dock that are seldom changed, folded away."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QWidget,
)
from superqt import QCollapsible

from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets.parts.fields import Bindings, find_data

__all__ = ["AdvancedFields"]


class AdvancedFields(QCollapsible):
    """Scale, prior, noise, NaN pixels, consistency, device and tile.

    Parameters
    ----------
    bindings : Bindings
        Of the session.
    """

    def __init__(self, bindings: Bindings) -> None:
        super().__init__("More options")
        self.session, self._bindings = bindings.session, bindings
        inner = QWidget()
        rows = QFormLayout(inner)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._image_options(rows)
        self._computing(rows)
        self.restore = QPushButton("Restore defaults")
        rows.addRow("", self.restore)
        self.addWidget(inner)

    def _image_options(self, rows: QFormLayout) -> None:
        self.scale = self._choice("scale", {None: "the model's"}, "Enlargement")
        rows.addRow("Scale", self.scale)
        self.prior = self._choice(
            "prior", {"gaussian": "Gaussian"}, "Where the latents of a sample come from"
        )
        rows.addRow("Prior", self.prior)
        self.noise = self._choice(
            "noise",
            {"per-plane": "its own in each plane", "shared": "the same in all planes"},
            "Shared noise does not flicker along time or depth",
        )
        rows.addRow("Noise", self.noise)
        self.nan = self._choice(
            "nan",
            {"raise": "refuse the image", "fill": "fill them"},
            "Pixels without value",
        )
        rows.addRow("NaN pixels", self.nan)
        self.consistent = QCheckBox("agree exactly with input")
        self.consistent.setToolTip(
            "Back-projection: the reduced sample equals the input to 60 dB or better"
        )
        self._bindings.check_box("consistent", self.consistent)
        rows.addRow("", self.consistent)

    def _computing(self, rows: QFormLayout) -> None:
        self.device = self._choice("device", _devices(), "Where to compute")
        rows.addRow("Device", self.device)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        rows.addRow("", self.reason)
        self.session.events.device.connect(self._show_reason)
        self._show_reason()
        self.tile = QSpinBox()
        self.tile.setRange(0, 1 << 20)
        self.tile.setSpecialValueText("automatic")
        self.tile.setSuffix(" px")
        self.tile.setToolTip(
            "Side of a tile in input pixels; does not change the result"
        )
        self._bindings.bind(
            "tile",
            self.tile,
            self.tile.valueChanged,
            lambda: self.tile.value() or "auto",
            lambda v: self.tile.setValue(v if isinstance(v, int) else 0),
        )
        rows.addRow("Tile", self.tile)

    def _choice(self, name: str, items: dict[Any, str], tip: str) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tip)
        for value, label in items.items():
            box.addItem(label, value)
        self._bindings.choice(name, box)
        return box

    # --- reacting -----------------------------------------------------------------

    def set_card(self, card: ModelCard | None) -> None:
        """Offer the scales of the chosen model; unknown ones are left as they are."""
        self.scale.blockSignals(True)
        self.scale.clear()
        self.scale.addItem("the model's", None)
        for value in () if card is None else card.scales:
            self.scale.addItem(f"{value:g}×", value)
        self.scale.setCurrentIndex(max(find_data(self.scale, self.session.scale), 0))
        self.scale.blockSignals(False)
        if card is not None:
            self.session.scale = self.scale.currentData()

    def _show_reason(self, *_: Any) -> None:
        from napari_flowsr.core.device import resolve_device
        from napari_flowsr.errors import DeviceError

        try:
            self.reason.setText(resolve_device(self.session.device)[1])
        except DeviceError as error:
            self.reason.setText(str(error))


def _devices() -> dict[str, str]:
    import torch

    found = {"auto": "automatic", "cpu": "CPU"}
    for index in range(torch.cuda.device_count()):
        found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found
