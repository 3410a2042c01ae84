"""The fields of the Upscale dock."""

from __future__ import annotations

import random
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible, QLabeledDoubleSlider

from napari_flowsr.widgets._geometry import in_pixels
from napari_flowsr.widgets._session import MAX_TEMPERATURE, OUTPUT_KINDS, Session
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.fields import Bindings, find_data
from napari_flowsr.widgets.parts.layer_choice import LayerChoice, layer_events
from napari_flowsr.widgets.parts.model_choice import ModelChoice

__all__ = ["UpscaleForm"]

_DOUBT = (
    "Fine detail is <b>inferred, not measured</b>. Where the samples disagree (bright "
    "in the uncertainty layer), believe none of them."
)
_KINDS = {
    "samples": ("samples", "Plausible high-resolution images"),
    "mean": ("mean", "Mean of the samples: closest to the truth on average"),
    "std": ("uncertainty", "Standard deviation between the samples"),
    "range": ("5–95 % range", "Width of the range that holds 90 % of the samples"),
}


class UpscaleForm(QWidget):
    """Fields bound to a session.

    Parameters
    ----------
    session : Session
        The state.
    viewer : napari.Viewer
        Held weakly.
    """

    restore_clicked = Signal()

    def __init__(self, session: Session, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self._viewer = viewer_reference(viewer)
        self.bindings = Bindings(session)
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._main = QFormLayout()
        self._main.setFieldGrowthPolicy(
            QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow
        )
        self._rows.addLayout(self._main)
        self._input(viewer)
        self._sampling()
        self._outputs()
        self._advanced()
        doubt = QLabel(_DOUBT)
        doubt.setWordWrap(True)
        self._rows.addWidget(doubt)
        self.session.events.image.connect(self._image_changed)
        self.session.events.model.connect(self._model_changed)
        self._image_changed()
        self._model_changed()

    # --- building -----------------------------------------------------------------

    def _input(self, viewer: Any) -> None:
        self.image = LayerChoice(viewer)
        self.image.setToolTip("Image layer to upscale")
        self.follow = QCheckBox("follow the selected image")
        self.follow.setChecked(True)
        self.follow.toggled.connect(self._set_follow)
        self.bindings.bind(
            "image",
            self.image,
            self.image.changed,
            lambda: self.image.layer,
            self._show_image,
        )
        self._main.addRow("Image", self.image)
        self._main.addRow("", self.follow)
        self.model = ModelChoice()
        self.bindings.bind(
            "model",
            self.model,
            self.model.changed,
            lambda: self.model.value,
            self.model.choose,
        )
        self._main.addRow("Model", self.model)
        self.roi = QComboBox()
        self.roi.setToolTip("Which part of the image; try the visible field first")
        self._fill_roi()
        self.bindings.choice("roi", self.roi)
        self.session.events.roi.connect(self._roi_changed)
        self._layer_events = layer_events(viewer)
        for event in self._layer_events:
            event.connect(self._fill_roi)
        self._main.addRow("Region", self.roi)

    def _show_image(self, layer: Any) -> None:
        # What a script has not set is what the list offers.
        if (
            layer is None
            and self.session.image is None
            and self.image.layer is not None
        ):
            self.session.image = self.image.layer
        else:
            self.image.choose(layer)

    def _sampling(self) -> None:
        self.samples = QSpinBox()
        self.samples.setRange(1, 1000)
        self.samples.setToolTip("How many plausible images to draw")
        self.bindings.bind(
            "samples",
            self.samples,
            self.samples.valueChanged,
            self.samples.value,
            self.samples.setValue,
        )
        self._main.addRow("Samples", self.samples)
        self.temperature = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.temperature.setRange(0.0, MAX_TEMPERATURE)
        self.temperature.setSingleStep(0.05)  # type: ignore[arg-type]
        self.temperature.setDecimals(2)
        self.temperature.setToolTip(
            "Spread of the samples: 0 is the single most likely image, 1 what the "
            "model learned; less than 1 understates the doubt"
        )
        self.bindings.bind(
            "temperature",
            self.temperature,
            self.temperature.valueChanged,
            lambda: round(self.temperature.value(), 4),
            self._show_temperature,
        )
        self._main.addRow("Temperature", self.temperature)
        self.seed = QSpinBox()
        self.seed.setRange(-(2**31), 2**31 - 1)
        self.seed.setToolTip("The same seed gives the same samples")
        # As wide as its ten digits wish, it would make the whole dock too wide.
        self.seed.setSizePolicy(
            QSizePolicy.Policy.Ignored, self.seed.sizePolicy().verticalPolicy()
        )
        self.bindings.bind(
            "seed",
            self.seed,
            self.seed.valueChanged,
            self.seed.value,
            self.seed.setValue,
        )
        self.dice = QToolButton()
        self.dice.setText("⚄")
        self.dice.setToolTip("Another seed")
        self.dice.clicked.connect(self.roll)
        row = QHBoxLayout()
        row.addWidget(self.seed, 1)
        row.addWidget(self.dice)
        self._main.addRow("Seed", row)

    def _outputs(self) -> None:
        self.kinds: dict[str, QCheckBox] = {}
        column = QVBoxLayout()
        for kind in OUTPUT_KINDS:
            label, tip = _KINDS[kind]
            box = QCheckBox(label)
            box.setToolTip(tip)
            box.toggled.connect(self._kinds_toggled)
            self.kinds[kind] = box
            column.addWidget(box)
        self.stack = QCheckBox("as one stack with a slider")
        self.stack.setToolTip("Otherwise each sample is a layer of its own")
        self.bindings.check_box("stack", self.stack)
        indented = QHBoxLayout()
        indented.addSpacing(18)
        indented.addWidget(self.stack)
        column.insertLayout(1, indented)
        self.session.events.outputs.connect(self._show_kinds)
        self._show_kinds()
        self._main.addRow("Outputs", column)
        self.pixel_size = QLineEdit()
        self.pixel_size.setPlaceholderText("unknown")
        self.bindings.bind(
            "pixel_size_um",
            self.pixel_size,
            self.pixel_size.editingFinished,
            self._read_pixel_size,
            lambda v: self.pixel_size.setText("" if v is None else f"{v:g}"),
        )
        self._main.addRow("Pixel size, µm", self.pixel_size)

    def _advanced(self) -> None:
        self.advanced = QCollapsible("More options")
        inner = QWidget()
        form = QFormLayout(inner)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.scale = QComboBox()
        self.scale.addItem("the model's", None)
        self.bindings.choice("scale", self.scale)
        form.addRow("Scale", self.scale)
        self.prior = self._choices(
            "prior", {"gaussian": "Gaussian"}, "Where the latents of a sample come from"
        )
        form.addRow("Prior", self.prior)
        self.noise = self._choices(
            "noise",
            {"per-plane": "its own in each plane", "shared": "the same in all planes"},
            "Shared noise does not flicker along time or depth",
        )
        form.addRow("Noise", self.noise)
        self.nan = self._choices(
            "nan",
            {"raise": "refuse the image", "fill": "fill them"},
            "Pixels without value",
        )
        form.addRow("NaN pixels", self.nan)
        self.consistent = QCheckBox("agree exactly with input")
        self.consistent.setToolTip(
            "Back-projection: the reduced sample equals the input to 60 dB or better"
        )
        self.bindings.check_box("consistent", self.consistent)
        form.addRow("", self.consistent)
        self.device = self._choices("device", _devices(), "Where to compute")
        form.addRow("Device", self.device)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        form.addRow("", self.reason)
        self.session.events.device.connect(self._show_reason)
        self._show_reason()
        self.tile = QSpinBox()
        self.tile.setRange(0, 1 << 20)
        self.tile.setSpecialValueText("automatic")
        self.tile.setSuffix(" px")
        self.tile.setToolTip(
            "Side of a tile in input pixels; does not change the result"
        )
        self.bindings.bind(
            "tile",
            self.tile,
            self.tile.valueChanged,
            lambda: self.tile.value() or "auto",
            lambda v: self.tile.setValue(v if isinstance(v, int) else 0),
        )
        form.addRow("Tile", self.tile)
        restore = QPushButton("Restore defaults")
        restore.clicked.connect(self.restore_clicked)
        form.addRow("", restore)
        self.advanced.addWidget(inner)
        self._rows.addWidget(self.advanced)

    def _choices(self, name: str, items: dict[str, str], tip: str) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tip)
        for value, label in items.items():
            box.addItem(label, value)
        self.bindings.choice(name, box)
        return box

    # --- reacting -----------------------------------------------------------------

    def roll(self) -> None:
        """Take another seed."""
        self.session.seed = random.randrange(1, 2**31 - 1)  # noqa: S311  no secret

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)

    def _set_follow(self, on: bool) -> None:
        self.image.follow = on

    def _kinds_toggled(self) -> None:
        self.session.outputs = tuple(k for k, b in self.kinds.items() if b.isChecked())
        self.stack.setEnabled(self.kinds["samples"].isChecked())

    def _show_kinds(self, *_: Any) -> None:
        for kind, box in self.kinds.items():
            box.blockSignals(True)
            box.setChecked(kind in self.session.outputs)
            box.blockSignals(False)
        self.stack.setEnabled("samples" in self.session.outputs)

    def _read_pixel_size(self) -> float | None:
        text = self.pixel_size.text().strip().replace(",", ".")
        try:
            return float(text) if text else None
        except ValueError:
            return float("nan")  # named as a problem, not dropped

    def _show_temperature(self, value: float | None) -> None:
        if value is None:
            card = self.model.chosen_card
            value = 1.0 if card is None else card.temperature
        self.temperature.blockSignals(True)
        self.temperature.setValue(float(value))
        self.temperature.blockSignals(False)

    def _show_reason(self, *_: Any) -> None:
        from napari_flowsr.core.device import resolve_device
        from napari_flowsr.errors import DeviceError

        try:
            self.reason.setText(resolve_device(self.session.device)[1])
        except DeviceError as error:
            self.reason.setText(str(error))

    def _image_changed(self, *_: Any) -> None:
        layer = self.session.image
        if layer is not None and self.session.problems_of("image"):
            layer = None
        pixels = layer is not None and in_pixels(layer)
        self.pixel_size.setEnabled(pixels)
        tip = "Edge of an input pixel; written into the outputs"
        if layer is not None and not pixels:
            tip = f"The image has a unit already: {layer.units[-1]}"
            self.session.pixel_size_um = None
        self.bindings.set_tip("pixel_size_um", tip)

    def _model_changed(self, *_: Any) -> None:
        card = self.model.chosen_card
        self.scale.blockSignals(True)
        self.scale.clear()
        self.scale.addItem("the model's", None)
        for value in () if card is None else card.scales:
            self.scale.addItem(f"{value:g}×", value)
        index = find_data(self.scale, self.session.scale)
        self.scale.setCurrentIndex(max(index, 0))
        self.scale.blockSignals(False)
        self.session.scale = self.scale.currentData()
        if self.session.temperature is None:
            self._show_temperature(None)

    # --- regions ------------------------------------------------------------------

    def _roi_changed(self, roi: Any) -> None:
        # Numbers, which only a script can give, become an item of the list.
        if isinstance(roi, tuple) and find_data(self.roi, roi) < 0:
            self._fill_roi()

    def _fill_roi(self, *_: Any) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        kept = self.session.roi
        self.roi.blockSignals(True)
        self.roi.clear()
        self.roi.addItem("whole image", "whole")
        self.roi.addItem("visible field", "view")
        for layer in viewer.layers:
            if layer._type_string == "shapes":
                self.roi.addItem(f"shape in {layer.name}", layer)
        if isinstance(kept, tuple):
            self.roi.addItem(f"y, x, height, width = {kept}", kept)
        index = max(find_data(self.roi, kept), 0)
        self.roi.setCurrentIndex(index)
        self.roi.blockSignals(False)
        if not isinstance(kept, tuple):
            self.session.roi = self.roi.currentData()

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.image.release()
        for event in self._layer_events:
            event.disconnect(self._fill_roi)


def _devices() -> dict[str, str]:
    import torch

    found = {"auto": "automatic", "cpu": "CPU"}
    for index in range(torch.cuda.device_count()):
        found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found
