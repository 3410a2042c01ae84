"""Faults of files and of the system: nothing half-written, nothing lost, all said.

Docks are in tests/widgets/test_faults_docks.py; docs/robustness.md has the table.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_flowsr as flowsr
from napari_flowsr.errors import Cancelled, ExportError
from napari_flowsr.io.atomic import check_writable
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import write_image
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="uses /sys")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two images and a model."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        image = rng.integers(0, 4000, (20, 24)).astype(np.uint16)
        write_image(tmp_path / "in" / name, image)
    torch.manual_seed(0)
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    save_model(tmp_path / "m.safetensors", flow, ModelCard("m", "compact", (2.0,), 1))
    return tmp_path


def batch(folder, **options):
    return flowsr.upscale_files(
        folder / "in", folder / "out", folder / "m.safetensors", device="cpu", **options
    )


def names(folder) -> list[str]:
    return sorted(p.name for p in (folder / "out").iterdir())


def test_a_full_disk_amid_a_batch(folder, monkeypatch):
    with monkeypatch.context() as patch:

        def fill(*_):
            raise OSError(28, "No space left on device")

        patch.setattr("os.fsync", fill)
        outcomes = batch(folder)
    assert all("disk is full" in o.error for o in outcomes)
    assert names(folder) == []
    assert [o.error for o in batch(folder)] == ["", ""]
    assert len(names(folder)) == 2


def test_a_full_disk_amid_an_export(tmp_path, monkeypatch):
    """What was written before stays, and is named."""
    from napari_flowsr.widgets import _export

    pixels = np.zeros((8, 8), np.uint8)
    exports = [_export.Export(pixels, name, "YX", {}, None) for name in ("a", "b")]
    calls = []

    def fsync(*_):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    targets = [tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"]
    with pytest.raises(ExportError, match=r"'b'.*disk is full.*before it: a\.ome"):
        _export.write_all(exports, targets, overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.tif"]


@ON_LINUX
def test_a_folder_that_takes_no_files(folder):
    """That of the kernel takes none even from root."""
    for path in ("/sys/kernel/x.tif", "/sys/kernel/sub/x.ome.zarr"):
        with pytest.raises(ExportError, match="cannot be written"):
            check_writable(path)
    with pytest.raises(ExportError, match="Could not write"):
        write_image("/sys/kernel/x.tif", np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_model_file_that_goes_amid_a_run(folder, change):
    image = np.arange(480, dtype=np.uint16).reshape(20, 24)
    file = folder / "m.safetensors"
    expected = flowsr.upscale(image, file, device="cpu", tile=8)
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) == 1 and change == "deleted":
            file.unlink()
        elif len(calls) == 1:
            file.write_bytes(b"no model any more")

    found = flowsr.upscale(image, file, device="cpu", tile=8, progress=progress)
    np.testing.assert_array_equal(found, expected)
    assert len(calls) > 1


@pytest.mark.parametrize("at", range(0, 30, 3))
def test_cancel_in_any_module_of_the_network(folder, at):
    """The n-th module that is called; whatever it belongs to."""
    from napari_flowsr.core.interrupt import until_cancelled
    from napari_flowsr.inference.posterior import posterior

    image = np.arange(480, dtype=np.uint16).reshape(20, 24)
    model = flowsr.load_model(folder / "m.safetensors", device="cpu")
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) > at

    before = threading.active_count()
    post = posterior(image, model, tile=8, device="cpu")
    with pytest.raises(Cancelled):
        list(until_cancelled(post.stream(2, ("samples", "std"), ()), cancelled))
    assert threading.active_count() == before
    assert post.sample(1).shape == (1, 40, 48)


PROGRAM = """
import os, sys, time
from pathlib import Path
import napari_flowsr as flowsr

work, folder = sys.argv[1], Path(sys.argv[2])
def last(*arguments):  # all is written, nothing is in its place
    print("ready", flush=True)
    time.sleep(60)

os.fsync = last
if work == "export":
    import numpy as np
    from napari_flowsr.io.images import write_image
    write_image(folder / "out" / "old.ome.tif", np.ones((64, 64), np.uint8))
else:
    flowsr.upscale_files(folder / "in", folder / "out", folder / "m.safetensors")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends processes without a signal")
@pytest.mark.parametrize("work", ["export", "batch"])
def test_killed_at_the_last_moment(folder, work):
    """No file has its name before it is whole, and what is left is in nobody's way."""
    (folder / "out").mkdir()
    old = folder / "out" / "old.ome.tif"
    write_image(old, np.zeros((8, 8), np.uint8))
    before = old.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, work, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert old.read_bytes() == before
    whole = [name for name in names(folder) if not name.startswith(".")]
    assert whole == ["old.ome.tif"]
    # What is left is hidden, and no input of a later batch.
    again = flowsr.upscale_files(
        folder / "out", folder / "more", folder / "m.safetensors", device="cpu"
    )
    assert [o.source.name for o in again] == ["old.ome.tif"]
    assert [o.error for o in batch(folder)] == ["", ""]
