"""What the status line of the Edit dock says, and the first contact with it."""

from __future__ import annotations

import numpy as np
import pytest
from docks import finish
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.widgets.edit_dock import EditDock
from napari_flowsr.widgets.parts.run_bar import RunBar
from napari_flowsr.widgets.upscale_dock import UpscaleDock


@pytest.fixture(scope="module")
def cells():
    y, x = np.mgrid[:20, :24]
    return (120 + 60 * np.sin(y / 3) * np.cos(x / 4)).astype(np.uint8)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def dock(qtbot, viewer, model):
    """Opened before there is any image."""
    widget = EditDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    yield widget
    widget.leave()


@pytest.fixture
def ready(qtbot, dock, viewer, cells, model):
    """A target, its LR image and a mask."""
    hr = flowsr.posterior(cells, model, device="cpu", seed=5).sample(1)[0]
    session, place = dock.session, {"scale": (0.5, 0.5), "translate": (-0.25, -0.25)}
    session.image = viewer.add_image(cells, name="cells")
    session.target = viewer.add_image(hr, name="fine", **place)
    dock.new_mask().data[4:9, 4:9] = 1
    return dock


# --- the status line ----------------------------------------------------------------


def test_a_refusal_goes_once_a_field_is_another(qtbot, dock, viewer, cells):
    said = dock.bar.status
    dock.form.marking.new_clicked.emit()
    assert "Choose a target first" in said.text()
    assert said.styleSheet()
    dock.session.image = viewer.add_image(cells, name="cells")
    assert "Choose a target first" not in said.text()
    dock.form.marking.new_clicked.emit()
    assert "Choose a target first" in said.text()
    dock.session.target = viewer.add_image(np.kron(cells, np.ones((2, 2), np.uint8)))
    dock.new_mask()
    assert said.text() == ""
    assert dock.bar.run.isEnabled()


def test_the_word_about_a_run_stays_until_a_field_is_another(qtbot, ready):
    bar, session = ready.bar, ready.session
    ready.run()
    session.mask = None  # a problem of the next run
    finish(qtbot, ready)
    assert bar.status.text() == "Re-sampled, seed 0."
    assert not bar.run.isEnabled()
    assert "There is no mask" in bar.run.toolTip()
    session.seed = 4
    assert "There is no mask" in bar.status.text()


def test_a_target_that_went_is_told(qtbot, ready, viewer):
    ready.run()
    viewer.layers.remove("fine")
    finish(qtbot, ready)
    assert "target was removed meanwhile" in ready.bar.status.text()
    assert not ready.bar.run.isEnabled()


def test_a_result_is_not_taken_for_a_refusal(qtbot):
    bar = RunBar()
    qtbot.addWidget(bar)
    bar.refuse("no")
    bar.start("go")
    bar.say("done")
    bar.stop()
    bar.set_ready("")
    assert bar.status.text() == "done"


# --- the first contact --------------------------------------------------------------


def test_an_image_that_comes_later_is_proposed(qtbot, dock, viewer, cells):
    layer = viewer.add_image(cells, name="cells")
    qtbot.waitUntil(lambda: dock.session.target is layer)
    viewer.add_image(cells, name="another")
    qtbot.wait(50)
    assert dock.session.target is layer


def test_a_result_that_comes_later_is_proposed(qtbot, viewer, dock, cells, model):
    upscale = UpscaleDock(viewer)
    qtbot.addWidget(upscale)
    source = viewer.add_image(cells, name="cells")
    qtbot.waitUntil(lambda: dock.session.target is source)
    dock.session.target = None
    upscale.session.model, upscale.session.device = model, "cpu"
    upscale.session.image, upscale.session.samples = source, 2
    upscale.run()
    finish(qtbot, upscale)
    (samples,) = [x for x in upscale.outputs() if "samples" in x.name]
    qtbot.waitUntil(lambda: dock.session.target is samples)
    assert dock.session.image is source
    upscale.leave()


def test_no_layer_is_proposed_beside_a_chosen_image(qtbot, dock, viewer, cells):
    layer = viewer.add_image(cells, name="cells")
    qtbot.waitUntil(lambda: dock.session.target is layer)
    dock.session.image, dock.session.target = layer, None
    viewer.add_image(cells, name="another")
    qtbot.wait(50)
    assert dock.session.target is None


@pytest.mark.parametrize("title", ["Explore", "Measure"])
def test_what_works_on_the_lr_image_asks_for_that(dock, title):
    dock.session.page = title
    assert "'LR image'" in dock.bar.status.text()
    assert "no target" not in dock.bar.status.text()


def test_an_image_as_measured_is_a_target_with_a_hint(qtbot, dock, viewer, cells):
    layer = viewer.add_image(cells, name="cells")
    qtbot.waitUntil(lambda: dock.session.target is layer)
    dock.session.mask = None
    dock.new_mask().data[4:9, 4:9] = 1
    assert dock.bar.run.isEnabled()
    assert "a sample of Upscale" in dock.bar.status.text()
    dock.run()
    finish(qtbot, dock)
    assert dock.bar.status.text().startswith("Re-sampled")
    dock.session.seed = 3
    assert "Upscale" not in dock.bar.run.toolTip()
