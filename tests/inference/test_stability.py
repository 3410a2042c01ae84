"""Redrawing where the inverse explodes: the same way for any tiling, and reported."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from every_family import over_every_flow
from napari_flowsr.core.latents import LatentSpec, Place, Window
from napari_flowsr.errors import UnstableDecodeError
from napari_flowsr.inference import plane_input
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.stability import (
    COOLING,
    RedrawGrid,
    exploded,
    explosion_limit,
)


@pytest.fixture
def field() -> np.ndarray:
    """Three by two and a half blocks of 32 LR pixels."""
    return np.random.default_rng(1).normal(size=(96, 75)).astype(np.float32)


def run(field, model, n=3, **options):
    *_, last = posterior(field, model, **options).stream(n)
    return last.result


# At 3.9 standard deviations about one of the 28 800 fine latents is beyond: some blocks
# explode in some samples, and spread over the borders of blocks and tiles.
THRESHOLD = 3.9


def test_the_fake_flow_explodes_somewhere(field, make_pyramid) -> None:
    report = run(field, make_pyramid(threshold=THRESHOLD)).report
    assert report["redrawn_blocks"] > 0
    assert len(report["redrawn_samples"]) > 0
    assert 1 <= report["redraw_attempts"] <= len(COOLING)


@pytest.mark.parametrize("tile", [14, 24, 40, 64])
def test_redraws_do_not_depend_on_the_tiles(field, make_pyramid, tile) -> None:
    model = make_pyramid(threshold=THRESHOLD)
    whole = run(field, model, tile=None)
    tiled = run(field, model, tile=tile)
    assert np.isfinite(whole.samples).all()
    np.testing.assert_allclose(tiled.samples, whole.samples, atol=1e-5)
    np.testing.assert_allclose(tiled.mean, whole.mean, atol=1e-5)
    np.testing.assert_allclose(tiled.std, whole.std, atol=1e-5)
    for key in ("redrawn_blocks", "redrawn_samples", "redraw_attempts"):
        assert tiled.report[key] == whole.report[key]


@over_every_flow
def test_redraws_of_every_family_do_not_depend_on_the_tiles(case, monkeypatch) -> None:
    """The limit lies within what the family draws, so that parts are redrawn."""
    model, strip = case.model(), case.strip(40)
    strip = np.concatenate([strip] * 2)
    options = {"scale": case.scale, "temperature": 1.0}
    stable = run(strip, model, n=1, **options).samples
    drawn = posterior(strip, model, **options)
    span = drawn._bound.intensities.range(0, 0)
    mode = run(strip, model, n=1, scale=case.scale, temperature=0).samples
    most, least = (np.abs(span.to_unit(a)).max() for a in (stable, mode))
    if most <= 1.02 * least:
        pytest.fail("Noise moves nothing here: the test would be empty.")
    limit = float(least + 0.8 * (most - least))
    monkeypatch.setattr(plane_input, "explosion_limit", lambda *planes: limit)
    whole, tiled = (run(strip, model, n=1, tile=t, **options) for t in (None, 40))
    assert whole.report["redrawn_blocks"] > 0
    assert np.abs(span.to_unit(whole.samples)).max() <= limit * (1 + 1e-6)
    assert np.abs(whole.samples - tiled.samples).max() < 1e-4 * np.ptp(whole.samples)
    assert tiled.report["redrawn_blocks"] == whole.report["redrawn_blocks"]


def test_redraws_do_not_depend_on_batches_or_preview(field, make_pyramid) -> None:
    model = make_pyramid(threshold=THRESHOLD)
    expected = run(field, model, n=3).samples
    post = posterior(field, model, tile=40)
    for n in (1, 2, 3):
        np.testing.assert_allclose(post.sample(n), expected[:n], atol=1e-5)


def test_only_bad_blocks_and_their_surroundings_change(field, make_pyramid) -> None:
    stable = run(field, make_pyramid()).samples
    redrawn = run(field, make_pyramid(threshold=THRESHOLD))
    changed = (np.abs(redrawn.samples - stable) > 1e-5).any(0)
    assert changed.any()
    blocks = redrawn.report["redrawn_blocks"]
    # A block with the two latents around it that reach into it or that it reaches.
    assert changed.sum() <= blocks * (2 * (32 + 2 * 2)) ** 2


def test_repeated_redraws_cool_down(field, make_pyramid) -> None:
    # Every block has latents beyond 2.5; only a low temperature helps.
    result = run(field, make_pyramid(threshold=2.5), n=1, tile=40)
    assert result.report["redraw_attempts"] >= 2
    whole = run(field, make_pyramid(threshold=2.5), n=1, tile=None)
    np.testing.assert_allclose(result.samples, whole.samples, atol=1e-5)


def test_what_nothing_cures_is_an_error(field, make_pyramid) -> None:
    with pytest.raises(UnstableDecodeError, match=r"Sample 0 .* temperature 0"):
        run(field, make_pyramid(cold_only=True), n=1)


def test_exploded_finds_nan_infinity_and_absurd_values() -> None:
    values = np.zeros((4, 1, 2, 2), np.float32)
    values[1, 0, 0, 1], values[2, 0, 1, 0], values[3, 0, 1, 1] = np.nan, -np.inf, 2e3
    np.testing.assert_array_equal(exploded(values, 1e3), [False, True, True, True])


def test_values_beyond_two_ranges_are_garbage() -> None:
    lr = torch.linspace(-0.1, 1.1, 9)
    limit = explosion_limit(lr)
    assert 2 < limit < 4
    assert explosion_limit(lr / 100) == 3
    found = exploded(
        np.array([-1.9, 2.9, 4, -4], np.float32)[:, None, None, None], limit
    )
    np.testing.assert_array_equal(found, [False, False, True, True])


@pytest.mark.parametrize("tile", [None, 24])
def test_finite_garbage_is_redrawn(field, make_pyramid, tile) -> None:
    """Latents beyond a threshold give 8 ranges too much: finite, but no image."""
    stable = run(field, make_pyramid(), n=1).samples
    garbage = run(
        field, make_pyramid(threshold=THRESHOLD, beyond=300.0), n=1, tile=tile
    )
    assert garbage.report["redrawn_blocks"] > 0
    assert np.abs(garbage.samples).max() < 2 * np.abs(stable).max()
    same = run(field, make_pyramid(threshold=THRESHOLD), n=1)
    np.testing.assert_allclose(garbage.samples, same.samples, atol=1e-5)


def test_a_bright_pixel_does_not_loosen_the_limit(field, make_pyramid) -> None:
    field[10, 10] = 500
    model = make_pyramid(threshold=THRESHOLD, beyond=300.0)
    found = run(field, model, n=1)
    assert found.report["redrawn_blocks"] > 0


def test_blocks_are_whole_cells() -> None:
    grid = RedrawGrid.empty((96, 75), 5)
    assert grid.block == 35
    assert grid.attempts.shape == (3, 3)
    grid.attempts[1, 2] = 1
    assert grid.within(Window(0, 0, 40, 70)) == []
    assert grid.within(Window(0, 0, 40, 71)) == [1]
    place = Place(Window(30, 65, 10, 10), (96, 75))
    mask = grid.mask(LatentSpec((), (10, 10), (10, 10), place=place), 1)
    assert mask[5:, 5:].min() == 1
    assert mask.sum() == 25
