"""The encoder in half precision: what changes, by how much, and what does not."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import napari_flowsr as flowsr
from every_family import over_every_family, over_every_flow, over_every_tiled_family
from napari_flowsr.core.precision import check_precision, conditioned
from napari_flowsr.errors import DeviceError, OptionError
from napari_flowsr.inference.options import PRECISIONS
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.restore import Restored, restored_record, restoring

HALF = 2**-5
"""Part of the range by which bfloat16 may change an image of the small networks here.

A number of bfloat16 has 8 digits, so that rounding errs by 2**-9 at most. The longest
way through an encoder here has about 16 roundings, none of which later layers of such
weights amplify: 16 * 2**-9."""
EXACT = 1e-5
"""Of float32, as a part of the range, for what has to come back."""


def bound(case, model, image, **options):
    return posterior(
        image, model, axes="YX", scale=case.scale, temperature=0.7, device="cpu",
        **options,
    )  # fmt: skip


def largest(one, other) -> float:
    """Difference as a part of the range of the second."""
    return float(np.abs(one - other).max() / np.ptp(other))


# --- by how much ------------------------------------------------------------------


@over_every_family
def test_the_usual_precision_asks_for_no_conversion(case, monkeypatch) -> None:
    """So that it gives what it gave before there was another."""
    model = case.model()
    image = case.strip(8)[:, :40]
    expected = bound(case, model, image).sample(1)

    def refuse(*args, **kwargs):
        raise AssertionError("torch.autocast was asked for")

    monkeypatch.setattr(torch, "autocast", refuse)
    monkeypatch.setattr(torch.amp, "is_autocast_available", refuse)
    found = bound(case, model, image, precision="float32").sample(1)
    np.testing.assert_array_equal(found, expected)


@over_every_family
def test_bfloat16_is_close_and_repeatable(case) -> None:
    model, image = case.model(), case.strip(8)[:, :40]
    full = bound(case, model, image, seed=3).sample(2)
    half = bound(case, model, image, seed=3, precision="bfloat16").sample(2)
    assert not np.array_equal(half, full)
    assert largest(half, full) < HALF
    again = bound(case, model, image, seed=3, precision="bfloat16").sample(2)
    np.testing.assert_array_equal(again, half)
    if not model.flow.deterministic:
        other = bound(case, model, image, seed=4, precision="bfloat16").sample(2)
        assert not np.array_equal(other, half)


@over_every_tiled_family
def test_tiles_change_it_by_no_more_than_the_precision_does(case) -> None:
    model, image = case.model(), case.strip(16)
    full = bound(case, model, image).sample(1)
    whole = bound(case, model, image, precision="bfloat16").sample(1)
    tiled = bound(case, model, image, precision="bfloat16", tile=16).sample(1)
    assert largest(tiled, whole) <= largest(whole, full) + EXACT


@over_every_flow
def test_what_was_encoded_comes_back(case) -> None:
    """As of float32: both directions see one condition. That of HCFlow, too."""
    model, image = case.model(), case.strip(8)[:, :40]
    hr = bound(case, model, image).sample(1)[0]
    post = bound(case, model, image, precision="bfloat16")
    assert largest(post.decode(post.encode(hr)), hr) < EXACT


@over_every_flow
def test_densities_are_close_and_of_full_precision(case, monkeypatch) -> None:
    model, image = case.model(), case.strip(8)[:, :40]
    hr = bound(case, model, image).sample(1)[0]
    full = bound(case, model, image).log_prob(hr)
    found, inner = [], model.flow.log_prob

    def log_prob(*args):
        found.append(inner(*args))
        return found[-1]

    monkeypatch.setattr(model.flow, "log_prob", log_prob)
    half = bound(case, model, image, precision="bfloat16").log_prob(hr)
    assert half.dtype == np.float64
    assert {one.dtype for one in found} == {torch.float32}
    # Nats of one value: a log-scale that the encoder itself gives is of some units.
    assert np.abs(half - full).max() / hr.size < HALF


def test_bits_are_those_of_the_precision(make_compact, image) -> None:
    model = make_compact()
    hr = posterior(image, model, axes="YX", device="cpu").sample(1)[0]
    full, half = (
        posterior(image, model, axes="YX", device="cpu", precision=p).bits(hr)
        for p in ("float32", "bfloat16")
    )
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=HALF)


def test_only_the_encoder_is_converted(make_compact, monkeypatch) -> None:
    """Steps of the flow, their nets and what is prepared for them are not."""
    flow, seen, inner = make_compact().flow, [], F.conv2d

    def conv2d(*args, **kwargs):
        seen.append(inner(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(F, "conv2d", conv2d)
    lr, hr = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        cond = conditioned(flow, lr, "bfloat16")
        assert {out.dtype for out in seen} == {torch.bfloat16}
        seen.clear()
        encoded = flow.encode(hr, cond)
        flow.prepare(cond, encoded.latents.spec)
        decoded = flow.decode(encoded.latents, cond)
    assert {out.dtype for out in seen} == {torch.float32}
    assert {t.dtype for ready in cond.memo.values() for t in ready} == {torch.float32}
    torch.testing.assert_close(decoded, hr, atol=1e-5, rtol=0)


def test_a_condition_is_of_the_images_precision(make_compact) -> None:
    flow = make_compact().flow
    lr = torch.rand(1, 1, 8, 8)
    for precision in PRECISIONS:
        found = conditioned(flow, lr, precision)
        assert {f.dtype for f in (found.lr, *found.features)} == {torch.float32}
    assert {f.dtype for f in flow.double().condition(lr.double()).features} == {
        f.dtype for f in conditioned(flow, lr.double(), "bfloat16").features
    }


# --- what is refused ------------------------------------------------------------


@pytest.mark.parametrize("value", ["half", "bf16", 16, None, torch.bfloat16])
def test_another_precision_is_refused(make_compact, image, value) -> None:
    with pytest.raises(OptionError, match=r"precision is .*'float32', 'bfloat16'"):
        posterior(image, make_compact(), precision=value)
    with pytest.raises(OptionError, match=r"precision is .*'float32', 'bfloat16'"):
        flowsr.restore(image, make_compact(), precision=value)


@pytest.mark.parametrize("name", ["is_autocast_available", "is_autocast_enabled"])
def test_a_device_without_it_is_refused(make_compact, image, monkeypatch, name) -> None:
    """One that torch cannot convert for, and one where it switches that off."""
    where = torch.amp if name == "is_autocast_available" else torch
    monkeypatch.setattr(where, name, lambda kind: False)
    model = make_compact()
    with pytest.raises(DeviceError, match=r"'bfloat16' .* 'cpu' .* Choose float32, or"):
        posterior(image, model, device="cpu", precision="bfloat16")
    with pytest.raises(DeviceError, match="'bfloat16'"):
        flowsr.restore(image, model, device="cpu", precision="bfloat16")
    posterior(image, model, device="cpu")


def test_a_gpu_that_only_emulates_it_is_refused(monkeypatch) -> None:
    asked = []

    def supported(including_emulation=True):
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch, "autocast", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: True)
    gpu = torch.device("cuda", 0)
    with pytest.raises(DeviceError, match="Choose float32 or float16, or another"):
        check_precision("bfloat16", gpu)
    with pytest.raises(DeviceError) as told:
        check_precision("bfloat16", gpu, "'a.flowsr' was edited")
    assert str(told.value) == (
        "'a.flowsr' was edited in the precision 'bfloat16', and the device 'cuda:0' "
        "has no automatic conversion to it. Choose another device, such as cpu."
    )
    check_precision("float16", gpu)
    check_precision("float32", gpu)
    assert asked == [False, False]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_cpu_has_every_precision(precision) -> None:
    """With instructions for it or without, when torch emulates them."""
    check_precision(precision, torch.device("cpu"))


def test_float16_that_overflows_says_what_to_choose(make_compact, image) -> None:
    model = make_compact()
    first = next(m for m in model.flow.encoder.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        first.weight.mul_(1e6)
    options = {"axes": "YX", "device": "cpu", "temperature": 0.0}
    for precision in ("float32", "bfloat16"):
        cond = conditioned(model.flow, torch.ones(1, 1, 8, 8), precision)
        assert all(bool(f.isfinite().all()) for f in cond.features)
    post = posterior(image, model, precision="float16", **options)
    with pytest.raises(OptionError, match=r"float16.*bfloat16.*or float32"):
        post.sample(1)


# --- records --------------------------------------------------------------------


@pytest.fixture
def named(make_compact, monkeypatch):
    """A model that scripts load by its name."""
    model = make_compact()
    monkeypatch.setattr(flowsr, "load_model", lambda *_, **__: model)
    return model


def remade(record, *images):
    names: dict = {"__name__": "script"}
    exec(flowsr.provenance_script(record), names)
    return names["remake"](*images)


def test_the_script_makes_the_same_numbers(named, image) -> None:
    post = posterior(image, named, axes="YX", device="cpu", precision="bfloat16")
    record = post.provenance("sample", sample=0)
    assert record["precision"] == "bfloat16"
    expected = post.sample(1)[0]
    np.testing.assert_array_equal(remade(record, image), expected)
    # Records of before there was a choice.
    del record["precision"]
    full = posterior(image, named, axes="YX", device="cpu").sample(1)[0]
    np.testing.assert_array_equal(remade(record, image), full)
    assert not np.array_equal(full, expected)


def test_an_image_is_restored_in_it(named, image) -> None:
    asked = {"axes": "YX", "temperature": 0.7, "precision": "bfloat16"}
    *_, last = restoring(image, named, device="cpu", **asked)
    assert isinstance(last, Restored)
    full = flowsr.restore(image, named, axes="YX", temperature=0.7, device="cpu")
    assert not np.array_equal(last.image, full)
    assert largest(last.image, full) < HALF
    record = restored_record(named, image, last, **asked)
    assert record["precision"] == "bfloat16"
    np.testing.assert_array_equal(remade(record, image), last.image)
    del record["precision"]
    np.testing.assert_array_equal(remade(record, image), full)


def test_a_style_is_encoded_in_it_too(make_compact, image, monkeypatch) -> None:
    from napari_flowsr.inference import styling

    made, inner = [], styling.posterior

    def note(*args, **kwargs):
        made.append(inner(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(styling, "posterior", note)
    post = posterior(image, make_compact(), axes="YX", device="cpu")
    half = replace(post.options, precision="bfloat16")
    monkeypatch.setattr(post, "options", half)
    styling._Styled(post, np.kron(image, np.ones((2, 2), np.float32)))
    assert made[0].options.precision == "bfloat16"
