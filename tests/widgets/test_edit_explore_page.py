"""The page "Explore" of the Edit dock, without the dock."""

from __future__ import annotations

import numpy as np
import pytest
from page_driver import Driver

from every_family import CASES
from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE, provenance_script
from napari_flowsr.widgets._geometry import whole_box
from napari_flowsr.widgets._layers import UPSCALE, Source, own_layers
from napari_flowsr.widgets._stacks import shown_index
from napari_flowsr.widgets._viewer import grid_of
from napari_flowsr.widgets.parts.edit_explore_page import ExplorePage


@pytest.fixture
def with_levels():
    (case,) = next(c.values for c in CASES if c.id == "srflow-1")
    return case.model(name="levels")


@pytest.fixture
def driver(image, model):
    return Driver(image, model, scale=(0.5, 0.5), translate=(3, 4), units=("um", "um"))


@pytest.fixture
def page(qtbot, driver):
    page = ExplorePage(driver.session, driver.viewer)
    qtbot.addWidget(page)
    yield page
    page.release()


def choose(page, form):
    page.way.setCurrentIndex(page.forms.index(form))


def world_edges(layer):
    """Outer corners of Y and X in the world."""
    size = np.array(layer.data.shape[-2:])
    zero = np.zeros(layer.ndim - 2)
    ends = (np.full(2, -0.5), size - 0.5)
    return [np.array(layer.data_to_world((*zero, *end)))[-2:] for end in ends]


# --- between two samples ------------------------------------------------------


def test_a_strip_leads_from_one_sample_to_another(page, driver):
    page.between.first.setValue(2)
    page.between.second.setValue(0)
    page.between.steps.setValue(5)
    (strip,) = driver.run(page)
    samples = driver.stack.data
    assert strip.data.shape == (5, *samples.shape[1:])
    np.testing.assert_array_equal(strip.data[0], samples[2])
    np.testing.assert_array_equal(strip.data[-1], samples[0])
    middle = driver.post.interpolate(2, 0, 0.5)
    np.testing.assert_array_equal(strip.data[2], middle)
    assert not np.array_equal(middle, samples[0])
    assert tuple(strip.axis_labels) == ("t", "y", "x")
    np.testing.assert_allclose(world_edges(strip), world_edges(driver.image))
    record = strip.metadata[NAMESPACE]
    assert record["kind"] == "interpolation"
    assert record["values"] == [0, 0.25, 0.5, 0.75, 1]
    assert (record["first"], record["second"]) == (2, 0)


def test_the_slider_moves_the_viewers_and_computes_nothing(page, driver):
    (strip,) = driver.run(page)
    strip.visible = False
    page.step.setValue(7)
    assert shown_index(driver.viewer, strip) == 7
    assert strip.visible
    assert "t = 0.7" in page.where.text()
    page.step.setValue(2)
    assert shown_index(driver.viewer, strip) == 2


def test_the_viewers_slider_moves_that_of_the_page(page, driver, qtbot):
    (strip,) = driver.run(page)
    moves, dims = [], driver.viewer.dims
    dims.events.point.connect(lambda *_: moves.append(tuple(dims.point)))
    strip.visible = False
    for index in (4, 9, 0):
        moves.clear()
        dims.set_point(0, index)
        assert page.step.value() == index
        assert f"t = {index / 10:g}" in page.where.text()
        assert len(moves) == 1  # and is not moved in turn
    assert not strip.visible  # looking at other layers brings none up
    page.step.setValue(6)
    assert shown_index(driver.viewer, strip) == 6
    page.release()
    dims.set_point(0, 3)
    assert page.step.value() == 6


def test_there_is_no_slider_before_a_strip_and_after_it_was_removed(page, driver):
    assert page.step.isHidden()
    (strip,) = driver.run(page)
    assert not page.step.isHidden()
    choose(page, page.best)
    assert page.step.isHidden()
    choose(page, page.between)
    assert not page.step.isHidden()
    driver.viewer.layers.remove(strip)
    page.step.setValue(3)
    assert page.step.isHidden()


def test_both_ends_must_differ(page, driver):
    page.between.second.setValue(0)
    (problem,) = page.problems(driver.context()).values()
    assert "Both ends are sample 0" in problem


# --- temperatures -------------------------------------------------------------


