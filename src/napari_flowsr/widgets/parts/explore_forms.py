"""Forms of the page "Explore": a way through the space of samples each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_flowsr.widgets import _explore
from napari_flowsr.widgets._edit_page import EditContext
from napari_flowsr.widgets._explore import Frame
from napari_flowsr.widgets._session import MAX_TEMPERATURE
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.layer_box import LayerBox

__all__ = ["Best", "Between", "Form", "PerLevel", "Sweep", "spin"]

_MOST = 999  # samples that can be numbered
_LISTED = 8  # scores; the record of the layer has all
_PAUSE = 150  # ms between the last move of a slider and the run
_CRITERIA = {
    "agreement with the LR image": "consistency",
    "likelihood": "likelihood",
    "likeness to a reference": "reference",
}


def spin(low: int, high: int, value: int, tip: str) -> QSpinBox:
    """Box for a whole number."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setToolTip(tip)
    return box


def _temperature(value: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.0, MAX_TEMPERATURE)
    box.setSingleStep(0.1)
    box.setValue(value)
    box.setToolTip(tip)
    return box


def _note(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label


class Form(QWidget):
    """Fields of one way; emits `changed`, and `wanted` where a run is asked for."""

    changed = Signal()
    wanted = Signal()
    name = ""
    axis = ""  # label of the stack that it makes, if it makes one

    def __init__(self, told: str) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        # Of rows of a form the heights do not follow texts that wrap.
        self.column.addWidget(_note(told))
        self.rows = QFormLayout()
        self.column.addLayout(self.rows)
        self.rows.setFieldGrowthPolicy(
            QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow
        )

    def problems(self, context: EditContext) -> dict[str, str]:
        """Field to the reason why there can be no run."""
        return {}

    @abstractmethod
    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        """As `EditPage.prepare`."""

    def told(self, value: float) -> str:
        """What an image of its stack is, in words."""
        return f"{self.axis} = {value:g}"

    def release(self) -> None:
        """Disconnect from the viewer."""

    def _add(self, label: str, box: QSpinBox | QDoubleSpinBox) -> Any:
        box.valueChanged.connect(lambda *_: self.changed.emit())
        self.rows.addRow(label, box)
        return box


class Between(Form):
    """From one sample to another."""

    name = "between two samples"
    axis = "t"

    def __init__(self, viewer: Any) -> None:
        super().__init__(
            "From one sample to another on the sphere of equal probability: each step "
            "is as plausible as its ends."
        )
        self.first = self._add("From sample", spin(0, _MOST, 0, "Number of a sample"))
        self.second = self._add("To sample", spin(0, _MOST, 1, "Number of a sample"))
        self.steps = self._add(
            "Images", spin(2, 101, 11, "How many, the two samples included")
        )

    def problems(self, context: EditContext) -> dict[str, str]:
        if self.first.value() == self.second.value():
            return {
                "second": f"Both ends are sample {self.first.value()}; choose two "
                "different ones."
            }
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        first, second = self.first.value(), self.second.value()
        return _explore.between(
            Frame.of(context, self.axis), first, second, self.steps.value()
        )

    def told(self, value: float) -> str:
        return f"t = {value:g} (0: the first sample, 1: the second)"


class Sweep(Form):
    """One sample at several temperatures."""

    name = "temperatures"
    axis = "tau"

    def __init__(self, viewer: Any) -> None:
        super().__init__(
            "The same noise at several temperatures: 0 is the single most likely "
            "image, 1 what the model learned."
        )
        self.sample = self._add("Sample", spin(0, _MOST, 0, "Number of a sample"))
        self.low = self._add("From τ", _temperature(0.0, "The first temperature"))
        self.high = self._add("To τ", _temperature(1.0, "The last temperature"))
        self.steps = self._add("Images", spin(2, 101, 6, "How many temperatures"))

    def problems(self, context: EditContext) -> dict[str, str]:
        if self.low.value() == self.high.value():
            return {
                "high": f"Both temperatures are {self.low.value():g}; give a range."
            }
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        ends = self.low.value(), self.high.value()
        values = tuple(
            round(float(tau), 6) for tau in np.linspace(*ends, self.steps.value())
        )
        return _explore.sweep(Frame.of(context, self.axis), values, self.sample.value())

    def told(self, value: float) -> str:
        return f"τ = {value:g}"


class Best(Form):
    """The best of n samples."""

    name = "best of n samples"

    def __init__(self, viewer: Any) -> None:
        super().__init__(
            "Draws samples and keeps the best one. The best is still a guess: it says "
            "less about the doubt than all of them."
        )
        self.n = self._add("Samples", spin(2, 1000, 8, "How many to choose from"))
        self.by = narrow(QComboBox())
        for label, value in _CRITERIA.items():
            self.by.addItem(label, value)
        self.by.setToolTip("What makes a sample a good one")
        self.by.currentIndexChanged.connect(self._by_changed)
        self.rows.addRow("Best by", self.by)
        self.reference = LayerBox(viewer, (Image,), "choose an image")
        self.reference.setToolTip("A measured HR image of the same field of view")
        self.reference.changed.connect(self.changed)
        self.rows.addRow("Reference", self.reference)
        self.scores = _note("")
        self.scores.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self.column.addWidget(self.scores)
        self._by_changed()

    def _by_changed(self, *_: Any) -> None:
        wanted = self.by.currentData() == "reference"
        self.rows.setRowVisible(self.reference, wanted)
        self.changed.emit()

    def problems(self, context: EditContext) -> dict[str, str]:
        if self.by.currentData() == "reference" and self.reference.layer is None:
            return {"reference": "Choose the HR image to compare the samples with."}
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        by, reference = self.by.currentData(), None
        if by == "reference":
            reference = _explore.reference_array(context, self.reference.layer)
        self.scores.setText("")
        return _explore.best(Frame.of(context), self.n.value(), by, reference)

    def show_scores(self, found: _explore.Scores) -> None:
        """List the scores, the best first."""
        unit, what = _explore.SCORES[found.by]
        order = np.argsort([-score for score in found.scores], kind="stable")
        told = [f"sample {i}: {found.scores[i]:.2f} {unit}" for i in order[:_LISTED]]
        if len(order) > _LISTED:
            low, high = min(found.scores), max(found.scores)
            told.append(f"all {len(order)}: {low:.2f} to {high:.2f} {unit}")
        self.scores.setText(f"{what}, best first:\n" + "\n".join(told))

    def release(self) -> None:
        self.reference.release()


class PerLevel(Form):
    """A factor of the temperature at each level, applied as the slider is let go."""

    name = "coarse and fine detail"

    def __init__(self, viewer: Any) -> None:
        super().__init__(
            "A factor of the temperature for each level of the latents: 0 takes the "
            "level's most likely content, 1 leaves it as it is."
        )
        self.sample = self._add("Sample", spin(0, _MOST, 0, "Number of a sample"))
        self.note = _note("Press Run: the sliders of this model's levels come with it.")
        self.column.insertWidget(1, self.note)
        self.sliders: list[QLabeledDoubleSlider] = []  # finest level first
        self.model = ""
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE)
        self._pause.timeout.connect(self.wanted)

    @property
    def factors(self) -> tuple[float, ...]:
        """As the sliders are, finest level first."""
        return tuple(round(slider.value(), 4) for slider in self.sliders)

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        self._pause.stop()
        return _explore.with_levels(
            Frame.of(context), self.factors, self.model, self.sample.value()
        )

    def show_levels(self, levels: _explore.Levels) -> None:
        """Make a slider for each level, unless they are there."""
        count = len(levels.sides)
        if (levels.model, count) == (self.model, len(self.sliders)):
            return
        self.model = levels.model
        for slider in self.sliders:
            self.rows.removeRow(slider)
        self.sliders = [self._slider() for _ in levels.sides]
        for slider, side in reversed([*zip(self.sliders, levels.sides, strict=True)]):
            slider.setToolTip(f"Latents of this level are cells of {side:g} HR pixels")
            self.rows.addRow(f"{side:g} px", slider)
        self.note.setText(
            f"'{levels.model}' has one level of latents, cells of {levels.sides[0]:g} "
            "HR pixels: coarse and fine cannot be told apart, all detail has one "
            "factor."
            if count == 1
            else f"'{levels.model}' has {count} levels of latents, coarse to fine. A "
            "run starts as a slider is let go."
        )

    def _slider(self) -> QLabeledDoubleSlider:
        slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        slider.setRange(0.0, 2.0)
        slider.setValue(1.0)
        slider.setSingleStep(0.05)  # type: ignore[arg-type]
        slider.setDecimals(2)
        slider.setTracking(True)
        slider.sliderReleased.connect(self._pause.start)
        # Typed or moved by keys: no release comes.
        slider.valueChanged.connect(lambda *_: self._moved(slider))
        return slider

    def _moved(self, slider: QLabeledDoubleSlider) -> None:
        if not slider.isSliderDown():
            self._pause.start()
