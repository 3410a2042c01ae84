"""Start-up: the import against bare Python, and the docks.

    python benchmarks/start_up.py [--repeat 7]

Each measurement is a fresh process; the fastest of ``--repeat`` counts. A dock is made
and shown in an empty viewer (on a display, or with ``QT_QPA_PLATFORM=offscreen``); its
time is that of the imports that it makes, of making it and of showing it, with napari
and Qt running already. ``torch`` tells whether torch was loaded by then.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

DOCKS = (
    ("upscale_dock", "UpscaleDock"),
    ("edit_dock", "EditDock"),
    ("restore_dock", "RestoreDock"),
    ("rescale_dock", "RescaleDock"),
    ("train_dock", "TrainDock"),
    ("models_dock", "ModelsDock"),
    ("export_dock", "ExportDock"),
)
_DOCK = """
import sys, time, napari
viewer = napari.Viewer(show=True)
app = napari.qt.get_qapp()
app.processEvents()
began = time.perf_counter()
from napari_flowsr.widgets.{module} import {name}
dock = {name}({viewer})
viewer.window.add_dock_widget(dock)
app.processEvents()
taken = time.perf_counter() - began
print(taken, "torch" in sys.modules)
viewer.close()
"""


_HAS_TORCH = "import sys; print('torch' in sys.modules)"


def import_time(code: str) -> tuple[float, str]:
    """Seconds of a fresh Python that runs ``code``, and whether torch is there then."""
    began = time.perf_counter()
    command = [sys.executable, "-c", f"{code}; {_HAS_TORCH}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, found.stdout.strip()


def dock_time(module: str, name: str) -> tuple[float, str]:
    """Seconds that a dock takes to appear, and whether torch is there then."""
    viewer = "" if name == "ModelsDock" else "viewer"
    code = _DOCK.format(module=module, name=name, viewer=viewer)
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, torch = found.stdout.split()[-2:]
    return float(seconds), torch


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    bare, ours = (
        min(import_time(code) for _ in range(repeat))
        for code in ("pass", "import napari_flowsr")
    )
    out = sys.stdout.write
    out("| | ms | torch loaded |\n|---|---|---|\n")
    out(f"| bare Python | {1000 * bare[0]:.0f} | {bare[1]} |\n")
    more = 1000 * (ours[0] - bare[0])
    out(f"| `import napari_flowsr`, more than that | {more:.0f} | {ours[1]} |\n")
    for module, name in DOCKS:
        seconds, torch = min(dock_time(module, name) for _ in range(min(repeat, 3)))
        out(f"| {name} | {1000 * seconds:.0f} | {torch} |\n")


if __name__ == "__main__":
    main()
