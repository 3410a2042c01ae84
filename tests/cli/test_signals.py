"""A program that is asked to end takes its temporary files with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from napari_flowsr.cli._signals import ending_signals, signals_end_at_once

# A command that is in the middle of a write; it needs no torch, and so starts at once.
PROGRAM = """
import sys, time

from napari_flowsr.cli.app import app, run
from napari_flowsr.io.atomic import atomic_path

@app.command("hold")
def hold(path: str):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)

sys.exit(run(["hold", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends processes without a signal")
@pytest.mark.parametrize(
    ("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)]
)
def test_an_end_from_outside_leaves_no_file(tmp_path, name, status):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path / "out.tif"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == status, err
    assert "Stopped" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with ending_signals() as ending:
        assert callable(signal.getsignal(signal.SIGTERM))
        with signals_end_at_once():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        # A second one does not disturb the clean-up.
        signal.raise_signal(signal.SIGTERM)
    assert ending.status == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ending_signals():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_may_run_commands():
    statuses = []

    def work() -> None:
        with ending_signals() as ending, signals_end_at_once():
            statuses.append(ending.status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert statuses == [None]