def test_a_sweep_is_a_stack_over_temperatures(page, driver):
    choose(page, page.sweep)
    page.sweep.sample.setValue(1)
    page.sweep.high.setValue(0.8)
    page.sweep.steps.setValue(3)
    (stack,) = driver.run(page)
    assert tuple(stack.axis_labels) == ("tau", "y", "x")
    assert stack.metadata[NAMESPACE]["values"] == [0, 0.4, 0.8]
    np.testing.assert_array_equal(stack.data, driver.post.sweep([0, 0.4, 0.8], 1))
    page.step.setValue(1)
    assert page.where.text() == "τ = 0.4"


def test_a_sweep_needs_a_range(page, driver):
    choose(page, page.sweep)
    page.sweep.low.setValue(1.0)
    assert "high" in page.problems(driver.context())


# --- levels -------------------------------------------------------------------


def test_one_level_is_said_to_be_one(page, driver):
    choose(page, page.levels)
    (layer,) = driver.run(page)
    assert len(page.levels.sliders) == 1
    assert "one level of latents" in page.levels.note.text()
    # At a factor of 1 it is the sample.
    np.testing.assert_array_equal(layer.data, driver.stack.data[0])


def test_each_level_has_a_slider_coarse_first(qtbot, image, with_levels):
    driver = Driver(image[:16, :16], with_levels, samples=1)
    page = ExplorePage(driver.session, driver.viewer)
    qtbot.addWidget(page)
    choose(page, page.levels)
    driver.run(page)
    sides = driver.post.level_sides
    assert len(page.levels.sliders) == len(sides) == 3
    rows = [
        page.levels.rows.getWidgetPosition(slider)[0] for slider in page.levels.sliders
    ]
    assert rows == sorted(rows, reverse=True)
    page.levels.sliders[0].setValue(0.5)
    page.levels.sample.setValue(3)
    (layer,) = driver.run(page)
    factors = (0.5, *[1.0] * (len(sides) - 1))
    assert layer.metadata[NAMESPACE]["factors"] == list(factors)
    np.testing.assert_array_equal(layer.data, driver.post.with_levels(factors, 3))
    page.release()


def test_letting_go_of_a_slider_asks_for_one_run(qtbot, page, driver):
    choose(page, page.levels)
    driver.run(page)
    asked = []
    page.run_requested.connect(lambda: asked.append(page.levels.factors))
    with qtbot.waitSignal(page.run_requested):
        for value in (0.2, 0.4, 0.6):
            page.levels.sliders[0].setValue(value)
    assert asked == [(0.6,)]


def test_sliders_of_another_model_start_anew(page, driver, make_tiny):
    choose(page, page.levels)
    driver.run(page)
    page.levels.sliders[0].setValue(0.0)
    driver.session.model = make_tiny(name="other")
    (layer,) = driver.run(page)
    assert layer.metadata[NAMESPACE]["factors"] == [1.0]
    assert page.levels.factors == (1.0,)


# --- the best of n ------------------------------------------------------------


def test_the_best_sample_is_added_and_all_scores_are_told(page, driver):
    choose(page, page.best)
    page.best.n.setValue(3)
    (layer,) = driver.run(page)
    found = driver.post.best_of(3)
    np.testing.assert_array_equal(layer.data, found.image)
    record = layer.metadata[NAMESPACE]
    assert record["sample"] == found.index
    assert record["scores"] == pytest.approx(found.scores)
    text = page.best.scores.text()
    assert [f"sample {i}" in text for i in range(3)] == [True] * 3
    assert text.index(f"sample {found.index}") == min(
        text.index(f"sample {i}") for i in range(3)
    )
    assert f"Sample {found.index} is the best of 3" in driver.said[0]
    assert "post.best_of(3, 'consistency').image" in provenance_script(layer.metadata)


def test_a_reference_chooses_the_sample_like_it(page, driver):
    choose(page, page.best)
    page.best.by.setCurrentIndex(page.best.by.findData("reference"))
    assert "reference" in page.problems(driver.context())
    placed = {"scale": driver.stack.scale[1:], "units": driver.stack.units[1:]}
    truth = driver.viewer.add_image(
        driver.stack.data[2], name="truth", translate=driver.stack.translate[1:],
        **placed,
    )  # fmt: skip
    page.best.reference.choose(truth)
    page.best.n.setValue(3)
    (layer,) = driver.run(page)
    assert layer.metadata[NAMESPACE]["sample"] == 2


def test_a_reference_of_another_place_is_refused(page, driver):
    choose(page, page.best)
    page.best.by.setCurrentIndex(page.best.by.findData("reference"))
    away = driver.viewer.add_image(
        np.ones((8, 8)), name="away", translate=(500, 0), units=("um", "um")
    )
    page.best.reference.choose(away)
    with pytest.raises(OptionError, match="'away' does not cover the whole image"):
        page.prepare(driver.context())


