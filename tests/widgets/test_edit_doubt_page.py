"""The page "Doubt" of the Edit dock, without the dock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from page_driver import Driver

from napari_flowsr.inference.typical import calibrated, describe
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets.parts.edit_doubt_page import DoubtPage


def smooth(seed, size=48):
    y, x = np.mgrid[:size, :size]
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(3, 6, 3)
    waves = 120 + 60 * np.sin(y / a + c) * np.cos(x / b)
    return (waves + 2 * rng.normal(size=y.shape)).astype(np.float32)


@pytest.fixture
def calibrated_model(model):
    typical = calibrated([describe(smooth(seed)) for seed in range(100)])
    return replace(model, card=model.card.with_(typical=typical))


@pytest.fixture
def driver(calibrated_model):
    return Driver(smooth(1), calibrated_model, scale=(0.5, 0.5), units=("um", "um"))


@pytest.fixture
def page(qtbot, driver):
    page = DoubtPage(driver.session, driver.viewer)
    page.tile.setValue(8)
    page.compare.setChecked(False)
    qtbot.addWidget(page)
    return page


def test_the_map_is_a_layer_on_the_target(page, driver):
    driver.viewer.dims.set_current_step(0, 1)
    (layer,) = driver.run(page)
    bits = driver.post.bits(driver.stack.data[1], 8)
    np.testing.assert_array_equal(layer.data, bits)
    assert np.ptp(bits) > 0
    np.testing.assert_allclose(layer.extent.world, driver.stack.extent.world[:, 1:])
    assert layer.colormap.name == "viridis"
    np.testing.assert_allclose(layer.contrast_limits, (bits.min(), bits.max()))
    record = layer.metadata[NAMESPACE]
    assert (record["kind"], record["tile"]) == ("bits", 8)
    assert record["target_sample"] == 1
    assert "Bright tiles are less likely" in page.meaning.text()
    assert f"{bits.min():.2f} to {bits.max():.2f}" in page.meaning.text()


def test_compared_with_samples_an_artefact_stands_out(page, driver):
    page.compare.setChecked(True)
    damaged = driver.stack.data[0].copy()
    rng = np.random.default_rng(0)
    damaged[16:32, 32:48] += 40 * rng.normal(size=(16, 16)).astype(np.float32)
    driver.stack.data = np.stack([damaged, *driver.stack.data[1:]])
    driver.viewer.dims.set_current_step(0, 0)
    (layer,) = driver.run(page)
    samples = [driver.post.bits(sample, 8) for sample in driver.post.sample(4)]
    expected = driver.post.bits(damaged, 8) - np.mean(samples, axis=0)
    np.testing.assert_allclose(layer.data, expected, atol=1e-3)
    bad = layer.data[24, 40]
    tiles = layer.data[::16, ::16]
    others = np.delete(tiles, tiles.shape[1] * 1 + 2)
    assert bad > others.max() + 1
    assert "Around 0" in page.meaning.text()


def test_a_usual_image_is_said_to_be_one(page, driver):
    driver.run(page)
    assert "is like those" in page.usual.text()
    assert page.usual.styleSheet() == ""


def test_an_unusual_image_is_warned_of(qtbot, calibrated_model):
    rng = np.random.default_rng(0)
    noise = rng.exponential(size=(48, 48)).astype(np.float32)
    driver = Driver(noise, calibrated_model, samples=1)
    page = DoubtPage(driver.session, driver.viewer)
    qtbot.addWidget(page)
    (layer,) = driver.run(page)
    assert "is unlike those" in page.usual.text()
    assert "background" in page.usual.styleSheet()
    assert layer.metadata[NAMESPACE]["typicality"]["is_outside"] is True


def test_a_card_that_tells_nothing_is_said_to(qtbot, image, model):
    driver = Driver(image, model, samples=1)
    page = DoubtPage(driver.session, driver.viewer)
    qtbot.addWidget(page)
    driver.run(page)
    assert "is not known" in page.usual.text()


def test_a_constant_image_has_no_density(qtbot, model):
    driver = Driver(np.full((24, 24), 7, np.uint8), model, samples=1)
    page = DoubtPage(driver.session, driver.viewer)
    page.compare.setChecked(False)
    qtbot.addWidget(page)
    (layer,) = driver.run(page)
    assert np.isnan(layer.data).all()
    assert "no density" in page.meaning.text()


def test_tiles_that_hardly_differ_from_samples_do_not_look_alarming(page, driver):
    page.compare.setChecked(True)
    (layer,) = driver.run(page)
    low, high = layer.contrast_limits
    assert low == min(-1.0, layer.data.min())
    assert high == max(1.0, layer.data.max())
