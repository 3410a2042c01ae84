from __future__ import annotations

from pathlib import Path

import dask.array as dask_array
import numpy as np
import pytest
import torch

from napari_flowsr.errors import ImageError
from napari_flowsr.inference import intensity, source, tally
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.intensity import cast, survey
from napari_flowsr.inference.source import Source, open_array
from napari_flowsr.models.card import Normalisation

PERCENTILE = Normalisation("percentile", 0.1, 99.9)


def surveyed(array, axes=None, normalisation=PERCENTILE, joint=False, nan="raise"):
    array = open_array(array)
    geometry = Geometry(parse_axes(axes, array.shape), array.shape, 2.0)
    return survey(Source(array, geometry), normalisation, joint=joint, nan=nan)


def test_percentiles_of_the_whole_stack_per_channel() -> None:
    array = np.random.default_rng(0).random(size=(3, 2, 20, 21))  # no long tails
    array[:, 1] = 100 + 7 * array[:, 1]
    found = surveyed(array, "TCYX")
    for channel in range(2):
        low, high = np.percentile(array[:, channel], (0.1, 99.9))
        for time in range(3):
            span = found.range(2 * time + channel, 0)
            assert (span.low, span.high) == pytest.approx((low, high), rel=1e-12)


def test_colours_share_a_range_only_for_an_rgb_model() -> None:
    array = np.random.default_rng(0).integers(0, 99, (9, 8, 3)).astype(np.uint8)
    array[..., 1] += 100
    apart, joint = (surveyed(array, "YXS", joint=j) for j in (False, True))
    assert apart.range(0, 0) != apart.range(0, 1)
    assert joint.range(0, 0) == joint.range(0, 1) == joint.range(0, 2)


def test_large_images_are_sampled(monkeypatch) -> None:
    array = np.random.default_rng(0).normal(size=(4, 64, 64))
    exact = surveyed(array).range(0, 0)
    monkeypatch.setattr(intensity, "EXACT_PIXELS", 4096)
    sampled = surveyed(array).range(0, 0)
    assert sampled != exact
    assert sampled == surveyed(array).range(0, 0)
    assert sampled.high == pytest.approx(exact.high, abs=0.5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("joint", [False, True])
def test_small_integers_are_counted_exactly(monkeypatch, dtype, joint) -> None:
    monkeypatch.setattr(intensity, "EXACT_PIXELS", 50)
    monkeypatch.setattr(intensity, "_STRIP", 7 * 64)
    info = np.iinfo(dtype)
    drawn = np.random.default_rng(0).normal(size=(64, 64, 3)) * (info.max / 3)
    drawn += [0, 9, 40]
    array = drawn.clip(info.min, info.max).astype(dtype)
    found = surveyed(array, "YXS", joint=joint)
    for component in range(3):
        part = array if joint else array[..., component]
        expected = np.percentile(part.astype(float), (0.1, 99.9))
        span = found.range(0, component)
        assert (span.low, span.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_a_plane_of_one_chunk_is_counted_in_parts(monkeypatch) -> None:
    """Eight bytes a pixel of a large plane would be more than all else takes."""
    counted = []
    count = np.bincount

    def noted(index, minlength):
        counted.append(index.size)
        return count(index, minlength=minlength)

    monkeypatch.setattr(np, "bincount", noted)
    monkeypatch.setattr(source, "READ_AT_ONCE", 0)
    monkeypatch.setattr(tally, "_AT_ONCE", 500)
    array = np.random.default_rng(0).integers(0, 999, (64, 48)).astype(np.uint16)
    whole = dask_array.from_array(array, array.shape)
    (span,) = surveyed(whole, "YX").ranges.values()
    assert max(counted) <= 500
    assert (span.low, span.high) == tuple(np.percentile(array, (0.1, 99.9)))


def test_dtype_range() -> None:
    kind = Normalisation("dtype")
    span = surveyed(np.array([[3, 9]], np.int16), normalisation=kind).range(0, 0)
    assert (span.low, span.high) == (-32768, 32767)
    span = surveyed(np.array([[0.3, 0.9]]), normalisation=kind).range(0, 0)
    assert (span.low, span.high) == (0.0, 1.0)


def test_sparse_image_uses_its_extremes() -> None:
    array = np.zeros((100, 100), np.uint16)
    array[5, 5] = 700
    assert surveyed(array).range(0, 0).high == 700
    assert not surveyed(array).constant


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_raises_or_is_filled(value) -> None:
    array = np.tile(np.arange(6.0), (5, 1))
    array[2, 3] = value
    array[0, 5] = value
    before = array.copy()
    said = r"2 pixels .* fill .*\(nan='fill', --nan fill, or 'NaN pixels'"
    with pytest.raises(ImageError, match=said):
        surveyed(array)
    found = surveyed(array, nan="fill")
    assert found.filled == 2
    plane = found.plane(0)[:, :, 0]
    assert np.isfinite(plane).all()
    assert plane[2, 3] in (2, 3, 4)
    assert plane[0, 5] in (4, 5)
    np.testing.assert_array_equal(array, before)  # the caller's array is left alone


def test_empty_planes_get_the_median_and_empty_channels_raise() -> None:
    array = np.random.default_rng(0).normal(size=(2, 5, 5))
    array[1] = np.nan
    found = surveyed(array, nan="fill")
    assert (found.plane(1) == np.median(array[0])).all()
    with pytest.raises(ImageError, match="no finite pixel"):
        surveyed(array, "CYX", nan="fill")


def test_unresolvable_range() -> None:
    with pytest.raises(ImageError, match="floating point"):
        surveyed(np.array([[-1.5e308, 1.5e308]]))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.uint8, [0, 0, 2, 255]),
        (np.int16, [-9, 0, 2, 32767]),
        (np.bool_, [False, False, True, True]),
        (np.float32, [-9, 0.4, 1.6, 1e9]),
        (np.float16, [-9, np.float16(0.4), np.float16(1.6), 65504]),
        (np.int64, [-9, 0, 2, 10**9]),
    ],
)
def test_cast(dtype, expected) -> None:
    found = cast(np.array([-9, 0.4, 1.6, 1e9]), np.dtype(dtype))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(expected, dtype))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_cast_does_not_wrap_at_64_bits(dtype) -> None:
    top = cast(np.array([1e30]), np.dtype(dtype))[0]
    assert np.iinfo(dtype).max - int(top) < 5000