# --- pins ---------------------------------------------------------------------


def test_a_pin_is_the_sample_at_the_slider(page, driver):
    viewer = driver.viewer
    viewer.layers.selection.active = driver.stack
    viewer.dims.set_current_step(0, 1)
    made = page.pins.pin_shown()
    np.testing.assert_array_equal(made.data, driver.stack.data[1])
    assert made.data is not driver.stack.data
    np.testing.assert_allclose(world_edges(made), world_edges(driver.stack))
    assert made.metadata[NAMESPACE]["sample"] == 1
    assert str(made.units[0]) == "micrometer"
    assert made.name == "pin 1 · sample 1 of cells · samples"
    # The stack stays selected: the next pin is of it again.
    viewer.dims.set_current_step(0, 2)
    second = page.pins.pin_shown()
    np.testing.assert_array_equal(second.data, driver.stack.data[2])


def test_a_pin_of_a_strip_tells_where_on_the_way_it_was(page, driver):
    page.between.steps.setValue(3)
    (strip,) = driver.run(page)
    driver.viewer.layers.selection.active = strip
    page.step.setValue(1)
    record = page.pins.pin_shown().metadata[NAMESPACE]
    assert record["t"] == 0.5
    assert "values" not in record
    script = provenance_script(driver.viewer.layers[-1].metadata)
    assert "post.interpolate(0, 1, 0.5)" in script


def test_a_pin_of_a_sweep_is_a_sample_at_a_temperature(page, driver):
    choose(page, page.sweep)
    page.sweep.sample.setValue(1)
    page.sweep.steps.setValue(3)
    (stack,) = driver.run(page)
    driver.viewer.layers.selection.active = stack
    page.step.setValue(1)
    record = page.pins.pin_shown().metadata[NAMESPACE]
    assert (record["temperature"], record["sample"]) == (0.5, 1)
    script = provenance_script(driver.viewer.layers[-1].metadata)
    assert "post.sample(2)[1]" in script


def test_no_run_replaces_a_pin(page, driver):
    driver.viewer.layers.selection.active = driver.stack
    made = page.pins.pin_shown()
    source = Source.of(driver.image, whole_box(driver.image))
    record = made.metadata[NAMESPACE]
    for tool in (UPSCALE, "edit", record.get("tool")):
        assert made not in own_layers(driver.viewer.layers, source, tool)


def test_pins_are_seen_one_after_the_other_and_all_comes_back(qtbot, page, driver):
    driver.viewer.layers.selection.active = driver.stack
    pins = [page.pins.pin_shown() for _ in range(2)]
    before = [layer.visible for layer in driver.viewer.layers]
    page.pins._timer.setInterval(10)
    page.pins.flicker.setChecked(True)
    seen = set()

    def both():
        shown = [x for x in driver.viewer.layers if x.visible]
        assert len(shown) == 1
        seen.add(shown[0].name)
        return seen == {pin.name for pin in pins}

    qtbot.waitUntil(both, timeout=5000)
    page.pins.flicker.setChecked(False)
    assert [layer.visible for layer in driver.viewer.layers] == before


def test_pins_side_by_side_are_pins_alone(page, driver):
    driver.viewer.layers.selection.active = driver.stack
    pins = [page.pins.pin_shown() for _ in range(2)]
    before = [layer.visible for layer in driver.viewer.layers]
    page.pins.beside.setChecked(True)
    assert grid_of(driver.viewer).enabled
    assert [x for x in driver.viewer.layers if x.visible] == pins
    page.pins.beside.setChecked(False)
    assert not grid_of(driver.viewer).enabled
    assert [layer.visible for layer in driver.viewer.layers] == before


def test_comparing_needs_two_pins(page, driver):
    assert not page.pins.flicker.isEnabled()
    driver.viewer.layers.selection.active = driver.stack
    page.pins.pin_shown()
    assert not page.pins.beside.isEnabled()
    second = page.pins.pin_shown()
    assert page.pins.beside.isEnabled()
    driver.viewer.layers.remove(second)
    assert not page.pins.beside.isEnabled()


def test_without_a_result_there_is_nothing_to_pin(page, driver):
    driver.session.target = None
    driver.viewer.layers.selection.active = driver.image
    page.pins.pin.click()
    assert "Select a result" in page.pins.note.text()
