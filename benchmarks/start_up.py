"""Start-up: the import against bare Python, and the docks.

    python benchmarks/start_up.py [--repeat 7]

Each measurement is a fresh process; the fastest of ``--repeat`` counts. A dock is made
and shown in a viewer with one image (on a display, or with
``QT_QPA_PLATFORM=offscreen``); its time is that of the imports that it makes, of making
it and of showing it, with napari and Qt running already. An empty widget in a dock is
what napari itself takes. ``torch`` tells whether torch was loaded by then. Bytecode is
kept in a folder of its own, as an installation has it; so are napari's settings.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

EMPTY = ("qtpy.QtWidgets", "QWidget")
DOCKS = (
    ("napari_flowsr.widgets.upscale_dock", "UpscaleDock"),
    ("napari_flowsr.widgets.edit_dock", "EditDock"),
    ("napari_flowsr.widgets.restore_dock", "RestoreDock"),
    ("napari_flowsr.widgets.rescale_dock", "RescaleDock"),
    ("napari_flowsr.widgets.train_dock", "TrainDock"),
    ("napari_flowsr.widgets.models_dock", "ModelsDock"),
    ("napari_flowsr.widgets.export_dock", "ExportDock"),
)
_DOCK = """
import sys, time, napari, numpy
viewer = napari.Viewer(show=True)
viewer.add_image(numpy.zeros((64, 64), "float32"))
app = napari.qt.get_qapp()
for _ in range(10):
    app.processEvents()
    time.sleep(0.02)
began = time.perf_counter()
from {module} import {name}
imported = time.perf_counter()
dock = {name}({viewer})
made = time.perf_counter()
viewer.window.add_dock_widget(dock)
app.processEvents()
shown = time.perf_counter()
times = shown - began, imported - began, made - imported, shown - made
print(*times, "torch" in sys.modules)
viewer.close()
"""


_HAS_TORCH = "import sys; print('torch' in sys.modules)"


def run(code: str, cache: str) -> str:
    """Last line that a fresh Python prints."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment["NAPARI_CONFIG"] = os.path.join(cache, "settings.yaml")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return found.stdout.splitlines()[-1]


def import_time(code: str, cache: str) -> tuple[float, str]:
    """Seconds of a fresh Python that runs ``code``, and whether torch is there then."""
    began = time.perf_counter()
    torch = run(f"{code}; {_HAS_TORCH}", cache)
    return time.perf_counter() - began, torch


def dock_time(module: str, name: str, cache: str) -> tuple[list[float], str]:
    """Seconds in all, of imports, making and showing a dock; and torch."""
    viewer = "viewer" if name not in ("ModelsDock", "QWidget") else ""
    *seconds, torch = run(
        _DOCK.format(module=module, name=name, viewer=viewer), cache
    ).split()
    return [float(s) for s in seconds], torch


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as cache:
        measure(repeat, cache)


def measure(repeat: int, cache: str) -> None:
    """Measure and print."""
    bare, ours = (
        min(import_time(code, cache) for _ in range(repeat))
        for code in ("pass", "import napari_flowsr")
    )
    out = sys.stdout.write
    out("| | ms | torch loaded |\n|---|---|---|\n")
    out(f"| bare Python | {1000 * bare[0]:.0f} | {bare[1]} |\n")
    more = 1000 * (ours[0] - bare[0])
    out(f"| `import napari_flowsr`, more than that | {more:.0f} | {ours[1]} |\n\n")
    out("| dock | ms | imports | making | showing | torch loaded |\n")
    out("|---|---|---|---|---|---|\n")
    for module, name in (EMPTY, *DOCKS):
        dock_time(module, name, cache)  # bytecode
        seconds, torch = min(dock_time(module, name, cache) for _ in range(repeat))
        told = " | ".join(f"{1000 * s:.0f}" for s in seconds)
        out(f"| {name} | {told} | {torch} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
