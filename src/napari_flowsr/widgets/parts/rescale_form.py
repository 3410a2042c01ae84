"""The fields of the Rescale dock, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.inference.rescale_error import human_bytes
from napari_flowsr.inference.rescale_usual import HOW_TO_GET_ONE
from napari_flowsr.io.suffixes import LATENTS
from napari_flowsr.widgets._rescale_session import (
    RescaleSession,
    are_latents,
    can_rescale,
)
from napari_flowsr.widgets.parts.advanced_fields import NanFields
from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.input_fields import InputFields
from napari_flowsr.widgets.parts.model_choice import ModelChoice
from napari_flowsr.widgets.parts.output_fields import OutputFields
from napari_flowsr.widgets.parts.sampling_fields import SamplingFields

__all__ = ["RescaleForm"]

_KINDS = {
    "small": ("small image", "A picture with a sixteenth of the pixels, at 4×"),
    "restored": ("brought back", "What one gets from the small image"),
    "error": ("error map", "Absolute difference to the original"),
}


class _Drawing(SamplingFields):
    """Temperature and seed; there is one sample."""

    def _samples(self, rows: QFormLayout, bindings: Bindings) -> None:
        pass


class _LatentsField(QWidget):
    """Which latents there are, with buttons for their file."""

    def __init__(self, session: RescaleSession) -> None:
        super().__init__()
        self.session = session
        self.said = QLabel()
        self.said.setWordWrap(True)
        self.open = QPushButton("Open…")
        self.open.setToolTip("Latents of the small image, written when it was made")
        self.save = QPushButton("Save…")
        self.save.setToolTip("Keep them with the small image: it then comes back")
        self.open.clicked.connect(self._open)
        self.save.clicked.connect(self._save)
        buttons = QHBoxLayout()
        buttons.addWidget(self.open)
        buttons.addWidget(self.save)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.said)
        column.addLayout(buttons)
        session.events.latents.connect(self.show_state)
        self.show_state()

    def show_state(self, *_: Any) -> None:
        """Say what there is."""
        latents = self.session.latents
        kept, text = are_latents(latents), "none yet"
        if kept:
            text = f"of the last run, {human_bytes(latents.nbytes)}, in memory"
        elif isinstance(latents, str | Path):
            text = Path(latents).name
        elif latents is not None:
            text = "not usable"
        self.said.setText(text)
        self.save.setEnabled(kept)

    def _open(self) -> None:
        pattern = f"Latents (*{LATENTS});;All files (*)"
        path, _ = QFileDialog.getOpenFileName(self, "Latents", "", pattern)
        if path:
            self.session.latents = path

    def _save(self) -> None:
        from napari.utils.notifications import show_error, show_info

        from napari_flowsr.errors import FlowSRError
        from napari_flowsr.inference.rescaled import save_latents

        pattern = f"Latents (*{LATENTS})"
        path, _ = QFileDialog.getSaveFileName(
            self, "Latents", f"small{LATENTS}", pattern
        )
        if not path:
            return
        target = Path(path if path.endswith(".safetensors") else path + LATENTS)
        try:
            save_latents(target, self.session.latents)
        except FlowSRError as error:
            show_error(str(error))
            return
        show_info(f"Latents written to {target}.")


class _Advanced(NanFields):
    """NaN pixels, device and tile: latents bring an image back in full precision."""

    has_precision = False


class RescaleForm(QWidget):
    """Fields bound to a session.

    Parameters
    ----------
    session : RescaleSession
        The state.
    viewer : napari.Viewer
        Held weakly.
    """

    restore_clicked = Signal()

    def __init__(self, session: RescaleSession, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self.bindings = bindings = Bindings(session)
        self._rows = rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.direction = self._choice(
            "direction",
            {"down": "make small", "up": "bring a small image back"},
            "Making an image small also shows what bringing it back costs",
        )
        rows.addRow("Do", self.direction)
        model = ModelChoice(accept=can_rescale, without=f"<i>{HOW_TO_GET_ONE}.</i>")
        tip = "Image layer to make small or, if it is a small one, to bring back"
        self.input = InputFields(rows, bindings, viewer, model=model, tip=tip)
        bits = {"auto": "as the image", 8: "8 bits", 16: "16 bits", None: "not rounded"}
        self.bits = self._choice(
            "bits", bits, "Whole numbers over the range of the image, or float"
        )
        rows.addRow("Small image", self.bits)
        ways = {"sampled": "sampled", "exact": "exact, from latents"}
        self.detail = self._choice(
            "detail",
            ways,
            "Detail of the image that is brought back: sampled, as from the small "
            "image alone; or what it was, from latents that need more bytes than the "
            "image",
        )
        rows.addRow("Detail", self.detail)
        self.latents = _LatentsField(session)
        rows.addRow("Latents", self.latents)
        self.drawing = _Drawing(rows, bindings)
        self.output = OutputFields(rows, bindings, _KINDS)
        self.advanced = _Advanced(bindings)
        self.advanced.restore.clicked.connect(self.restore_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.advanced)
        for name in ("model", "direction", "detail"):
            getattr(session.events, name).connect(self._update, check_nargs=False)
        self._update()

    def _choice(self, name: str, items: dict[Any, str], tip: str) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tip)
        for value, label in items.items():
            box.addItem(label, value)
        self.bindings.choice(name, box)
        return box

    def show_problems(self, problems: dict[str, str]) -> None:
        """Mark bad fields."""
        self.bindings.mark(problems)
        self.advanced.unfold_for(problems)

    def _update(self, *_: Any) -> None:
        """Show the fields that matter for what is to be done."""
        down, exact = self.session.direction == "down", self.session.detail == "exact"
        self.drawing.set_card(self.input.model.chosen_card)
        self._rows.setRowVisible(self.bits, down)
        self._rows.setRowVisible(self.latents, exact)
        self.latents.open.setVisible(not down)
        self._rows.setRowVisible(self.drawing.temperature, not exact)
        self._rows.setRowVisible(self.drawing.models_own, not exact)
        self._rows.setRowVisible(self.drawing.seed_row, not exact)
        self._rows.setRowVisible(self.output.kinds_row, down)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.input.release()
