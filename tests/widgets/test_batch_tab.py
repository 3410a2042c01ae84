"""The Batch tab, with real small runs."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from docks import WAIT, tiny_file
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication
from typer.testing import CliRunner

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io.images import read_image, write_image
from napari_flowsr.jobs import run as jobs_run
from napari_flowsr.models.compact import Compact
from napari_flowsr.widgets import _batch, _batch_tab, _run
from napari_flowsr.widgets._batch import BatchRequest, Pace
from napari_flowsr.widgets._batch_tab import BatchTab


@pytest.fixture
def raw(tmp_path):
    """Two good images, and a bad one between them."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rng = np.random.default_rng(0)
    write_image(folder / "a.ome.tif", rng.integers(0, 255, (12, 14), np.uint8))
    (folder / "b.tif").write_bytes(b"II*\0 no image")
    volume = rng.integers(0, 4000, (3, 12, 10), np.uint16)
    write_image(folder / "c.ome.tif", volume, axes="ZYX")
    return folder


@pytest.fixture
def tab(qtbot, tmp_path, raw, monkeypatch):
    monkeypatch.setattr(_batch_tab, "_PAUSE", 0)
    widget = BatchTab()
    qtbot.addWidget(widget)
    session = widget.session
    session.model = str(tiny_file(tmp_path / "models"))
    session.source, session.target = str(raw), str(tmp_path / "out")
    session.device, session.samples, session.outputs = "cpu", 2, ("samples", "mean")
    tenure = widget._tenure
    yield widget
    # Qt's half has gone, which has ended both.
    jobs = [job for job in (tenure.run, tenure.look) if job is not None]
    qtbot.waitUntil(lambda: not any(job.is_running for job in jobs), timeout=WAIT)


def look(qtbot, tab):
    qtbot.waitUntil(lambda: not tab.is_looking, timeout=WAIT)
    return tab.outlooks.text()


def finish(qtbot, tab):
    qtbot.waitUntil(lambda: not tab.is_running, timeout=WAIT)
    return tab.bar.status.text()


def names(outcomes):
    return [outcome.source.name for outcome in outcomes]


def test_what_will_be_done_is_shown_before(qtbot, tab, raw):
    text = look(qtbot, tab)
    assert "4 planes in 2 images to upscale" in text
    assert "4 results" in text
    assert "1 cannot be read: b.tif" in text
    assert "without an image" in tab.outlooks.toolTip()
    # Twice as wide and high; of samples there are two of each, means are float32.
    small, large = 4 * 12 * 14, 4 * 3 * 12 * 10
    assert tab.outlook.size == small * (2 + 4) + large * (2 * 2 + 4)
    tab.session.source = str(raw / "c.ome.tif")
    assert "3 planes in 1 image to upscale" in look(qtbot, tab)
    assert not tab.form.pattern.isVisibleTo(tab)
    assert not Path(tab.session.target).exists()


def test_one_that_fails_stops_no_other(qtbot, tab, raw, tmp_path, monkeypatch):
    main, threads = threading.get_ident(), set()

    def watched(*args, **options):
        threads.add(threading.get_ident())
        yield from jobs_run.run_files(*args, **options)

    monkeypatch.setattr(_batch, "run_files", watched)
    monkeypatch.setattr(_run, "_INTERVAL", 0.0)  # a fast machine would tell nothing
    look(qtbot, tab)
    told = []
    tab.bar.advance = lambda *at: told.append(at)
    tab.bar.run.click()
    assert tab.bar.cancel.isEnabled()
    with pytest.raises(OptionError, match="still running"):
        tab.run()
    said = finish(qtbot, tab)
    assert threads
    assert main not in threads
    assert said.startswith("2 upscaled, 1 failed, 0 left out")
    assert names(tab.tally.done) == ["a.ome.tif", "c.ome.tif"]
    assert "b.tif" in tab.messages.text
    assert "damaged or incomplete" in tab.messages.text
    assert any("file" in message and "tile" in message for *_, message in told)
    for name, axes in (("a", "YX"), ("c", "ZYX")):
        data = read_image(raw / f"{name}.ome.tif").data
        model = flowsr.load_model(tab.session.model, device="cpu")
        mean = flowsr.posterior(data, model, axes=axes).mean(2)
        got = read_image(tmp_path / "out" / f"{name}-mean.ome.tif").data
        np.testing.assert_array_equal(got, mean)
    # Started again, it does what is missing: the file that was mended.
    assert "2 images have their results already" in look(qtbot, tab)
    write_image(raw / "b.tif", np.eye(9, dtype=np.uint8))
    tab.run()
    assert finish(qtbot, tab).startswith("1 upscaled, 0 failed, 2 left out")
    assert "failed" not in tab.messages.title.text()
    assert "Nothing is missing" in look(qtbot, tab)


