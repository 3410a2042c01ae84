"""Docks are there before torch is: in a process of their own, which has none yet."""

from __future__ import annotations

import json
import subprocess
import sys

# Besides torch what takes long to import, unless napari has it already.
SLOW = ("torch", "safetensors", "numba", "dask.array", "distributed", "matplotlib")
SLOW += ("pyqtgraph", "skimage.metrics", "scipy.signal", "scipy.stats", "tifffile")
SLOW += ("zarr", "pooch")
PROGRAM = f"""
import json, sys
from importlib import import_module
from importlib.resources import files

import napari
import numpy as np
from npe2 import PluginManifest

found = {{}}
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
    dock = made() if name == "ModelsDock" else made(viewer)
    viewer.window.add_dock_widget(dock, name=widget.display_name, tabify=False)
    app.processEvents()
    assert dock.isVisible()
    found[name] = [x for x in {SLOW!r} if x in sys.modules and x not in before]
viewer.close()
print(json.dumps(found))
"""


def test_no_dock_loads_torch_before_it_is_needed() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert len(found) == 7
    assert found == {name: [] for name in found}
