"""Restoration: what it takes away, what it leaves, and that it is equation (7)."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import napari_flowsr as flowsr
from every_family import Case, over_every_flow
from napari_flowsr.core.interrupt import until_cancelled
from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec
from napari_flowsr.core.shrink import gains, shrunk
from napari_flowsr.data.degrade import downscale
from napari_flowsr.errors import Cancelled, ImageError, OptionError
from napari_flowsr.inference.noise_level import FLOOR, noise_level
from napari_flowsr.inference.restore import (
    Restored,
    difference,
    restored_record,
    restoring,
)
from napari_flowsr.inference.restore_change import limited
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.provenance import provenance_script, statement
from napari_flowsr.models.card import Degradation, Normalisation

SIGMA = 20 / 255


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Part of a photograph, 0 to 1."""
    return data.camera()[60:180, 160:280].astype(np.float32) / 255


def noisy(clean: np.ndarray, sigma: float = SIGMA, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return (clean + noise).astype(np.float32)


def psnr(found: np.ndarray, clean: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((found.astype(float) - clean) ** 2)))


def as_is(model):
    """The model with floats taken as they are."""
    card = model.card.with_(normalisation=Normalisation("dtype"))
    return replace(model, card=card)


# --- what it does to images ---------------------------------------------------


@pytest.mark.parametrize("name", ["micro-2x", "micro-4x"])
def test_noise_is_taken_away(name, photo):
    degraded = noisy(photo)
    restored = flowsr.restore(degraded, name, device="cpu")
    assert restored.shape == photo.shape
    assert restored.dtype == np.float32
    assert psnr(restored, photo) > psnr(degraded, photo) + 2


@pytest.mark.parametrize("name", ["micro-2x", "micro-4x"])
def test_compression_and_clean_images_are_not_made_worse(name, photo):
    levels = np.rint(photo * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=30)
    pressed = np.asarray(Image.open(file))
    found = flowsr.restore(pressed, name, device="cpu")
    assert found.dtype == np.uint8
    assert psnr(found / 255, photo) >= psnr(pressed / 255, photo)
    np.testing.assert_array_equal(flowsr.restore(levels, name, device="cpu"), levels)


def test_strength_goes_from_nothing_to_all(photo):
    degraded, model = noisy(photo), flowsr.load_model("micro-4x", device="cpu")
    same = flowsr.restore(degraded, model, strength=0)
    np.testing.assert_array_equal(same, degraded)
    assert not np.shares_memory(same, degraded)
    steps = [flowsr.restore(degraded, model, strength=s) for s in (0.3, 0.6, 1.0)]
    distances = [float(np.abs(s - degraded).mean()) for s in steps]
    assert 0.003 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize(
    ("name", "cells", "photograph"),
    [("micro-2x", 0.3, 0.3), ("micro-4x", 0.1, -0.2)],
)
def test_the_reduction_is_cleaned_first(name, cells, photograph, photo, monkeypatch):
    """And the result is better for it: 2x leaves twice the noise.

    At 4x a photograph loses a little, as photographs do on average (docs).
    """
    model = flowsr.load_model(name, device="cpu")
    cell = data.cell()[200:360, 200:360].astype(np.float32) / 255
    for clean, gain in ((cell, cells), (photo, photograph)):
        degraded = noisy(clean)
        (*_, last) = restoring(degraded, model)
        assert last.report["reduction_cleaned"] == [True]
        with monkeypatch.context() as patch:
            patch.setattr("napari_flowsr.inference.restore_unit._SMALLEST", 10**9)
            (*_, without) = restoring(degraded, model)
        assert without.report["reduction_cleaned"] == [False]
        assert psnr(last.image, clean) > psnr(without.image, clean) + gain


