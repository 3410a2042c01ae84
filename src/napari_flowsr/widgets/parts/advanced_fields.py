"""Fields of the Upscale dock that are seldom changed, folded away."""

from __future__ import annotations

from typing import Any

from qtpy.compat import isalive
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_flowsr.inference.options import PRECISIONS
from napari_flowsr.io.prior_files import prior_names
from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets._devices import news, reason
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets.parts.device_box import DeviceBox
from napari_flowsr.widgets.parts.fields import Bindings, find_data
from napari_flowsr.widgets.parts.folded_fields import FoldedFields
from napari_flowsr.widgets.parts.prior_warning import PriorWarning
from napari_flowsr.widgets.parts.scale_fields import ScaleFields

__all__ = ["AdvancedFields", "NanFields"]


class AdvancedFields(FoldedFields):
    """Scale, prior, noise, NaN pixels, consistency, device, tile and precision.

    Parameters
    ----------
    bindings : Bindings
        Of the session.
    """

    has_precision = True

    def __init__(self, bindings: Bindings) -> None:
        super().__init__(bindings)
        self._listed: set[str] = set()  # learned priors
        inner = QWidget()
        rows = QFormLayout(inner)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._image_options(rows)
        self._computing(rows)
        self.restore = QPushButton("Restore defaults")
        rows.addRow("", self.restore)
        self.addWidget(inner)

    def _image_options(self, rows: QFormLayout) -> None:
        self.scales = ScaleFields(rows, self._bindings)
        self.scale = self.scales.scale
        self.prior = self._choice(
            "prior",
            {"gaussian": "Gaussian", "learned": "learned (one prediction)"},
            "Where the latents of a sample come from",
        )
        rows.addRow("Prior", self.prior)
        self.prior_model = self._choice(
            "prior_model",
            {None: "loaded with the model"},
            "The learned prior; import its file as a model to have it here",
        )
        rows.addRow("Learned prior", self.prior_model)
        # Before the prior is used, not after.
        self.prior_warning = PriorWarning(self.session)
        rows.addRow(self.prior_warning)
        self._rows = rows
        self.session.events.prior.connect(self._show_priors)
        # Held weakly: one that was trained or imported meanwhile is listed too.
        changes.models.connect(self._priors_changed)
        self._show_priors()
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
        self.device = DeviceBox(self._bindings, self)
        rows.addRow("Device", self.device)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        rows.addRow("", self.reason)
        self.session.events.device.connect(self._show_reason)
        # Held weakly. A run, too, may have loaded what tells it.
        news.found.connect(self._show_reason)
        self.toggled.connect(self._show_reason)
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
        if self.has_precision:
            self.precision = self._choice(
                "precision",
                {name: name for name in PRECISIONS},
                "Of the encoder. Half precision is faster on hardware for it, slower "
                "on other CPUs; the result differs by a little. The flow is in float32",
            )
            rows.addRow("Precision", self.precision)

    def _choice(self, name: str, items: dict[Any, str], tip: str) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tip)
        for value, label in items.items():
            box.addItem(label, value)
        self._bindings.choice(name, box)
        return box

    # --- reacting -----------------------------------------------------------------

    def set_card(self, card: ModelCard | None) -> None:
        """Offer the scales of the chosen model, and the learned priors at hand."""
        self.scales.set_card(card)
        self._show_priors()

    def _show_priors(self, *_: Any) -> None:
        """List the imported learned priors, where one is wanted."""
        learned = self.session.prior == "learned"
        if learned:
            names, box = prior_names(), self.prior_model
            for name in self._listed.difference(names):
                index = find_data(box, name)
                if index not in (-1, box.currentIndex()):
                    box.removeItem(index)
            for name in names:
                if find_data(box, name) < 0:
                    box.addItem(name, name)
            self._listed = set(names)
        self._rows.setRowVisible(self.prior_model, learned)

    def _priors_changed(self) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]
            self._show_priors()

    def _show_reason(self, *_: Any) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]
            self.reason.setText(reason(self.session.device))


class NanFields(AdvancedFields):
    """NaN pixels, device, tile and precision: for docks without samples."""

    def _image_options(self, rows: QFormLayout) -> None:
        self.nan = self._choice(
            "nan",
            {"raise": "refuse the image", "fill": "fill them"},
            "Pixels without value",
        )
        rows.addRow("NaN pixels", self.nan)
