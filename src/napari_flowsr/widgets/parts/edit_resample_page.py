"""The page "Re-sample" of the Edit dock: new content where the mask says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_flowsr.io.edit_record import edit_step
from napari_flowsr.widgets._edit_page import EditContext, Edited

__all__ = ["ResamplePage"]


class ResamplePage(QWidget):
    """Another draw inside the mask, which agrees with the LR image as well.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Not used.
    """

    title = "Re-sample"
    changed = Signal()
    run_requested = Signal()

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        said = QLabel("Draws new detail inside the mask; the rest stays as it is.")
        said.setWordWrap(True)
        self.dice = QPushButton("⚄ Roll again")
        self.dice.clicked.connect(self.roll)
        self.show_key("")
        self.automatic = QCheckBox("after each stroke of the brush")
        self.automatic.setToolTip(
            "Re-sample as soon as the mouse is let go, or a shape is drawn or moved; "
            "a run that is going on is cancelled for it. Undo on the mask takes the "
            "edit back with the stroke; shapes have no undo of their own"
        )
        self.automatic.setChecked(bool(session.automatic))
        self.automatic.toggled.connect(self._toggled)
        session.events.automatic.connect(self._show_automatic)
        column = QVBoxLayout(self)
        for widget in (said, self.dice, self.automatic):
            column.addWidget(widget)
        column.addStretch(1)

    def show_key(self, key: str) -> None:
        """Name the key that rolls."""
        on = f" (key {key} on mask or edited layer)" if key else ""
        self.dice.setToolTip(f"Take the next seed and draw again{on}")

    def roll(self) -> None:
        """Take the next seed and draw."""
        self.session.seed = (int(self.session.seed) + 1) % (2**31 - 1)
        self.run_requested.emit()

    def _toggled(self, on: bool) -> None:
        self.session.automatic = on

    def _show_automatic(self, on: bool) -> None:
        self.automatic.setChecked(bool(on))

    # --- as EditPage says -----------------------------------------------------------

    def problems(self, context: EditContext) -> dict[str, str]:
        if context.mask is None:
            return {
                "mask": "There is no mask. Press 'New mask' and paint where the image "
                "is to be drawn again, or choose a Labels or Shapes layer."
            }
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        hr, mask = context.target_array(), context.mask_array()
        seed, name = int(self.session.seed), context.mask.name
        temperature = self.session.temperature

        def events() -> Iterator[Any]:
            from napari_flowsr.inference.events import Progress

            post = context.posterior()
            tau = post.model.card.temperature if temperature is None else temperature
            for event in post.resampling(hr, mask, seed, tau):
                if isinstance(event, Progress):
                    yield event
                    continue
                facts = edit_step(
                    "resample",
                    mask=mask,
                    seed=seed,
                    temperature=float(tau),
                    mask_name=name,
                    report=dict(event.report),
                )
                yield Edited(event.array, f"re-sampled, seed {seed}", facts)

        return events

    def show(  # type: ignore[override]
        self, event: Any, context: EditContext
    ) -> None:
        """Nothing: what it makes are edits."""