def test_a_reduction_without_noise_or_too_small_is_taken_as_it_is(photo):
    model = as_is(flowsr.load_model("micro-4x", device="cpu"))
    # A quarter of an amplitude that is found can be less than is told from none.
    cases = {0.12: noisy(photo, 0.12), 0.02: noisy(photo, 0.02)}
    found = {}
    for sigma, degraded in cases.items():
        (*_, last) = restoring(degraded, model)
        assert last.report["noise"][0] > FLOOR
        found[sigma] = last.report["reduction_cleaned"]
    assert found == {0.12: [True], 0.02: [False]}
    (*_, last) = restoring(noisy(photo, 0.12)[:120, :90], model)
    assert last.report["noise"][0] > 0.1
    assert last.report["reduction_cleaned"] == [False]
    (*_, last) = restoring(photo, model)
    assert last.report["noise"] == [0]
    assert last.report["reduction_cleaned"] == [False]
    np.testing.assert_array_equal(last.image, photo)
    (*_, last) = restoring(noisy(photo), model, temperature=0.5)
    assert last.report["reduction_cleaned"] == []


def test_a_cleaned_reduction_is_the_same_for_any_tile(photo):
    model = flowsr.load_model("micro-2x", device="cpu")
    degraded = noisy(np.tile(photo, (1, 2)))
    found = []
    for tile in (None, 24):
        (*_, last) = restoring(degraded, model, tile=tile)
        assert last.report["reduction_cleaned"] == [True]
        found.append(last.image)
    np.testing.assert_allclose(found[1], found[0], atol=5e-4)
    distances = []
    for strength in (1e-6, 0.5):
        part = flowsr.restore(degraded, model, strength=strength)
        distances.append(np.abs(part - degraded).max())
    # All strengths are of the same condition, so that none changes nothing.
    assert distances[0] < 5e-4 < distances[1]


@over_every_flow()
def test_next_to_no_strength_changes_next_to_nothing(case: Case):
    """So nothing but the latents' change comes between an image and its restoration."""
    model = case.model()
    if model.flow.deterministic or hasattr(model.flow, "downscale"):
        with pytest.raises(OptionError, match="Choose a model"):
            flowsr.restore(np.eye(9), model)
        return
    y, x = np.mgrid[:13, :18].astype(np.float32)
    image = 5 + np.sin(y / 3) * np.cos(x / 4)
    for temperature in (None, 0.8):
        found = flowsr.restore(
            image, model, normalisation="spatial", strength=1e-9,
            temperature=temperature, device="cpu",
        )  # fmt: skip
        np.testing.assert_allclose(found, image, atol=2e-4)


def test_the_same_for_any_tile(make_compact, image):
    model = make_compact(4)
    degraded = noisy(np.tile(image, (3, 4)), 1.0)
    for temperature in (None, 0.7):
        whole = flowsr.restore(degraded, model, tile=None, temperature=temperature)
        parts = flowsr.restore(degraded, model, tile=7, temperature=temperature)
        assert np.abs(whole - degraded).max() > 0.1
        np.testing.assert_allclose(parts, whole, atol=2e-4)


def test_with_a_temperature_it_is_equation_seven(make_compact):
    """The same as the posterior of the reduction gives."""
    model = as_is(make_compact(2))
    degraded = noisy(np.full((20, 24), 0.5, np.float32), 0.1)
    lr = downscale(torch.from_numpy(degraded), 2.0).numpy()
    post = flowsr.posterior(lr, model, device="cpu")
    kinds = ("spatial", "local")
    for seed, tau in ((0, 0.5), (7, 1.0)):
        expected = post.normalise(
            degraded, collections=kinds, seed=seed, temperature=tau
        )
        found = flowsr.restore(degraded, model, temperature=tau, seed=seed)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    again = flowsr.restore(degraded, model, temperature=1.0, seed=8)
    assert np.abs(again - found).max() > 1e-3