@pytest.fixture
def volume(tab):
    """The run of a volume, plane by plane."""
    tab.session.source = str(Path(tab.session.source) / "c.ome.tif")
    tab.session.file_format, tab.session.outputs = "ome.zarr", ("mean",)
    return tab


def test_looking_at_the_files_ends_when_a_run_begins(qtbot, tab, monkeypatch):
    look(qtbot, tab)
    seen, let_go = threading.Event(), threading.Event()
    real = _batch.BatchRequest.looked_at

    def looked_at(self):
        seen.set()
        let_go.wait(WAIT / 1000)
        yield from real(self)

    monkeypatch.setattr(_batch.BatchRequest, "looked_at", looked_at)
    tab.outlook = None
    tab._changed()
    qtbot.waitUntil(seen.is_set, timeout=WAIT)
    looking = tab._tenure.look
    tab.run()
    assert looking.is_cancelled
    let_go.set()
    qtbot.waitUntil(lambda: not looking.is_running, timeout=WAIT)
    finish(qtbot, tab)
    assert tab.tally.done


def test_cancelled_within_a_tile_and_resumed(qtbot, volume, tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    tab, begun, ended, decode = volume, [], [], Compact.decode

    def watched(self, *args):
        begun.append(1)
        if len(begun) == 3:
            tab._tenure.run.cancel()
        out = decode(self, *args)
        ended.append(1)
        return out

    with monkeypatch.context() as patch:
        patch.setattr(Compact, "decode", watched)
        tab.run()
        said = finish(qtbot, tab)
    assert said.startswith("Cancelled: 0 upscaled, 0 failed")
    assert "Run goes on with what is missing" in said
    assert (len(begun), len(ended)) == (3, 2)  # two samples; amid the second plane
    assert tab.bar.run.isEnabled()
    assert "3 planes in 1 image to upscale, 1 of them complete" in look(qtbot, tab)
    with monkeypatch.context() as patch:
        begun.append(1)
        patch.setattr(Compact, "decode", watched)
        tab.run()
        finish(qtbot, tab)
    assert len(ended) == 2 + 4  # what was complete is not done again
    image = read_image(tab.session.source_path)
    model = flowsr.load_model(tab.session.model, device="cpu")
    mean = flowsr.posterior(image.data, model, axes=image.axes).mean(2)
    back = read_image(tmp_path / "out" / "c-mean.ome.zarr")
    np.testing.assert_array_equal(back.data, mean)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["c-mean.ome.zarr"]


def test_the_command_does_the_same(tab, tmp_path, monkeypatch):
    session = tab.session
    session.recursive, session.pattern, session.seed = True, "*.tif", 7
    session.temperature, session.consistent, session.noise = 0.65, True, "shared"
    session.tile, session.nan, session.pixel_size_um = 48, "fill", 0.1
    session.precision = "bfloat16"
    session.existing, session.target = "replace", str(tmp_path / "a folder")
    session.outputs = ("quantiles", "std", "samples")
    called = {}

    def instead(plan, order, **options):
        called.update(plan=plan, order=order, **options)
        return iter(())

    monkeypatch.setattr(jobs_run, "run_files", instead)
    from napari_flowsr.cli.app import app

    text = tab.copy_command()
    assert QApplication.clipboard().text() == text == tab.command.line.text()
    program, *arguments = shlex.split(text)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert program == "napari-flowsr"
    request = BatchRequest.of(session, {})
    assert called["order"] == request.order
    assert called["plan"] == request.outlook().plan
    assert (called["resume"], called["overwrite"]) == (False, True)


def test_a_scheduler_without_its_package_is_told(tab, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    tab.session.scheduler = "tcp://node1:8786"
    assert "pip install napari-flowsr[distributed]" in tab.bar.status.text()
    assert not tab.bar.run.isEnabled()
    with pytest.raises(OptionError, match="distributed"):
        tab.run()
    assert tab.command.line.text() == ""
    tab.session.scheduler = ""
    assert tab.bar.run.isEnabled()


def test_what_cannot_be_done_at_all_is_told(qtbot, tab, tmp_path):
    tab.session.pattern = "*.xyz"
    look(qtbot, tab)
    assert "fits '*.xyz'" in tab.bar.status.text()
    assert not tab.bar.run.isEnabled()
    tab.session.pattern, tab.session.source = "*", str(tmp_path / "none")
    assert "no folder or image" in tab.bar.status.text()
    tab.session.source = str(tmp_path / "raw")
    look(qtbot, tab)
    assert tab.bar.run.isEnabled()
    Path(tab.session.model).write_bytes(b"no model")
    tab.run()
    said = finish(qtbot, tab)
    assert said
    assert said in notification_manager.records[-1].message
    assert not (tmp_path / "out").exists()


def test_pace_counts_what_was_left():
    """Planes that were there before tell nothing about the time that is left."""
    a, b, c = Path("a"), Path("b"), Path("c")
    pace = Pace({a: 100, b: 300})
    assert pace.tell(a, 0, 10) == (0, 10_000)
    assert pace.tell(a, 5, 10) == (1250, 10_000)
    assert pace.end(a) == (2500, 10_000)
    assert pace.end(c) == (2500, 10_000)  # was left out
    done, total = pace.tell(b, 5, 10)  # half of it was there
    assert (done, total) == (4000, 10_000)
    assert pace.tell(b, 15, 20) == (7000, 10_000)
    assert pace.end(b) == (10_000, 10_000)


def test_in_the_dock(make_napari_viewer, qtbot, tmp_path, raw, monkeypatch):
    """Made when it is needed, narrow, and ended with the dock."""
    monkeypatch.setattr(_batch_tab, "_PAUSE", 0)
    viewer = make_napari_viewer()
    dock, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Export")
    assert widget._batch is None
    widget._tabs.setCurrentIndex(1)
    tab = widget._batch
    assert widget.minimumSizeHint().width() <= 320
    gate, decode = threading.Event(), Compact.decode
    begun = []

    def waiting(self, *args):
        begun.append(1)
        gate.wait(60)
        return decode(self, *args)

    monkeypatch.setattr(Compact, "decode", waiting)
    tab.session.model = str(tiny_file(tmp_path / "models"))
    tab.session.source, tab.session.target = str(raw), str(tmp_path / "out")
    tab.session.device, tab.session.outputs = "cpu", ("mean",)
    tab.run()
    job = tab._tenure.run
    qtbot.waitUntil(lambda: bool(begun), timeout=WAIT)
    viewer.window.remove_dock_widget(dock)
    assert job.is_cancelled
    gate.set()
    qtbot.waitUntil(lambda: not job.is_running, timeout=WAIT)
    qtbot.waitUntil(lambda: not tab.is_looking, timeout=WAIT)
    assert len(begun) == 1
    with pytest.raises(OptionError, match="closed"):
        tab.run()
