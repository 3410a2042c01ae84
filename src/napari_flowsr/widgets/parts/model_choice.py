"""Combo box of the models, with the chosen one's card below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_flowsr.errors import FlowSRError
from napari_flowsr.io.catalogue import notices
from napari_flowsr.io.collection import find_model, list_models
from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets._checks import card_of
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets.parts.model_card import scales_of, warning_html

__all__ = ["ModelChoice", "describe"]


def describe(card: ModelCard) -> str:
    """Card as a few lines of rich text."""
    lines = [f"<b>{scales_of(card)} · {card.family}</b> · {card.domain}"]
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
    try:
        return card_of(model)
    except (FlowSRError, OSError):
        return None  # the session names the problem


class _Box(QComboBox):
    """Combo box that tells before it opens."""

    opening = Signal()

    def showPopup(self) -> None:
        self.opening.emit()
        super().showPopup()


class ModelChoice(QWidget):
    """Choice of a model by name.

    Parameters
    ----------
    parent : QWidget, optional
        Owner.
    accept : callable, optional
        Which cards are offered.
    without : str
        What is said where no model is offered.
    """

    changed = Signal()

    def __init__(
        self,
        parent: QWidget | None = None,
        *,
        accept: Callable[[ModelCard], bool] | None = None,
        without: str = "",
    ) -> None:
        super().__init__(parent)
        self._accept, self._without = accept, without
        self.box = _Box()
        self.box.setPlaceholderText("none yet")
        self.box.setToolTip("Built-in and imported models")
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.setTextFormat(Qt.TextFormat.RichText)
        self.card = QLabel()
        self.card.setWordWrap(True)
        self.card.setTextFormat(Qt.TextFormat.RichText)
        self.card.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        # Before the model is used, not after.
        layout.addWidget(self.warning)
        layout.addWidget(self.card)
        self._cards: dict[str, ModelCard] = {}
        self.texts: tuple[str, ...] = ()
        self.refresh()
        self.box.currentIndexChanged.connect(self._emit)
        # Models may have been imported since.
        self.box.opening.connect(self.refresh)
        # Held weakly.
        changes.models.connect(self._collection_changed)

    def _collection_changed(self) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]
            self.refresh()
            # The chosen model may have gone: whoever listens validates anew.
            self.changed.emit()

    def refresh(self) -> None:
        """Read the list of models anew."""
        kept = self.value
        cards = [c for c in list_models() if self._accept is None or self._accept(c)]
        self._cards = {card.name: card for card in cards}
        self.box.blockSignals(True)
        self.box.clear()
        for name in self._cards:
            self.box.addItem(name, name)
        # With a placeholder Qt chooses none by itself.
        self.box.setCurrentIndex(0 if self._cards else -1)
        self.box.blockSignals(False)
        if kept is not None:
            self.choose(kept)
        self._show()
        if kept is None and self.value is not None:
            self.changed.emit()

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
        if self._accept is not None and not self._is_there(model):
            # The usual model, which is not here: nothing to be listed.
            self.box.setCurrentIndex(-1)
            self._show()
            return
        label = model.card.name if hasattr(model, "card") else str(model)
        self.box.addItem(label, model)
        self.box.setCurrentIndex(self.box.count() - 1)

    def _is_there(self, model: Any) -> bool:
        try:
            return hasattr(model, "card") or bool(find_model(model))
        except FlowSRError:
            return False

    def _emit(self, *_: Any) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        card = self.chosen_card
        without = "" if self._cards else self._without
        self.card.setText(without if card is None else describe(card))
        self.texts = () if card is None else notices(card)
        self.warning.setText(warning_html(self.texts))
        self.warning.setVisible(bool(self.texts))