def test_collections_matter(photo):
    degraded, model = noisy(photo), flowsr.load_model("micro-2x", device="cpu")
    kinds = ("spatial", "local", "global", ("spatial", "local"))
    found = [flowsr.restore(degraded, model, normalisation=k) for k in kinds]
    for i, one in enumerate(found):
        assert psnr(one, photo) > psnr(degraded, photo) + 1.5
        assert all(np.abs(one - other).max() > 1e-3 for other in found[:i])
    default = flowsr.restore(degraded, model)
    np.testing.assert_array_equal(default, found[-1])
    swapped = flowsr.restore(degraded, model, normalisation=("local", "spatial"))
    np.testing.assert_array_equal(swapped, default)


# --- axes, types, pixels ------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 13), None),
        ((1, 1), "YX"),
        ((2, 40), None),
        ((11, 8, 3), "YXS"),
        ((2, 3, 9, 10), "TCYX"),
        ((10, 2, 12), "XZY"),
        ((2, 12, 10, 4), "ZYXS"),
    ],
    ids=str,
)
def test_any_shape(make_compact, channels, shape, axes):
    model = make_compact(2, channels)
    image = np.random.default_rng(1).integers(10, 4000, shape).astype(np.uint16)
    for temperature in (None, 0.4):
        found = flowsr.restore(image, model, axes=axes, temperature=temperature)
        assert found.shape == shape
        assert found.dtype == np.uint16
        if axes == "ZYXS":
            np.testing.assert_array_equal(found[..., 3], image[..., 3])
        if min(shape) > 8:
            assert not np.array_equal(found, image)


def test_planes_are_restored_apart_by_the_same_noise(make_compact):
    model = as_is(make_compact(2))
    stack = noisy(np.full((2, 30, 26), 0.5, np.float32), 0.1)
    found = flowsr.restore(stack, model)
    alone = [flowsr.restore(plane, model) for plane in stack]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-6)
    assert np.abs(found - stack).max() > 0.02


def test_constant_channels_and_hot_pixels_stay(photo):
    stack = np.stack([noisy(photo), np.full_like(photo, 3.5)])
    stack[0, 50, 60] = 40.0
    found = flowsr.restore(stack, "micro-4x", axes="CYX", device="cpu")
    np.testing.assert_array_equal(found[1], 3.5)
    assert abs(found[0, 50, 60] - 40) < 1
    other = np.delete(np.abs(found[0] - stack[0])[45:56, 55:66].ravel(), 60)
    assert other.max() < 0.6


def test_pixels_without_a_value(make_compact, image):
    model, degraded = make_compact(2), image.copy()
    degraded[3, 4] = np.nan
    with pytest.raises(ImageError, match="1 pixels that are NaN"):
        flowsr.restore(degraded, model)
    events = list(restoring(degraded, model, nan="fill"))
    assert np.isfinite(events[-1].image).all()
    assert events[-1].report["filled_pixels"] == 1
    kept = flowsr.restore(degraded, model, nan="fill", strength=0)
    assert np.isfinite(kept).all()
    np.testing.assert_array_equal(np.delete(kept.ravel(), 3 * 29 + 4),
                                  np.delete(degraded.ravel(), 3 * 29 + 4))  # fmt: skip


def test_lazy_images(make_compact, image):
    import dask.array as da

    model = make_compact(2)
    lazy = da.from_array(image, chunks=10)
    expected = flowsr.restore(image, model)
    np.testing.assert_array_equal(flowsr.restore(lazy, model), expected)


