"""Pixels far outside of the range: kept from the network, kept in the result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_flowsr.inference.excess import NETWORK_RANGE, split_excess
from napari_flowsr.inference.posterior import posterior

# LR pixels of the bead and of a dead pixel.
BEAD, DEAD = (18, 12), (31, 24)


@pytest.fixture
def plain() -> np.ndarray:
    """From 100 to 200, smooth with some texture, odd sides."""
    y, x = np.mgrid[:37, :29]
    noise = np.random.default_rng(0).uniform(-10, 10, (37, 29))
    return np.rint(150 + 40 * np.sin(y / 5) * np.cos(x / 7) + noise).astype(np.float32)


@pytest.fixture
def bright(plain) -> np.ndarray:
    image = plain.copy()
    image[BEAD] = 5000
    return image


def run(image, model, n=2, **options):
    *_, last = posterior(image, model, **options).stream(n, preview=False)
    return last.result


# --- the parts of a plane ---------------------------------------------------------


def test_most_images_have_no_excess() -> None:
    lr = torch.linspace(*NETWORK_RANGE, 60).reshape(1, 6, 10)
    shown, excess = split_excess(lr, (12, 20))
    assert torch.equal(shown, lr)
    assert excess.read is None
    assert excess.on_hr((0, 12, 0, 20)) is None


@pytest.mark.parametrize("scale", [2.0, 3.0, 4.0, 1.5, 3.3])
def test_a_part_of_the_excess_is_the_crop_of_the_whole(scale) -> None:
    lr = 3 * torch.randn(2, 15, 21, generator=torch.Generator().manual_seed(0))
    height, width = (round(side * scale) for side in (15, 21))
    shown, excess = split_excess(lr, (height, width))
    assert float(shown.min()) == pytest.approx(-0.1)
    assert float(shown.max()) == pytest.approx(1.1)
    beyond = lr - shown
    whole = excess.on_hr((0, height, 0, width))
    assert whole.shape == (2, height, width)
    # No overshoot, and no intensity lost but at the border, which is repeated.
    assert beyond.amin() <= whole.amin() <= whole.amax() <= beyond.amax()
    if scale == int(scale):
        rows, columns = int(19 * scale), int(25 * scale)
        # The value 0 lies within the range, so that nothing of the frame is excess.
        padded = torch.nn.functional.pad(lr, (2, 2, 2, 2))
        _, inner = split_excess(padded, (rows, columns))
        total = inner.on_hr((0, rows, 0, columns)).sum() / scale**2
        torch.testing.assert_close(total, beyond.sum(), atol=0.02, rtol=1e-4)
    for y0, y1, x0, x1 in ((0, 3, 0, 3), (7, 12, 9, 20), (height - 5, height, 1, 30)):
        part = excess.on_hr((y0, y1, x0, x1))
        torch.testing.assert_close(part, whole[:, y0:y1, x0:x1], atol=1e-6, rtol=0)


def test_parts_far_from_any_excess_cost_nothing() -> None:
    lr = torch.zeros(1, 40, 40)
    lr[0, 3, 3] = 50
    _, excess = split_excess(lr, (80, 80))
    assert excess.on_hr((40, 80, 40, 80)) is None
    assert excess.on_hr((0, 20, 0, 20)) is not None


# --- samples ------------------------------------------------------------------------


def test_a_bead_stays_bright_and_everything_else_as_it_was(model, plain) -> None:
    big = np.tile(plain, (3, 4))  # one pixel in thousands
    hot = big.copy()
    y, x = 60, 50
    hot[y, x] = 5000
    before, after = (posterior(i, model, seed=3).sample(1)[0] for i in (big, hot))
    reach = model.flow.receptive_field + 3
    near = np.zeros(before.shape, bool)
    near[
        2 * (y - reach) : 2 * (y + reach + 1), 2 * (x - reach) : 2 * (x + reach + 1)
    ] = 1
    # The percentiles themselves move by one rank of thousands.
    assert np.abs(after - before)[~near].max() < 0.02 * np.ptp(big)
    assert after[near].max() > 3000
    peak = np.unravel_index(after.argmax(), after.shape)
    assert (peak[0] // 2, peak[1] // 2) == (y, x)
    # Brightness is kept as a sum: four HR pixels stand for one of the LR image.
    added = (after.astype(float) - before)[near].sum() / 4
    assert added == pytest.approx(5000 - big[y, x], rel=0.05)


@pytest.mark.parametrize("tile", [9, 16, 17])
def test_tiles_equal_the_whole(model, bright, tile) -> None:
    bright[DEAD] = -3000
    whole, tiled = (run(bright, model, tile=t) for t in (None, tile))
    assert whole.samples.max() > 3000
    assert whole.samples.min() < -1000
    for name in ("samples", "mean", "std"):
        a, b = getattr(whole, name), getattr(tiled, name)
        np.testing.assert_allclose(a, b, atol=1e-5 * np.ptp(bright))


def test_tiles_equal_the_whole_where_the_plane_is_padded(make_pyramid, bright) -> None:
    bright[36, 28] = 4000  # in the corner, beside the padding
    model = make_pyramid()
    whole, tiled = (run(bright, model, tile=t).samples for t in (None, 8))
    np.testing.assert_allclose(whole, tiled, atol=1e-5 * np.ptp(bright))


def test_the_spread_is_that_of_the_network_alone(model, plain, bright) -> None:
    spread = run(bright, model, n=4).std
    assert spread.max() < 5 * run(plain, model, n=4).std.max()


def test_colours_have_their_own_excess(rgb_model, plain, bright) -> None:
    rgb = np.stack([bright, plain, plain], -1)
    whole, tiled = (
        posterior(rgb, rgb_model, axes="YXS", tile=t).sample(1)[0] for t in (None, 11)
    )
    np.testing.assert_allclose(whole, tiled, atol=0.05)
    assert whole[..., 0].max() > 3000
    assert whole[..., 1:].max() < 1000


# --- given HR images ------------------------------------------------------------------


@pytest.mark.parametrize("tile", [None, 13])
def test_encode_and_decode_are_inverse(model, bright, tile) -> None:
    post = posterior(bright, model, tile=tile)
    sample = post.sample(1)[0]
    latents = post.encode(sample)
    np.testing.assert_allclose(post.decode(latents), sample, atol=0.05)
    # The excess is no business of the latents: they are those that were drawn.
    assert float(latents.levels[0].std()) == pytest.approx(1.0, abs=0.05)


def test_log_prob_is_that_without_the_excess(model, bright) -> None:
    post = posterior(bright, model)
    sample = post.sample(1)[0]
    span = post._bound.intensities.range(0, 0)
    lr = torch.from_numpy(span.to_unit(bright))[None]
    shown, excess = split_excess(lr, (74, 58))
    hr = torch.from_numpy(span.to_unit(sample))[None] - excess.on_hr((0, 74, 0, 58))
    with torch.no_grad():
        cond = model.flow.condition(shown[None])
        expected = float(model.flow.log_prob(hr[None], cond)[0])
    assert post.log_prob(sample)[0] == pytest.approx(expected, rel=1e-5)


def test_resample_keeps_a_bead(model, bright) -> None:
    post = posterior(bright, model)
    hr = post.sample(1)[0]
    mask = np.zeros((37, 29), bool)
    mask[BEAD] = True
    mask[2:6, 2:6] = True
    new = post.resample(hr, mask, seed=9)
    assert not np.array_equal(new, hr)
    y, x = (2 * side for side in BEAD)
    np.testing.assert_allclose(
        new[y : y + 2, x : x + 2], hr[y : y + 2, x : x + 2], rtol=0.1
    )
    # Also one that only the HR image has.
    hr[40:42, 20:22] += 900
    kept = post.resample(hr, mask, seed=9)
    assert kept[40:42, 20:22] == pytest.approx(hr[40:42, 20:22], rel=0.05)


def test_back_projected_samples_are_consistent(model, bright) -> None:
    post = posterior(bright, model, consistent=True, tile=16)
    sample = post.sample(1)[0]
    assert post.consistency(sample)[0] >= 60
    assert sample.max() > 3000
