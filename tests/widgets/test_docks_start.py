"""Docks are there before torch is, and torch does not come in the window's thread."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from napari.components import ViewerModel

from napari_flowsr.core import device
from napari_flowsr.errors import DeviceError
from napari_flowsr.widgets import _devices, _dock, upscale_dock
from napari_flowsr.widgets._preferences import Preferences
from napari_flowsr.widgets.parts import device_box
from napari_flowsr.widgets.upscale_dock import UpscaleDock

# Besides torch what takes long to import, unless napari has it already.
SLOW = ("torch", "safetensors", "numba", "dask.array", "distributed", "matplotlib")
SLOW += ("pyqtgraph", "skimage.metrics", "scipy.signal", "scipy.stats", "tifffile")
SLOW += ("zarr", "pooch")
PROGRAM = f"""
import json, sys, threading, time
from importlib import import_module
from importlib.resources import files

import napari
import numpy as np
from npe2 import PluginManifest

found, docks = {{}}, {{}}
viewer = napari.Viewer(show=True)
viewer.add_image(np.random.default_rng(0).random((32, 32), np.float32), name="cells")
app = napari.qt.get_qapp()
app.processEvents()
before = set(sys.modules)
manifest = PluginManifest.from_file(str(files("napari_flowsr") / "napari.yaml"))
named = {{c.id: c.python_name for c in manifest.contributions.commands}}
for widget in manifest.contributions.widgets:
    module, _, name = named[widget.command].partition(":")
    made = getattr(import_module(module), name)
    docks[name] = dock = made() if name == "ModelsDock" else made(viewer)
    viewer.window.add_dock_widget(dock, name=widget.display_name, tabify=False)
    app.processEvents()
    assert dock.isVisible()
    found[name] = [x for x in {SLOW!r} if x in sys.modules and x not in before]

# The first run: torch comes with it, but not to the thread of the window.
threads = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            threads.append(threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watch())
dock = docks["UpscaleDock"]
dock.session.image, dock.session.samples = viewer.layers["cells"], 1
dock.session.outputs = ("samples",)
dock.run()
deadline = time.monotonic() + 120
while dock.is_running and time.monotonic() < deadline:
    app.processEvents()
    time.sleep(0.01)
print(dock.bar.status.text(), file=sys.stderr)
assert len(dock.outputs()) == 1
viewer.close()
print(json.dumps([found, threads]))
"""


def test_no_dock_loads_torch_before_it_is_needed() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    found, in_main_thread = json.loads(ran.stdout.splitlines()[-1])
    assert len(found) == 7
    assert found == {name: [] for name in found}
    assert in_main_thread == [False]


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """A search for devices goes on when it is set."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch, let_go: threading.Event) -> list[int]:
    """As before torch: devices are not known till a thread has asked; which ones."""
    asked: list[int] = []
    main = threading.get_ident()

    def available() -> dict[str, str]:
        if threading.get_ident() != main:
            let_go.wait(60)
        asked.append(threading.get_ident())
        return {"cuda:0": "Card"}

    monkeypatch.setattr(device, "available_devices", available)
    for module in (_devices, _dock, device_box):
        monkeypatch.setattr(module, "are_known", lambda: bool(asked))
    return asked


def test_devices_are_asked_for_where_they_are_looked_at(
    qtbot: Any, unknown: list[int], let_go: threading.Event
) -> None:
    dock = UpscaleDock(ViewerModel())
    qtbot.addWidget(dock)
    fields = dock.form.advanced
    assert [fields.device.itemData(i) for i in range(2)] == ["auto", "cpu"]
    assert fields.device.count() == 2
    assert not unknown
    fields.expand(animate=False)
    assert "Looking" in fields.reason.text()
    let_go.set()
    qtbot.waitUntil(lambda: fields.device.count() == 3)
    assert fields.device.itemText(2) == "Card"
    assert fields.reason.text() == device.resolve_device("auto")[1]
    assert threading.get_ident() not in unknown[:1]


def test_a_preferred_device_that_turns_out_not_to_be_here_is_replaced(
    qtbot: Any, unknown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    preferred = Preferences(device="cuda:99")
    monkeypatch.setattr(upscale_dock, "read_preferences", lambda: preferred)
    monkeypatch.setattr(device_box, "look", lambda: None)
    dock = UpscaleDock(ViewerModel())
    qtbot.addWidget(dock)
    dock.session.temperature = 0.5
    dock.restore_defaults()
    assert dock.session.device == "cuda:99"
    assert "device" not in dock.session.problems()
    unknown.append(0)
    _devices.news.found.emit()
    assert dock.session.device == "auto"
    assert "'cuda:99' is not to be had here" in dock.bar.status.text()


def test_what_is_no_name_of_a_device_is_told_at_once(unknown: list[int]) -> None:
    _devices.check_device("cuda:99")
    with pytest.raises(DeviceError, match="'abacus' is unknown"):
        _devices.check_device("abacus")
    assert not unknown
