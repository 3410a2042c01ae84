"""Fields of the Upscale dock: how many samples, how spread, by which noise."""

from __future__ import annotations

import random

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QSizePolicy,
    QSpinBox,
    QToolButton,
)
from superqt import QLabeledDoubleSlider

from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets._session import MAX_TEMPERATURE
from napari_flowsr.widgets.parts.fields import Bindings

__all__ = ["SamplingFields"]


class SamplingFields:
    """Samples, temperature and seed.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    """

    def __init__(self, rows: QFormLayout, bindings: Bindings) -> None:
        self.session = bindings.session
        self._card: ModelCard | None = None
        self._samples(rows, bindings)
        self._temperature(rows, bindings)
        self._seed(rows, bindings)

    def _samples(self, rows: QFormLayout, bindings: Bindings) -> None:
        self.samples = QSpinBox()
        self.samples.setRange(1, 1000)
        self.samples.setToolTip("How many plausible images to draw")
        bindings.bind(
            "samples",
            self.samples,
            self.samples.valueChanged,
            self.samples.value,
            self.samples.setValue,
        )
        rows.addRow("Samples", self.samples)

    def _temperature(self, rows: QFormLayout, bindings: Bindings) -> None:
        self.temperature = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.temperature.setRange(0.0, MAX_TEMPERATURE)
        self.temperature.setSingleStep(0.05)  # type: ignore[arg-type]
        self.temperature.setDecimals(2)
        self.temperature.setToolTip(
            "Spread of the samples: 0 is the single most likely image, 1 what the "
            "model learned; less than 1 understates the doubt"
        )
        self.models_own = QCheckBox()
        self.models_own.setToolTip("Take the temperature that the model's card names")
        bindings.bind(
            "temperature",
            self.temperature,
            self.temperature.valueChanged,
            lambda: round(self.temperature.value(), 4),
            self._show_temperature,
        )
        self.models_own.toggled.connect(self._models_own_toggled)
        self.session.events.temperature.connect(self._show_whose)
        self._show_whose()
        rows.addRow("Temperature", self.temperature)
        rows.addRow("", self.models_own)

    def _seed(self, rows: QFormLayout, bindings: Bindings) -> None:
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed gives the same samples")
        # As wide as its ten digits wish, it would make the whole dock too wide.
        self.seed.setSizePolicy(
            QSizePolicy.Policy.Ignored, self.seed.sizePolicy().verticalPolicy()
        )
        bindings.bind(
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
        rows.addRow("Seed", row)

    # --- reacting -----------------------------------------------------------------

    def roll(self) -> None:
        """Take another seed."""
        self.session.seed = random.randrange(1, 2**31 - 1)  # noqa: S311  no secret

    def set_card(self, card: ModelCard | None) -> None:
        """Tell the chosen model; its temperature is shown unless another was chosen."""
        self._card = card
        own = "" if card is None else f" ({card.temperature:g})"
        # The card of a published file is made up while the file is read.
        self.models_own.setText(f"the model's{own or ', told after loading'}")
        if self.session.temperature is None:
            self._show_temperature(None)

    def _show_temperature(self, value: float | None) -> None:
        if value is None:
            if self._card is None:
                return
            value = self._card.temperature
        self.temperature.blockSignals(True)
        self.temperature.setValue(float(value))
        self.temperature.blockSignals(False)

    def _show_whose(self, *_: object) -> None:
        self.models_own.blockSignals(True)
        self.models_own.setChecked(self.session.temperature is None)
        self.models_own.blockSignals(False)

    def _models_own_toggled(self, on: bool) -> None:
        shown = round(self.temperature.value(), 4)
        self.session.temperature = None if on else shown
