"""A computation in a worker thread, one of a kind, with progress and a real cancel.

Traps of napari's workers that this file is about (each has a test): a generator worker
swallows every RuntimeError, of which torch's out-of-memory error is one, and then never
finishes; ``quit`` only sets a flag; progress bars must be made in the main thread, and
let Qt work while they move, so that later events arrive within the handling of an
earlier one; grad and inference mode belong to a thread; a program that ends while a
worker is at work may crash in it.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from qtpy.QtCore import QThreadPool

from napari_flowsr.core.interrupt import until_cancelled
from napari_flowsr.errors import Cancelled, OptionError
from napari_flowsr.inference.events import Progress

__all__ = ["Failed", "Job", "Stopped"]

_INTERVAL = 0.1  # seconds between two progress events; more would slow the window
_PATIENCE = 30.0  # seconds that the end of the program waits for the worker's


@dataclass(frozen=True)
class Failed:
    """The computation raised; errors travel as values, for workers swallow some."""

    error: Exception


@dataclass(frozen=True)
class Stopped:
    """The computation was cancelled."""


class _Bar(cancelable_progress):
    """Progress bar whose Cancel in the activity dock does something.

    napari's own calls back only while it is iterated over.
    """

    def cancel(self) -> None:
        super().cancel()
        self.cancel_callback()


_running: dict[str, weakref.ref[Job]] = {}


def _pump(
    make: Callable[[], Iterable[Any]], cancelled: Callable[[], bool]
) -> Generator[Any, None, None]:
    """Events of ``make()``: throttled, cancellable, never raising."""
    try:
        last = 0.0
        # Closed, and with it what it iterates over, also where this pump is closed.
        with closing(until_cancelled(make(), cancelled)) as events:
            for event in events:
                if isinstance(event, Progress):
                    now = time.monotonic()
                    if now - last < _INTERVAL:
                        continue
                    last = now
                yield event
    except Cancelled:
        yield Stopped()
    except Exception as error:  # noqa: BLE001  every error is shown to the user
        yield Failed(error)


class Job:
    """A computation in a worker thread; one of a kind in the whole program.

    Parameters
    ----------
    make : callable
        Called in the worker thread; gives an iterable of events.
    on_event : callable
        Called in the main thread with each event but progress, `Failed` and `Stopped`
        included. Bound methods are held weakly.
    on_progress : callable
        Called in the main thread with done, total, seconds left (or ``None``).
    on_end : callable
        Called in the main thread when everything is over, whatever happened.
    description : str
        For the activity dock.
    kind : str
        Jobs of one kind exclude each other; a training of hours, which has a kind of
        its own, keeps from no other.

    Raises
    ------
    OptionError
        Another job of the kind is running.
    """

    description: str
    is_running: bool

    def __init__(
        self,
        make: Callable[[], Iterable[Any]],
        *,
        on_event: Callable[[Any], None],
        on_progress: Callable[[int, int, float | None, str], None],
        on_end: Callable[[], None],
        description: str,
        kind: str = "",
    ) -> None:
        other = _running[kind]() if kind in _running else None
        if other is not None and other.is_running:
            raise OptionError(
                f"'{other.description}' is still running. Wait for it, or cancel it."
            )
        self.description = description
        self._cancelled = threading.Event()
        self._on_event = _weak(on_event)
        self._on_progress = _weak(on_progress)
        self._on_end = _weak(on_end)
        self._began, self._reported = time.monotonic(), 0.0
        self._inbox: deque[Callable[[], None]] = deque()
        self._is_handling = False
        self.is_running = True
        self._bar = _Bar(total=0, desc=description, cancel_callback=self.cancel)
        self._pump = pump = _pump(make, self._is_to_stop)

        def drive() -> Generator[Any, None, None]:
            yield from pump

        self.worker = create_worker(drive, _start_thread=False)
        self.worker.yielded.connect(self._receive)
        self.worker.finished.connect(self._finish)
        # By ``quit``, which napari calls on all workers when its window is closed.
        self.worker.aborted.connect(self._abort)
        _running[kind] = weakref.ref(self)
        # The worker keeps the job alive until it is over, even if the dock has gone.
        self.worker._flowsr_job = self
        # Called before Qt takes itself down, for it is registered later than that.
        atexit.unregister(_stop_at_exit)
        atexit.register(_stop_at_exit)
        self.worker.start()

    def cancel(self) -> None:
        """Stop at the next step of the network at work, or the next event."""
        self._cancelled.set()

    def report(self, done: int, total: int, message: str = "") -> None:
        """Tell progress from within a step of the computation, in its thread."""
        now = time.monotonic()
        if now - self._reported >= _INTERVAL:
            self._reported = now
            self.worker.yielded.emit(Progress(done, total, message))

    def stop(self) -> None:
        """Cancel, and wait for the worker's thread, in vain after a while."""
        self.cancel()
        deadline = time.monotonic() + _PATIENCE
        while self.worker.is_running and time.monotonic() < deadline:
            time.sleep(0.01)
        # What a worker does last, and what others do in the same pool.
        QThreadPool.globalInstance().waitForDone(1000)

    def _is_to_stop(self) -> bool:
        return self._cancelled.is_set() or self.worker.abort_requested

    @property
    def is_cancelled(self) -> bool:
        """Whether it was told to stop, and maybe has not yet."""
        return self._is_to_stop()

    # --- in the main thread -------------------------------------------------------

    def _receive(self, event: Any) -> None:
        self._handle(partial(self._pass_on, event))

    def _abort(self) -> None:
        self.cancel()
        self._receive(Stopped())

    def _finish(self) -> None:
        self._handle(self._end)

    def _handle(self, step: Callable[[], None]) -> None:
        """Do one thing after the other, also where Qt calls from within a handler."""
        self._inbox.append(step)
        if not self._is_handling:
            self._is_handling = True
            self._drain()

    def _drain(self) -> None:
        try:
            while self._inbox:
                self._inbox.popleft()()
        finally:
            if self._inbox:  # a handler raised; what follows, the end above all, counts
                self._drain()
            self._is_handling = False

    def _pass_on(self, event: Any) -> None:
        if isinstance(event, Progress):
            self._advance(event)
        else:
            self._on_event(event)

    def _advance(self, event: Progress) -> None:
        elapsed = time.monotonic() - self._began
        left = elapsed * (event.total - event.done) / event.done if event.done else None
        self._on_progress(event.done, event.total, left, event.message)
        self._bar.total = event.total
        self._bar.update(event.done - self._bar.n)
        self._bar.refresh()

    def _end(self) -> None:
        self.is_running = False
        # An aborted worker leaves its generator suspended, with all that it holds.
        self._pump.close()
        self._bar.close()
        try:
            self._on_end()
        finally:
            self.worker._flowsr_job = None


def _stop_at_exit() -> None:
    jobs = [job for reference in _running.values() if (job := reference()) is not None]
    for job in jobs:
        job.cancel()
    for job in jobs:
        if job.is_running:
            job.stop()


def _weak(function: Callable[..., None]) -> Callable[..., None]:
    """Call a bound method through a weak reference: a closed dock is not kept alive."""
    if not hasattr(function, "__self__"):
        return function
    reference = weakref.WeakMethod(function)

    def call(*args: Any) -> None:
        method = reference()
        if method is not None:
            method(*args)

    return call
