"""Content and style from other images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_flowsr as flowsr
from every_family import over_every_flow
from napari_flowsr.data.degrade import downscale
from napari_flowsr.errors import AxesError, Cancelled, FlowSRError, OptionError
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.consistency import Projection
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.paste import paste
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.reduced import reduced
from napari_flowsr.inference.regions import lone_tile, regions
from napari_flowsr.inference.styling import styling, transfer_style
from napari_flowsr.inference.transfer import transfer_content, transferring
from napari_flowsr.inference.transplant import _encoded, reconciled
from napari_flowsr.models.card import Degradation, Normalisation


def texture(shape=(96, 112), seed=0):
    """Smooth blobs with fine texture, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = np.sin(y / 7 + seed) * np.cos(x / 9)
    return (120 + 50 * smooth + 8 * rng.normal(size=shape)).clip(0, 255).astype("u1")


@pytest.fixture(scope="module")
def builtin():
    return flowsr.load_model("micro-2x", device="cpu")


HOST, OTHER = texture(), texture(seed=3)
PASTED, MASK = paste(HOST, OTHER[20:36, 30:46], at=(40, 48), match=True)


# --- content ------------------------------------------------------------------------


def test_the_paste_is_brought_to_agree_with_the_lr_image(builtin) -> None:
    post = posterior(reduced(HOST, builtin).lr, builtin)
    before, _ = post.consistency(PASTED)
    found = transfer_content(HOST, PASTED, MASK, builtin)
    after, _ = post.consistency(found)
    assert after > before + 10
    assert found.dtype == HOST.dtype
    # What it is given is not written to.
    assert (PASTED[MASK] != HOST[MASK]).mean() > 0.9


def test_fine_detail_of_the_paste_is_kept_by_reconciling(builtin) -> None:
    post = posterior(reduced(HOST, builtin).lr, builtin)

    def kept(found):
        fine = [_fine(a)[MASK] for a in (found, PASTED)]
        return np.corrcoef(*fine)[0, 1]

    steps = [transferring(post, HOST, PASTED, MASK, reconcile=on) for on in (0, 1)]
    as_paper, ours = (kept(post.finish(s).array) for s in steps)
    assert ours > as_paper + 0.15
    assert ours > 0.3


def _fine(image):
    whole = torch.from_numpy(image.astype(np.float64))
    return (whole - _enlarged(downscale(whole, 2))).numpy()


def _enlarged(small):
    from napari_flowsr.data.degrade import upscale_bicubic

    return upscale_bicubic(small, 2)


@over_every_flow
def test_content_of_every_family(case) -> None:
    model, strip = case.model(), case.strip(9)
    if hasattr(model.flow, "downscale"):
        with pytest.raises(OptionError, match="its own network"):
            transfer_content(HOST, PASTED, MASK, model)
        return
    options = {"scale": case.scale, "temperature": 0.3}
    post = posterior(strip, model, **options)
    hr = post.sample(1)[0]
    edited, mask = hr.copy(), np.zeros(strip.shape, bool)
    mask[2:5, 9:14] = True
    columns = slice(round(9 * case.scale), round(14 * case.scale))
    edited[:, columns] += 0.2 * np.ptp(hr)
    found = [
        p.finish(transferring(p, hr, edited, mask, normalisation="spatial")).array
        for p in (post, posterior(strip, model, tile=9, **options))
    ]
    assert np.abs(found[0] - found[1]).max() < 1e-4 * np.ptp(hr)
    far = np.arange(hr.shape[1]) / case.scale
    far = (far < 9 - model.flow.halo - 2) | (far > 15 + model.flow.halo + 2)
    assert far.any()
    np.testing.assert_array_equal(found[0][:, far], hr[:, far])
    assert np.abs(found[0] - hr).max() > 0


def test_the_mask_may_be_on_either_grid_or_left_out(model, image) -> None:
    lr = image[:36, :28]
    hr = posterior(lr, model).sample(1)[0]
    edited = hr.copy()
    edited[20:32, 24:40] += 2
    small = np.zeros(lr.shape, bool)
    small[10:16, 12:20] = True
    large = small.repeat(2, 0).repeat(2, 1)
    found = [
        transfer_content(hr, edited, m, model, image=lr) for m in (small, large, None)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_content_outside_of_the_mask_is_left_out(model, image) -> None:
    hr = posterior(image, model).sample(1)[0]
    mask = np.zeros(hr.shape, bool)
    mask[10:20, 10:20] = True
    inside, both = hr.copy(), hr.copy()
    inside[mask] += 2
    both[mask] += 2
    both[60:70, 40:50] -= 5
    found = [transfer_content(hr, e, mask, model, image=image) for e in (inside, both)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][60:, 40:], hr[60:, 40:])


