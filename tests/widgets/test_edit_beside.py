"""The view of a paste beside its result ends by itself when something else is done."""

from __future__ import annotations

import numpy as np
import pytest
from docks import finish
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.widgets._viewer import grid_of
from napari_flowsr.widgets.edit_dock import EditDock
from napari_flowsr.widgets.parts.compare import Compare
from napari_flowsr.widgets.parts.edit_content_page import WHOLE


@pytest.fixture
def dock(qtbot, model):
    y, x = np.mgrid[:20, :24]
    cells = (120 + 60 * np.sin(y / 3) * np.cos(x / 4)).astype(np.uint8)
    viewer = ViewerModel()
    viewer.add_image(cells, name="cells")
    hr = flowsr.posterior(cells, model, device="cpu", seed=5).sample(1)[0]
    place = {"scale": (0.5, 0.5), "translate": (-0.25, -0.25)}
    viewer.add_image(hr, name="fine", **place)
    viewer.add_image(cells[:6, :8], name="patch", scale=(0.5, 0.5), translate=(5, 5))
    widget = EditDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.target = viewer.layers["fine"]
    widget.session.image = viewer.layers["cells"]
    widget.session.page = "Content"
    page = widget.form.page
    page.source.choose(viewer.layers["patch"])
    page.region.setCurrentText(WHOLE)
    widget.paint = page.add_paint_layer()
    widget.run()
    finish(qtbot, widget)
    yield widget
    widget.leave()
    del viewer


def is_beside(dock):
    pressed, grid = dock.compare.beside.isChecked(), grid_of(dock.viewer).enabled
    assert pressed == grid
    return grid


def test_it_is_said_what_is_shown_and_how_to_leave(dock):
    assert is_beside(dock)
    said = dock.bar.status.text()
    assert "'fine · pasted'" in said
    assert "'Side by side' again" in said
    assert not dock.paint.visible
    assert dock.viewer.layers.selection.active is dock.session.target


def test_the_button_gives_the_brush_back(dock):
    dock.compare.beside.click()
    assert not is_beside(dock)
    assert dock.paint.visible
    assert dock.viewer.layers.selection.active is dock.paint


def of_the_tab(dock):
    dock.session.page = "Style"


def of_a_new_mask(dock):
    dock.new_mask()


def of_a_new_paint_layer(dock):
    dock.form.page.add_paint_layer()


def of_another_layer(dock):
    dock.viewer.add_points([[1, 1]])


def of_the_selection(dock):
    dock.viewer.layers.selection.active = dock.paint


def of_a_run(dock):
    dock.session.page = "Re-sample"
    dock.session.mask = dock.paint
    dock.compare.show_beside([dock.session.target])
    dock.paint.data[4:9, 4:9] = 1
    dock.run()


@pytest.mark.parametrize(
    "change",
    [
        *(of_the_tab, of_a_new_mask, of_a_new_paint_layer),
        *(of_another_layer, of_the_selection, of_a_run),
    ],
)
def test_it_ends_by_a_change(qtbot, dock, change):
    assert is_beside(dock)
    change(dock)
    finish(qtbot, dock)
    assert not is_beside(dock)
    assert dock.paint.visible
    assert dock.viewer.layers["cells"].visible
    assert not dock.viewer.layers["fine · pasted"].visible


def test_what_a_person_pressed_stays(qtbot):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((8, 8)))
    compare = Compare(viewer)
    qtbot.addWidget(compare)
    compare.beside.click()
    viewer.add_image(np.zeros((8, 8)))
    compare.end_beside()
    assert grid_of(viewer).enabled