# --- refusals, progress, records ----------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": 1.2}, "strength is 1.2; it must be from 0"),
        ({"strength": -1}, "strength is -1; it must be a number from 0"),
        ({"strength": None}, "strength is None"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"temperature": -0.1}, "temperature is -0.1; it must be a number from 0"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"normalisation": "temporal"}, "'temporal'; give one or more of global"),
        ({"normalisation": ()}, "give one or more of global, local, spatial"),
        ({"seed": -1}, "seed is -1"),
        ({"tile": 0}, "tile is 0"),
        ({"axes": "YXZ"}, "axes is 'YXZ'"),
        ({"progress": 5}, "progress is 5"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_used_is_named(make_compact, image, options, said):
    with pytest.raises(flowsr.errors.FlowSRError, match=said.replace("(", r"\(")):
        flowsr.restore(image, make_compact(2), **options)


def test_a_degradation_that_is_not_known_is_refused_with_a_remedy(make_compact):
    other = make_compact(degradation=Degradation("motion"))
    with pytest.raises(OptionError, match=r"'motion'.*Choose another model") as error:
        flowsr.restore(np.eye(9, dtype=np.float32), other)
    # There is no such option here.
    assert "consistent" not in str(error.value)


def test_a_script_remakes_what_was_cleaned_twice(photo):
    degraded, model = noisy(photo), flowsr.load_model("micro-2x", device="cpu")
    calls: list[float] = []
    flowsr.restore(degraded, model, tile=24, progress=lambda a, b: calls.append(a / b))
    assert calls == sorted(calls)
    assert calls[-1] == 1.0
    (*_, last) = restoring(degraded, model, device="cpu")
    record = restored_record(model, degraded, last)
    assert record["report"]["reduction_cleaned"] == [True]
    names: dict = {"__name__": "script"}
    exec(provenance_script({"napari-flowsr": record}), names)
    np.testing.assert_array_equal(names["remake"](degraded, "micro-2x"), last.image)


def test_progress_and_cancelling(make_compact, image):
    model, calls = make_compact(2), []
    degraded = noisy(np.tile(image, (2, 3)), 1.0)
    flowsr.restore(
        degraded, model, tile=16, progress=lambda done, of: calls.append(done / of)
    )
    assert calls == sorted(calls)
    assert calls[-1] == 1.0
    assert len(calls) > 10
    events = until_cancelled(restoring(degraded, model, tile=16), lambda: True)
    with pytest.raises(Cancelled):
        list(events)

    def stop(done, total):
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        flowsr.restore(degraded, model, progress=stop)


def test_the_report_says_what_was_found(photo):
    degraded = noisy(photo)
    (*_, last) = restoring(degraded, flowsr.load_model("micro-4x", device="cpu"))
    assert isinstance(last, Restored)
    span = np.subtract(*np.percentile(degraded, (99.9, 0.1)))
    assert last.report["noise"] == [pytest.approx(SIGMA / span, rel=0.15)]
    assert 0.1 < last.report["kept"][0] < 0.9
    change = (last.image - degraded) / span
    expected = float(np.sqrt(np.mean(change**2)))
    assert last.report["changed"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6, "seed": 3}], ids=str)
def test_a_script_remakes_it(make_compact, image, tmp_path, options):
    path = tmp_path / "tiny.safetensors"
    made = make_compact(2)
    save_model(path, made.flow, made.card)
    model = flowsr.load_model(path)
    (*_, last) = restoring(image, model, **options)
    record = restored_record(model, image, last, source_name='"""', **options)
    assert record["tool"] == "restore"
    assert record["detail_inferred"] is True
    assert statement(record).startswith("Restored with napari-flowsr")
    names: dict = {"__name__": "script"}
    exec(provenance_script({"napari-flowsr": record}), names)
    np.testing.assert_array_equal(names["remake"](image, path), last.image)
    with pytest.raises(ImageError, match="another image"):
        names["remake"](image + 1, path)
    exec(provenance_script(record | {"kind": "removed"}), names)
    removed = names["remake"](image, path)
    np.testing.assert_array_equal(removed, difference(image, last.image))
    np.testing.assert_allclose(image - removed, last.image, atol=1e-5)


# --- what it rests on ---------------------------------------------------------


@pytest.mark.parametrize("sigma", [5 / 255, SIGMA, 0.2], ids="{:.3f}".format)
def test_the_noise_level_of_a_photograph(photo, sigma):
    seen = noise_level(torch.from_numpy(noisy(photo, sigma)))
    assert seen == pytest.approx(sigma, rel=0.2)