def test_the_seed_decides_and_a_soft_mask_does_less(model, image) -> None:
    hr = posterior(image, model).sample(1)[0]
    edited = hr + 1
    mask = np.zeros(hr.shape, np.float32)
    mask[20:40, 20:40] = 1
    run = [
        transfer_content(hr, edited, m, model, image=image, seed=s)
        for m, s in ((mask, 1), (mask, 1), (mask, 2), (0.2 * mask, 1))
    ]
    np.testing.assert_array_equal(run[0], run[1])
    assert (run[0] != run[2]).any()
    assert np.abs(run[3] - hr).mean() < np.abs(run[0] - hr).mean()


def test_a_soft_mask_does_not_amplify_latents(builtin) -> None:
    """Where both show the same, own and new latents are nearly the same ones."""
    post = posterior(HOST[:48, :56].astype(np.float32), builtin, temperature=1.0)
    hr = post.sample(1)[0]
    edited = hr.copy()
    edited[40:48, 40:48] = hr[10:18, 70:78]
    soft, hard = (
        post.harmonise(hr, edited, np.full(hr.shape, w), seed=3) for w in (0.5, 1.0)
    )
    found = torch.cat([z.flatten() for z in post.encode(soft).levels])
    assert 0.8 < float(found.std()) < 1.05
    changes = [float(np.abs(a - hr).mean()) for a in (soft, hard)]
    assert 0.3 * changes[1] < changes[0] < 0.7 * changes[1]


@pytest.mark.parametrize("shape", [(31, 50), (30, 51), (3, 5), (1, 1)], ids=str)
def test_any_size_without_an_lr_image(make_compact, shape) -> None:
    model, hr = make_compact(4), texture(shape)
    edited = hr.copy()
    edited[-1, -1] = 255 - edited[-1, -1]
    found = transfer_content(hr, edited, None, model)
    assert (found.shape, found.dtype) == (hr.shape, hr.dtype)


def test_far_pixels_stay_also_where_the_image_is_padded(model) -> None:
    hr = texture((161, 163))
    edited, mask = paste(hr, OTHER[:9, :9], at=(100, 100))
    for where in (mask, None):
        found = transfer_content(hr, edited, where, model)
        np.testing.assert_array_equal(found[:60, :60], hr[:60, :60])
        assert (found != hr).any()


def test_stacks_colour_and_dtypes(model, rgb_model) -> None:
    hr = np.stack([texture((40, 44), seed=s) for s in (1, 2)]).astype(np.uint16) * 7
    edited = hr.copy()
    edited[1, 10:20, 10:20] = edited[0, 10:20, 10:20]
    found = transfer_content(hr, edited, None, model, axes="TYX")
    np.testing.assert_array_equal(found[0], hr[0])
    assert (found[1] != hr[1]).any()
    colour = np.stack([texture((40, 44), seed=s) for s in (1, 2, 3)], -1)
    edited, mask = paste(colour, colour[20:30, 20:30], at=(4, 4))
    for network in (model, rgb_model):
        found = transfer_content(colour, edited, mask, network, axes="YXS")
        assert (found.dtype, found.shape) == (colour.dtype, colour.shape)
        assert (found != colour).any()


def test_models_that_take_dtypes_as_they_are(make_compact) -> None:
    model = make_compact(normalisation=Normalisation("dtype"))
    found = transfer_content(HOST, PASTED, MASK, model)
    assert found.dtype == HOST.dtype
    assert reduced(HOST, model).lr.dtype == HOST.dtype
    with pytest.raises(FlowSRError, match="floats from"):
        transfer_content(HOST * 2.0, PASTED * 2.0, MASK, model)


