"""Temperature maps: painted, by uncertainty, and the best one in hindsight."""

from __future__ import annotations

import numpy as np
import pytest

from every_family import over_every_flow
from napari_flowsr.errors import AxesError, Cancelled, ImageError, OptionError
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.temperature_maps import (
    best_temperature,
    temperature_by_uncertainty,
    temperature_from_labels,
)

# --- painted --------------------------------------------------------------------


def test_labels_become_temperatures() -> None:
    labels = np.array([[0, 1, 2], [7, 1, 0]], np.uint8)
    found = temperature_from_labels(labels, {1: 0.2, 2: 0, 9: 3}, 0.8)
    assert found.dtype == np.float32
    expected = np.array([[0.8, 0.2, 0], [0.8, 0.2, 0.8]], np.float32)
    np.testing.assert_array_equal(found, expected)
    background = temperature_from_labels(labels, {0: 0.1, np.int64(7): 1}, 0.5)
    assert background[0, 0] == np.float32(0.1)
    assert background[1, 0] == 1
    assert temperature_from_labels(labels > 0, {1: 0.3}, 0)[0, 1] == np.float32(0.3)


def test_painted_temperatures_change_what_was_painted(model, image) -> None:
    labels = np.zeros((74, 58), int)
    labels[:, 40:] = 1
    taus = temperature_from_labels(labels, {1: 0.9}, 0)
    found = posterior(image, model, temperature=taus).sample(1)[0]
    mode = posterior(image, model, temperature=0).sample(1)[0]
    warm = posterior(image, model, temperature=0.9).sample(1)[0]
    np.testing.assert_allclose(found[:, :19], mode[:, :19], atol=1e-5)
    # 10 LR pixels see each other.
    assert np.abs(found[:, 41:] - mode[:, 41:]).max() > 0.1
    assert np.abs(found[:, :19] - warm[:, :19]).max() > 0.1


@pytest.mark.parametrize(
    ("labels", "temperatures", "default", "said"),
    [
        (np.zeros((3, 3)), {1: 1}, 1, "must be integers"),
        (np.zeros(3, int), {1: 1}, 1, "axes"),
        (np.zeros((3, 3), int), [1, 2], 1, "give a dictionary"),
        (np.zeros((3, 3), int), {"cell": 1}, 1, "'cell' is no label"),
        (np.zeros((3, 3), int), {True: 1}, 1, "True is no label"),
        (np.zeros((3, 3), int), {1: -1}, 1, "temperature of 1 is -1"),
        (np.zeros((3, 3), int), {1: "hot"}, 1, "temperature of 1 is 'hot'"),
        (np.zeros((3, 3), int), {1: 1}, float("inf"), "default is inf"),
        (np.zeros((3, 3), int), {1: 1}, None, "default is None"),
    ],
)
def test_bad_labels(labels, temperatures, default, said) -> None:
    with pytest.raises(OptionError, match=said):
        temperature_from_labels(labels, temperatures, default)


# --- by uncertainty -------------------------------------------------------------


def test_uncertainty_is_scaled_between_percentiles() -> None:
    std = np.arange(101.0).reshape(1, 101)
    std[0, 100] = 1e6  # one extreme pixel changes nothing for the others
    found = temperature_by_uncertainty(std, low=0.2, high=1.0, percentiles=(10, 90))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, :11], 0.2, rtol=1e-6)
    np.testing.assert_allclose(found[0, 90:], 1.0)
    assert found[0, 50] == pytest.approx(0.6)
    turned = temperature_by_uncertainty(std, low=1.0, high=0.2, percentiles=(10, 90))
    np.testing.assert_allclose(turned, 1.2 - found, rtol=1e-6)


def test_uncertainty_of_samples_is_a_temperature(model, image) -> None:
    std = posterior(image, model).std(4)
    taus = temperature_by_uncertainty(std, low=0.0, high=0.9)
    assert taus.min() == 0
    assert taus.max() == np.float32(0.9)
    assert posterior(image, model, temperature=taus).sample(1).shape == (1, 74, 58)


@pytest.mark.parametrize(
    ("std", "options", "said"),
    [
        (np.ones((4, 4)), {}, "wider percentiles"),
        (-np.ones((4, 4)), {}, "none negative"),
        (np.full((4, 4), np.nan), {}, "NaN"),
        (np.arange(4), {}, "axes"),
        (np.eye(4), {"low": -1}, "low is -1"),
        (np.eye(4), {"high": "x"}, "high is 'x'"),
        (np.eye(4), {"percentiles": (90, 10)}, "ascending"),
        (np.eye(4), {"percentiles": (0, 50, 100)}, "give two"),
    ],
)
def test_bad_uncertainties(std, options, said) -> None:
    with pytest.raises(OptionError, match=said):
        temperature_by_uncertainty(std, **{"low": 0.1, "high": 1, **options})