@pytest.mark.parametrize(
    ("array", "say"),
    [
        (np.ones((4, 4), complex), "complex"),
        (np.full((4, 4), "a"), "dtype"),
        ("cell.tif", r"image is 'cell.tif'; .*read_image\(path\)"),
        (Path("cell.tif"), "not the path of a file"),
        (b"cell.tif", "not the path of a file"),
        (np.full((4, 4), None), "dtype object"),
        ([[1, 2], [3]], "cannot be made an array"),
        (torch.ones(4, 4, requires_grad=True), "cannot be made an array"),
        (np.ma.masked_less(np.arange(16.0).reshape(4, 4), 3), "masked"),
        (np.zeros((4, 4), "datetime64[s]"), "dtype"),
    ],
)
def test_unusable_arrays(array, say) -> None:
    with pytest.raises(ImageError, match=say):
        open_array(array)


def test_an_array_without_masked_pixels_is_fine() -> None:
    assert open_array(np.ma.array([[1.0, 2.0]])).shape == (1, 2)


@pytest.mark.parametrize("exact", [1 << 24, 500])
@pytest.mark.parametrize("chunks", [None, (1, 16, 48), (2, 64, 11)])
def test_strips_of_a_plane_give_the_range_of_the_plane(
    monkeypatch, exact, chunks
) -> None:
    image = np.random.default_rng(0).normal(size=(2, 64, 48)).astype(np.float32)
    monkeypatch.setattr(intensity, "EXACT_PIXELS", exact)
    whole = surveyed(image, "ZYX").ranges
    monkeypatch.setattr(intensity, "_STRIP", 5 * 48)
    monkeypatch.setattr(source, "READ_AT_ONCE", 0)
    given = image if chunks is None else dask_array.from_array(image, chunks)
    assert surveyed(given, "ZYX").ranges == whole


def test_few_finite_pixels_of_a_large_image_are_not_missed(monkeypatch) -> None:
    image = np.full((40, 41), np.nan, np.float32)
    image[33, 7:9] = 1, 2
    monkeypatch.setattr(intensity, "EXACT_PIXELS", 50)
    monkeypatch.setattr(intensity, "_STRIP", 41)
    (span,) = surveyed(image, nan="fill").ranges.values()
    assert 1 <= span.low < span.high <= 2


def test_chunks_are_not_cut_by_strips(monkeypatch) -> None:
    read = []
    image = dask_array.from_array(np.zeros((64, 48), np.uint8), (16, 48))
    noted = image.map_blocks(lambda b: read.append(b.shape) or b, meta=image._meta)
    monkeypatch.setattr(source, "READ_AT_ONCE", 0)
    monkeypatch.setattr(intensity, "_STRIP", 10 * 48)
    surveyed(noted, "YX")
    assert read.count((16, 48)) == 4


def test_a_few_extreme_pixels_do_not_move_the_range() -> None:
    """One hot pixel must not flatten the image: the range is the percentiles'."""
    image = np.random.default_rng(0).integers(100, 200, (64, 64)).astype(np.uint16)
    expected = np.percentile(image, (0.1, 99.9))
    image[3, 4], image[50, 9] = 5000, 0
    (span,) = surveyed(image).ranges.values()
    assert (span.low, span.high) == tuple(np.percentile(image, (0.1, 99.9)))
    assert (span.low, span.high) == pytest.approx(tuple(expected), abs=1)


def test_floats_that_a_model_cannot_take_as_they_are() -> None:
    kind = Normalisation("dtype")
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    with pytest.raises(ImageError, match=r"from 0 to 1 .* such as 255"):
        surveyed(255 * image, normalisation=kind)
    image[5, 5] = 30  # one bright pixel is none of the image's own range
    assert surveyed(image, normalisation=kind).range(0, 0).high == 1.0


def test_a_mark_for_missing_values_is_no_brightness() -> None:
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    image[3, 4] = np.finfo(np.float32).max
    with pytest.raises(ImageError, match=r"missing values.* --nan fill, or 'NaN pix"):
        surveyed(image)
