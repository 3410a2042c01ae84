"""The page "Measure" of the Edit dock, without the dock."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest
from page_driver import Driver
from qtpy.QtGui import QGuiApplication

from napari_flowsr.errors import OptionError
from napari_flowsr.widgets._measured import Measured, Profile
from napari_flowsr.widgets.parts.edit_measure_page import MeasurePage

N = 4


@pytest.fixture
def driver(image, model):
    return Driver(image, model, scale=(0.5, 0.5), translate=(3, 4), units=("um", "um"))


@pytest.fixture
def page(qtbot, driver):
    page = MeasurePage(driver.session, driver.viewer)
    page.n.setValue(N)
    page.found = []
    show = page.show

    def keep(event, context):
        page.found.append(event)
        show(event, context)

    page.show = keep
    qtbot.addWidget(page)
    yield page
    page.release()


def painted(driver, rows, columns, name="paint", label=1, layer=None):
    """Labels on the LR grid."""
    if layer is None:
        layer = driver.viewer.add_labels(
            np.zeros(driver.image.data.shape, int),
            name=name,
            scale=driver.image.scale,
            translate=driver.image.translate,
            units=driver.image.units,
        )
    layer.data[rows, columns] = label
    return layer


def line(driver, start, stop, kind="line", name="line"):
    """A line from pixel to pixel of the LR image, drawn in world coordinates."""
    ends = [np.array(driver.image.data_to_world(p)) for p in (start, stop)]
    return driver.viewer.add_shapes(
        [np.stack(ends)], shape_type=kind, name=name, units=("um", "um")
    )


# --- regions ------------------------------------------------------------------


def test_a_painted_region_is_measured_in_each_sample(page, driver):
    page.region.choose(painted(driver, slice(4, 9), slice(2, 8)))
    page.quantity.setCurrentIndex(page.quantity.findData("mean"))
    driver.run(page)
    (found,) = page.found
    assert isinstance(found, Measured)
    inside = (slice(None), slice(8, 18), slice(4, 16))
    samples = driver.post.sample(N).astype(float)
    expected = samples[inside].mean((1, 2))
    np.testing.assert_allclose(found.values, expected)
    assert np.ptp(expected) > 0
    assert found.of_mean == pytest.approx(samples.mean(0)[inside[1:]].mean())
    narrow, wide = found.bands
    assert wide == pytest.approx(tuple(np.quantile(expected, (0.05, 0.95))))
    assert narrow == pytest.approx(tuple(np.quantile(expected, (0.25, 0.75))))


def test_an_area_is_in_the_unit_of_the_image(page, driver):
    page.region.choose(painted(driver, slice(4, 9), slice(2, 8)))
    page.threshold.setText("-1")
    driver.run(page)
    # All of 5 × 6 LR pixels of 0.5 µm is brighter than -1.
    np.testing.assert_allclose(page.found[0].values, 30 * 0.25)
    assert page.found[0].region.label == "area, µm²"
    assert "area, µm²" in page.histogram.text.text()


def test_area_counts_what_is_bright_and_of_the_mean_image_it_differs(page, driver):
    page.region.choose(painted(driver, slice(None), slice(None)))
    samples = driver.post.sample(N).astype(float)
    level = float(np.quantile(samples, 0.7))
    page.threshold.setText(f"{level:g}")
    driver.run(page)
    (found,) = page.found
    area = (samples > found.region.threshold).sum((1, 2)) / 16
    np.testing.assert_allclose(found.values, area)
    of_mean = (samples.mean(0) > found.region.threshold).sum() / 16
    assert found.of_mean == pytest.approx(of_mean)


def test_shapes_are_regions_too(page, driver):
    corners = [(3.5, 1.5), (3.5, 7.5), (8.5, 7.5), (8.5, 1.5)]
    world = [driver.image.data_to_world(corner) for corner in corners]
    drawn = driver.viewer.add_shapes(
        [np.array(world)], shape_type="rectangle", units=("um", "um")
    )
    page.region.choose(drawn)
    page.quantity.setCurrentIndex(page.quantity.findData("max"))
    driver.run(page)
    samples = driver.post.sample(N)
    expected = samples[:, 8:18, 4:16].max((1, 2))
    np.testing.assert_array_equal(page.found[0].values, expected)


def test_only_the_selected_label_where_that_is_wanted(page, driver):
    layer = painted(driver, slice(4, 9), slice(2, 8), label=1)
    painted(driver, slice(12, 14), slice(10, 12), label=2, layer=layer)
    layer.selected_label = 2
    page.region.choose(layer)
    page.threshold.setText("-1")
    driver.run(page)
    page.one_label.setChecked(True)
    driver.run(page)
    assert page.found[0].values[0] == pytest.approx(34 * 0.25)
    assert page.found[1].values[0] == pytest.approx(4 * 0.25)
    layer.selected_label = 9
    with pytest.raises(OptionError, match="has the label 9 of 'paint'"):
        driver.run(page)


def test_a_region_beside_the_image_is_refused(page, driver):
    layer = painted(driver, slice(4, 9), slice(2, 8))
    layer.translate = (500, 500)
    page.region.choose(layer)
    page.threshold.setText("0")
    with pytest.raises(OptionError, match="does not cover any pixel"):
        page.prepare(driver.context())


# --- lines --------------------------------------------------------------------


def test_a_profile_has_bands_over_the_samples(page, driver):
    page.line.choose(line(driver, (2.25, 3.25), (2.25, 12.25)))
    driver.run(page)
    (found,) = page.found
    assert isinstance(found, Profile)
    # LR pixel 2.25 is the centre of HR pixel 5, and 3.25 to 12.25 is 7 to 25.
    expected = driver.post.sample(N)[:, 5, 7:26].astype(float)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_allclose(found.median, np.median(expected, axis=0), atol=1e-6)
    low, high = found.bands[1]
    np.testing.assert_allclose(low, np.quantile(expected, 0.05, axis=0), atol=1e-6)
    np.testing.assert_allclose(high, np.quantile(expected, 0.95, axis=0), atol=1e-6)
    # 9 LR pixels of 0.5 µm.
    assert found.distance[-1] == pytest.approx(4.5)
    assert found.line.unit == "µm"


def test_the_selected_line_is_taken_else_the_last(page, driver):
    layer = line(driver, (2.25, 3.25), (2.25, 12.25))
    other = np.stack([driver.image.data_to_world(p) for p in ((1, 1), (9, 1))])
    layer.add_lines(other)
    layer.selected_data = set()
    page.line.choose(layer)
    driver.run(page)
    assert page.found[0].line.length == pytest.approx(4.0)
    layer.selected_data = {0}
    driver.run(page)
    assert page.found[1].line.length == pytest.approx(4.5)


def test_a_line_in_nanometers_lies_where_it_is_seen(page, driver):
    layer = line(driver, (2.25, 3.25), (2.25, 12.25))
    layer.units = ("nm", "nm")
    layer.scale = (1000, 1000)
    page.line.choose(layer)
    driver.run(page)
    assert page.found[0].line.length == pytest.approx(4.5)


@pytest.mark.parametrize(
    ("start", "stop", "kind", "reason"),
    [
        ((2, 3), (2, 90), "line", "leaves"),
        ((2, 3), (2, 3), "line", "has no length"),
        ((2, 3), (8, 9), "rectangle", "has no line"),
    ],
    ids=["outside", "point", "rectangle"],
)
def test_a_line_that_is_none_is_refused(page, driver, start, stop, kind, reason):
    page.line.choose(line(driver, start, stop, kind=kind))
    with pytest.raises(OptionError, match=reason):
        page.prepare(driver.context())


def test_a_bent_path_is_refused(page, driver):
    path = np.array([(4, 5), (6, 7), (6, 9)], float)
    page.line.choose(
        driver.viewer.add_shapes([path], shape_type="path", units=("um", "um"))
    )
    with pytest.raises(OptionError, match="3 corners"):
        page.prepare(driver.context())


def test_region_and_line_come_of_the_same_samples(page, driver, monkeypatch):
    page.region.choose(painted(driver, slice(2, 3), slice(3, 12)))
    page.quantity.setCurrentIndex(page.quantity.findData("max"))
    page.line.choose(line(driver, (2.25, 3.25), (2.25, 11.25)))
    driver.run(page)
    region, profile = page.found
    assert len(region.values) == len(profile.values) == N
    assert not page.histogram.isHidden()
    assert not page.profile.isHidden()
    assert (region.values >= profile.values.max(1) - 1e-6).all()


# --- more axes and colour -----------------------------------------------------


def test_of_a_stack_the_plane_that_is_shown_is_measured(qtbot, image, model):
    volume = np.stack([image, image[::-1], image // 2])
    driver = Driver(volume, model, samples=2)
    page = MeasurePage(driver.session, driver.viewer)
    qtbot.addWidget(page)
    page.n.setValue(2)
    found = []
    page.show = lambda event, context: found.append(event)
    page.region.choose(driver.viewer.add_labels(np.ones((17, 20), int)))
    page.quantity.setCurrentIndex(page.quantity.findData("mean"))
    page.line.choose(driver.viewer.add_shapes([[(3, 3), (3, 9)]], shape_type="line"))
    driver.viewer.dims.set_point(1, 2)
    driver.run(page)
    samples = driver.post.sample(2).astype(float)
    region, profile = found
    assert region.region.plane == (2,)
    covered = samples[:, 2][:, region.region.mask]
    np.testing.assert_allclose(region.values, covered.mean(1))
    assert profile.line.plane == (2,)
    assert abs(profile.values.mean() - samples[:, 2].mean()) < 40
    page.release()


# --- what is shown and taken along --------------------------------------------


def test_numbers_can_be_copied_and_saved(page, driver, tmp_path):
    page.region.choose(painted(driver, slice(4, 9), slice(2, 8)))
    page.quantity.setCurrentIndex(page.quantity.findData("mean"))
    page.line.choose(line(driver, (2.25, 3.25), (2.25, 12.25)))
    driver.run(page)
    page.histogram.copy.click()
    text = QGuiApplication.clipboard().text()
    rows = [row.split("\t") for row in text.splitlines()]
    assert ["quantity", "mean intensity"] in rows
    np.testing.assert_allclose(
        [float(row[1]) for row in rows[-N:]], page.found[0].values
    )
    path = tmp_path / "profile.csv"
    page.profile.save_numbers(str(path))
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head[:2] == ["distance, µm", "median"]
    assert head[-1] == f"sample {N - 1}"
    numbers = np.array(rows, float)
    np.testing.assert_allclose(numbers[:, 1], page.found[1].median)
    np.testing.assert_allclose(numbers[:, -1], page.found[1].values[-1])


def test_plots_are_drawn_and_follow_the_theme(qtbot, page, driver):
    page.region.choose(painted(driver, slice(4, 9), slice(2, 8)))
    page.quantity.setCurrentIndex(page.quantity.findData("mean"))
    page.line.choose(line(driver, (2.25, 3.25), (2.25, 12.25)))
    driver.run(page)
    page.setVisible(True)
    plots = page.histogram.plot, page.profile.plot
    qtbot.waitUntil(lambda: all(plot.canvas is not None for plot in plots))
    dark = plots[0].canvas.backgroundBrush().color().lightness()
    driver.viewer.theme = "light"
    light = plots[0].canvas.backgroundBrush().color().lightness()
    assert dark < 80 < 180 < light
    for plot in plots:
        assert plot.canvas.getPlotItem().items
        ink = plot.canvas.getAxis("left").textPen().color().lightness()
        assert ink < 100


def test_pyqtgraph_is_not_loaded_before_a_plot_is_shown():
    code = (
        "import sys, napari_flowsr.widgets.parts.edit_measure_page\n"
        "sys.exit('pyqtgraph' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what cannot be run -------------------------------------------------------


def test_something_to_measure_is_needed(page, driver):
    assert "Choose a region" in page.problems(driver.context())["region"]


@pytest.mark.parametrize(
    ("quantity", "threshold", "reason"),
    [
        ("area", "", "brighter than some"),
        ("count", " ", "brighter than some"),
        ("mean", "bright", "'bright' is no number"),
        ("mean", "nan", "'nan' is no number"),
    ],
    ids=["area", "count", "text", "nan"],
)
def test_a_threshold_that_is_missing_or_none(page, driver, quantity, threshold, reason):
    page.region.choose(painted(driver, slice(4, 9), slice(2, 8)))
    page.quantity.setCurrentIndex(page.quantity.findData(quantity))
    page.threshold.setText(threshold)
    assert reason in page.problems(driver.context())["threshold"]


def test_without_anything_bright_it_is_said(page, driver):
    page.region.choose(painted(driver, slice(4, 9), slice(2, 8)))
    page.quantity.setCurrentIndex(page.quantity.findData("mean"))
    page.threshold.setText("1e6")
    driver.run(page)
    assert np.isnan(page.found[0].values).all()
    assert f"{N} of {N} samples have no pixel brighter" in page.histogram.text.text()
