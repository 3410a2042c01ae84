"""Jobs in a worker thread: errors, cancel, progress, and the end in every case."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest
import torch
from napari.qt.threading import GeneratorWorker
from napari.utils import progress as napari_progress
from qtpy.QtWidgets import QApplication

from napari_flowsr.errors import Cancelled, OptionError
from napari_flowsr.inference.events import Progress
from napari_flowsr.widgets import _run
from napari_flowsr.widgets._run import Failed, Job, Stopped

WAIT = 60_000  # ms; the machine may be busy

pytestmark = pytest.mark.usefixtures("qapp")


class Log:
    """Collects what a job tells, and in which thread."""

    def __init__(self):
        self.events, self.progress, self.ends, self.threads = [], [], 0, set()

    def on_event(self, event):
        self.threads.add(threading.get_ident())
        self.events.append(event)

    def on_progress(self, *told):
        self.threads.add(threading.get_ident())
        self.progress.append(told)

    def on_end(self):
        self.threads.add(threading.get_ident())
        self.ends += 1


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def start(qtbot, log):
    """Start jobs, and wait for their end, so that none disturbs the next test."""
    begun = []

    def begin(make, **options):
        told = {
            "on_event": log.on_event,
            "on_progress": log.on_progress,
            "on_end": log.on_end,
            "description": "work",
        }
        job = Job(make, **{**told, **options})
        begun.append(weakref.ref(job))
        return job

    yield begin
    for reference in begun:
        job = reference()
        if job is not None:
            job.cancel()
            qtbot.waitUntil(lambda job=job: not job.is_running, timeout=WAIT)


def ended(qtbot, log, count=1):
    qtbot.waitUntil(lambda: log.ends == count, timeout=WAIT)


def endless(seen, pause=0.005, progress=True):
    """Tiles without end; notes what happened to the generator."""

    def make():
        try:
            done = 0
            while True:
                done += 1
                time.sleep(pause)
                seen.append(done)
                if progress:
                    yield Progress(done, 1_000_000, f"tile {done}")
                else:
                    yield done
        finally:
            seen.append("closed")

    return make


def test_events_arrive_in_order_in_the_main_thread(qtbot, start, log):
    made_in = []

    def make():
        made_in.append(threading.get_ident())
        yield "first"
        yield Progress(1, 2, "half")
        yield "second"

    job = start(make)
    assert isinstance(job.worker, GeneratorWorker)
    assert job.is_running
    ended(qtbot, log)
    assert log.events == ["first", "second"]
    assert log.progress[0][:2] == (1, 2)
    assert log.progress[0][3] == "half"
    assert log.threads == {threading.get_ident()}
    assert made_in != [threading.get_ident()]
    assert not job.is_running


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a kernel failed"),
        torch.OutOfMemoryError("CUDA out of memory"),
        NotImplementedError("no such operator"),
        RecursionError("too deep"),
        ValueError("a bad value"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("when", ["before", "after", "while making"])
def test_every_error_is_told_and_ends_the_job(qtbot, start, log, error, when):
    """Of these, a worker of napari swallows the RuntimeErrors and then never ends."""

    def events():
        if when == "after":
            yield "something"
        raise error

    def make():
        if when == "while making":
            raise error
        return events()

    job = start(make)
    ended(qtbot, log)
    assert log.events[-1] == Failed(error)
    assert log.events[:-1] == (["something"] if when == "after" else [])
    assert not job.is_running
    assert job not in list(napari_progress._all_instances)
    assert not job.worker.is_running


def test_cancel_stops_after_the_tile_at_work(qtbot, start, log):
    seen = []
    job = start(endless(seen, pause=0.02))
    qtbot.waitUntil(lambda: len(seen) > 3, timeout=WAIT)
    job.cancel()
    at = len(seen)
    ended(qtbot, log)
    assert log.events == [Stopped()]
    assert seen[-1] == "closed"  # what the generator holds is let go of
    assert len(seen) - 1 - at <= 1


def test_cancel_before_the_first_event(qtbot, start, log):
    go, seen = threading.Event(), []

    def make():
        go.wait(60)  # loading a model
        yield from endless(seen)()

    job = start(make)
    job.cancel()
    go.set()
    ended(qtbot, log)
    assert log.events == [Stopped()]
    assert seen in ([], [1, "closed"])


def test_the_core_may_cancel_by_itself(qtbot, start, log):
    def make():
        yield "begun"
        raise Cancelled("enough")

    start(make)
    ended(qtbot, log)
    assert log.events == ["begun", Stopped()]


@pytest.mark.parametrize("progress", [True, False])
def test_quit_ends_it_and_closes_the_generator(qtbot, start, log, progress):
    """napari quits all workers when its window is closed, and leaves them suspended."""
    seen = []
    job = start(endless(seen, progress=progress))
    qtbot.waitUntil(lambda: len(seen) > 3, timeout=WAIT)
    job.worker.quit()
    ended(qtbot, log)
    assert log.events[-1] == Stopped()
    assert seen[-1] == "closed"
    assert not job.is_running


def test_cancel_from_the_activity_dock(qtbot, start, log):
    seen = []
    job = start(endless(seen))
    qtbot.waitUntil(lambda: len(seen) > 1, timeout=WAIT)
    job._bar.cancel()
    ended(qtbot, log)
    assert log.events == [Stopped()]


def test_one_job_at_a_time(qtbot, start, log):
    job = start(endless([]), description="Upscale cells")
    with pytest.raises(OptionError, match="'Upscale cells' is still running"):
        start(endless([]))
    job.cancel()
    ended(qtbot, log)
    start(lambda: iter(["again"]))
    ended(qtbot, log, 2)
    assert log.events[-1] == "again"


def test_progress_bar_belongs_to_the_main_thread(qtbot, start, log, monkeypatch):
    told = []

    class Bar(_run._Bar):
        def __init__(self, *args, **kwargs):
            told.append(("made", threading.get_ident()))
            super().__init__(*args, **kwargs)

        def close(self):
            told.append(("closed", threading.get_ident()))
            super().close()

    monkeypatch.setattr(_run, "_Bar", Bar)
    before = set(napari_progress._all_instances)

    def make():
        yield Progress(3, 4, "")
        yield Progress(4, 9, "the total grew")

    job = start(make)
    assert [what for what, _ in told] == ["made"]
    assert set(napari_progress._all_instances) - before
    ended(qtbot, log)
    assert {thread for _, thread in told} == {threading.get_ident()}
    assert told[-1][0] == "closed"
    assert job._bar.n == 3
    assert set(napari_progress._all_instances) == before


class NestedBar(_run._Bar):
    """As in a real window: napari lets Qt work while it moves the bar."""

    def update(self, n=1):
        super().update(n)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)


def test_what_arrives_while_the_bar_moves_is_told_afterwards(qtbot, start, monkeypatch):
    """The last progress must not be told after the result and the end."""
    monkeypatch.setattr(_run, "_Bar", NestedBar)
    told = []

    def make():
        yield Progress(3, 4, "consistency with the input")
        yield "result"

    start(
        make,
        on_event=lambda event: told.append(event),
        on_progress=lambda *progress: told.append(progress[3]),
        on_end=lambda: told.append("end"),
    )
    qtbot.waitUntil(lambda: len(told) == 3, timeout=WAIT)
    assert told == ["consistency with the input", "result", "end"]


def test_what_arrives_within_a_handler_that_fails_is_not_lost(
    qtbot, start, log, monkeypatch
):
    monkeypatch.setattr(_run, "_Bar", NestedBar)

    def fail(*progress):
        NestedBar.update(job._bar)
        raise ValueError("a handler failed")

    def make():
        go.wait(60)
        yield Progress(3, 4, "")
        yield "result"

    go = threading.Event()
    with qtbot.captureExceptions() as caught:
        job = start(make, on_progress=fail)
        go.set()
        ended(qtbot, log)
    assert [str(value) for _, value, _ in caught] == ["a handler failed"]
    assert log.events == ["result"]
    assert not job.is_running


def test_progress_is_throttled_but_other_events_are_not(qtbot, start, log):
    began = time.monotonic()

    def make():
        for done in range(1, 3001):
            yield Progress(done, 3000, "")
        yield "result"

    start(make)
    ended(qtbot, log)
    seconds = time.monotonic() - began
    assert 1 <= len(log.progress) <= 1 + seconds / 0.1
    assert log.events == ["result"]


def test_time_left_comes_from_the_work_done(qtbot, start, log):
    def make():
        yield Progress(0, 4, "")
        time.sleep(0.25)
        yield Progress(1, 4, "")

    start(make)
    ended(qtbot, log)
    nothing, quarter = log.progress
    assert nothing[2] is None
    assert quarter[2] >= 3 * 0.25


def test_gradients_are_a_matter_of_the_thread(qtbot, start, log):
    """What the main thread switched off is on in a worker."""

    def make():
        yield torch.is_grad_enabled()

    with torch.no_grad():
        start(make)
        ended(qtbot, log)
    assert log.events == [True]


def test_a_job_outlives_whoever_began_it(qtbot, start, log):
    go = threading.Event()

    def make():
        go.wait(60)
        yield "result"

    start(make)  # nobody holds it
    gc.collect()
    go.set()
    ended(qtbot, log)
    assert log.events == ["result"]


def test_a_job_does_not_keep_its_owner_alive(qtbot, start, log):
    class Owner(Log):
        pass

    owner, go = Owner(), threading.Event()

    def make():
        go.wait(60)
        yield "result"

    job = start(
        make,
        on_event=owner.on_event,
        on_progress=owner.on_progress,
        on_end=owner.on_end,
    )
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    go.set()
    qtbot.waitUntil(lambda: not job.is_running, timeout=WAIT)


def test_nothing_is_held_when_it_is_over(qtbot, start, log):
    class Tensor:
        pass

    held = Tensor()
    gone = weakref.ref(held)

    def make(held=held):
        yield "result"
        del held

    job = start(make)
    ended(qtbot, log)
    reference = weakref.ref(job)
    del job, make, held

    def collected():
        # No assertion: its traceback would hold them.
        gc.collect()
        return reference() is None and gone() is None

    qtbot.waitUntil(collected, timeout=WAIT)
