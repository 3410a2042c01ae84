"""The training that is going on, whatever becomes of the dock. No Qt of its own.

It lives in this module, so that a dock that is closed and opened again finds it, with
its curves. `widgets._dock.RunDock` is not used: there a run ends with its dock. The
worker, its errors and its end are those of all docks (`widgets._run`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from psygnal import Signal

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.catalogue import Entry
from napari_flowsr.training.control import Control
from napari_flowsr.training.events import (
    Checkpoint,
    Measuring,
    Paused,
    Picture,
    Started,
    Validation,
)
from napari_flowsr.training.paths import state_path
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets._run import Failed, Job, Stopped
from napari_flowsr.widgets._train_record import forget
from napari_flowsr.widgets._train_request import (
    Kept,
    Request,
    Steps,
    Words,
    in_words,
)

__all__ = ["KIND", "Training", "current", "news", "start"]

KIND = "training"


class Training:
    """A run and what it told; one at a time.

    Signals are emitted in the main thread.
    """

    changed = Signal()
    """Another state, or other words."""
    stepped = Signal()
    """The curves grew."""
    pictured = Signal()
    """There are new pictures."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.record = request.record
        self.curves = request.record.curves
        self.pictures: tuple[Picture, ...] = ()
        self.metrics: dict[str, float] = {}
        self.state = "running"
        """``running``, ``pausing``, ``paused``, ``stopping``, ``discarding``, or over:
        ``kept``, ``stopped``, ``discarded``, ``failed``."""
        self.words = "starting …"
        self.held_out = ""
        self.error = ""
        self.step, self.total = request.record.step, request.record.total
        self.left: float | None = None
        self.stage = ""
        self.loss: float | None = None
        self.device = ""
        self.entry: Entry | None = None
        self._control = Control()
        self._job = Job(
            self._events,
            on_event=self._on_event,
            on_progress=self._on_progress,
            on_end=self._on_end,
            description=f"Train {self.record.name}",
            kind=KIND,
        )

    # --- what people ask for ------------------------------------------------------

    @property
    def name(self) -> str:
        """Of the model to be."""
        return self.record.name

    @property
    def is_running(self) -> bool:
        """Whether it is not over; also while it waits."""
        return self._job.is_running

    @property
    def worker(self) -> Any:
        """The worker of napari."""
        return self._job.worker

    def pause(self) -> None:
        """Wait after the present step, until `resume`."""
        if self.state == "running":
            self._control.pause()
            self._set("pausing", "pausing after this step …")

    def resume(self) -> None:
        """Go on after `pause`."""
        if self.state in ("pausing", "paused"):
            self._control.resume()
            self._set("running", "")

    def keep(self) -> None:
        """Stop after the present step, and keep the model as it is."""
        if self.is_running and self.state not in ("stopping", "discarding"):
            self._set("stopping", "stopping; the model is written …")
            self._control.finish()
            self._control.resume()

    def discard(self) -> None:
        """Stop, and delete what was trained."""
        if self.is_running:
            self._set("discarding", "stopping …")
            self._stop()

    def interrupt(self) -> None:
        """Stop, and keep the state, so that it can be taken up another day."""
        if self.is_running and self.state != "discarding":
            self._set("stopping", "stopping; the state is saved …")
            self._stop()

    def _stop(self) -> None:
        self._job.cancel()
        self._control.resume()  # one that waits would not notice

    def _set(self, state: str, words: str) -> None:
        self.state, self.words = state, words
        self.changed.emit()

    # --- in the worker ------------------------------------------------------------

    def _events(self) -> Iterable[Any]:
        return self.request.events(self._control)

    # --- in the main thread -------------------------------------------------------

    def _on_progress(
        self, done: int, total: int, left: float | None, message: str
    ) -> None:
        """Nothing: `Steps` tell more."""

    def _on_event(self, event: Any) -> None:
        handlers: dict[type, Callable[[Any], None]] = {
            Words: self._on_words,
            Measuring: self._on_measuring,
            Started: self._on_started,
            Steps: self._on_steps,
            Validation: self._on_validation,
            Paused: self._on_paused,
            Checkpoint: self._on_checkpoint,
            Kept: self._on_kept,
            Stopped: self._on_stopped,
            Failed: self._on_failed,
        }
        if type(event) in handlers:
            handlers[type(event)](event)

    def _on_words(self, event: Words) -> None:
        self.words = event.text
        self.changed.emit()

    def _on_measuring(self, event: Measuring) -> None:
        if self.state == "running":
            self.words = (
                "Measuring how fast this computer is: "
                f"{event.stage}, {event.number} of {event.stages} …"
            )
            self.changed.emit()

    def _on_started(self, event: Started) -> None:
        self.step, self.total, self.device = event.step, event.total, event.device
        self.curves.cut(event.step)
        self.changed.emit()

    def _on_steps(self, event: Steps) -> None:
        for one in event.steps:
            self.curves.add_loss(one.stage, one.step, one.loss)
        newest = event.steps[-1]
        self.step, self.total, self.stage = newest.step, newest.total, newest.stage
        self.loss, self.left = newest.loss, newest.seconds_left
        if self.state == "running":
            self.words = ""
        self.stepped.emit()

    def _on_validation(self, event: Validation) -> None:
        self.metrics = dict(event.metrics)
        self.curves.add_figures(event.step, event.metrics)
        if event.pictures:
            self.pictures = event.pictures
            self.pictured.emit()
        self.stepped.emit()

    def _on_paused(self, _: Paused) -> None:
        if self.state == "pausing":
            self._set("paused", "Paused. Resume goes on; the computer is free.")

    def _on_checkpoint(self, event: Checkpoint) -> None:
        self._note()

    def _on_kept(self, event: Kept) -> None:
        self.entry = event.entry
        whole = "complete" if event.finished.complete else "kept as it was"
        self._set("kept", f"'{self.name}' is {whole}, and in all docks' lists.")
        changes.models.emit()

    def _on_stopped(self, _: Stopped) -> None:
        if self.state != "discarding":  # that is told when it is over
            self._set("stopped", "Stopped; the state is kept.")

    def _on_failed(self, event: Failed) -> None:
        self.error = in_words(event.error)
        self._set("failed", self.error)

    def _on_end(self) -> None:
        if self.state == "discarding":
            words = "Discarded. Nothing was kept."
            try:
                forget(self.record)
            except FlowSRError as error:
                words = str(error)
            self.state, self.words = "discarded", words
        elif self.state != "kept":
            if self.state != "failed":
                self.state = "stopped"
            self._note()  # the last state was written when the worker was left
        self.left = None
        self.changed.emit()

    def _note(self) -> None:
        """Write what is needed to take it up; the run goes on where that fails."""
        state = state_path(self.record.output)
        if not state.is_file():  # it ended before anything began
            return
        from napari_flowsr.training.state import read_step

        try:
            saved = read_step(state)
            if saved is not None:
                self.record.with_(
                    step=saved, total=self.total, curves=self.curves
                ).write()
        except FlowSRError as error:
            self.words = str(error)


class _News:
    """Emitted in the main thread."""

    started = Signal(Training)
    """A training began; docks in other viewers show it too."""


news = _News()
_current: Training | None = None


def current() -> Training | None:
    """The training that is going on, or the last one."""
    return _current


def start(request: Request) -> Training:
    """Begin, or go on with, a training.

    Raises
    ------
    OptionError
        Another one is going on.
    """
    global _current
    if _current is not None and _current.is_running:
        raise OptionError(
            f"'{_current.name}' is still being trained, and only one training runs at "
            "a time. Wait for it, or stop it."
        )
    _current = Training(request)
    news.started.emit(_current)
    return _current
