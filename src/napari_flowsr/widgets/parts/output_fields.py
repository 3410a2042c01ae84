"""Fields of docks that run: what is added to the viewer, and its pixel size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLineEdit, QVBoxLayout

from napari_flowsr.widgets._calibration import takes_pixel_size, was_given
from napari_flowsr.widgets._geometry import in_pixels, pixel_um
from napari_flowsr.widgets.parts.fields import Bindings

__all__ = ["KindBoxes", "OutputFields"]

_KINDS = {
    "samples": ("samples", "Plausible high-resolution images"),
    "mean": ("mean", "Mean of the samples: closest to the truth on average"),
    "std": ("uncertainty", "Standard deviation between the samples"),
    "range": ("5–95 % range", "Width of the range that holds 90 % of the samples"),
}


class KindBoxes:
    """A check box for each kind of output.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    session : Session
        Whose ``outputs`` they are.
    kinds : mapping
        Label and tip of each kind.
    """

    def __init__(
        self, rows: QFormLayout, session: Any, kinds: Mapping[str, tuple[str, str]]
    ) -> None:
        self.session = session
        self.kinds: dict[str, QCheckBox] = {}
        column = self.kinds_row = QVBoxLayout()
        for kind, (label, tip) in kinds.items():
            box = QCheckBox(label)
            box.setToolTip(tip)
            box.toggled.connect(self._kinds_toggled)
            self.kinds[kind] = box
            column.addWidget(box)
        self.session.events.outputs.connect(self._show_kinds)
        self._show_kinds()
        rows.addRow("Outputs", column)

    def _kinds_toggled(self) -> None:
        self.session.outputs = tuple(k for k, b in self.kinds.items() if b.isChecked())

    def _show_kinds(self, *_: Any) -> None:
        for kind, box in self.kinds.items():
            box.blockSignals(True)
            box.setChecked(kind in self.session.outputs)
            box.blockSignals(False)


class OutputFields(KindBoxes):
    """Kinds of outputs, and the pixel size that is written into them.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    kinds : mapping
        Label and tip of each kind that the session has; those of the Upscale dock if
        not given. Of samples it is asked whether they are one stack.
    """

    def __init__(
        self,
        rows: QFormLayout,
        bindings: Bindings,
        kinds: Mapping[str, tuple[str, str]] = _KINDS,
    ) -> None:
        self._bindings = bindings
        super().__init__(rows, bindings.session, kinds)
        if "samples" in self.kinds:
            self.kinds_row.insertLayout(1, self._stacking())
            self._show_whether_stacked()
        self._add_pixel_size(rows)
        self.session.events.image.connect(self._image_changed)
        self.session.events.pixel_size_um.connect(self._show_whether_known)
        self._image_changed()

    def _stacking(self) -> QHBoxLayout:
        self.stack = QCheckBox("as one stack with a slider")
        self.stack.setToolTip("Otherwise each sample is a layer of its own")
        self._bindings.check_box("stack", self.stack)
        samples = self.kinds["samples"]
        samples.toggled.connect(self._show_whether_stacked)
        self.session.events.outputs.connect(self._show_whether_stacked)
        indented = QHBoxLayout()
        indented.addSpacing(18)
        indented.addWidget(self.stack)
        return indented

    def _add_pixel_size(self, rows: QFormLayout) -> None:
        self.pixel_size = QLineEdit()
        self._bindings.bind(
            "pixel_size_um",
            self.pixel_size,
            self.pixel_size.editingFinished,
            self._read_pixel_size,
            lambda v: self.pixel_size.setText("" if v is None else f"{v:g}"),
        )
        rows.addRow("Pixel size, µm", self.pixel_size)

    # --- reacting -----------------------------------------------------------------

    def _show_whether_stacked(self, *_: Any) -> None:
        self.stack.setEnabled(self.kinds["samples"].isChecked())

    def _read_pixel_size(self) -> float | None:
        text = self.pixel_size.text().strip().replace(",", ".")
        try:
            return float(text) if text else None
        except ValueError:
            return float("nan")  # named as a problem, not dropped

    def _image_changed(self, *_: Any) -> None:
        layer = self.session.image
        if layer is not None and self.session.problems_of("image"):
            layer = None
        pixels = layer is not None and takes_pixel_size(layer)
        self.pixel_size.setEnabled(pixels)
        tip = (
            "Edge of an input pixel; written into the outputs. The image itself gets "
            "it too, when the outputs come, so that they lie on it"
        )
        if layer is not None and not pixels:
            tip = f"The image has a unit already: {layer.units[-1]}"
            self.session.pixel_size_um = None
        elif layer is not None and was_given(layer):
            self.session.pixel_size_um = pixel_um(layer)
        self._bindings.set_tip("pixel_size_um", tip)
        self._show_whether_known()

    def _show_whether_known(self, *_: Any) -> None:
        layer = self.session.image
        image = layer is not None and not self.session.problems_of("image")
        known = image and not in_pixels(layer)
        self.pixel_size.setPlaceholderText("the layer's own" if known else "unknown")
