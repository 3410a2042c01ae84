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
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication, QScrollArea, QTabWidget

from napari_flowsr.io.images import write_image

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


def dismiss_notifications() -> None:
    """Close the boxes in the corner, which lie on the picture."""
    pump()
    for widget in QApplication.allWidgets():
        if type(widget).__name__ == "NapariQtNotification":
            widget.close()


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


def edit(model: str = "micro-4x") -> None:
    """The Edit dock: before, after and mask beside each other."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-flowsr", "microaneurysms")
    image = viewer.layers[0]
    # So that texture can be seen.
    image.contrast_limits = (60, 130)
    _, upscale = viewer.window.add_plugin_dock_widget("napari-flowsr", "Upscale")
    pump()
    upscale.session.model, upscale.session.samples = model, 1
    upscale.session.outputs, upscale.session.roi = ("samples",), (24, 20, 64, 64)
    run(upscale)
    sample = upscale.outputs()[0]
    _, widget = viewer.window.add_plugin_dock_widget(
        "napari-flowsr", "Edit", tabify=True
    )
    widget.parent().raise_()
    widget.session.target = sample
    widget.session.feather, widget.session.brush_size = 4.0, 110
    mask = widget.new_mask()
    mask.paint((120, 120), 1)
    mask.opacity = 0.8
    run(widget)
    image.visible = False
    # In the grid each layer has its own field: before, after, and where.
    widget.compare.beside.setChecked(True)
    viewer.layers.selection.active = mask
    dismiss_notifications()
    shot(viewer, "edit_dock.png")
    viewer.close()


def restore(model: str = "micro-4x") -> None:
    """The Restore dock: noise was added to a sample; beside it, it is gone."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-flowsr", "cell")
    cell = viewer.layers[0]
    part = cell.data[200:440, 260:500].astype(np.float32)
    span = float(np.subtract(*np.percentile(part, (99.9, 0.1))))
    noise = np.random.default_rng(0).normal(0, 20 / 255 * span, part.shape)
    limits = tuple(np.percentile(part, (0.1, 99.9)))
    viewer.add_image(
        (part + noise).astype(np.float32),
        name="noisy",
        scale=cell.scale,
        units=cell.units,
        contrast_limits=limits,
    )
    viewer.layers.remove(cell)
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Restore")
    pump()
    widget.session.model = model
    run(widget)
    restored, removed = widget.outputs()
    removed.visible = True
    viewer.layers.selection.active = restored
    widget.compare.beside.setChecked(True)
    pump(1)
    viewer.reset_view()
    shot(viewer, "restore_dock.png")
    viewer.close()


def explore(model: str = "micro-2x") -> None:
    """Explore and Measure: a way between two samples, and measurements of many."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-flowsr", "microaneurysms")
    image = viewer.layers[0]
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Edit")
    pump()
    session = widget.session
    session.model, session.page = model, "Explore"
    # Without a target: the low-resolution image alone is enough for these pages.
    session.target, session.image = None, image
    page, scroll = widget.form.page, widget.findChild(QScrollArea)
    run(widget)
    strip = widget.outputs()[0]
    viewer.layers.selection.active = strip
    for step in (2, 7):
        page.step.setValue(step)
        page.pins.pin_shown()
    viewer.layers.selection.active = strip
    shot(viewer, "edit_explore.png")
    session.page = "Measure"
    page = widget.form.page
    lesion = viewer.add_shapes(
        [[(50, 20), (50, 70), (95, 70), (95, 20)]],
        shape_type="rectangle",
        face_color="transparent",
        edge_color="cyan",
        name="region",
    )
    across = viewer.add_shapes(
        [[(30, 30), (30, 75)]], shape_type="line", edge_color="yellow", name="line"
    )
    page.region.choose(lesion)
    page.line.choose(across)
    page.threshold.setText(f"{np.quantile(image.data, 0.6):g}")
    page.n.setValue(48)
    run(widget)
    pump()
    scroll.ensureWidgetVisible(page.profile, 0, 0)
    dismiss_notifications()
    shot(viewer, "edit_measure.png")
    viewer.close()


def rescale(model: str) -> None:
    """The Rescale dock with a rescaling model."""
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


def train(model: str = "micro-2x", steps: int = 300) -> None:
    """The Train dock in the middle of a fine-tuning; the run is discarded."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flowsr-") as folder:
        os.environ["NAPARI_FLOWSR_HOME"] = folder
        viewer = napari.Viewer(show=True)
        viewer.window.resize(*SIZE)
        viewer.open_sample("napari-flowsr", "cell")
        _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Train")
        pump()
        session = widget.session
        session.start_from, session.batch = model, 4
        session.budget, session.steps = "steps", steps
        widget.run()
        training = widget.training
        while training.step < 0.85 * training.total or not training.pictures:
            pump(0.1)
            if not training.is_running:
                raise RuntimeError(training.words)
        shot(viewer, "train_dock.png")
        widget.discard(confirm=False)
        while widget.is_running:
            pump(0.1)
        viewer.close()


def batch(model: str = "micro-2x", during: str = "batch_tab.png") -> None:
    """The Batch tab amid a run; one of its files is damaged."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flowsr-") as folder:
        raw = Path(folder, "raw")
        raw.mkdir()
        viewer = napari.Viewer(show=True)
        viewer.window.resize(*SIZE)
        viewer.open_sample("napari-flowsr", "microaneurysms")
        image = np.asarray(viewer.layers[0].data)[:64, :64]
        for number in (0, 3):
            write_image(raw / f"field-{number}.ome.tif", np.rot90(image, number))
        (raw / "field-1.tif").write_bytes(b"II*\0 damaged")
        write_image(raw / "field-2.ome.tif", np.stack([image] * 3), axes="TYX")
        _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Export")
        widget.findChild(QTabWidget).setCurrentIndex(1)
        tab, session = widget.batch, widget.batch.session
        session.source, session.target = str(raw), str(Path(folder, "upscaled"))
        session.model, session.tile, session.file_format = model, 32, "ome.zarr"
        session.samples = 2
        while tab.is_looking:
            pump(0.1)
        tab.run()
        # The first file is over, the damaged one told, and the third at work.
        while not {"field-2.ome.tif", "tile"} <= set(tab.bar.status.text().split()):
            pump(0.1)
            if not tab.is_running:
                raise RuntimeError(tab.bar.status.text())
        dismiss_notifications()
        shot(viewer, during)
        tab.cancel()
        while tab.is_running or tab.is_looking:
            pump(0.1)
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
    edit()
    explore()
    restore()
    batch()
    train()
    if rescaling:
        rescale(rescaling)
    if official:
        models(official)


if __name__ == "__main__":
    main(*sys.argv[1:])