# --- in hindsight ---------------------------------------------------------------


def brute_force(post, reference, taus, n, window, power, unit):
    """Errors of each temperature, averaged over samples and around each pixel."""
    from scipy.ndimage import uniform_filter

    local, curve = [], []
    for tau in taus:
        images = np.stack([post.sweep([tau], k)[0] for k in range(n)])
        errors = (np.abs((images - reference) / unit).astype(float) ** power).mean(0)
        curve.append(errors.mean())
        local.append(uniform_filter(errors, window, mode="reflect"))
    return np.array(local), np.array(curve)


@over_every_flow
@pytest.mark.parametrize("metric", ["squared-error", "absolute-error"])
def test_the_search_is_exhaustive(case, metric) -> None:
    image = case.strip(9)[:, :15]
    post = posterior(image, case.model(), tile=9, scale=case.scale)
    reference, taus = post.sweep([0.6], 5)[0], (0.0, 0.3, 0.9)
    found = best_temperature(post, reference, taus, n=2, window=3, metric=metric)
    span = post._bound.intensities.range(0, 0)
    power = 2 if metric == "squared-error" else 1
    local, curve = brute_force(post, reference, taus, 2, 3, power, span.high - span.low)
    np.testing.assert_allclose(found.curve, curve, rtol=1e-3)
    assert found.map.shape == reference.shape
    assert found.map.dtype == np.float32
    assert set(np.unique(found.map)) <= {np.float32(tau) for tau in taus}
    # Rounding may decide where two are equally good.
    best = local.min(0)
    chosen = np.take_along_axis(
        local, np.searchsorted(np.float32(taus), found.map)[None], 0
    )[0]
    assert (chosen <= best + 1e-5 * best.max()).all()
    assert found.temperatures == taus


def test_the_search_finds_where_texture_is(model, image) -> None:
    """HR content as the model draws it on the right, the mode on the left."""
    post = posterior(image, model, tile=16)
    mode, drawn = post.sweep([0, 0.8])
    reference = mode.copy()
    reference[:, 35:] = drawn[:, 35:]
    found = best_temperature(post, reference, [0, 0.4, 0.8], n=1, window=5)
    assert (found.map[:, :25] == 0).all()
    assert (found.map[:, 45:] == np.float32(0.8)).mean() > 0.95
    # It is what the posterior takes.
    again = posterior(image, model, temperature=found.map).sample(1)[0]
    assert np.abs(again - reference).mean() < np.abs(mode - reference).mean()


def test_the_search_over_axes_and_colours(model, image) -> None:
    stack = np.stack([image, 2 * image])
    stack = np.stack([stack, np.full_like(stack, 3), stack], -1)  # one is constant
    post = posterior(stack, model, axes="ZYXS")
    reference = post.sample(2)[1]
    found = best_temperature(post, reference, [0, 0.7], n=2)
    assert found.map.shape == (2, 74, 58)
    taken = posterior(stack, model, axes="ZYXS", temperature=found.map)
    assert taken.sample(1).shape == (1, 2, 74, 58, 3)


def test_bad_searches(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0]
    for taus in ([0.5], [0.5, 0.5], 0.5, [0, -1], []):
        with pytest.raises(OptionError, match="temperatures"):
            best_temperature(post, hr, taus)
    with pytest.raises(AxesError, match="must be"):
        best_temperature(post, image, [0, 1])
    with pytest.raises(OptionError, match="window is 0"):
        best_temperature(post, hr, [0, 1], window=0)
    with pytest.raises(OptionError, match="squared-error"):
        best_temperature(post, hr, [0, 1], metric="lpips")
    with pytest.raises(OptionError, match="n is 0"):
        best_temperature(post, hr, [0, 1], n=0)
    with pytest.raises(ImageError, match="NaN"):
        best_temperature(post, np.full_like(hr, np.nan), [0, 1])
    flat = posterior(np.full((6, 5), 7.0), model)
    with pytest.raises(ImageError, match="constant"):
        best_temperature(flat, np.full((12, 10), 7.0), [0, 1])


def test_the_search_can_be_watched_and_stopped(model, image) -> None:
    post, told = posterior(image, model, tile=16), []
    hr = post.sample(1)[0]
    with pytest.raises(Cancelled):
        best_temperature(
            post,
            hr,
            [0, 0.5],
            cancelled=lambda: len(told) > 2,
            progress=lambda done, total: told.append((done, total)),
        )
    assert told[-1] == (told[-1][0], 2 * 4 * 6)
