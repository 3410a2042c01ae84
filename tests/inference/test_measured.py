"""Measuring in images, and over samples."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import napari_flowsr as flowsr
from every_family import over_every_flow
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.events import Finished
from napari_flowsr.inference.measured import band, line_profile, region_measurement
from napari_flowsr.inference.posterior import posterior

IMAGE = np.array([[0, 5, 9, 0], [0, 6, 0, 0], [0, 0, 0, 7], [8, 0, 0, 7]], np.uint8)


# --- over samples ---------------------------------------------------------------


@over_every_flow
def test_apply_is_a_loop_over_samples(case) -> None:
    image = case.strip(9)[:, :21]
    post = posterior(image, case.model(), tile=9, scale=case.scale, temperature=0.5)
    samples = post.sample(3)
    found = post.apply(np.mean, 3)
    np.testing.assert_allclose(found, samples.mean((1, 2)), rtol=1e-5)
    rows = post.apply(lambda sample: sample[2:4], 3)
    np.testing.assert_allclose(rows, samples[:, 2:4], rtol=1e-4, atol=1e-3)


def test_apply_gives_samples_as_they_are(model) -> None:
    rgb = (np.random.default_rng(0).random((2, 7, 5, 3)) * 255).astype(np.uint8)
    post = posterior(rgb, model, axes="ZYXS")
    seen = []

    def look(sample):
        seen.append((sample.shape, sample.dtype))
        return sample[..., 0].max()

    found = post.apply(look, 5)
    assert seen == [((2, 14, 10, 3), np.uint8)] * 5
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, post.sample(5)[..., 0].max((1, 2, 3)))


def test_apply_does_not_hold_samples(model, image) -> None:
    """Of 24 samples two passes are alive at most, and none by a view of it."""
    passes, most = {}, []

    def look(sample):
        passes[id(sample.base)] = weakref.ref(sample.base)
        most.append(sum(ref() is not None for ref in passes.values()))
        assert sample.base.shape[0] <= 4
        return sample[:2, :2]

    found = posterior(image, model).apply(look, 24)
    assert found.shape == (24, 2, 2)
    assert max(most) <= 2
    assert not any(ref() is not None for ref in passes.values())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda s: None, "no number"),
        (lambda s: "bright", "no number"),
        (lambda s: {"mean": 1}, "no number"),
        (lambda s: [[1], [1, 2]], "no number"),
        (lambda s: 1j, "no number"),
        (7, "function is 7"),
    ],
)
def test_apply_says_what_a_function_must_return(model, image, function, said) -> None:
    with pytest.raises(OptionError, match=said):
        posterior(image, model).apply(function, 2)


def test_apply_compares_shapes(model, image) -> None:
    lengths = iter((3, 3, 4))
    with pytest.raises(OptionError, match=r"shape \(4,\) for sample 2 and \(3,\)"):
        posterior(image, model).apply(lambda s: np.zeros(next(lengths)), 3)


def test_errors_of_the_function_are_passed_on(model, image) -> None:
    with pytest.raises(ZeroDivisionError):
        posterior(image, model).apply(lambda s: 1 / 0, 2)
    with pytest.raises(ValueError, match="mine"):
        posterior(image, model).apply(_raise, 2)


def _raise(sample):
    raise ValueError("mine")


def test_the_report_of_a_measurement(model, image) -> None:
    post = posterior(image, model, tile=16)
    post.apply(np.mean, 3)
    *_, last = post.each(2)
    assert isinstance(last, Finished)
    assert last.result.report["tiles"] == 6
    assert post.provenance("measurement", n=3)["report"]["tile"] == 16


# --- a band ---------------------------------------------------------------------


def test_a_band_holds_its_share() -> None:
    values = np.random.default_rng(0).normal(3, 2, (4000, 5))
    found = band(values)
    assert list(found.intervals) == [0.5, 0.9]
    np.testing.assert_allclose(found.median, np.median(values, 0))
    for share, (low, high) in found.intervals.items():
        inside = ((values >= low) & (values <= high)).mean(0)
        np.testing.assert_allclose(inside, share, atol=0.001)
    # Of a normal distribution, half lies within 0.6745 standard deviations.
    low, high = found.intervals[0.5]
    np.testing.assert_allclose(high - low, 2 * 2 * 0.6745, atol=0.2)


@pytest.mark.parametrize("values", [3, [1], np.zeros((1, 4))])
def test_a_band_needs_samples(values) -> None:
    with pytest.raises(OptionError, match="at least 2"):
        band(values)


@pytest.mark.parametrize("levels", [(), (0.5, 1), (90,), (0,)])
def test_a_band_needs_shares(levels) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        band([1, 2, 3], levels)


# --- a region -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "threshold", "expected"),
    [
        ("area", 0, 6),
        ("area", 6, 4),  # equal to it is not above
        ("count", 0, 3),  # 5, 6 and 9 touch, if only by corners
        ("count", 7, 2),
        ("mean", None, 42 / 16),
        ("mean", 6, 31 / 4),
        ("sum", None, 42),
        ("min", None, 0),
        ("min", 0, 5),
        ("max", None, 9),
    ],
)
def test_a_mask_is_measured(what, threshold, expected) -> None:
    mask = np.ones(IMAGE.shape, bool)
    found = region_measurement(IMAGE, mask, what, threshold=threshold)
    assert isinstance(found, float)
    assert found == pytest.approx(expected)


def test_labels_are_measured_one_by_one() -> None:
    labels = np.zeros(IMAGE.shape, int)
    labels[:2], labels[3] = 5, 2
    found = region_measurement(IMAGE, labels, "area", threshold=0)
    np.testing.assert_array_equal(found, [2, 3])  # ascending: 2, then 5
    assert region_measurement(IMAGE, labels, "max", label=5) == 9
    with pytest.raises(OptionError, match="that occur are: 2, 5"):
        region_measurement(IMAGE, labels, "max", label=3)


def test_nothing_above_the_threshold() -> None:
    mask = np.ones(IMAGE.shape, bool)
    for what in ("area", "count", "sum"):
        assert region_measurement(IMAGE, mask, what, threshold=100) == 0
    for what in ("mean", "min", "max"):
        assert np.isnan(region_measurement(IMAGE, mask, what, threshold=100))


def test_areas_have_units_where_pixels_have() -> None:
    mask = np.ones(IMAGE.shape, bool)
    for size, expected in ((0.5, 1.5), ((0.5, 2), 6), ([0.1], 0.06)):
        found = region_measurement(IMAGE, mask, "area", threshold=0, pixel_size=size)
        assert found == pytest.approx(expected)
    volume = np.ones((3, 4, 5), np.float32)
    found = region_measurement(
        volume, volume > 0, "area", threshold=0.5, pixel_size=(2, 0.5, 0.5)
    )
    assert found == pytest.approx(30)
    assert region_measurement(volume, volume > 0, "count", threshold=0.5) == 1


def test_small_integers_do_not_overflow() -> None:
    bright = np.full((40, 40), 255, np.uint8)
    assert region_measurement(bright, bright > 0, "sum") == 255 * 1600


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"what": "median"}, "choose from area"),
        ({"what": "area"}, "needs a threshold"),
        ({"what": "area", "threshold": float("nan")}, "threshold is nan"),
        ({"what": "mean", "pixel_size": 2}, "is for 'area'"),
        ({"what": "area", "threshold": 1, "pixel_size": (1, 2, 3)}, "pixel_size"),
        ({"what": "area", "threshold": 1, "pixel_size": 0}, "pixel_size"),
        ({"label": 1}, "is a mask"),
        ({"region": np.zeros((4, 4), bool)}, "no pixels"),
        ({"region": np.ones((2, 2), bool)}, "must be the same"),
        ({"region": np.ones((4, 4))}, "mask > 0"),
        ({"image": np.ones((4, 4), complex)}, "dtype complex128"),
    ],
)
def test_bad_measurements(options, said) -> None:
    given = {"image": IMAGE, "region": np.ones((4, 4), bool), **options}
    image, region = given.pop("image"), given.pop("region")
    with pytest.raises(OptionError, match=said):
        region_measurement(image, region, **given)


# --- a line ---------------------------------------------------------------------


def test_a_profile_of_a_plane_is_the_plane() -> None:
    y, x = np.mgrid[:20, :30].astype(np.float32)
    ramp = 2 * y + 3 * x
    found = line_profile(ramp, (2, 4), (14, 20))
    assert len(found) == 21  # the hypotenuse of 12 and 16, and the first point
    np.testing.assert_allclose(found, np.linspace(16, 88, 21), rtol=1e-6)
    np.testing.assert_allclose(line_profile(ramp, (2, 4), (14, 20), 3), found)
    whole = line_profile(ramp, (7, 0), (7, 29))
    np.testing.assert_allclose(whole, ramp[7])


def test_a_wide_line_averages_across() -> None:
    rows = np.zeros((9, 9))
    rows[4] = 6
    assert line_profile(rows, (4, 1), (4, 7)) == pytest.approx(6)
    assert line_profile(rows, (4, 1), (4, 7), 3) == pytest.approx(2)
    edge = line_profile(np.full((5, 5), 7.0), (0, 0), (0, 4), 5)
    assert edge == pytest.approx(7)  # nothing dark comes in from beyond the border


def test_a_profile_of_colour_and_of_bool() -> None:
    colour = np.stack([np.full((6, 6), c) for c in (1, 2, 3)], -1)
    found = line_profile(colour, (0, 0), (5, 5))
    np.testing.assert_allclose(found, [[1, 2, 3]] * len(found))
    assert line_profile(np.eye(5) > 0, (0, 0), (4, 4)).max() == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((0, 0), (0, 0)), "two different points"),
        (((0, 0), (0, 4)), "outside of the image of 4 x 4"),
        (((0, 0, 0), (0, 3)), "a row and a column"),
        (((0, 0), 3), "a row and a column"),
        (((0, float("nan")), (0, 3)), "outside"),
        (((0, 0), (0, 3), 0), "at least 1"),
        (((0, 0), (0, 3), 1.5), r"width is 1\.5"),
    ],
)
def test_bad_lines(arguments, said) -> None:
    with pytest.raises(OptionError, match=said):
        line_profile(IMAGE, *arguments)
    with pytest.raises(OptionError, match="Pick a plane"):
        line_profile(np.zeros((2, 3, 4, 5)), (0, 0), (1, 1))


def test_a_profile_over_samples(model, image) -> None:
    post = posterior(image, model)
    values = post.apply(lambda s: flowsr.line_profile(s, (3, 4), (60, 50)), 4)
    expected = [flowsr.line_profile(s, (3, 4), (60, 50)) for s in post.sample(4)]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    found = band(values)
    low, high = found.intervals[0.9]
    assert (low <= found.median).all()
    assert (found.median <= high).all()
    assert (high - low).max() > 0
