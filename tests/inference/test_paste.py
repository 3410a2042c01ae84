"""Pasting one image into another."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.errors import AxesError, ImageError, OptionError
from napari_flowsr.inference.paste import paste

HOST = np.full((20, 30), 100, np.uint8)
PATCH = np.arange(24, dtype=np.uint8).reshape(4, 6)


def test_pixels_go_where_they_are_put() -> None:
    edited, mask = paste(HOST, PATCH, at=(3, 5))
    np.testing.assert_array_equal(edited[3:7, 5:11], PATCH)
    assert mask.sum() == PATCH.size
    np.testing.assert_array_equal(edited[~mask], HOST[~mask])
    assert edited.dtype == HOST.dtype
    assert (HOST == 100).all()


@pytest.mark.parametrize("at", [(-2, -3), (18, 27), (-1, 28)])
def test_what_lies_beyond_the_borders_is_cut_off(at) -> None:
    edited, mask = paste(HOST, PATCH, at=at)
    padded = np.zeros((40, 60), np.uint8)
    padded[10 + at[0] : 14 + at[0], 10 + at[1] : 16 + at[1]] = PATCH
    np.testing.assert_array_equal(edited[mask], padded[10:30, 10:40][mask])
    assert 0 < mask.sum() < PATCH.size


@pytest.mark.parametrize(
    ("flip", "expected"),
    [((True, False), PATCH[::-1]), ((False, True), PATCH[:, ::-1])],
    ids=["upside-down", "mirrored"],
)
def test_flipping(flip, expected) -> None:
    edited, _ = paste(HOST, PATCH, flip=flip)
    np.testing.assert_array_equal(edited[:4, :6], expected)


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0.0, 200.0]), (16, 8))
    edited, mask = paste(HOST, stripes, scale=0.25)
    assert mask.sum() == 16
    inner = edited[1:3, 1:3].astype(float)
    # Without antialiasing single columns would be 0 or 200.
    assert np.abs(inner - 100).max() < 30


def test_growing_keeps_range_and_size() -> None:
    edited, mask = paste(HOST.astype(np.float32), PATCH, scale=1.5)
    assert mask.sum() == 6 * 9
    assert edited.dtype == np.float32
    assert 0 <= edited[mask].min() < edited[mask].max() <= 23


def test_only_the_mask_is_pasted() -> None:
    mask = np.zeros(PATCH.shape, bool)
    mask[1, 2] = True
    edited, pasted = paste(HOST, PATCH, at=(2, 2), mask=mask, flip=(True, False))
    assert np.argwhere(pasted).tolist() == [[4, 4]]
    assert edited[4, 4] == PATCH[1, 2]


def test_brightness_and_contrast_are_matched() -> None:
    rng = np.random.default_rng(0)
    host = rng.normal(1000, 50, (60, 60))
    source = rng.normal(3, 0.1, (24, 24)).astype(np.float32)
    edited, mask = paste(host, source, at=(15, 15), match=True)
    assert edited[mask].mean() == pytest.approx(1000, abs=15)
    assert edited[mask].std() == pytest.approx(50, rel=0.15)
    assert np.corrcoef(edited[mask], source.ravel())[0, 1] > 0.999
    flat, mask = paste(host, np.ones((24, 24)), at=(15, 15), match=True)
    assert np.isfinite(flat).all()
    assert flat[mask].std() == 0


def test_integers_are_rounded_and_clipped() -> None:
    edited, _ = paste(HOST, np.array([[-3.2, 7.6, 999.0]]))
    assert edited[0, :3].tolist() == [0, 8, 255]


def test_stacks_and_colour() -> None:
    edited, mask = paste(np.stack([HOST, HOST + 1]), PATCH)
    assert mask.shape == HOST.shape
    assert (edited[:, :4, :6] == PATCH).all()
    colour = np.stack([HOST] * 3, -1)
    edited, _ = paste(colour, np.stack([PATCH, PATCH + 1, PATCH + 2], -1), at=(1, 1))
    np.testing.assert_array_equal(edited[1:5, 1:7, 2], PATCH + 2)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (PATCH, {"at": (20, 0)}, ImageError, "Nothing of the source"),
        (PATCH, {"at": (0, -6)}, ImageError, "Move it onto the image"),
        (PATCH, {"at": 3}, OptionError, "a row and a column"),
        (PATCH, {"scale": 0}, OptionError, "above 0"),
        (PATCH, {"scale": float("nan")}, OptionError, "above 0"),
        (PATCH, {"scale": 1e6}, OptionError, "at most"),
        (PATCH, {"mask": np.zeros(PATCH.shape)}, OptionError, "must be bool"),
        (PATCH, {"mask": np.zeros(PATCH.shape, bool)}, OptionError, "empty"),
        (PATCH, {"mask": np.ones((2, 2), bool)}, OptionError, "source's size"),
        (PATCH[0], {}, AxesError, "one plane is needed"),
        (PATCH[None, None], {}, AxesError, "Index the others"),
        (np.stack([PATCH] * 3, -1), {}, AxesError, "as many components"),
        (PATCH * np.nan, {}, ImageError, "NaN"),
    ],
    ids=[
        "below",
        "left",
        "number",
        "zero",
        "nan-scale",
        "huge",
        "float-mask",
        "empty-mask",
        "small-mask",
        "line",
        "stack",
        "colour",
        "nan",
    ],
)
def test_bad_input_is_named(source, options, error, message) -> None:
    with pytest.raises(error, match=message):
        paste(HOST, source, **options)
