"""The Batch tab of the Export dock: files in, files out, while the window lives on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.jobs.outlook import Outlook, Sight
from napari_flowsr.jobs.run import FileOutcome
from napari_flowsr.widgets._batch import (
    BatchRequest,
    Begun,
    Tally,
    command,
    doubts,
    in_words,
)
from napari_flowsr.widgets._batch_session import BATCH_OUTPUTS, BatchSession
from napari_flowsr.widgets._devices import news
from napari_flowsr.widgets._ending import when_destroyed
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._run import Failed, Job, Stopped
from napari_flowsr.widgets.parts.batch_form import BatchForm
from napari_flowsr.widgets.parts.batch_outcome import CommandLine, Messages, Outlooks
from napari_flowsr.widgets.parts.run_bar import RunBar, human_seconds
from napari_flowsr.widgets.parts.train_form import scrolled

__all__ = ["KIND", "BatchTab"]

KIND = "batch"
"""A run of hours, which keeps no other dock from running."""
_NOTICE = "Fine detail is <b>inferred, not measured</b>; files with the results say so."
_PAUSE = 400  # ms that fields stay as they are before files are looked at


class _Tenure:
    """What ends with the tab; apart from it, for Qt's half may go first."""

    def __init__(self) -> None:
        self.run: Job | None = None
        self.look: Job | None = None
        self.is_over = False

    def end(self, *_: Any) -> None:
        """Stop the run, and looking."""
        self.is_over = True
        for job in (self.run, self.look):
            if job is not None:
                job.cancel()


