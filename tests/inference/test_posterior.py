"""Contract tests of the posterior: what may not change a pixel, and what must."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from every_family import (
    CASES,
    over_every_family,
    over_every_flow,
    over_every_prior,
    over_every_tiled_family,
)
from napari_flowsr.errors import (
    AxesError,
    Cancelled,
    DeviceError,
    ImageError,
    OptionError,
    OutOfMemoryError,
)
from napari_flowsr.inference import decoder, memory, plane_input, source
from napari_flowsr.inference.events import Finished, Progress, SampleReady
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.models.card import Normalisation

# "<= 1e-5 of the range": the range of `image` is about 6.
CLOSE = 1e-5


def result_of(post, n=3, **options):
    *_, last = post.stream(n, **options)
    assert isinstance(last, Finished)
    return last.result


# --- what may not change the result -------------------------------------------


@pytest.mark.parametrize("tile", [9, 16, 17, 1000, "auto"])
def test_tile_size_does_not_change_the_result(model, image, tile) -> None:
    whole = posterior(image, model, tile=None).sample(2)
    tiled = posterior(image, model, tile=tile).sample(2)
    assert np.abs(tiled - whole).max() <= CLOSE * np.ptp(whole)


@pytest.mark.parametrize("tile", [4, 7])
def test_tiles_fall_on_whole_cells_of_coarse_levels(make_pyramid, image, tile) -> None:
    model = make_pyramid()
    image = image[:21, :15]
    whole = posterior(image, model, tile=None).sample(2)
    tiled = posterior(image, model, tile=tile).sample(2)
    assert np.abs(tiled - whole).max() <= CLOSE * np.ptp(whole)
    assert len(set(model.flow.windows)) > 1


@over_every_family
def test_every_family_gives_the_same_in_tiles(case) -> None:
    model, strip = case.model(), case.strip(9)
    runs = [
        result_of(posterior(strip, model, tile=t, scale=case.scale, temperature=0.5), 2)
        for t in (None, 9)
    ]
    whole, tiled = (run.samples for run in runs)
    assert whole.shape[1:] == tuple(round(side * case.scale) for side in strip.shape)
    assert np.abs(tiled - whole).max() <= CLOSE * np.ptp(whole)
    # Tiles are smaller than the image, unless the network takes none.
    assert runs[1].report["tiles"] > 1 or model.flow.needs_whole
    if not model.flow.deterministic:
        assert np.abs(whole[0] - whole[1]).max() > 1e-3 * np.ptp(whole)
        assert not runs[1].report["identical"]


@over_every_tiled_family
def test_tiles_would_show_a_seam(case) -> None:
    """The comparison above can fail: with a halo of 0 the tiles differ."""
    model, strip = case.model(), case.strip(9)
    whole = posterior(strip, model, tile=None, scale=case.scale).sample(1)
    # A property of the class, so that this one network gets a class of its own.
    cut = type("Cut", (type(model.flow),), {"halo": 0})
    model.flow.__class__ = cut
    tiled = posterior(strip, model, tile=9, scale=case.scale).sample(1)
    assert np.abs(tiled - whole).max() > CLOSE * np.ptp(whole)


def test_samples_are_decoded_in_smaller_windows_than_the_encoder_sees(model) -> None:
    """And without what latents reach there would be a seam."""
    reach, halo = model.flow.latent_reach, model.flow.halo
    assert 0 < reach < halo
    strip = np.random.default_rng(0).random((9, 4 * halo)).astype(np.float32)
    whole = posterior(strip, model, tile=None).sample(1)
    post = posterior(strip, model, tile=9)
    inner = list(post._bound.setup(1).plan)[3]
    assert inner.window.width < inner.seen.width
    assert np.abs(post.sample(1) - whole).max() <= CLOSE * np.ptp(whole)
    cut = type("Cut", (type(model.flow),), {"latent_reach": 0})
    model.flow.__class__ = cut
    assert np.abs(post.sample(1) - whole).max() > CLOSE * np.ptp(whole)


@over_every_flow
@pytest.mark.parametrize("grid", ["lr", "hr"])
def test_temperature_maps_of_every_family_in_tiles(case, grid) -> None:
    model, strip = case.model(), case.strip(9)
    shape = strip.shape
    if grid == "hr":
        shape = tuple(round(side * case.scale) for side in shape)
    taus = np.random.default_rng(3).random(shape)
    whole, tiled = (
        posterior(strip, model, tile=t, scale=case.scale, temperature=taus).sample(1)
        for t in (None, 9)
    )
    assert np.abs(tiled - whole).max() <= CLOSE * np.ptp(whole)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_sample_does_not_depend_on_how_many_are_drawn(
    model, image, monkeypatch, batch
) -> None:
    nine = posterior(image, model).sample(9)
    monkeypatch.setitem(memory._LARGEST_BATCH, "cpu", batch)
    for n in (1, 2, 5):
        few = posterior(image, model).sample(n)
        np.testing.assert_allclose(few, nine[:n], atol=CLOSE)


def test_preview_and_statistics_agree_with_the_samples(model, image) -> None:
    samples = posterior(image, model).sample(5)
    for preview in (True, False):
        found = result_of(posterior(image, model, tile=16), 5, preview=preview)
        np.testing.assert_allclose(found.samples, samples, atol=CLOSE)
        np.testing.assert_allclose(found.mean, samples.mean(0), atol=CLOSE)
        np.testing.assert_allclose(found.std, samples.std(0), atol=CLOSE)
        for q, array in found.quantiles.items():
            expected = np.quantile(samples, q, axis=0)
            np.testing.assert_allclose(array, expected, atol=CLOSE)
            assert array.dtype == np.float32


def test_streaming_methods(model, image) -> None:
    post = posterior(image, model, tile=16)
    samples = post.sample(4)
    np.testing.assert_allclose(post.mean(4), samples.mean(0), atol=CLOSE)
    np.testing.assert_allclose(post.std(4), samples.std(0), atol=CLOSE)
    both = post.quantile([0.25, 0.5], 4)
    assert both.shape == (2, 74, 58)
    np.testing.assert_allclose(both[1], np.median(samples, axis=0), atol=CLOSE)
    np.testing.assert_array_equal(post.quantile(0.25, 4), both[0])


# --- what is refused ------------------------------------------------------------


def test_what_is_no_option_is_refused_before_the_work(model, image) -> None:
    with pytest.raises(OptionError, match="progress is 5; give a function"):
        posterior(image, model, progress=5)
    with pytest.raises(OptionError, match="consistent is 'no'; give True or False"):
        posterior(image, model, consistent="no")
    post = posterior(image, model)
    with pytest.raises(OptionError, match="at least one number"):
        post.quantile([], 3)
    with pytest.raises(OptionError, match="outputs is 5; choose"):
        post.stream(2, 5)
    with pytest.raises(OptionError, match="cancelled is 5; give a function"):
        post.stream(2, cancelled=5)
    with pytest.raises(OptionError, match="latents are of type int"):
        post.decode(5)


def test_scales_are_told_as_numbers(model, image) -> None:
    with pytest.raises(OptionError, match=r"this model has 2\. Choose"):
        posterior(image, model, scale=3)
    with pytest.raises(OptionError, match=r"scale is 'x'; it must be 2\."):
        posterior(image, model, scale="x")


# --- where there is no spread ---------------------------------------------------


def spreads(post, n):
    """Each way to ask for the spread of samples."""
    return (
        lambda: post.std(n),
        lambda: post.quantile(0.9, n),
        lambda: post.stream(n, ("mean", "std")),
        lambda: post.stream(n, ("quantiles",)),
    )


def test_one_sample_has_no_spread(model, image) -> None:
    post = posterior(image, model)
    for ask in spreads(post, 1):
        with pytest.raises(OptionError, match="of 1 sample, which has no spread"):
            ask()
    result = result_of(post, 1)  # all that there is
    assert result.mean is not None
    assert result.std is None
    assert not result.quantiles
    result_of(post, 1, outputs=("quantiles", "mean"), quantiles=())  # asks for none


@over_every_family
def test_a_deterministic_model_has_no_spread(case) -> None:
    post = posterior(case.strip(2)[:, :12], case.model(), scale=case.scale)
    for ask in spreads(post, 4):
        if post.model.flow.deterministic:
            with pytest.raises(OptionError, match="deterministic model makes one"):
                ask()
    wanted = result_of(post, 2)
    assert (wanted.std is None) == post.model.flow.deterministic


@over_every_prior
def test_a_learned_prior_has_no_spread(case) -> None:
    model = case.with_prior()
    image = case.strip(2)[:, :12]
    post = posterior(image, model, scale=case.scale, prior="learned")
    for ask in spreads(post, 4):
        with pytest.raises(OptionError, match="learned prior makes one prediction"):
            ask()


@pytest.mark.parametrize("temperature", [0, np.zeros((37, 29))], ids=["0", "map"])
def test_no_spread_at_temperature_zero_is_told(model, image, temperature) -> None:
    post = posterior(image, model, temperature=temperature)
    for ask in spreads(post, 2)[:2]:
        with pytest.warns(UserWarning, match="no sign of certainty"):
            ask()
    (told,) = result_of(post, 2, outputs=("std",)).report["notices"]
    assert "temperature 0" in told
    post.mean(2)  # says nothing
    assert result_of(post, 2, outputs=("mean", "samples")).report["notices"] == []
    assert result_of(posterior(image, model), 2).report["notices"] == []


# --- single precision -----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "levels", "spread"),
    [
        (lambda x: x, True, True),
        (lambda x: x * 1e200, False, False),
        (lambda x: x * 1e-44, False, False),
        (lambda x: x / 255 + 1e9, False, True),
        (lambda x: (x * 10).astype(np.int64) + 2**31, False, True),
        (lambda x: (x * 10).astype(np.int32) + 2**19, True, True),
        (lambda x: (x * 1e7).astype(np.uint32), True, True),
        (lambda x: (x * 0 + 60000 + (x > 10)).astype(np.uint16), True, True),
    ],
    ids=["plain", "huge", "tiny", "offset", "int64", "int32", "uint32", "uint16"],
)
def test_statistics_that_float32_does_not_resolve(
    model, image, change, levels, spread
) -> None:
    changed = change(image.astype(np.float64))
    post = posterior(changed, model)
    for ask, works in (
        (lambda: post.mean(2), levels),
        (lambda: post.quantile(0.5, 2), levels),
        (lambda: post.std(2), spread),
        (lambda: post.consistency(post.sample(1)[0])[1], spread),
    ):
        if works:
            assert np.isfinite(found := ask()).all()
            assert len(np.unique(found)) > 500 or changed.dtype == np.uint16
        else:
            with pytest.raises(ImageError, match=r"float32.*Subtract an offset"):
                ask()
    assert np.ptp(post.sample(1)) > 0.5 * np.ptp(changed)


def test_view_order_and_container_do_not_matter(model, image) -> None:
    expected = posterior(image, model).sample(1)
    big_endian = image.astype(">f4")
    strided = np.repeat(image, 2, axis=1)[:, ::2]
    transposed = np.asfortranarray(image)
    for same in (big_endian, strided, transposed, image.tolist(), image[::-1][::-1]):
        found = posterior(same, model).sample(1)
        np.testing.assert_allclose(found, expected, atol=CLOSE)
        assert found.dtype.isnative
    by_x_first = posterior(image.T, model, axes="XY").sample(1)
    np.testing.assert_allclose(by_x_first[0].T, expected[0], atol=CLOSE)


# --- what must change it ------------------------------------------------------


def test_seeds_and_temperature(model, image) -> None:
    def draw(**options):
        return posterior(image, model, **options).sample(1)

    base = draw(seed=1)
    np.testing.assert_array_equal(base, draw(seed=1))
    assert not np.allclose(base, draw(seed=2))
    assert not np.allclose(base, draw(seed=1 + 2**40))
    assert not np.allclose(base, draw(seed=1 + 2**64))
    np.testing.assert_array_equal(draw(temperature=0), draw(temperature=0, seed=9))
    card = model.card.with_(temperature=0.3)
    cool = type(model)(card, model.flow)
    np.testing.assert_array_equal(
        posterior(image, cool).sample(1), draw(temperature=0.3)
    )


def test_noise_per_plane_or_shared(model, image) -> None:
    stack = np.stack([image, image])
    apart = posterior(stack, model).sample(1)[0]
    shared = posterior(stack, model, noise="shared").sample(1)[0]
    assert not np.allclose(apart[0], apart[1])
    np.testing.assert_array_equal(shared[0], shared[1])
    np.testing.assert_allclose(apart[0], shared[0], atol=CLOSE)


@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("tile", [None, 11])
def test_temperature_map(model, image, grid, tile) -> None:
    taus = np.zeros((37 * grid, 29 * grid))
    taus[20 * grid :] = 0.8
    mixed = posterior(image, model, temperature=taus, tile=tile).sample(1)[0]
    mode = posterior(image, model, temperature=0).sample(1)[0]
    drawn = posterior(image, model, temperature=0.8).sample(1)[0]
    reach = model.flow.receptive_field
    top, bottom = slice(0, 2 * (20 - reach)), slice(2 * (20 + reach), None)
    np.testing.assert_allclose(mixed[top], mode[top], atol=CLOSE)
    np.testing.assert_allclose(mixed[bottom], drawn[bottom], atol=CLOSE)


def test_temperature_map_per_plane(model, image) -> None:
    stack = np.stack([image, image])
    taus = np.stack([np.zeros_like(image), np.ones_like(image)])
    found = posterior(stack, model, temperature=taus).sample(1)[0]
    mode, drawn = (posterior(stack, model, temperature=t).sample(1)[0] for t in (0, 1))
    np.testing.assert_allclose(found, [mode[0], drawn[1]], atol=CLOSE)


# --- learned priors -----------------------------------------------------------


@over_every_prior
def test_a_learned_prior_is_one_prediction_in_any_tiling(case) -> None:
    model, strip = case.with_prior(), case.strip(9)
    options = {"scale": case.scale, "prior": "learned"}
    runs = [
        result_of(posterior(strip, model, tile=t, seed=t or 0, **options), 3)
        for t in (None, 9)
    ]
    whole, tiled = (run.samples for run in runs)
    assert np.abs(tiled - whole).max() <= CLOSE * np.ptp(whole)
    assert (whole[0] == whole[1:]).all()
    assert runs[0].std is None
    assert runs[0].report["identical"]
    # It is neither the mode nor a sample.
    others = posterior(strip, model, scale=case.scale, temperature=0).sample(1)
    assert np.abs(whole - others).max() > 1e-4 * np.ptp(whole)


def test_a_learned_prior_is_that_of_the_flow() -> None:
    (case,) = next(c.values for c in CASES if c.id == "srflow-2")
    model = case.with_prior()
    card = model.card.with_(normalisation=Normalisation("dtype"))
    image = np.random.default_rng(0).random((12, 9)).astype(np.float32)
    post = posterior(image, type(model)(card, model.flow), prior="learned", tile=4)
    with torch.no_grad():
        cond = model.flow.condition(torch.from_numpy(image)[None, None])
        expected = model.flow.decode(model.flow.learned_prior(cond), cond)
    np.testing.assert_allclose(post.sample(1)[0], expected[0, 0], atol=1e-4)
    record = post.provenance("sample")
    assert record["prior"] == "learned"
    assert record["prior_name"] == "tiny-lp"
    assert record["prior_sha256"] == "1" * 64
    assert record["temperature"] is None
    assert "prior_name" not in posterior(image, model).provenance("sample")


def test_a_learned_prior_has_to_be_there(model, image) -> None:
    with pytest.raises(OptionError, match=r"load_model\(model, prior=.*--prior-model"):
        posterior(image, model, prior="learned")


def test_a_learned_prior_that_explodes_is_cooled_down(image, monkeypatch) -> None:
    (case,) = next(c.values for c in CASES if c.id == "srflow-2")
    model = case.with_prior()
    large = [3.0 * p for p in model.flow.latent_module.parameters()]
    with torch.no_grad():
        for parameter, value in zip(
            model.flow.latent_module.parameters(), large, strict=True
        ):
            parameter.copy_(value)
    free = result_of(posterior(image, model, prior="learned"), 1)
    span = np.abs(free.samples - image.mean()).max() / np.ptp(image)
    monkeypatch.setattr(plane_input, "explosion_limit", lambda *planes: 0.6 * span)
    found = [
        result_of(posterior(image, model, prior="learned", tile=t), 1)
        for t in (None, 16)
    ]
    assert found[0].report["redrawn_blocks"] > 0
    np.testing.assert_allclose(found[0].samples, found[1].samples, atol=1e-3)


def test_no_memory_for_a_learned_prior(image, monkeypatch) -> None:
    (case,) = next(c.values for c in CASES if c.id == "srflow-2")
    model = case.with_prior()

    def never(self, initial, lr):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(model.flow.latent_module), "predict", never)
    said = "prior='gaussian', no --prior-model, or 'Prior'"
    with pytest.raises(OutOfMemoryError, match=said):
        posterior(image, model, prior="learned").sample(1)


# --- dtypes, sizes, axes ------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        "uint8",
        "int16",
        "uint16",
        ">u2",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
    ],
)
def test_dtype_and_range_are_kept(model, image, dtype) -> None:
    given = (image * 10).astype(dtype)
    found = posterior(given, model, temperature=0).sample(1)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    exact = posterior(given.astype(np.float64), model, temperature=0).sample(1)
    slack = 0.5 + 1e-3 if found.dtype.kind in "ui" else 0.1
    clipped = np.clip(exact, 0, None) if found.dtype.kind == "u" else exact
    assert np.abs(found.astype(float) - clipped).max() <= slack


def test_floats_are_not_clipped_and_float64_stays(model, image) -> None:
    found = posterior(image.astype(np.float64), model, temperature=2.0).sample(1)
    assert found.dtype == np.float64
    assert found.max() > image.max()


def test_bool_is_thresholded(model, image) -> None:
    mask = image > 10
    found = posterior(mask, model, temperature=0).sample(1)[0]
    assert found.dtype == bool
    as_float = posterior(mask.astype(float), model, temperature=0).sample(1)[0]
    np.testing.assert_array_equal(found, as_float >= 0.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 3), (5, 5)])
@pytest.mark.parametrize("padded", [False, True])
def test_tiny_sizes(model, make_pyramid, shape, padded) -> None:
    chosen = make_pyramid() if padded else model
    ramp = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = posterior(ramp, chosen, tile=4).sample(2)
    assert found.shape == (2, 2 * shape[0], 2 * shape[1])
    assert np.isfinite(found).all()


@over_every_family
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2)])
def test_tiny_sizes_of_every_family(case, shape) -> None:
    ramp = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    post = posterior(ramp, case.model(), tile=2, scale=case.scale, temperature=0.5)
    found = post.sample(2)
    assert found.shape == (2, *(round(side * case.scale) for side in shape))
    assert np.isfinite(found).all()
    ratios = [b / a for a, b in zip(shape, found.shape[1:], strict=True)]
    assert post.geometry.scales == tuple(ratios)


@over_every_prior
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2)])
def test_tiny_sizes_with_a_learned_prior(case, shape) -> None:
    ramp = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    post = posterior(ramp, case.with_prior(), prior="learned", scale=case.scale)
    found = post.sample(1)[0]
    assert found.shape == tuple(round(side * case.scale) for side in shape)
    assert np.isfinite(found).all()


@over_every_family
def test_every_family_keeps_dtype_and_constants(case) -> None:
    model = case.model()
    given = (np.random.default_rng(0).random((5, 7, 3)) * 200).astype(np.uint8)
    given[..., 1] = 77
    post = posterior(given, model, axes="YXS", scale=case.scale, temperature=0.3)
    found = post.sample(1)[0]
    assert found.dtype == np.uint8
    assert found.shape == (round(5 * case.scale), round(7 * case.scale), 3)
    if model.flow.channels == 1:
        assert (found[..., 1] == 77).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scales(make_compact, image, scale) -> None:
    model = make_compact(scale=scale)
    post = posterior(image, model, scale=scale, tile=10)
    assert post.sample(1).shape == (1, 37 * scale, 29 * scale)
    assert post.geometry.scales == (scale, scale)


def test_five_axes_loop_over_planes(model, image) -> None:
    stack = np.stack([image, 2 * image, image + 1, image - 4]).reshape(2, 1, 2, 37, 29)
    found = posterior(stack, model, axes="TZCYX").sample(2)
    assert found.shape == (2, 2, 1, 2, 74, 58)
    # Each channel has its own range, over all times.
    one = posterior(stack[:, :, 1], model, noise="shared").sample(1)[0]
    shared = posterior(stack, model, axes="TZCYX", noise="shared").sample(1)[0]
    np.testing.assert_allclose(shared[:, :, 1], one, atol=CLOSE)


def test_colour_by_a_one_channel_model(model, image) -> None:
    rgb = np.stack([image, image, 3 * image], -1)
    found = posterior(rgb, model, axes="YXS").sample(1)[0]
    gray = posterior(image, model).sample(1)[0]
    # The components share the noise, so that gray stays gray.
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    np.testing.assert_allclose(found[..., 0], gray, atol=CLOSE)
    np.testing.assert_allclose(found[..., 2], 3 * gray, atol=1e-3)


def test_rgb_model_on_rgb_and_on_gray(make_compact, image) -> None:
    # Percentiles of three equal components are not exactly those of one.
    rgb_model = make_compact(channels=3, normalisation=Normalisation("dtype"))
    image = (image - image.min()) / np.ptp(image)
    rgb = np.stack([image, image, image], -1)
    found = posterior(rgb, rgb_model, axes="YXS", tile=12).sample(1)[0]
    assert found.shape == (74, 58, 3)
    gray = posterior(image, rgb_model).sample(1)[0]
    np.testing.assert_allclose(gray, found.mean(-1), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_alpha_is_enlarged_bicubically(rgb_model, model, dtype) -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (9, 8, 4)).astype(dtype)
    rgba[..., 3] = 255
    rgba[:4, :, 3] = 0
    for chosen in (model, rgb_model):
        post = posterior(rgba, chosen, axes="YXS")
        result = result_of(post, 2)
        alpha = result.samples[..., 3].astype(float)
        assert (alpha[:, 0] == 0).all()
        assert (alpha[:, -1] == 255).all()
        assert len(np.unique(alpha)) > 2  # soft between, not nearest
        assert (result.std[..., 3] == 0).all()
        np.testing.assert_array_equal(result.samples[0, ..., :3].shape, (18, 16, 3))


@pytest.mark.parametrize("value", [0, 7, 2**63 + 12345])
def test_a_constant_image_gives_that_constant(model, make_pyramid, value) -> None:
    given = np.full((6, 5), value, np.uint64)
    for chosen in (model, make_pyramid()):
        found = result_of(posterior(given, chosen, seed=4), 2)
        assert (found.samples == value).all()
        assert (found.mean == np.float32(value)).all()
        assert (found.std == 0).all()
        assert (found.quantiles[0.05] == np.float32(value)).all()


def test_a_constant_channel_beside_others(model, image) -> None:
    green = np.zeros((37, 29, 3), np.float32)
    green[..., 1] = image
    found = posterior(green, model, axes="YXS").sample(1)[0]
    assert (found[..., [0, 2]] == 0).all()
    assert np.ptp(found[..., 1]) > 1


# --- lazy arrays --------------------------------------------------------------


class Lazy:
    """An array that counts what is read of it."""

    def __init__(self, array) -> None:
        self.array, self.largest = array, 0
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index):
        found = self.array[index]
        self.largest = max(self.largest, found.size)
        return found

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("read at once")


def test_large_lazy_arrays_are_read_plane_by_plane(model, image, monkeypatch) -> None:
    stack = np.stack([image, image + 1, image * 2])
    expected = posterior(stack, model).sample(1)
    monkeypatch.setattr(source, "READ_AT_ONCE", 100)
    lazy = Lazy(stack)
    np.testing.assert_array_equal(posterior(lazy, model).sample(1), expected)
    assert lazy.largest == image.size


@pytest.mark.parametrize("limit", [1 << 28, 100])
@pytest.mark.parametrize("kind", ["dask", "zarr"])
def test_dask_and_zarr(model, image, monkeypatch, kind, limit) -> None:
    monkeypatch.setattr(source, "READ_AT_ONCE", limit)
    stack = np.stack([image, image + 1])
    if kind == "dask":
        da = pytest.importorskip("dask.array")
        lazy = da.from_array(stack, chunks=(1, 16, 16))
    else:
        zarr = pytest.importorskip("zarr")
        lazy = zarr.create_array({}, shape=stack.shape, chunks=(1, 16, 16), dtype="f4")
        lazy[:] = stack
    found = posterior(lazy, model).sample(1)
    np.testing.assert_array_equal(found, posterior(stack, model).sample(1))


# --- bad input ----------------------------------------------------------------


def test_bad_images(model, image) -> None:
    with pytest.raises(ImageError, match="complex"):
        posterior(image + 1j, model)
    with pytest.raises(ImageError, match="no pixels"):
        posterior(np.zeros((0, 5)), model)
    with pytest.raises(ImageError, match="two axes"):
        posterior(np.zeros(5), model)
    with pytest.raises(ImageError, match="NaN"):
        posterior(np.where(image > 10, np.nan, image), model)
    with pytest.raises(AxesError, match="axes"):
        posterior(np.zeros((5, 5, 3)), model)
    with pytest.raises(AxesError, match="YXC"):
        posterior(np.zeros((9, 8, 1)), model)
    with pytest.raises(AxesError, match="axes='YX'"):
        posterior(image, model, axes=("Y", "X"))
    with pytest.raises(ImageError, match="read_image"):
        posterior("cell.tif", model)
    with pytest.raises(AxesError, match="5 axes"):
        posterior(np.zeros((1, 1, 1, 4, 4)), model, axes="TZCY")


def test_nan_is_filled_and_reported(model, image) -> None:
    holes = image.copy()
    holes[5, 5] = np.nan
    found = result_of(posterior(holes, model, nan="fill"), 1)
    assert np.isfinite(found.samples).all()
    assert found.report["filled_pixels"] == 1


@pytest.mark.parametrize(
    ("options", "say"),
    [
        ({"temperature": -1}, "must not be negative"),
        ({"temperature": float("nan")}, "NaN"),
        ({"temperature": "warm"}, "number"),
        ({"temperature": np.ones((3, 3))}, "LR grid"),
        ({"temperature": np.full((37, 29), -1.0)}, "negative"),
        ({"scale": 3}, "Scale 3"),
        ({"scale": "big"}, "scale"),
        ({"seed": 1.5}, "seed"),
        ({"seed": -1}, "seed is -1; give an integer from 0"),
        ({"prior": "learned"}, "'gaussian'"),
        ({"noise": "white"}, "'shared'"),
        ({"nan": "ignore"}, "'fill'"),
        ({"tile": 0}, "at least 1"),
        ({"tile": "big"}, "tile"),
    ],
)
def test_bad_options_say_what_is_allowed(model, image, options, say) -> None:
    with pytest.raises(OptionError, match=say):
        posterior(image, model, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"n": 2.5},
        {"outputs": ("median",)},
        {"outputs": ()},
        {"quantiles": (2,)},
    ],
)
def test_stream_checks_its_options_at_once(model, image, options) -> None:
    with pytest.raises(OptionError):
        posterior(image, model).stream(**options)


def test_unknown_device(model, image) -> None:
    with pytest.raises(DeviceError, match="'auto'"):
        posterior(image, model, device="gpu")


# --- events, cancelling, resources --------------------------------------------


def test_order_of_events(model, image) -> None:
    post = posterior(image, model, tile=16)
    events = list(post.stream(3))
    ready = [e.index for e in events if isinstance(e, SampleReady)]
    assert ready == [0, 1, 2]
    first = next(i for i, e in enumerate(events) if isinstance(e, SampleReady))
    ticks = [e for e in events if isinstance(e, Progress)]
    assert ticks[-1].done == ticks[-1].total == 3 * 6
    assert all(a.done <= b.done <= b.total for a, b in pairwise(ticks))
    assert events[first - 1].done == 6  # one sample of six tiles, and no more
    final = events[-1].result
    np.testing.assert_array_equal(events[first].array, final.samples[0])


def test_a_preview_comes_even_if_only_the_mean_is_wanted(model, image) -> None:
    events = list(posterior(image, model).stream(3, ("mean",)))
    (ready,) = [e for e in events if isinstance(e, SampleReady)]
    sample = posterior(image, model).sample(1)[0]
    np.testing.assert_allclose(ready.array, sample, atol=CLOSE)
    assert events[-1].result.samples is None
    assert events[-1].result.std is None
    assert not events[-1].result.quantiles


def test_cancel_by_not_iterating_on(make_pyramid, image) -> None:
    model = make_pyramid()
    stream = posterior(image, model, tile=8).stream(4)
    next(stream)
    stream.close()
    assert len(model.flow.batches) == 1


def test_cancel_from_the_callback(make_pyramid, image) -> None:
    model, calls = make_pyramid(), []

    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if done >= 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        posterior(image, model, tile=8, progress=stop).sample(1)
    assert calls[-1][0] == 2
    assert len(model.flow.batches) == 2


def test_condition_is_computed_once_per_tile(make_pyramid, image) -> None:
    for preview in (True, False):
        model = make_pyramid()
        post = posterior(image, model, tile=16)
        calls = model.flow.windows
        before = len(calls)
        (*_, last) = post.stream(20, preview=preview)
        probes = [w for w in calls[before:] if w == (16, 16)]  # of the memory estimate
        assert len(calls) - before - len(probes) == last.result.report["tiles"]


def test_condition_is_recomputed_rather_than_kept_beyond_the_budget(
    make_pyramid, image, monkeypatch
) -> None:
    model = make_pyramid()
    expected = posterior(image, model, tile=10).sample(3)
    monkeypatch.setattr(decoder.ConditionCache, "put", lambda *args: None)
    found = result_of(posterior(image, model, tile=10), 3)
    np.testing.assert_allclose(found.samples, expected, atol=CLOSE)


def test_inference_mode_does_not_leak_to_the_consumer(model, image) -> None:
    for _ in posterior(image, model, tile=16).stream(2):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        weight = torch.ones(2, requires_grad=True)
        (weight * 2).sum().backward()


def test_the_model_is_left_as_it_was(model, image) -> None:
    model.flow.train()
    before = {k: v.clone() for k, v in model.flow.state_dict().items()}
    posterior(image, model).sample(1)
    assert model.flow.training
    for key, value in model.flow.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
        MemoryError(),
    ],
)
def test_lack_of_memory_makes_tiles_smaller(make_pyramid, image, monkeypatch, error):
    model = make_pyramid()
    monkeypatch.setitem(memory._LARGEST_BATCH, "cpu", 4)
    expected = posterior(image, model, tile=None).sample(3)
    decode = type(model.flow).decode

    def small_only(self, latents, cond):
        if latents.batch * latents.levels[0][0].numel() > 4 * 900:
            raise error
        return decode(self, latents, cond)

    monkeypatch.setattr(type(model.flow), "decode", small_only)
    found = result_of(posterior(image, model, tile=None), 3, preview=False)
    np.testing.assert_allclose(found.samples, expected, atol=CLOSE)
    assert found.report["memory_shortage"]
    assert found.report["batch"] == 1


def test_no_memory_at_all(make_pyramid, image, monkeypatch) -> None:
    model = make_pyramid()

    def never(self, latents, cond):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(model.flow), "decode", never)
    with pytest.raises(OutOfMemoryError, match="smaller model"):
        posterior(image, model).sample(1)


def test_other_runtime_errors_pass_through(make_pyramid, image, monkeypatch) -> None:
    model = make_pyramid()

    def broken(self, latents, cond):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(type(model.flow), "decode", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        posterior(image, model).sample(1)


def test_provenance_is_complete(model, image) -> None:
    post = posterior(image, model, seed=5, temperature=np.ones((37, 29)))
    post.sample(2)
    record = post.provenance("sample", sample=1, source_name="cells")
    assert record["detail_inferred"] is True
    assert record["model_sha256"] == model.card.sha256
    assert record["seed"] == 5
    assert record["source_name"] == "cells"
    assert record["report"]["tile"] == record["tile"]
    assert len(record["report"]["lr_psnr"]) == 2
    import json

    assert json.loads(json.dumps(record, allow_nan=False)) == record
