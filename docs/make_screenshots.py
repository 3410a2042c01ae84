"""Screenshots of the docks for README and documentation.

Needs an X server with OpenGL (``xvfb-run`` will do) and a Qt binding:

    export QT_QPA_PLATFORM=xcb
    xvfb-run -s "-screen 0 1600x1000x24" python docs/make_screenshots.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import napari
from PIL import Image
from qtpy.QtWidgets import QApplication

IMAGES = Path(__file__).parent / "images"
SIZE = (1300, 860)


def pump(seconds: float = 0.5) -> None:
    """Let the window answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def shot(viewer: Any, name: str) -> None:
    """Write the whole window, in few colours: noise compresses badly."""
    pump()
    window = viewer.screenshot(canvas_only=False, flash=False)
    few = Image.fromarray(window).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(IMAGES / name, optimize=True)


def run(widget: Any) -> None:
    """Run the dock and wait."""
    widget.run()
    while widget.is_running:
        pump(0.1)


def look_at(viewer: Any, layer: Any, centre: tuple[float, float], zoom: float) -> None:
    """Show one layer, close up."""
    for other in viewer.layers:
        other.visible = other is layer
    scene = getattr(viewer, "scene", viewer)
    scene.camera.center = centre
    scene.camera.zoom = zoom


def preferences(viewer: Any) -> None:
    """Open the plugin's page and write it."""
    # No public way to the dialog; this script alone depends on it.
    dialog = viewer.window._open_preferences_dialog()
    pump(1)
    for row in range(dialog._list.count()):
        if "flowsr" in dialog._list.item(row).text().lower():
            dialog._list.setCurrentRow(row)
    pump(1)
    dialog.grab().save(str(IMAGES / "preferences.png"))
    dialog.close()


def rescale(model: str) -> None:
    """The Rescale dock with a rescaling model, of which none is built in."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-flowsr", "cell")
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Rescale")
    pump()
    widget.session.model = model
    widget.session.temperature = 0.0
    # An odd number of pixels: 253 is no multiple of 4.
    widget.session.roi = (238, 240, 253, 303)
    run(widget)
    small, restored, error = widget.outputs()
    for layer in viewer.layers:
        layer.visible = layer in (small, restored, error)
    viewer.layers.selection.active = small
    widget.compare.beside.setChecked(True)
    pump()
    shot(viewer, "rescale_dock.png")
    viewer.close()


def models(official: str) -> None:
    """The Models dock, after a published file was imported into an empty folder."""
    with tempfile.TemporaryDirectory(prefix="flowsr-") as folder:
        os.environ["NAPARI_FLOWSR_HOME"] = folder
        viewer = napari.Viewer(show=True)
        viewer.window.resize(*SIZE)
        viewer.open_sample("napari-flowsr", "cell")
        _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Models")
        widget.import_files([official])
        while widget.is_busy:
            pump(0.1)
        shot(viewer, "models_dock.png")
        viewer.close()


def main(model: str = "micro-2x", rescaling: str = "", official: str = "") -> None:
    """Make all of them; those of the Rescale and Models docks if there are files."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-flowsr", "cell")
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Upscale")
    pump()
    cell = viewer.layers[0]
    widget.session.model = model
    # The cell and some of its surroundings.
    widget.session.roi = (150, 150, 300, 300)
    run(widget)
    samples, _mean, std = widget.outputs()[:3]
    centre = tuple(300.0 * s for s in cell.scale)
    zoom = 2.2 / float(cell.scale[-1])
    look_at(viewer, samples, centre, zoom)
    shot(viewer, "upscale_dock.png")
    look_at(viewer, std, centre, zoom)
    viewer.layers.selection.active = std
    shot(viewer, "std_layer.png")
    viewer.window.add_plugin_dock_widget("napari-flowsr", "Export", tabify=True)
    shot(viewer, "export_dock.png")
    preferences(viewer)
    viewer.close()
    if rescaling:
        rescale(rescaling)
    if official:
        models(official)


if __name__ == "__main__":
    main(*sys.argv[1:])