class BatchTab(QWidget):
    """Upscale files without opening them.

    Attributes
    ----------
    session : BatchSession
        State; set its fields to drive the tab.
    tally : Tally
        What became of the files of the last run.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = BatchSession(**_defaults())
        self.tally = Tally()
        self.outlook: Outlook | None = None
        self._why_not = ""  # told by looking at the files
        self._known: dict[Any, Sight] = {}
        self._tenure = _Tenure()
        self._started, self._last = 0.0, ""
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._look)
        self.bar.run_clicked.connect(self._run_clicked)
        self.bar.cancel_clicked.connect(self.cancel)
        self.command.copy_clicked.connect(self.copy_command)
        self.form.restore_clicked.connect(self.restore_defaults)
        # Held weakly.
        news.found.connect(self._changed)
        self.session.events.connect(self._changed)
        self.form.model.changed.connect(self._changed)
        when_destroyed(self, self._tenure.end)
        self._changed()

    def _build(self) -> None:
        self.form = BatchForm(self.session)
        self.outlooks = Outlooks()
        self.command = CommandLine()
        self.messages = Messages()
        self.bar = RunBar()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(self.form), 1)
        notice = QLabel(_NOTICE)
        notice.setWordWrap(True)
        told = (notice, self.outlooks, self.command, self.messages, self.bar)
        for widget in told:
            layout.addWidget(widget)

    # --- state --------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether files are being upscaled."""
        return self._tenure.run is not None and self._tenure.run.is_running

    @property
    def is_looking(self) -> bool:
        """Whether it is being found out, or about to be, what would be done."""
        look = self._tenure.look
        return self._timer.isActive() or (look is not None and look.is_running)

    def restore_defaults(self) -> None:
        """All fields but input and folder of the results as in the preferences."""
        places = {name: getattr(self.session, name) for name in ("source", "target")}
        self.session.restore({**_defaults(), **places})

    def _changed(self, *_: Any) -> None:
        """Fields changed: check them, and look at the files anew."""
        if self._tenure.is_over:
            return
        problems = self.session.problems()
        self.form.show_problems(problems)
        self.outlook, self._why_not = None, ""
        self._show_ready(problems)
        places = {"source", "target", "pattern", "file_format", "outputs"}
        if places & set(problems):
            self._timer.stop()
            self.outlooks.say("")
        elif not self.is_running:
            self.outlooks.say("looking at the files …")
            self._timer.start()

    def _show_ready(self, problems: dict[str, str] | None = None) -> None:
        problems = self.session.problems() if problems is None else problems
        self.command.show_text("" if problems else command(self.session))
        warnings = self.session.warnings()
        reason = next(iter(problems.values()), "") or self._why_not
        self.bar.set_ready(reason, next(iter(warnings.values()), ""))

    # --- what would be done -------------------------------------------------------

    def _look(self) -> None:
        """Find out in a worker thread; folders may be large, and far away."""
        job = self._tenure.look
        if job is not None and job.is_running:
            job.cancel()  # its end begins the next
            return
        if self._tenure.is_over or self.is_running:
            return
        request = BatchRequest.of(self.session, self._known)
        self._tenure.look = self._job(
            request.looked_at, self._on_look, self._on_looked, kind=f"look {id(self)}"
        )

    def _on_look(self, event: Any) -> None:
        if self._tenure.is_over or self._timer.isActive() or self.is_running:
            return
        if isinstance(event, Outlook):
            self.outlook = event
            if event.in_the_way:
                self._why_not = "Results exist already."
            self.outlooks.show_outlook(in_words(event), event)
        elif isinstance(event, Failed):
            self._why_not = _said(event.error)
            self.outlooks.say("")
        self._show_ready()

    def _on_looked(self) -> None:
        stale = self._tenure.look is not None and self._tenure.look.is_cancelled
        if stale and not self._tenure.is_over:
            self._timer.start()

    def _job(
        self,
        make: Callable[[], Iterable[Any]],
        on_event: Callable[[Any], None],
        on_end: Callable[[], None],
        kind: str,
    ) -> Job:
        return Job(
            make,
            on_event=on_event,
            on_progress=self._on_progress,
            on_end=on_end,
            description="Batch",
            kind=kind,
        )

    # --- running ------------------------------------------------------------------

    def run(self) -> Any:
        """Start, or go on with what is missing; return the worker.

        Raises
        ------
        FlowSRError
            A field has a value that cannot be used, or a batch is running.
        """
        if self._tenure.is_over:
            raise OptionError("This dock was closed. Open it anew from the menu.")
        if problems := self.session.problems():
            raise OptionError(" ".join(problems.values()))
        request = BatchRequest.of(self.session, self._known)
        link: SimpleQueue[Job] = SimpleQueue()

        def make() -> Iterable[Any]:
            job = link.get()
            return request.events(job.report, lambda: job.is_cancelled)

        job = self._job(make, self._on_event, self._on_end, kind=KIND)
        link.put(job)
        # Looking and running at once would read the same files twice.
        self._timer.stop()
        if self._tenure.look is not None:
            self._tenure.look.cancel()
        self._tenure.run = job
        self.tally, self._started = Tally(), time.monotonic()
        self._last = "{tally}, {took}."
        self.messages.clear()
        self.bar.start("looking at the files, loading the model …")
        return job.worker

    def cancel(self) -> None:
        """Stop within a tile; what is complete stays, and counts the next time."""
        if self._tenure.run is not None and self.is_running:
            self._tenure.run.cancel()
            self.bar.say("cancelling …")

    def copy_command(self) -> str:
        """Put the command that does the same on the clipboard."""
        text = command(self.session)
        QApplication.clipboard().setText(text)
        self.bar.say("The command is on the clipboard.")
        return text

    def _run_clicked(self) -> None:
        try:
            self.run()
        except FlowSRError as error:
            self.bar.refuse(str(error))
            show_error(str(error))

    def _on_progress(
        self, done: int, total: int, left: float | None, message: str
    ) -> None:
        run = self._tenure.run
        if not self._tenure.is_over and run is not None and not run.is_cancelled:
            self.bar.advance(done, total, left, message)

    def _on_event(self, event: Any) -> None:
        if self._tenure.is_over:
            return
        if isinstance(event, Begun):
            self.outlooks.show_outlook(in_words(event.outlook), event.outlook)
        elif isinstance(event, FileOutcome):
            self._take(event)
        elif isinstance(event, Stopped):
            self._last = "Cancelled: {tally}. Run goes on with what is missing."
        elif isinstance(event, Failed):
            self._last = ""
            self.bar.say(_said(event.error), bad=True)
            show_error(f"The batch failed. {_said(event.error)}")

    def _take(self, outcome: FileOutcome) -> None:
        self.tally.take(outcome)
        if outcome.error:
            reason = outcome.error.removeprefix(f"{outcome.source.name}: ")
            self.messages.add(outcome.source.name, reason, bad=True)
        elif doubt := doubts(outcome):
            self.messages.add(outcome.source.name, doubt)

    def _on_end(self) -> None:
        if self._tenure.is_over:
            return
        if self._last:
            failed = bool(self.tally.failed)
            took = human_seconds(time.monotonic() - self._started)
            self.bar.say(self._last.format(tally=self.tally, took=took), warning=failed)
        self.bar.stop()
        self._changed()  # what is left is another now

    # --- the end ------------------------------------------------------------------

    def leave(self) -> None:
        """Stop the run, for good; what is complete stays."""
        self._timer.stop()
        self._tenure.end()


def _defaults() -> dict[str, Any]:
    """Fields of a session that the preferences determine."""
    wanted = read_preferences()
    return {
        "device": wanted.device,
        "tile": wanted.tile_option,
        "precision": wanted.precision,
        "samples": wanted.samples,
        "temperature": wanted.temperature_option,
        # One sample has no spread.
        "outputs": BATCH_OUTPUTS[: 3 if wanted.samples > 1 else 1],
    }


def _said(error: Exception) -> str:
    known = isinstance(error, FlowSRError)
    return str(error) if known else f"{type(error).__name__}: {error}"