BAD = {
    "edited-of-another-size": (HOST, PASTED[1:], MASK, {}, "shape of hr"),
    "edited-of-another-ndim": (HOST, PASTED[None], MASK, {}, "shape of hr"),
    "edited-on-another-scale": (HOST, PASTED / 255, MASK, {}, "float64.*uint8"),
    "edited-of-another-width": (HOST, PASTED.astype("u2"), MASK, {}, "uint16.*uint8"),
    "edited-odd": (
        *(HOST, PASTED[1:], MASK),
        *({"image": HOST[:48, :56]}, r"^edited has shape \(95, 112\)"),
    ),
    "edited-nan": (HOST * 1.0, HOST * np.nan, MASK, {}, "^edited has NaN"),
    "nothing-edited": (HOST, HOST, None, {}, "the same as hr"),
    "empty-mask": (HOST, PASTED, 0 * MASK, {}, "empty"),
    "mask-of-another-ndim": (HOST, PASTED, MASK[0], {}, "last two axes"),
    "mask-of-another-size": (HOST, PASTED, MASK[5:], {}, "last two axes"),
    "mask-of-labels": (HOST, PASTED, MASK * 7, {}, "labels == k"),
    "unknown-collection": (HOST, PASTED, MASK, {"normalisation": "all"}, "local"),
    "cold": (HOST, PASTED, MASK, {"temperature": -1}, "temperature"),
    "odd-hr": (HOST[1:], PASTED[1:], None, {"image": HOST[:48, :56]}, "it must be"),
    "other-hr": (HOST, PASTED, None, {"image": HOST[None, :48, :56]}, "it must be"),
    "nan": (HOST * np.nan, PASTED, MASK, {}, "NaN"),
    "line": (HOST[0], PASTED[0], None, {}, "at least two axes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_nothing_is_touched(model, name) -> None:
    hr, edited, mask, options, message = BAD[name]
    before = hr.copy(), edited.copy()
    with pytest.raises(FlowSRError, match=message):
        transfer_content(hr, edited, mask, model, **options)
    np.testing.assert_array_equal(hr, before[0])
    np.testing.assert_array_equal(edited, before[1])


def test_models_that_cannot_are_refused(make_compact, image) -> None:
    deterministic = make_compact()
    deterministic.flow.deterministic = True
    with pytest.raises(OptionError, match="deterministic"):
        transfer_content(HOST, PASTED, MASK, deterministic)
    with pytest.raises(OptionError, match="deterministic"):
        transfer_style(image, HOST, deterministic)
    own = make_compact(degradation=Degradation("own network"))
    for transfer in (
        lambda: transfer_content(HOST, PASTED, MASK, own),
        lambda: transfer_style(image, HOST, own),
    ):
        with pytest.raises(OptionError, match=r"super-resolution, such as 'micro-2x'"):
            transfer()


def test_a_run_can_be_followed_and_cancelled(model, image) -> None:
    post = posterior(image, model, tile=16)
    hr = post.sample(1)[0]
    events = list(transferring(post, hr, hr + 1))
    assert [type(e) for e in events[:-1]] == [Progress] * (len(events) - 1)
    assert events[-2].done == events[-2].total > 1
    steps = transferring(post, hr, hr + 1)
    with pytest.raises(Cancelled):
        post.finish(steps, cancelled=lambda: True)


def test_a_posterior_does_the_same(model, image) -> None:
    post = posterior(image, model)
    hr = post.sample(1)[0]
    mask = np.zeros(hr.shape)
    mask[20:30, 20:30] = 1
    np.testing.assert_array_equal(
        post.harmonise(hr, hr + 1, mask, seed=2),
        transfer_content(hr, hr + 1, mask, model, image=image, seed=2),
    )
    np.testing.assert_array_equal(
        post.restyle(HOST, mask), transfer_style(image, HOST, model, mask=mask)
    )
    own = posterior(image, model, seed=9).sample(1)[0]
    found = post.restyle(HOST, mask, own)
    np.testing.assert_array_equal(found[60:], own[60:])
    with pytest.raises(Cancelled):
        post.restyle(HOST, cancelled=lambda: True)


# --- reconciling --------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, 2.5], ids=str)
@pytest.mark.parametrize("how", ["matlab-bicubic", "area", "gaussian:sigma=1"])
def test_reconciled_pixels_reduce_to_the_lr_image(scale, how) -> None:
    how = Degradation.parse(how)
    side = round(40 * scale)
    rng = np.random.default_rng(1)
    hr = torch.from_numpy(rng.random((1, side, side))).float()
    lr, edited = downscale(hr, scale, how), hr.clone()
    mask = np.zeros((40, 40), bool)
    mask[18:24, 15:22] = True
    box = (
        slice(round(18 * scale), round(24 * scale)),
        slice(round(15 * scale), round(22 * scale)),
    )
    edited[(0, *box)] = torch.from_numpy(rng.random((1, side, side))).float()[(0, *box)]
    found = reconciled(edited, lr, mask, scale, how)
    error = (downscale(found, scale, how) - lr).abs().max()
    assert error < 5e-3
    assert (downscale(edited, scale, how) - lr).abs().max() > 0.1
    # As near as may be: the same as projecting the whole plane.
    whole = Projection(edited, lr, scale, how)
    while not whole.finished:
        whole.step()
    assert (found - whole.hr).abs().max() < 5e-3


# --- style --------------------------------------------------------------------------


def test_the_style_of_an_image_is_itself(builtin) -> None:
    found = transfer_style(reduced(HOST, builtin).lr, HOST, builtin)
    np.testing.assert_allclose(found, HOST, atol=0.01)


@over_every_flow
def test_style_of_every_family(case) -> None:
    model, strip = case.model(), case.strip(9)
    if hasattr(model.flow, "downscale"):
        return  # refused, as for content
    rows, columns = (round(side * case.scale) for side in strip.shape)
    source = texture((rows, columns)) / 255
    options = {"scale": case.scale}
    whole, tiled = (
        post.finish(styling(post, source)).array
        for post in (posterior(strip, model, tile=t, **options) for t in (None, 9))
    )
    assert whole.shape == (rows, columns)
    assert np.abs(whole - tiled).max() < 1e-3 * np.ptp(whole)
    other = posterior(strip, model, **options)
    found = other.finish(styling(other, source[::-1])).array
    assert np.abs(found - whole).max() > 1e-3 * np.ptp(whole)


def test_outside_of_the_mask_is_the_sample_of_seed_0(model, image) -> None:
    mask = np.zeros(image.shape, bool)
    mask[3:7, 4:8] = True
    found = transfer_style(image, HOST / 9, model, mask=mask)
    sample = posterior(image, model).sample(1)[0]
    assert (found[:24, :24] != sample[:24, :24]).any()
    np.testing.assert_array_equal(found[44:], sample[44:])


def test_larger_sources_are_cropped_to_their_centre(model, image) -> None:
    height, width = (2 * side for side in image.shape)
    inner = transfer_style(image, HOST[11 : 11 + height, 27 : 27 + width], model)
    np.testing.assert_array_equal(transfer_style(image, HOST, model), inner)


def test_smaller_sources_go_on_mirrored(model, image) -> None:
    small = HOST[:20, :18]
    height, width = (2 * side for side in image.shape)
    before = (height - 20) // 2, (width - 18) // 2
    after = height - 20 - before[0], width - 18 - before[1]
    padded = np.pad(small, list(zip(before, after, strict=True)), mode="symmetric")
    np.testing.assert_array_equal(
        transfer_style(image, small, model), transfer_style(image, padded, model)
    )


def test_one_plane_is_the_style_of_all(model, rgb_model, image) -> None:
    stack = np.stack([image, image[::-1]])
    found = transfer_style(stack, HOST, model)
    one = transfer_style(image, HOST, model)
    np.testing.assert_allclose(found[0], one, atol=0.01)  # percentiles of two planes
    both = transfer_style(stack, np.stack([HOST, HOST[::-1]]), model)
    np.testing.assert_allclose(both[0], found[0], atol=0.01)
    assert np.abs(both[1] - found[1]).max() > 0.1
    colour = np.stack([image, image + 1, 2 * image, image], -1)
    for source in (HOST, np.stack([HOST, OTHER, HOST], -1)):
        found = transfer_style(colour, source, rgb_model, axes="YXS")
        assert found.shape == (2 * image.shape[0], 2 * image.shape[1], 4)


def test_constant_channels_stay_constant(model, image) -> None:
    flat = np.stack([image, np.full_like(image, 7)])
    found = transfer_style(flat, HOST, model, axes="CYX")
    assert (found[1] == 7).all()
    assert np.ptp(found[0]) > 1


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (HOST[0], {}, "at least two axes|it must have these axes"),
        (np.stack([HOST] * 3, -1), {}, "it must have these axes"),
        (HOST, {"mask": np.zeros((37, 29))}, "empty"),
        (HOST, {"mask": np.ones((3, 5))}, "last two axes"),
        (HOST * np.nan, {}, "NaN"),
        ("file.tif", {}, "pixels are needed"),
    ],
    ids=["line", "colour", "empty-mask", "other-mask", "nan", "path"],
)
def test_bad_sources_are_named(model, image, source, options, message) -> None:
    with pytest.raises((AxesError, FlowSRError), match=message):
        transfer_style(image, source, model, **options)


def test_pixels_in_a_window_have_the_latents_of_the_whole_plane(make_compact) -> None:
    """What is seen of the LR image does not end with the window."""
    image = np.random.default_rng(2).normal(size=(70, 70)).astype(np.float32)
    post = posterior(image, make_compact(), device="cpu")
    hr = torch.from_numpy(post.sample(1))
    setup = post._bound.setup(1)
    coder = UnitCoder(setup, next(iter(setup.workload)))
    mask = np.zeros((70, 70), bool)
    mask[33:36, 33:36] = True
    (region,) = regions(mask, setup, setup.plan)
    assert region.window.height < 40
    # The very tile that is decoded afterwards: one condition for both.
    assert (lone_tile(region.window, setup, setup.plan),) == region.decoded
    assert region.decoded[0].seen != region.window
    pixels = coder.padded_hr(hr)
    part = _encoded(coder.decoder, pixels, region.window, False)
    whole = coder.encode(hr).crop(part.spec)
    w, (z,), (expected,) = region.window, part.levels, whole.levels
    here = (..., slice(33 - w.y, 36 - w.y), slice(33 - w.x, 36 - w.x))
    assert (z[here] - expected[here]).abs().max() < 1e-4
