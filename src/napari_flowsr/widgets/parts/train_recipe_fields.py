"""Fields of the Train dock: what is trained, from what, for how long, and its name."""

from __future__ import annotations

from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from napari_flowsr.errors import FlowSRError
from napari_flowsr.models.card import ModelCard
from napari_flowsr.training.presets import PRESETS, preset
from napari_flowsr.training.recipe import of_family, sentence, siblings
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets._train_session import BUDGETS, TrainSession
from napari_flowsr.widgets.parts.fields import Bindings, find_data, narrow
from napari_flowsr.widgets.parts.model_choice import describe
from napari_flowsr.widgets.parts.train_degradation import DegradationFields

__all__ = ["TrainRecipeFields"]


class TrainRecipeFields:
    """Start, preset, scale, degradation, budget and name.

    Parameters
    ----------
    rows : QFormLayout
        Where to put them.
    bindings : Bindings
        Of the session.
    """

    def __init__(self, rows: QFormLayout, bindings: Bindings) -> None:
        self.session: TrainSession = bindings.session
        self._rows, self._bindings = rows, bindings
        self._cards: dict[str, ModelCard] = {}
        self._start(rows)
        self._preset(rows)
        self.degradation = DegradationFields()
        bindings.bind(
            "degradation",
            self.degradation,
            self.degradation.changed,
            lambda: self.degradation.value,
            self.degradation.show_value,
        )
        rows.addRow("LR made by", self.degradation)
        self._budget(rows)
        self.name = QLineEdit()
        self.name.setToolTip("Of the model in the collection and in all docks' lists")
        bindings.bind(
            "name",
            self.name,
            self.name.textChanged,
            lambda: self.name.text().strip(),
            self._show_name,
        )
        rows.addRow("Name", self.name)
        self._proposed = self.session.name
        for name in ("preset", "start_from", "lr_folder"):
            getattr(self.session.events, name).connect(self._show)
        self.session.events.start_from.connect(self._follow_start)
        # Held weakly.
        changes.models.connect(self.refresh)
        self._show()

    # --- construction -------------------------------------------------------------

    def _start(self, rows: QFormLayout) -> None:
        self.start_from = QComboBox()
        self.start_from.setToolTip(
            "A model to go on from (fine-tuning): minutes instead of hours"
        )
        self.refresh()
        self._bindings.choice("start_from", self.start_from)
        rows.addRow("Start from", self.start_from)
        self.card = QLabel()
        self.card.setWordWrap(True)
        self.card.setTextFormat(Qt.TextFormat.RichText)
        rows.addRow("", self.card)

    def _preset(self, rows: QFormLayout) -> None:
        self.preset = narrow(QComboBox())
        self.preset.setToolTip("The kind of network, and how it is trained")
        self.scale = QComboBox()
        self.scale.setToolTip("How many times larger the results are")
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        for name in PRESETS:
            alike = siblings(name)
            if not alike or next(iter(alike.values())) == name:
                stem = name.rsplit("-", 1)[0] if alike else name
                self.preset.addItem(stem, name)
        self.preset.currentIndexChanged.connect(self._preset_chosen)
        self.scale.currentIndexChanged.connect(self._scale_chosen)
        # The session has one name for both; the frame of a problem is the preset's.
        self._bindings.bind(
            "preset",
            self.preset,
            self.scale.currentIndexChanged,
            lambda: self.session.preset,
            self._show_preset,
        )
        rows.addRow("Preset", self.preset)
        rows.addRow("", self.sentence)
        rows.addRow("Scale", self.scale)

    def _budget(self, rows: QFormLayout) -> None:
        self.minutes = QDoubleSpinBox()
        self.minutes.setDecimals(1)
        self.minutes.setRange(0.1, 100_000)
        self.steps = QSpinBox()
        self.steps.setRange(1, 100_000_000)
        self.steps.setSingleStep(1000)
        for name, box in (("minutes", self.minutes), ("steps", self.steps)):
            # With what a machine can do; a few minutes already help a fine-tuning.
            box.setToolTip("How long to train; all stages share it")
            self._bindings.bind(name, box, box.valueChanged, box.value, box.setValue)
        self.budget = QComboBox()
        for value, label in BUDGETS.items():
            self.budget.addItem(label, value)
        self._bindings.choice("budget", self.budget)
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.minutes, self.steps, self.budget):
            row.addWidget(widget, 1)
        rows.addRow("Train for", line)
        self.session.events.budget.connect(self._show_budget)
        self._show_budget()

    # --- reacting -----------------------------------------------------------------

    def refresh(self) -> None:
        """Read the list of models anew, keeping the choice."""
        from napari_flowsr.io.collection import list_models

        if not isalive(self.start_from):  # type: ignore[no-untyped-call]
            return
        cards = [c for c in list_models() if of_family(c.family, c.scales[0])]
        self._cards = {card.name: card for card in cards}
        box = self.start_from
        box.blockSignals(True)
        box.clear()
        box.addItem("nothing", "")
        for name in self._cards:
            box.addItem(name, name)
        gone = find_data(box, self.session.start_from) < 0
        if gone:  # what is shown is what counts; the session names the problem
            box.addItem(self.session.start_from, self.session.start_from)
        box.setCurrentIndex(find_data(box, self.session.start_from))
        box.blockSignals(False)

    def _follow_start(self, *_: Any) -> None:
        """The network of the model to start from is the one that is trained."""
        card = self._cards.get(self.session.start_from)
        if card is None:
            return
        if preset(self.session.preset).family not in (card.family, "learned-prior"):
            self.session.preset = of_family(card.family, card.scales[0]) or ""
        alike = siblings(self.session.preset)
        scale = int(card.scales[0])
        self.session.preset = alike.get(scale, self.session.preset)
        if card.degradation.name in [
            self.degradation.kind.itemData(i)
            for i in range(self.degradation.kind.count())
        ]:
            self.session.degradation = card.degradation

    def _preset_chosen(self, *_: Any) -> None:
        name = self.preset.currentData()
        alike = siblings(name)
        if self.session.preset not in (name, *alike.values()):
            self.session.preset = alike.get(self.scale.currentData() or 0, name)

    def _scale_chosen(self, *_: Any) -> None:
        alike = siblings(self.session.preset)
        self.session.preset = alike.get(
            self.scale.currentData() or 0, self.session.preset
        )

    def _show_preset(self, name: str) -> None:
        if name not in PRESETS:
            return  # a problem that the session names
        alike = siblings(name)
        first = next(iter(alike.values()), name)
        for box in (self.preset, self.scale):
            box.blockSignals(True)
        self.preset.setCurrentIndex(find_data(self.preset, first))
        self.scale.clear()
        for scale in alike:
            self.scale.addItem(f"{scale}×", scale)
        if not alike:
            self.scale.addItem(_scales(name), None)
        else:
            self.scale.setCurrentIndex(list(alike.values()).index(name))
        for box in (self.preset, self.scale):
            box.blockSignals(False)

    def _show(self, *_: Any) -> None:
        session = self.session
        self.sentence.setText(sentence(session.preset))
        card = self._cards.get(session.start_from)
        about = "" if card is None else describe(card)
        self.card.setText(about.partition("<br>")[0])
        self.card.setToolTip(about)
        self._rows.setRowVisible(self.card, card is not None)
        self.scale.setEnabled(not session.start_from and self.scale.count() > 1)
        self._rows.setRowVisible(self.degradation, not session.lr_folder)
        self._propose()

    def _show_budget(self, *_: Any) -> None:
        by_time = self.session.budget == "minutes"
        self.minutes.setVisible(by_time)
        self.steps.setVisible(not by_time)

    def _show_name(self, name: str) -> None:
        if name != self.name.text().strip():
            self.name.setText(name)

    def _propose(self) -> None:
        """A name that is free, as long as people have not given one themselves."""
        if self.session.name == self._proposed:
            self._proposed = proposed(self.session.preset, self.session.start_from)
            self.session.name = self._proposed

    def propose_anew(self) -> None:
        """The name was given to a model: propose the next."""
        self._proposed = self.session.name
        self._propose()


def _scales(name: str) -> str:
    config = preset(name)
    scale = float(config.model.get("scale", 0))
    if config.scale_range is not None:
        low, high = config.scale_range
        return f"any from {low:g}× to {high:g}×"
    return f"{scale:g}×" if scale else "the model's"


def proposed(name: str, start_from: str) -> str:
    """A name that can be given to a new model."""
    from napari_flowsr.io.names import check_new_name

    alike = {preset_name: scale for scale, preset_name in siblings(name).items()}
    kind = f"{alike[name]}x" if name in alike else name.replace("compact-", "")
    base = f"my-{start_from}" if start_from else f"my-{kind}"
    for number in range(1, 1000):
        free = base if number == 1 else f"{base}-{number}"
        try:
            check_new_name(free, "model")
        except FlowSRError:
            continue
        return free
    return base
