"""Train, Pause, Stop and keep, Discard; progress; and what was interrupted."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from napari_flowsr.widgets._train_job import Training
from napari_flowsr.widgets._train_record import Record
from napari_flowsr.widgets.parts.run_bar import RunBar, human_seconds

__all__ = ["InterruptedBox", "TrainBar"]


class TrainBar(RunBar):
    """The bar of a run, with the buttons of a training."""

    pause_clicked = Signal()
    keep_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self) -> None:
        super().__init__("Train")
        self.cancel.hide()  # to stop is to keep or to discard
        self.pause = QPushButton("Pause")
        self.pause.setToolTip("Wait after the present step; the computer is free then")
        self.keep = QPushButton("Stop and keep")
        self.keep.setToolTip("Write the model as it is now, into the collection")
        self.discard = QPushButton("Discard…")
        self.discard.setToolTip("Stop, and delete what was trained")
        self.pause.clicked.connect(self.pause_clicked)
        self.keep.clicked.connect(self.keep_clicked)
        self.discard.clicked.connect(self.discard_clicked)
        row = QHBoxLayout()
        for button in (self.pause, self.keep, self.discard):
            row.addWidget(button)
        column = self.layout()
        column.insertLayout(1, row)  # type: ignore[union-attr]
        self.show_training(None)

    def show_training(self, training: Training | None) -> None:
        """Show how far it is, and what can be done."""
        running = training is not None and training.is_running
        active = running and training.state in ("running", "pausing", "paused")  # type: ignore[union-attr]
        for button in (self.pause, self.keep, self.discard):
            button.setVisible(running)
            button.setEnabled(active)
        self.run.setVisible(not running)
        if training is None or not running:
            if self._running:
                self.stop()
        else:
            self._advance(training)
        if training is not None and training.words:
            self.say(training.words, bad=training.state == "failed")

    def _advance(self, training: Training) -> None:
        if not self._running:
            self.start(training.words)
            self.cancel.setEnabled(False)
        self.pause.setText("Resume" if training.state != "running" else "Pause")
        if not training.total:
            return
        self.progress.setRange(0, training.total)
        self.progress.setValue(training.step)
        left = training.left
        waits = training.state == "paused"
        told = "" if left is None or waits else f" · {human_seconds(left)} left"
        self.progress.setFormat("paused" if waits else f"%p %{told}")
        if not training.words and training.loss is not None:
            self.say(
                f"{training.stage}: step {training.step} of {training.total}, loss "
                f"{training.loss:.4g}"
            )


class InterruptedBox(QFrame):
    """A training that was interrupted, and what can be done about it."""

    resume_clicked = Signal()
    keep_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.resume = QPushButton("Resume")
        self.keep = QPushButton("Keep as it is")
        self.keep.setToolTip("Write the model of the state that is kept")
        self.discard = QPushButton("Discard…")
        self.resume.clicked.connect(self.resume_clicked)
        self.keep.clicked.connect(self.keep_clicked)
        self.discard.clicked.connect(self.discard_clicked)
        row = QHBoxLayout()
        for button in (self.resume, self.keep, self.discard):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.addWidget(self.words)
        column.addLayout(row)
        self.record: Record | None = None
        self.show_records(())

    def show_records(self, records: Sequence[Record]) -> None:
        """Offer the latest; say how many more there are."""
        self.record = next(iter(records), None)
        self.setVisible(self.record is not None)
        if self.record is None:
            return
        more = len(records) - 1
        others = f" {more} more will be offered after it." if more else ""
        self.words.setText(
            f"The training of '{self.record.name}' was interrupted after step "
            f"{self.record.step} of {self.record.total}.{others}"
        )
