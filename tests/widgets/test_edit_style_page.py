"""The page "Style" of the Edit dock."""

from __future__ import annotations

import numpy as np
import pytest
from docks import finish
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.errors import FlowSRError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets.edit_dock import EditDock
from napari_flowsr.widgets.parts.edit_style_page import MASKED, WHOLE


@pytest.fixture(scope="module")
def cells():
    y, x = np.mgrid[:40, :48]
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (120 + 60 * np.sin(y / 3) * np.cos(x / 4) + 3 * noise).astype(np.uint8)


@pytest.fixture
def dock(qtbot, cells, model):
    viewer = ViewerModel()
    viewer.add_image(cells, name="cells")
    hr = flowsr.posterior(cells, model, device="cpu", seed=5).sample(1)[0]
    viewer.add_image(hr, name="fine", scale=(0.5, 0.5), translate=(-0.25, -0.25))
    source = np.random.default_rng(1).normal(100, 20, (90, 70)).astype(np.float32)
    viewer.add_image(source, name="texture")
    viewer.add_image(np.zeros((40, 40, 3), np.uint8), name="colour", rgb=True)
    widget = EditDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.target = viewer.layers["fine"]
    widget.session.image = viewer.layers["cells"]
    widget.session.page = "Style"
    widget.form.page.source.choose(viewer.layers["texture"])
    yield widget
    widget.cancel()
    finish(qtbot, widget)
    widget.leave()


def run(qtbot, dock):
    dock.run()
    finish(qtbot, dock)
    return dock.session.target


def test_the_whole_image_takes_the_style(qtbot, dock, cells, model):
    dock.form.page.where.setCurrentText(WHOLE)
    source = dock.viewer.layers["texture"].data
    edited = run(qtbot, dock)
    np.testing.assert_array_equal(
        edited.data, flowsr.transfer_style(cells, source, model)
    )
    (edit,) = edited.metadata[NAMESPACE]["edits"]
    assert (edit["operation"], edit["style"]) == ("style", "texture")
    dock.undo()
    np.testing.assert_array_equal(edited.data, dock.viewer.layers["fine"].data)


def test_only_the_mask_takes_the_style(qtbot, dock):
    before = dock.viewer.layers["fine"].data.copy()
    dock.form.page.where.setCurrentText(MASKED)
    mask = dock.new_mask()
    mask.data[10:18, 10:18] = 1
    mask.refresh()
    edited = run(qtbot, dock)
    assert (edited.data[10:18, 10:18] != before[10:18, 10:18]).mean() > 0.5
    np.testing.assert_array_equal(edited.data[60:], before[60:])


def test_what_keeps_from_running_is_said(dock):
    page, layers = dock.form.page, dock.viewer.layers
    page.where.setCurrentText(MASKED)
    assert "New mask" in dock._validate()["mask"]
    page.where.setCurrentText(WHOLE)
    assert dock._validate() == {}
    for name, message in (("fine", "target itself"), ("colour", "in colour")):
        page.source.choose(layers[name])
        assert message in dock._validate()["source"]
    page.source.choose(None)
    assert "Choose the Image layer" in dock._validate()["source"]


def test_bad_masks_are_said_and_nothing_changes(dock):
    dock.form.page.where.setCurrentText(MASKED)
    mask = dock.new_mask()
    before = dock.viewer.layers["fine"].data.copy()
    with pytest.raises(FlowSRError, match="is empty"):
        dock.run()
    mask.data[:] = 1
    mask.translate = (1000, 1000)
    with pytest.raises(FlowSRError, match="does not cover"):
        dock.run()
    np.testing.assert_array_equal(dock.viewer.layers["fine"].data, before)
    assert dock.session.target is dock.viewer.layers["fine"]
