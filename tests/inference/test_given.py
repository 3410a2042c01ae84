"""Latents, densities and new content of given HR images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from every_family import over_every_flow
from napari_flowsr.errors import (
    AxesError,
    ImageError,
    OptionError,
    OutOfMemoryError,
    SizeError,
    UnstableDecodeError,
)
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.models.card import Normalisation


@pytest.mark.parametrize("tile", [None, 16])
def test_encode_and_decode_are_inverse(model, image, tile) -> None:
    post = posterior(image, model, tile=tile)
    sample = post.sample(1)[0]
    latents = post.encode(sample)
    np.testing.assert_allclose(post.decode(latents), sample, atol=1e-4)
    # These are the latents that it was made of.
    drawn = [float(level.std()) for level in latents.levels]
    assert drawn == pytest.approx([1.0], abs=0.05)


def test_encode_in_tiles_equals_whole(model, image) -> None:
    hr = posterior(image, model).sample(1)[0]
    whole, tiled = (posterior(image, model, tile=t).encode(hr) for t in (None, 11))
    for a, b in zip(whole.levels, tiled.levels, strict=True):
        assert (a - b).abs().max() < 1e-4


@over_every_flow
def test_every_family_in_tiles_and_back(case) -> None:
    strip = case.strip(9)
    # Of grey images a network of three channels gives the mean of three.
    image = strip if case.model().flow.channels == 1 else np.stack([strip] * 3, -1)
    axes = "YX" if image.ndim == 2 else "YXS"
    card = {"normalisation": Normalisation("percentile", 0, 100)}
    whole, tiled = (
        posterior(image, case.model(**card), tile=t, scale=case.scale, axes=axes)
        for t in (None, 9)
    )
    hr = posterior(
        image, whole.model, scale=case.scale, axes=axes, temperature=0.3
    ).sample(1)[0]
    latents = [post.encode(hr) for post in (whole, tiled)]
    for a, b in zip(*(found.levels for found in latents), strict=True):
        assert (a - b).abs().max() < 1e-3 * max(1.0, float(a.abs().max()))
    span = np.ptp(hr)
    for post, found in zip((whole, tiled), latents, strict=True):
        assert np.abs(post.decode(found) - hr).max() < 1e-4 * span
    assert (latents[0].lr is not None) == whole.model.flow.encodes_lr
    assert np.isfinite(whole.log_prob(hr)).all()


def _far(mask: np.ndarray, model, scale: float) -> np.ndarray:
    """HR pixels that replaced latents cannot reach."""
    (start, stop), far = np.flatnonzero(mask.any(0))[[0, -1]], model.flow.halo + 2
    columns = np.arange(round(mask.shape[1] * scale)) / scale
    return (columns < start - far) | (columns > stop + far + 1)


@over_every_flow
def test_resampling_of_every_family(case) -> None:
    model, strip = case.model(), case.strip(9)
    options = {"scale": case.scale, "temperature": 0.3}
    hr = posterior(strip, model, **options).sample(1)[0]
    mask = np.zeros(strip.shape)
    mask[2:5, 9:14] = 1
    whole, tiled = (
        posterior(strip, model, tile=t, **options).resample(hr, mask, seed=3)
        for t in (None, 9)
    )
    assert np.abs(whole - tiled).max() < 1e-4 * np.ptp(hr)
    far = _far(mask, model, case.scale)
    assert far.any()
    np.testing.assert_array_equal(whole[:, far], hr[:, far])
    assert np.abs(whole - hr).max() > 1e-3 * np.ptp(hr)


def test_latents_are_ordinary_tensors(model, image) -> None:
    post = posterior(image, model)
    latents = post.encode(post.sample(1)[0])
    half = latents.map(lambda t: t.clone().requires_grad_(True))
    half.levels[0].square().sum().backward()
    assert not latents.levels[0].is_inference()
    mode = post.decode(latents.tempered(0.0))
    np.testing.assert_allclose(
        mode, posterior(image, model, temperature=0).sample(1)[0], atol=1e-4
    )


def test_stacks_have_a_batch_of_planes(model, image) -> None:
    stack = np.stack([image, image + 1, image * 2])
    post = posterior(stack, model, tile=20)
    sample = post.sample(1)[0]
    latents = post.encode(sample)
    assert latents.batch == 3
    np.testing.assert_allclose(post.decode(latents), sample, atol=1e-3)


def test_integer_images_survive_the_round_trip(model, image) -> None:
    given = (50 * image).astype(np.uint16)
    post = posterior(given, model)
    sample = post.sample(1)[0]
    np.testing.assert_array_equal(post.decode(post.encode(sample)), sample)


def test_log_prob_equals_the_flow(make_compact, image) -> None:
    unit = (image - image.min()) / np.ptp(image)
    model = make_compact(normalisation=Normalisation("dtype"))
    post = posterior(unit, model)
    hr = post.sample(1)[0]
    with torch.no_grad():
        cond = model.flow.condition(torch.from_numpy(unit)[None, None])
        expected = model.flow.log_prob(torch.from_numpy(hr)[None, None], cond)
    found = post.log_prob(hr)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(float(expected[0]), rel=1e-5)
    stack = posterior(np.stack([unit, unit]), model)
    np.testing.assert_allclose(stack.log_prob(np.stack([hr, hr])), 2 * [found[0]])


def test_log_prob_prefers_samples(model, image) -> None:
    post = posterior(image, model)
    sample = post.sample(1)[0]
    worse = sample + np.random.default_rng(0).normal(size=sample.shape)
    assert post.log_prob(sample)[0] > post.log_prob(worse)[0]


# --- resample -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
@pytest.mark.parametrize("grid", [1, 2])
def test_resample_changes_only_the_surroundings(model, image, dtype, grid) -> None:
    given = (50 * image).astype(dtype)
    post = posterior(given, model, tile=13)
    hr = post.sample(1)[0]
    mask = np.zeros((37 * grid, 29 * grid), bool)
    mask[3 * grid : 6 * grid, 4 * grid : 7 * grid] = True
    new = post.resample(hr, mask, seed=8)
    assert new.dtype == hr.dtype
    reach = model.flow.receptive_field
    outside = np.ones_like(hr, bool)
    outside[: 2 * (6 + reach), : 2 * (7 + reach)] = False
    np.testing.assert_array_equal(new[outside], hr[outside])
    inside = (slice(6, 12), slice(8, 14))
    assert np.abs(new[inside].astype(float) - hr[inside]).max() > 0.01 * np.ptp(hr)
    # Latents outside of the mask are those of the given image.
    moved = (post.encode(new).levels[0] - post.encode(hr).levels[0]).abs()
    moved[..., 3:6, 4:7] = 0
    assert moved.max() < (1e-2 if dtype is np.float32 else 0.5)


def test_resample_is_seeded_and_tile_independent(model, image) -> None:
    hr = posterior(image, model).sample(1)[0]
    mask = np.zeros((37, 29))
    mask[10:20, 10:20] = 0.5
    whole, tiled = (
        posterior(image, model, tile=t).resample(hr, mask, seed=3) for t in (None, 9)
    )
    np.testing.assert_allclose(whole, tiled, atol=1e-4)
    other = posterior(image, model).resample(hr, mask, seed=4)
    assert not np.allclose(whole, other)


def test_resample_with_a_full_mask_is_a_draw_of_its_own(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0]
    new = post.resample(hr, np.ones((37, 29), bool), seed=11, temperature=0.7)
    (z,) = post.encode(new).levels
    assert float(z.std()) == pytest.approx(0.7, abs=0.04)
    other = posterior(image, model, seed=11, temperature=0.7).sample(1)[0]
    (own,) = post.encode(other).levels
    assert float(own.std()) == pytest.approx(0.7, abs=0.04)
    assert abs(float((z * own).mean())) < 0.05


def test_an_empty_mask_is_refused(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0]
    with pytest.raises(OptionError, match="empty"):
        post.resample(hr, np.zeros((37, 29)), 1)


def test_bad_masks(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0]
    for mask, say in (
        (np.zeros((5, 5), bool), "LR grid"),
        (np.full((37, 29), 2.0), "0 .keep. to 1"),
        (np.full((37, 29), np.nan), "0 .keep. to 1"),
        (np.full((37, 29), "x"), "bool"),
    ):
        with pytest.raises(OptionError, match=say):
            post.resample(hr, mask, seed=1)


def test_bad_hr_and_latents(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0]
    with pytest.raises(AxesError, match="must be"):
        post.encode(hr[1:])
    with pytest.raises(ImageError, match="NaN"):
        post.encode(np.where(hr > 10, np.nan, hr))
    latents = post.encode(hr)
    with pytest.raises(SizeError, match="batch"):
        posterior(np.stack([image, image]), model).decode(latents)
    with pytest.raises(SizeError, match="shapes"):
        posterior(image[1:], model).decode(latents)
    with pytest.raises(UnstableDecodeError, match="not finite"):
        post.decode(latents.map(lambda t: t * torch.nan))


def test_lack_of_memory(model, image, monkeypatch) -> None:
    post = posterior(image, model, tile=None)
    hr = post.sample(1)[0]
    expected = post.encode(hr)
    encode = type(model.flow).encode

    def small_only(self, hr, cond):
        if hr.shape[-1] > 54:
            raise RuntimeError("not enough memory")
        return encode(self, hr, cond)

    monkeypatch.setattr(type(model.flow), "encode", small_only)
    found = post.encode(hr)
    assert (found.levels[0] - expected.levels[0]).abs().max() < 1e-4
    with pytest.raises(OutOfMemoryError, match="Crop"):
        post.log_prob(hr)
    monkeypatch.setattr(type(model.flow), "encode", lambda *a: small_only(None, hr, 0))
    with pytest.raises(OutOfMemoryError, match="smaller"):
        post.encode(hr)


def test_alpha_is_not_the_models_matter(rgb_model) -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (9, 8, 4)).astype(np.uint8)
    post = posterior(rgba, rgb_model, axes="YXS")
    sample = post.sample(1)[0]
    decoded = post.decode(post.encode(sample))
    np.testing.assert_array_equal(decoded[..., 3], sample[..., 3])
    own_alpha = sample.copy()
    own_alpha[..., 3] = 77
    new = post.resample(own_alpha, np.ones((9, 8), bool), seed=3)
    assert (new[..., 3] == 77).all()
    assert (new[..., :3] != sample[..., :3]).any()


def test_unstable_new_content_is_drawn_again_cooler(model, image, monkeypatch) -> None:
    post = posterior(image, model)
    hr, mask = post.sample(1)[0], np.ones((37, 29), bool)
    answers = [False, False, True]
    monkeypatch.setattr(UnitCoder, "finite", lambda *args: answers.pop(0))
    second = post.resample(hr, mask, seed=3)
    assert answers == []
    monkeypatch.undo()
    assert not np.allclose(second, post.resample(hr, mask, seed=3))
    monkeypatch.setattr(UnitCoder, "finite", lambda *args: False)
    with pytest.raises(UnstableDecodeError, match="another seed"):
        post.resample(hr, mask, seed=3)
