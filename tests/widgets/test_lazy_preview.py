"""Only what is in view is computed: the layer, its worker, and how both end."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from functools import partial

import numpy as np
import pytest
import tifffile
from docks import WAIT, Gate, edges, finish
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_flowsr.errors import ExportError, OptionError, OutOfMemoryError
from napari_flowsr.inference.lazy import SampleTiles
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._export import Export
from napari_flowsr.widgets._in_view import shown_part
from napari_flowsr.widgets._lazy import IN_VIEW
from napari_flowsr.widgets._upscale import Request
from napari_flowsr.widgets._viewer import camera_of
from napari_flowsr.widgets.upscale_dock import UpscaleDock


@pytest.fixture
def image():
    """Larger than the smallest size that is halved."""
    y, x = np.mgrid[:300, :340]
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (120 + 60 * np.sin(y / 5) * np.cos(x / 7) + 3 * noise).astype(np.uint8)


@pytest.fixture
def viewer(image):
    viewer = ViewerModel()
    viewer.add_image(image, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, model):
    widget = UpscaleDock(viewer)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.samples, widget.session.tile = 2, 64
    widget.session.lazy = True
    qtbot.addWidget(widget)
    yield widget
    preview = widget.in_view
    widget.leave()
    if preview is not None:
        qtbot.waitUntil(lambda: not preview.is_running, timeout=WAIT)
    finish(qtbot, widget)


def opened(qtbot, dock):
    """The layer, of which nothing need be computed yet."""
    dock.run()
    preview = dock.in_view
    qtbot.waitUntil(
        lambda: (
            preview.is_over
            or (preview.layer is not None and "versions" in record(preview.layer))
        ),
        timeout=WAIT,
    )
    return preview


def settled(qtbot, preview):
    """What is in view is computed."""
    image, tiles = preview._run.image, preview._run.tiles
    timers = preview._looking, preview._drawing

    def is_settled():
        quiet = not (preview.is_running or any(t.isActive() for t in timers))
        return quiet and not image.has_work(tiles)

    qtbot.waitUntil(is_settled, timeout=WAIT)


def look_at(preview, rows, columns, level=0):
    """As napari does when it draws a part of a layer."""
    layer = preview.layer
    layer._data_level = level
    layer.corner_pixels = np.array([[rows[0], columns[0]], [rows[1], columns[1]]])
    layer.refresh()


def record(layer):
    return layer.metadata[NAMESPACE]


def nearest(image, size):
    y, x = (
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(size, image.shape, strict=True)
    )
    return image[y[:, None], x]


def wide(viewer):
    """A canvas that shows everything, whatever the layer's corners are."""
    resize(viewer, (5000, 5000))


def resize(viewer, size):
    """As napari does when its window changes."""
    if hasattr(viewer, "canvas"):
        viewer.canvas.size = size
    else:  # napari before 0.9
        viewer._canvas_size = size


# --- the layer ----------------------------------------------------------------


def test_the_layer_comes_at_once_at_the_right_place(qtbot, dock, viewer, image, model):
    gate = Gate(model.flow, pytest.MonkeyPatch(), free=0)
    preview = opened(qtbot, dock)
    layer = preview.layer
    assert layer.multiscale
    assert [tuple(s) for s in layer.level_shapes] == [(600, 680), (300, 340)]
    for a, b in zip(edges(viewer.layers["cells"]), edges(layer), strict=True):
        np.testing.assert_allclose(a, b)
    assert layer.name == "cells · sample 0 where in view · tiny"
    assert record(layer)["partial"] is True
    assert record(layer)["detail_inferred"] is True
    assert record(layer)["tool"] == IN_VIEW
    assert tuple(layer.contrast_limits) == tuple(viewer.layers["cells"].contrast_limits)
    np.testing.assert_array_equal(layer.data[0][...], nearest(image, (600, 680)))
    assert dock.session.image is viewer.layers["cells"]
    assert dock.bar.run.isEnabled()
    assert dock.bar.cancel.isEnabled()
    gate.open()


def test_the_layer_does_not_wait_for_the_model(qtbot, dock, viewer, model, monkeypatch):
    loaded, real = threading.Event(), Request.loaded

    def wait(self):
        loaded.wait(60)
        return real(self)

    monkeypatch.setattr(Request, "loaded", wait)
    dock.run()
    preview = dock.in_view
    qtbot.waitUntil(lambda: preview.layer is not None, timeout=WAIT)
    assert not loaded.is_set()
    loaded.set()


