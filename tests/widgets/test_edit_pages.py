"""Explore, Measure and Doubt as tabs of the Edit dock: runs in the worker's thread."""

from __future__ import annotations

import numpy as np
import pytest
from docks import finish
from page_driver import Driver
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QWidget

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets.edit_dock import EditDock, pages

NARROW = 320  # pixels: the width that a dock has to do with


@pytest.fixture
def driver(image, model):
    return Driver(image, model, scale=(0.5, 0.5), translate=(3, 4), units=("um", "um"))


@pytest.fixture
def dock(qtbot, driver, model):
    widget = EditDock(driver.viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.target, widget.session.image = driver.stack, driver.image
    yield widget
    widget.cancel()
    finish(qtbot, widget)
    widget.leave()


def open_page(dock, title):
    dock.session.page = title
    assert dock.form.page.title == title
    return dock.form.page


def run(qtbot, dock):
    dock.run()
    finish(qtbot, dock)


def made(dock, kind):
    return [x for x in dock.outputs() if x.metadata[NAMESPACE]["kind"] == kind]


def test_each_page_fits_a_narrow_dock(dock):
    assert {"Explore", "Measure", "Doubt"} <= {page.title for page in pages()}
    # Around it are the margins of tab, form and dock, and a scroll bar.
    widths = {p.title: p.minimumSizeHint().width() + 46 for p in dock.form.pages}
    assert {k: w for k, w in widths.items() if w > NARROW} == {}


def test_the_tab_key_goes_from_the_tool_into_each_page_and_on(qtbot, dock, qtlog):
    outer = QWidget()
    qtbot.addWidget(outer)
    beside = QPushButton("of the window", outer)
    dock.setParent(outer)
    form = dock.form
    for kind in pages():
        page = open_page(dock, kind.title)
        chain = [form.tool]
        field = form.tool
        while (field := field.nextInFocusChain()) is not form.tool:
            if (
                field.focusPolicy() != Qt.FocusPolicy.NoFocus
                and field.window() is outer
            ):
                chain.append(field)
        at = [i for i, field in enumerate(chain) if page.isAncestorOf(field)]
        assert at, kind.title
        assert at[-1] - at[0] == len(at) - 1  # one after the other
        history = min(i for i, f in enumerate(chain) if form.history.isAncestorOf(f))
        assert at[0] == 1
        assert at[-1] < history < chain.index(beside)
    dock.setParent(None)
    assert [r.message for r in qtlog.records if "setTabOrder" in r.message] == []


def test_a_strip_comes_with_its_slider_and_a_second_one_replaces_it(qtbot, dock):
    page = open_page(dock, "Explore")
    page.between.steps.setValue(3)
    run(qtbot, dock)
    (strip,) = made(dock, "interpolation")
    assert not page.step.isHidden()
    assert dock.bar.status.text() == "3 images from sample 0 to sample 1."
    page.between.steps.setValue(5)
    run(qtbot, dock)
    (strip,) = made(dock, "interpolation")
    assert len(strip.data) == 5
    page.step.setValue(4)
    np.testing.assert_array_equal(strip.data[4], dock.session.target.data[1])


def test_moving_a_level_runs_again_and_replaces_the_image(qtbot, dock):
    page = open_page(dock, "Explore")
    page.way.setCurrentIndex(page.forms.index(page.levels))
    run(qtbot, dock)
    (first,) = made(dock, "levels")
    before = first.data.copy()
    page.levels.sliders[0].setValue(0.0)
    qtbot.waitUntil(lambda: made(dock, "levels") not in ([], [first]), timeout=60_000)
    finish(qtbot, dock)
    (layer,) = made(dock, "levels")
    assert layer.metadata[NAMESPACE]["factors"] == [0.0]
    assert (layer.data != before).any()


def test_a_pin_is_not_replaced_by_the_next_run(qtbot, dock, driver):
    page = open_page(dock, "Explore")
    run(qtbot, dock)
    driver.viewer.layers.selection.active = made(dock, "interpolation")[0]
    pin = page.pins.pin_shown()
    kept = pin.data.copy()
    dock.session.seed = 5
    run(qtbot, dock)
    assert pin in driver.viewer.layers
    np.testing.assert_array_equal(pin.data, kept)


def test_exploring_needs_the_lr_image_alone(qtbot, dock, driver):
    page = open_page(dock, "Explore")
    dock.session.target = None
    dock.session.image = driver.image
    page.way.setCurrentIndex(page.forms.index(page.best))
    page.best.n.setValue(2)
    run(qtbot, dock)
    (best,) = made(dock, "best")
    np.testing.assert_array_equal(best.data, driver.post.best_of(2).image)
    world = driver.stack.extent.world[:, 1:]
    np.testing.assert_allclose(best.extent.world, world)


def test_a_region_is_measured_from_the_dock(qtbot, dock, driver):
    page = open_page(dock, "Measure")
    assert not dock.bar.run.isEnabled()
    assert "Choose a region" in dock.bar.status.text()
    labels = driver.viewer.add_labels(
        np.ones((17, 20), int), scale=(0.5, 0.5), translate=(3, 4), units=("um", "um")
    )
    page.region.choose(labels)
    page.threshold.setText("-1")
    page.n.setValue(3)
    assert dock.bar.run.isEnabled()
    run(qtbot, dock)
    assert dock.bar.status.text() == "3 samples were measured."
    assert "area, µm²" in page.histogram.text.text()
    assert page.histogram.rows[-1][1] == pytest.approx(17 * 20 / 4)


def test_measuring_needs_the_lr_image_alone(qtbot, dock, driver):
    page = open_page(dock, "Measure")
    dock.session.target = None
    dock.session.image = driver.image
    corners = np.array([(3.5, 1.5), (8.5, 7.5)])
    world = np.array([driver.image.data_to_world(corner) for corner in corners])
    shapes = driver.viewer.add_shapes(
        [world], shape_type="rectangle", units=("um", "um")
    )
    shapes.add_lines(world)
    page.region.choose(shapes)
    page.line.choose(shapes)
    page.quantity.setCurrentIndex(page.quantity.findData("max"))
    page.n.setValue(2)
    run(qtbot, dock)
    samples = driver.post.sample(2)[:, 8:18, 4:16]
    values = [row[1] for row in page.histogram.rows[-2:]]
    # The line covers pixels of the rectangle alone.
    assert values == samples.max((1, 2)).tolist()
    assert len(page.profile.rows) > 5


def test_doubt_is_a_layer_and_a_sentence(qtbot, dock):
    page = open_page(dock, "Doubt")
    page.tile.setValue(8)
    run(qtbot, dock)
    (bits,) = made(dock, "bits")
    assert bits.data.shape == dock.session.target.data.shape[1:]
    assert page.meaning.text()
    assert page.usual.text()


def test_a_deterministic_model_has_nothing_to_explore(qtbot, dock, monkeypatch):
    from napari_flowsr.widgets import _dock

    told = []
    monkeypatch.setattr(_dock, "show_error", told.append)
    from every_family import CASES

    (case,) = next(c.values for c in CASES if c.id == "rrdb-0")
    dock.session.model = case.model()
    open_page(dock, "Explore")
    run(qtbot, dock)
    assert "nothing to interpolate" in dock.bar.status.text()
    assert len(told) == 1
    assert made(dock, "interpolation") == []
