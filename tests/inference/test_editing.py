"""Edits: what is computed, what may change; that tiles and windows do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from every_family import FLOWS, over_every_flow
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.normalise import COLLECTIONS
from napari_flowsr.errors import Cancelled, OptionError
from napari_flowsr.inference.events import Edited, Progress
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.regions import marked, reached, regions
from napari_flowsr.models.card import Normalisation

CARD = {"normalisation": Normalisation("percentile", 0, 100)}


def _channels(case) -> int:
    flow = case.model().flow
    side = 2 * flow.multiple_of
    return min(c for c, _, _ in flow.latent_spec((side, side), case.scale).shapes)


# Levels of one channel have no local collections.
LOCAL = [c for c in FLOWS if _channels(c.values[0]) > 1]


def dab(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for y0, y1, x0, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("soft", [1.0, 0.4])
@over_every_flow
def test_a_window_gives_what_the_whole_plane_gives(case, soft) -> None:
    """Encode everything, mix, decode everything: the slow way to the same image."""
    model, strip = case.model(**CARD), case.strip(9)
    post = posterior(strip, model, scale=case.scale, temperature=0.3, tile=None)
    hr = post.sample(1)[0]
    mask = soft * dab(strip.shape, (2, 5, 9, 14))
    found = post.resample(hr, mask, seed=3)
    setup = post._bound.setup(1)
    new = NoiseField(3, attempt=1 << 24).draw(setup.whole).tempered(0.3)
    weights = torch.from_numpy(mask.astype(np.float32))
    padded = torch.zeros(setup.plan.size)
    padded[: mask.shape[0], : mask.shape[1]] = weights
    slow = post.decode(post.encode(hr).where(padded, new))
    assert np.abs(found - slow).max() < 2e-4 * np.ptp(hr)
    assert np.abs(found - hr).max() > 1e-3 * np.ptp(hr)


@pytest.mark.parametrize("kind", COLLECTIONS)
@pytest.mark.parametrize("case", LOCAL)
def test_normalising_does_not_depend_on_tiles(case, kind) -> None:
    model, strip = case.model(**CARD), case.strip(9)
    noisy = np.random.default_rng(1).normal(0, 0.3, strip.shape)
    hr = posterior(strip, model, scale=case.scale, temperature=0.3).sample(1)[0]
    other = (strip + noisy).astype(np.float32)
    masks = [None, dab(strip.shape, (1, 4, 5, 12), (3, 6, strip.shape[1] - 9, 999))]
    for mask in masks:
        whole, tiled = (
            posterior(other, model, scale=case.scale, tile=t).normalise(
                hr, mask, collections=kind, temperature=0.3, seed=5
            )
            for t in (None, 9)
        )
        assert np.abs(whole - tiled).max() < 5e-4 * np.ptp(hr)
        assert np.abs(whole - hr).max() > 1e-3 * np.ptp(hr)


def test_normalised_latents_have_the_wanted_spread(model, image) -> None:
    post = posterior(image, model)
    noise = np.random.default_rng(0).normal(0, 2, (74, 58))
    hr = post.sample(1)[0] + noise.astype(np.float32)
    assert post.encode(hr).levels[0].std() > 1.5
    for tau in (1.0, 0.5):
        new = post.normalise(hr, collections="spatial", temperature=tau)
        z = post.encode(new).levels[0]
        assert float(z.std()) == pytest.approx(tau, rel=0.05)
        assert abs(float(z.mean())) < 0.1


def test_strength_goes_from_nothing_to_all(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0] + 1
    none, half, full = (post.normalise(hr, strength=s) for s in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(none, hr, atol=1e-4)
    assert 0 < np.abs(half - hr).mean() < np.abs(full - hr).mean()
    with pytest.raises(OptionError, match="from 0"):
        post.normalise(hr, strength=1.2)


def test_dabs_far_apart_are_regions_of_their_own(model) -> None:
    y, x = np.mgrid[:120, :150]
    image = np.sin(x / 5) * np.cos(y / 7).astype(np.float32)
    post = posterior(image, model)
    hr = post.sample(1)[0]
    first, second = (5, 9, 5, 9), (105, 110, 120, 124)
    both = post.finish(post.resampling(hr, dab(image.shape, first, second), 3))
    alone = [post.resample(hr, dab(image.shape, box), 3) for box in (first, second)]
    together = np.where(alone[0] != hr, alone[0], alone[1])
    np.testing.assert_array_equal(both.array, together)
    assert both.report["computed"] < 0.5 * image.size
    assert both.report["changed_pixels"] < 0.3 * hr.size


def test_what_is_computed_does_not_grow_with_the_image(model) -> None:
    computed = []
    for side in (100, 200):
        image = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
        post = posterior(image, model)
        hr = np.zeros((2 * side, 2 * side), np.float32)
        mask = dab(image.shape, (40, 45, 40, 45))
        computed.append(post.finish(post.resampling(hr, mask, 1)).report["computed"])
    assert computed[0] == computed[1] < 40 * 40


def test_regions_cover_what_is_reached(model) -> None:
    image = np.zeros((60, 90), np.float32)
    image[0, 0] = 1
    setup = posterior(image, model, tile=16)._bound.setup(1)
    weights = torch.zeros(60, 90)
    weights[10:50, 20:70] = 1
    weights[0, 88] = 1
    found = marked(weights, setup)
    parts = regions(found, setup, setup.plan)
    assert len(parts) == 2
    wanted = reached(found, model.flow.latent_reach)
    together = np.zeros_like(wanted)
    for part in parts:
        for tile in part.decoded:
            c = tile.core
            rows, columns = slice(c.y, c.y + c.height), slice(c.x, c.x + c.width)
            together[rows, columns] |= part.changed[rows, columns]
    np.testing.assert_array_equal(together, wanted)
    assert [part.is_single for part in parts] == [True, False] or [
        part.is_single for part in parts
    ] == [False, True]


def test_only_planes_with_a_mask_are_touched(model, image) -> None:
    stack = np.stack([image, image * 2])
    post = posterior(stack, model)
    hr = post.sample(1)[0]
    mask = np.zeros((2, 37, 29), bool)
    mask[1, 5:9, 5:9] = True
    new = post.resample(hr, mask, seed=2)
    np.testing.assert_array_equal(new[0], hr[0])
    assert (new[1] != hr[1]).any()
    # The noise of a plane is its own, or that of all planes.
    both = mask | mask[1]
    shared = posterior(np.stack([image, image]), model, noise="shared")
    hr = shared.sample(1)[0]
    new = shared.resample(hr, both, seed=2)
    np.testing.assert_array_equal(new[0], new[1])


def test_edits_tell_how_far_they_are_and_stop(model, image) -> None:
    post = posterior(np.stack([image, image]), model, tile=16)
    hr = post.sample(1)[0]
    events = list(post.normalising(hr))
    assert isinstance(events[-1], Edited)
    told = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in told] == list(range(1, len(told) + 1))
    assert told[-1].done == told[-1].total
    with pytest.raises(Cancelled):
        post.resample(hr, np.ones((37, 29)), 1, cancelled=lambda: True)
    calls: list[tuple[int, int]] = []
    told_post = posterior(image, model, progress=lambda *now: calls.append(now))
    told_post.resample(hr[0], np.ones((37, 29)), 1)
    assert calls[-1][0] == calls[-1][1]


def test_a_constant_image_stays(model) -> None:
    image, hr = np.full((9, 8), 7.0, np.float32), np.full((18, 16), 7.0, np.float32)
    new = posterior(image, model).resample(hr, np.ones((9, 8)), 1)
    np.testing.assert_array_equal(new, hr)


@pytest.mark.parametrize("seed", [0, 9])
def test_soft_masks_keep_latents_white(model, image, seed) -> None:
    post = posterior(image, model, temperature=1.0)
    hr = post.sample(1)[0]
    for weight in (0.25, 0.5, 0.75):
        new = post.resample(hr, np.full((37, 29), weight), seed=seed)
        z = post.encode(new).levels[0]
        assert float(z.std()) == pytest.approx(1.0, abs=0.05)


def test_deterministic_models_have_nothing_to_edit() -> None:
    from every_family import CASES

    case = next(c.values[0] for c in CASES if c.values[0].model().flow.deterministic)
    image = np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32)
    axes = None
    if case.model().flow.channels == 3:
        image, axes = np.stack([image] * 3, -1), "YXS"
    post = posterior(image, case.model(), scale=case.scale, axes=axes)
    hr = post.sample(1)[0]
    with pytest.raises(OptionError, match="deterministic"):
        post.resample(hr, np.ones((9, 8)), 1)


def test_the_seed_of_a_sample_gives_new_content(model, image) -> None:
    for number in (0, 1):
        post = posterior(image, model, seed=5)
        hr = post.sample(2)[number]
        new = post.resample(hr, np.ones((37, 29), bool), seed=5)
        own, drawn = post.encode(hr).levels[0], post.encode(new).levels[0]
        pairs = torch.stack((own.flatten(), drawn.flatten()))
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.1


def test_consistent_edits_agree_with_the_input(model, image) -> None:
    given = image.astype(np.float32)
    post = posterior(given, model, consistent=True)
    hr = post.sample(1)[0]
    assert post.consistency(hr)[0] > 60
    mask = dab(given.shape, (8, 14, 8, 14))
    loose = posterior(given, model).resample(hr, mask, seed=2)
    found = post.finish(post.resampling(hr, mask, 2))
    assert post.consistency(loose)[0] < 60 < post.consistency(found.array)[0]
    assert found.report["consistent"]
    far = np.ones(hr.shape, bool)
    far[: 2 * (14 + model.flow.halo + 2), : 2 * (14 + model.flow.halo + 2)] = False
    np.testing.assert_array_equal(found.array[far], hr[far])


@pytest.mark.parametrize("strength", ["a", None, -0.1, 1.5, float("nan"), True])
def test_bad_strengths(model, image, strength) -> None:
    post = posterior(image, model)
    with pytest.raises(OptionError, match="strength"):
        post.normalise(post.sample(1)[0], strength=strength)


@pytest.mark.parametrize("collections", [None, 5, [1], "x"])
def test_bad_collections(model, image, collections) -> None:
    post = posterior(image, model)
    with pytest.raises(OptionError, match="global, local, spatial"):
        post.normalise(post.sample(1)[0], collections=collections)