def test_what_is_in_view_is_computed_and_equals_a_run(
    qtbot, dock, viewer, image, model
):
    wide(viewer)
    preview = opened(qtbot, dock)
    look_at(preview, (100, 220), (300, 420))
    settled(qtbot, preview)
    found = preview.layer.data[0][...]
    post = posterior(image, model, device="cpu", tile=64)
    whole, plain = post.sample(1)[0], nearest(image, (600, 680))
    np.testing.assert_array_equal(found[100:220, 300:420], whole[100:220, 300:420])
    np.testing.assert_array_equal(found[500:], plain[500:])
    assert (found != plain).any()
    np.testing.assert_array_equal(  # what is shown
        preview.layer._slice.image.raw, whole[100:221, 300:421]
    )
    assert "elsewhere the layer shows the enlarged input" in dock.bar.status.text()


def test_torch_is_never_in_the_main_thread(qtbot, dock, viewer, model, monkeypatch):
    threads, real = set(), model.flow.decode

    def decode(*args, **kwargs):
        threads.add(threading.current_thread())
        return real(*args, **kwargs)

    monkeypatch.setattr(model.flow, "decode", decode)
    wide(viewer)
    preview = opened(qtbot, dock)
    for rows in ((0, 50), (200, 250), (400, 450)):
        look_at(preview, rows, (0, 50))
        settled(qtbot, preview)
    assert threads
    assert threading.main_thread() not in threads


def test_zoomed_out_nothing_is_computed_and_it_is_said(qtbot, dock, viewer, image):
    wide(viewer)
    preview = opened(qtbot, dock)
    look_at(preview, (0, 299), (0, 339), level=1)
    settled(qtbot, preview)
    qtbot.waitUntil(lambda: "Zoom in" in dock.bar.status.text(), timeout=WAIT)
    np.testing.assert_array_equal(preview.layer.data[1][...], image)


