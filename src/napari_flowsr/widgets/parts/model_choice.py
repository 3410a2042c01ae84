"""Combo box of the models, with the chosen one's card below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_flowsr.models.card import ModelCard

__all__ = ["ModelChoice", "describe"]


def describe(card: ModelCard) -> str:
    """Card as a few lines of rich text."""
    scales = ", ".join(f"{s:g}×" for s in card.scales)
    lines = [f"<b>{scales} · {card.family}</b> · {card.domain}"]
    psnr, crps = card.metrics.get("psnr"), card.metrics.get("crps")
    if psnr:
        gain = psnr["mode"] - psnr["bicubic"]
        lines.append(
            f"test images: {gain:+.1f} dB over bicubic at temperature 0"
            + (f", CRPS {crps:.4f}" if crps else "")
        )
    lines.append(f"licence: {card.licence}")
    if card.not_for:
        lines.append(f"<i>not for: {' '.join(card.not_for.split())}</i>")
    return "<br>".join(lines)


def _card_in(model: str | Path) -> ModelCard | None:
    """Card in the header of a file of ours; other files have none."""
    from napari_flowsr.errors import FlowSRError
    from napari_flowsr.io.checkpoint import read_header
    from napari_flowsr.io.collection import find_model

    try:
        header = read_header(find_model(model))
    except (FlowSRError, OSError):
        return None  # the session names the problem
    return None if header is None else header.card


class ModelChoice(QWidget):
    """Choice of a model by name."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QComboBox()
        self.box.setToolTip("Built-in and imported models")
        self.card = QLabel()
        self.card.setWordWrap(True)
        self.card.setTextFormat(Qt.TextFormat.RichText)
        self.card.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addWidget(self.card)
        self._cards: dict[str, ModelCard] = {}
        self.refresh()
        self.box.currentIndexChanged.connect(self._emit)

    def refresh(self) -> None:
        """Read the list of models anew."""
        from napari_flowsr.io.collection import list_models

        kept = self.value
        self._cards = {card.name: card for card in list_models()}
        self.box.blockSignals(True)
        self.box.clear()
        for name in self._cards:
            self.box.addItem(name, name)
        self.box.blockSignals(False)
        if kept is not None:
            self.choose(kept)
        self._show()

    @property
    def value(self) -> Any:
        """Name of the chosen model, or a model object that a script gave."""
        return self.box.currentData()

    @property
    def chosen_card(self) -> ModelCard | None:
        """Card of the choice; ``None`` if only reading the whole file can tell it."""
        value = self.value
        if isinstance(value, str | Path):
            return self._cards.get(str(value))
        return getattr(value, "card", None)

    def choose(self, model: Any) -> None:
        """Choose by name, or take up a path or a loaded model that is not listed."""
        for index in range(self.box.count()):
            data = self.box.itemData(index)
            if data is model or (isinstance(model, str | Path) and data == model):
                self.box.setCurrentIndex(index)
                return
        if isinstance(model, str | Path) and (card := _card_in(model)) is not None:
            self._cards[str(model)] = card
        label = model.card.name if hasattr(model, "card") else str(model)
        self.box.addItem(label, model)
        self.box.setCurrentIndex(self.box.count() - 1)

    def _emit(self, *_: Any) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        card = self.chosen_card
        self.card.setText("" if card is None else describe(card))