def test_no_noise_where_none_can_be_told(photo):
    assert noise_level(torch.from_numpy(photo)) == 0
    assert noise_level(torch.zeros(50, 50)) == 0
    assert noise_level(torch.rand(6, 90)) == 0  # smaller than the filter
    assert noise_level(torch.rand(7, 7)) > 0.1


def test_clipped_parts_tell_nothing(photo):
    degraded = noisy(photo)
    degraded[:, :70] = degraded.min()
    level = noise_level(torch.from_numpy(degraded))
    assert level == pytest.approx(SIGMA, rel=0.25)


def test_no_more_is_changed_than_noise_can_have_done(photo):
    """A texture that a model cannot tell from noise stays."""
    texture = np.random.default_rng(5).normal(0.5, 0.25, photo.shape)
    texture[:, :40] = photo[:, :40]
    model = as_is(flowsr.load_model("micro-4x", device="cpu"))
    degraded = noisy(texture)
    (*_, last) = restoring(degraded, model)
    (level,) = last.report["noise"]
    assert SIGMA < level < 0.26
    change = torch.from_numpy(last.image - degraded)[None, None]
    spread = torch.nn.functional.avg_pool2d(change.square(), 9, 1).sqrt()
    assert float(spread.max()) < 0.95 * level * 1.1


def test_a_limit_leaves_small_changes_alone():
    small = 0.02 * torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(limited(small, (0.1, 0.1)), small)
    found = limited(10 * small, (0.1, 0.0))
    assert float(found[0].square().mean().sqrt()) == pytest.approx(0.09, rel=0.05)
    assert not found[1].any()


def known_latents(content: float, noise: float) -> tuple[Latents, Latents, Latents]:
    """Content alone, content with noise, and with more noise; 8 channels.

    Only the upper half has content, and channels have more and more noise.
    """
    spec = LatentSpec((LatentLevel(8, 64, 64, Fraction(1)),), (64, 64), (128, 128))
    generator = torch.Generator().manual_seed(0)
    clean, first, second = torch.randn(3, 1, 8, 64, 64, generator=generator)
    clean[:, :, 32:] = 0
    amount = noise * torch.linspace(0.2, 2, 8)[None, :, None, None]
    own = content * clean + amount * first
    made = (content * clean, own, own + amount * second)
    return tuple(Latents((level,), spec) for level in made)  # type: ignore[return-value]


def error(a: Latents, b: Latents) -> float:
    return float((a.levels[0] - b.levels[0]).square().mean())


@pytest.mark.parametrize("kind", ["spatial", "local", "global", ("spatial", "local")])
def test_content_is_found_under_noise(kind):
    clean, own, moved = known_latents(1.5, 1.0)
    found = shrunk(own, gains(own, moved, kind), kind)
    assert error(found, clean) < 0.75 * error(own, clean)


def test_gains_are_wieners():
    clean, own, moved = known_latents(1.5, 1.0)
    (gain,) = gains(own, moved, "spatial")
    noise = torch.linspace(0.2, 2, 8).square()
    content = float(clean.levels[0].var())
    expected = content / (content + noise)
    torch.testing.assert_close(gain[0, :, 0, 0], expected, atol=0.08, rtol=0)
    (local,) = gains(own, moved, "local")
    assert local.shape == (1, 1, 64, 64)
    assert float(local[..., :30, :].mean()) > float(local[..., 34:, :].mean()) + 0.3


def test_without_noise_nothing_is_taken():
    clean, own, _ = known_latents(1.5, 1.0)
    for kind in ("spatial", "local", "global"):
        (gain,) = gains(own, own, kind)
        torch.testing.assert_close(gain, torch.ones_like(gain))
    assert float(gains(clean, clean, "local")[0][..., 40:, :].max()) == 0  # no content