def test_when_all_is_there_the_layer_is_a_result(
    qtbot, dock, viewer, image, model, tmp_path
):
    wide(viewer)
    preview = opened(qtbot, dock)
    layer = preview.layer
    with pytest.raises(ExportError, match="only where it was looked at"):
        Export.of(*layer.as_layer_data_tuple()[:2]).write("nowhere.ome.tif")
    dock.session.image = layer
    assert "only where it was looked at" in dock.session.problems()["image"]
    look_at(preview, (0, 599), (0, 679))
    settled(qtbot, preview)
    assert record(layer)["partial"] is False
    assert layer.name == "cells · sample 0 · tiny"
    assert "image" not in dock.session.problems()
    whole = posterior(image, model, device="cpu", tile=64).sample(1)[0]
    np.testing.assert_array_equal(np.asarray(layer.data[0]), whole)
    export = Export.of(*layer.as_layer_data_tuple()[:2])
    (path,) = export.write(tmp_path / "x.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(path).squeeze(), whole)


def test_stacks_compute_the_plane_in_view(qtbot, dock, viewer, image, model):
    stack = np.stack([image, image[::-1], image[:, ::-1]])[:, :200, :200]
    layer = viewer.add_image(stack, name="stack", axis_labels=("z", "y", "x"))
    dock.session.image = layer
    wide(viewer)
    preview = opened(qtbot, dock)
    viewer.dims.set_point(0, 2)
    preview.layer._data_level = 0
    preview.layer.corner_pixels = np.array([[0, 0, 0], [0, 399, 399]])
    preview.layer.refresh()
    preview.look()
    settled(qtbot, preview)
    whole = posterior(stack, model, device="cpu", tile=64, axes="ZYX").sample(1)[0]
    np.testing.assert_array_equal(preview.layer.data[0][2], whole[2])
    plain = nearest(stack[1], (400, 400))
    np.testing.assert_array_equal(preview.layer.data[0][1], plain)
    assert record(preview.layer)["partial"] is True


# --- results are not lost -----------------------------------------------------


def test_results_and_views_do_not_replace_each_other(qtbot, dock, viewer):
    dock.session.lazy = False
    dock.run()
    finish(qtbot, dock)
    made = dock.outputs()
    dock.session.lazy = True
    first = opened(qtbot, dock).layer
    assert all(layer in viewer.layers for layer in made)
    second = opened(qtbot, dock).layer
    assert first not in viewer.layers
    assert second in viewer.layers
    dock.session.lazy = False
    dock.run()
    finish(qtbot, dock)
    assert second in viewer.layers


@pytest.mark.parametrize(
    ("field", "value"), [("consistent", True), ("prior", "learned")]
)
def test_what_needs_the_whole_plane_is_a_problem(dock, field, value):
    setattr(dock.session, field, value)
    assert "whole" in dock.session.problems()["lazy"]
    with pytest.raises(OptionError):
        dock.run()


def test_outputs_do_not_count(dock):
    dock.session.samples = 1  # of which no spread can be had
    dock.session.outputs = ("samples", "std")
    assert "lazy" not in dock.session.problems()
    assert not dock.form.output.kinds["std"].isEnabled()
    assert not dock.form.output.stack.isEnabled()
    dock.form.lazy.box.setChecked(False)
    assert dock.session.lazy is False
    assert dock.form.output.kinds["std"].isEnabled()
    assert dock.form.output.stack.isEnabled()


# --- errors -------------------------------------------------------------------


def test_a_tile_that_fails_is_told_and_stays_the_input(
    qtbot, dock, viewer, image, monkeypatch
):
    real = SampleTiles.pixels

    def pixels(self, plane, tile):
        if tile is self.tiles[0]:
            raise OutOfMemoryError("Memory does not suffice for a tile.")
        return real(self, plane, tile)

    monkeypatch.setattr(SampleTiles, "pixels", pixels)
    wide(viewer)
    preview = opened(qtbot, dock)
    look_at(preview, (0, 599), (0, 679))
    settled(qtbot, preview)
    assert "Memory does not suffice" in dock.bar.status.text()
    assert any("does not suffice" in n.message for n in notification_manager.records)
    tile = preview._run.tiles.tiles[0]
    y0, y1, x0, x1 = preview._run.tiles.box(tile)
    plain = nearest(image, (600, 680))
    np.testing.assert_array_equal(
        preview.layer.data[0][y0:y1, x0:x1], plain[y0:y1, x0:x1]
    )
    assert record(preview.layer)["partial"] is True


def test_an_image_that_cannot_be_used_leaves_no_layer(qtbot, dock, viewer):
    bad = np.full((40, 40), np.nan, np.float32)
    dock.session.image = viewer.add_image(bad, name="bad", contrast_limits=(0, 1))
    dock.run()
    preview = dock.in_view
    qtbot.waitUntil(lambda: preview.is_over, timeout=WAIT)
    assert [layer.name for layer in viewer.layers] == ["cells", "bad"]
    assert "NaN" in dock.bar.status.text()
    assert dock.in_view is None
    assert not dock.bar.cancel.isEnabled()
    assert dock.bar.run.isEnabled()


# --- the end ------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cancel", "layer", "leave", "close", "quit"])
def test_every_end_stops_the_worker(qtbot, dock, viewer, model, monkeypatch, way):
    wide(viewer)
    gate = Gate(model.flow, monkeypatch, free=2)
    preview = opened(qtbot, dock)
    look_at(preview, (0, 599), (0, 679))
    qtbot.waitUntil(lambda: gate.calls == 3, timeout=WAIT)
    layer = preview.layer
    ends = {
        "cancel": dock.cancel,
        "layer": lambda: viewer.layers.remove(layer),
        "leave": dock.leave,
        "close": dock.close,
        "quit": preview.worker.quit,
    }
    ends[way]()
    gate.open()
    qtbot.waitUntil(lambda: preview.is_over, timeout=WAIT)
    qtbot.waitUntil(lambda: not preview.is_running, timeout=WAIT)
    assert gate.calls <= 4
    if way != "layer":
        assert layer in viewer.layers
        assert record(layer)["partial"] is True
        layer.refresh()  # nothing comes of it
    qtbot.wait(200)
    assert not preview.is_running
    assert dock.in_view is None
    if way not in ("leave", "close"):
        assert not dock.bar.cancel.isEnabled()


def test_while_the_image_is_read_it_can_be_cancelled(qtbot, dock, viewer):
    dock.run()
    preview = dock.in_view
    dock.bar.cancel.click()
    qtbot.waitUntil(lambda: not preview.is_running, timeout=WAIT)
    assert len(viewer.layers) == 1
    assert dock.bar.run.isEnabled()
    assert "Stopped" in dock.bar.status.text()


def test_a_view_that_moves_on_is_followed(qtbot, dock, viewer, model, monkeypatch):
    wide(viewer)
    gate = Gate(model.flow, monkeypatch, free=1)
    preview = opened(qtbot, dock)
    look_at(preview, (0, 599), (0, 679))
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    look_at(preview, (580, 599), (660, 679))
    qtbot.wait(200)
    gate.open()
    settled(qtbot, preview)
    assert gate.calls <= 4  # one in the middle, one given up, one in the corner
    done, total = preview._run.image.progress(preview._run.tiles)
    assert (done, total) == (1, 1)


def test_a_hidden_layer_is_not_computed(qtbot, dock, viewer, model, monkeypatch):
    wide(viewer)
    preview = opened(qtbot, dock)
    preview.layer.visible = False
    qtbot.wait(100)
    settled(qtbot, preview)
    gate = Gate(model.flow, monkeypatch, free=99)
    look_at(preview, (0, 599), (0, 679))
    preview.look()
    settled(qtbot, preview)
    assert gate.calls == 0
    preview.layer.visible = True
    qtbot.waitUntil(lambda: gate.calls > 0, timeout=WAIT)


def test_a_dock_that_is_gone_leaves_nothing(qtbot, viewer, model):
    dock = UpscaleDock(viewer)
    dock.session.model, dock.session.device, dock.session.lazy = model, "cpu", True
    preview = opened(qtbot, dock)
    settled(qtbot, preview)
    known = weakref.ref(dock), weakref.ref(preview)
    dock.close()
    dock.deleteLater()
    del dock, preview
    qtbot.wait(200)
    gc.collect()
    assert [one() for one in known] == [None, None]
    viewer.layers[-1].refresh()


# --- what is in view ----------------------------------------------------------


def test_the_canvas_cuts_what_napari_keeps_of_a_wider_view(qtbot, dock, viewer):
    preview = opened(qtbot, dock)
    look_at(preview, (0, 599), (0, 679))
    resize(viewer, (100, 200))
    camera = camera_of(viewer)
    camera.center, camera.zoom = (0, 53, 54), 4.0  # 4 pixels of the canvas are 1 µm
    geometry = preview._run.image.geometry
    plane, box = shown_part(viewer, preview.layer, geometry)
    low = preview.layer.world_to_data((53 - 12.5, 54 - 25))
    high = preview.layer.world_to_data((53 + 12.5, 54 + 25))
    assert plane == 0
    np.testing.assert_allclose(box, (low[0], high[0], low[1], high[1]), atol=1)
    viewer.dims.ndisplay = 3
    assert shown_part(viewer, preview.layer, geometry) == (0, None)


@pytest.mark.skipif(
    not os.environ.get("DISPLAY") or os.environ.get("QT_QPA_PLATFORM") == "offscreen",
    reason="needs a display on which a window is drawn (Xvfb and QT_QPA_PLATFORM=xcb)",
)
def test_in_a_window_what_it_shows_is_computed(qtbot, make_napari_viewer, image, model):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 700)
    viewer.add_image(image, name="cells")
    _, dock = viewer.window.add_plugin_dock_widget("napari-flowsr", "Upscale")
    session, camera = dock.session, camera_of(viewer)
    session.image, session.model = viewer.layers["cells"], model
    session.device, session.tile, session.lazy = "cpu", 64, True
    qtbot.waitExposed(viewer.window._qt_window)
    qtbot.wait(500)
    whole = posterior(image, model, device="cpu", tile=64).sample(1)[0]
    plain, preview = nearest(image, (600, 680)), None
    for row, column in ((30, 40), (260, 300)):
        camera.center, camera.zoom = (row, column), 40.0  # some 20 pixels of the input
        preview = preview or opened(qtbot, dock)
        box = (2 * row - 5, 2 * row + 5, 2 * column - 5, 2 * column + 5)
        wants = partial(preview._run.image.wants, 0, box)
        qtbot.waitUntil(wants, timeout=WAIT)
        settled(qtbot, preview)
        here = slice(*box[:2]), slice(*box[2:])
        found = preview.layer.data[0][...]
        np.testing.assert_array_equal(found[here], whole[here])
        assert (found[here] != plain[here]).any()
    between = slice(280, 320), slice(320, 360)
    np.testing.assert_array_equal(found[between], plain[between])
    assert "elsewhere the layer shows the enlarged input" in dock.bar.status.text()
    dock.leave()
    qtbot.waitUntil(lambda: not preview.is_running, timeout=WAIT)
