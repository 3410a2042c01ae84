from __future__ import annotations

import numpy as np
import pytest
import torch

from every_family import over_every_family
from napari_flowsr.data.degrade import DEGRADATIONS, downscale, upscale_bicubic
from napari_flowsr.errors import OptionError
from napari_flowsr.inference import consistency
from napari_flowsr.inference.consistency import Projection, lr_psnr
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.models.card import Degradation

HOW = {
    text: Degradation.parse(text)
    for text in (
        "matlab-bicubic",
        "area",
        "gaussian:sigma=0.8",
        "gaussian:sigma=1.1,photons=100",
    )
}
BICUBIC = HOW["matlab-bicubic"]


def projected(hr, lr, scale, how=BICUBIC):
    projection = Projection(hr, lr, scale, how)
    steps = 0
    while not projection.finished:
        projection.step()
        steps += 1
    return (*projection.result(), steps)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("size", "scale"), [((9, 14), 2), ((7, 5), 3), ((1, 1), 4), ((6, 8), 2.6)]
)
def test_projection_is_the_smallest_correction(size, scale, how) -> None:
    generator, how = torch.Generator().manual_seed(0), HOW[how]
    lr = torch.rand(1, *size, generator=generator)
    noise = torch.randn(1, *(round(s * scale) for s in size), generator=generator)
    hr = upscale_bicubic(lr, scale) + 0.1 * noise
    found, psnr, steps = projected(hr, lr, scale, how)
    assert psnr >= 70
    assert steps <= (20 if how.sigma < 1 else 40)
    # Against the pseudo-inverse of the operator as a dense matrix.
    count = hr.numel()
    basis = torch.eye(count, dtype=torch.float64).reshape(count, *hr.shape[1:])
    matrix = downscale(basis, scale, how).reshape(count, -1).T
    residual = lr.double().flatten() - matrix @ hr.double().flatten()
    exact = hr.double().flatten() + torch.linalg.pinv(matrix) @ residual
    assert (found.double().flatten() - exact).abs().max() < 5e-3


def test_unreachable_consistency_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(consistency, "_MAX_STEPS", 1)
    with pytest.raises(OptionError, match=r"60 dB.*no --consistent, or untick"):
        projected(5 * torch.randn(1, 16, 16), torch.rand(1, 8, 8), 2)


def test_noise_that_no_image_blurs_to_is_an_error(monkeypatch) -> None:
    wide = Degradation("gaussian", {"sigma": 1.4})
    lr = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = downscale(torch.rand(1, 32, 32, generator=torch.manual_seed(1)), 2, wide)
    assert projected(upscale_bicubic(smooth, 2), smooth, 2, wide)[1] >= 60
    monkeypatch.setattr(consistency, "_MAX_STEPS_WIDE", 40)
    with pytest.raises(OptionError, match=r"sigma=1.4.*belongs to no HR image"):
        projected(upscale_bicubic(lr, 2), lr, 2, wide)


@pytest.mark.parametrize("tile", [None, 16, 11])
def test_consistent_samples_in_any_tiling(model, image, tile) -> None:
    whole = posterior(image, model, consistent=True, tile=None).sample(2)
    post = posterior(image, model, consistent=True, tile=tile)
    *_, last = post.stream(2, preview=False)
    np.testing.assert_allclose(last.result.samples, whole, atol=1e-4)
    for sample, reported in zip(whole, last.result.report["lr_psnr"], strict=True):
        psnr, residual = post.consistency(sample)
        assert psnr >= 60
        assert reported >= 60
        assert residual.shape == image.shape
    samples = last.result.samples
    np.testing.assert_allclose(last.result.mean, samples.mean(0), atol=1e-4)
    np.testing.assert_allclose(last.result.std, samples.std(0), atol=1e-4)


@over_every_family
def test_consistent_samples_of_every_family(case) -> None:
    y, x = np.mgrid[:9, :11]
    image = (10 + 3 * np.sin(x / 2) * np.cos(y / 3)).astype(np.float32)
    model = case.model()
    if model.card.degradation.name not in DEGRADATIONS:
        with pytest.raises(OptionError, match="its own network"):
            posterior(image, model, scale=case.scale, consistent=True)
        return
    options = {"scale": case.scale, "temperature": 0.3}
    post = posterior(image, model, consistent=True, tile=6, **options)
    assert post.consistency(post.sample(1)[0])[0] >= 60


@pytest.mark.parametrize("how", ["area", "gaussian:sigma=1,read_noise=0.01"])
def test_the_operator_is_that_of_the_card(make_compact, image, how) -> None:
    """A sample that agrees by one reduction does not by another."""
    given = Degradation.parse(how)
    model = make_compact(degradation=given)
    sample = posterior(image, model, consistent=True).sample(1)[0]
    assert posterior(image, model).consistency(sample)[0] >= 60
    assert posterior(image, make_compact()).consistency(sample)[0] < 50
    reduced = downscale(torch.from_numpy(sample).double(), 2, given).numpy()
    span = np.diff(np.percentile(image, (0.1, 99.9)))[0]
    assert float(np.square((reduced - image) / span).mean()) < 1e-6


def test_given_pairs_have_no_operator(make_compact, image) -> None:
    model = make_compact(degradation=Degradation("paired"))
    *_, last = posterior(image, model).stream(1)
    assert last.result.report["lr_psnr"] == []
    with pytest.raises(OptionError, match=r"pairs of given.*consistent=False"):
        posterior(image, model, consistent=True)
    with pytest.raises(OptionError, match="pairs of given"):
        posterior(image, model).consistency(last.result.samples[0])


def test_consistent_colour_stack_with_preview(model, image) -> None:
    stack = np.stack([np.stack([image, image, 2 * image], -1)] * 2)
    post = posterior(stack, model, axes="ZYXS", consistent=True, tile=16)
    for sample in post.sample(2):
        assert post.consistency(sample)[0] >= 60


def test_consistent_works_inside_the_callers_inference_mode(model, image) -> None:
    with torch.inference_mode():
        sample = posterior(image, model, consistent=True).sample(1)[0]
    assert posterior(image, model).consistency(sample)[0] >= 60


def test_inconsistent_before(model, image) -> None:
    post = posterior(image, model)
    assert post.consistency(post.sample(1)[0])[0] < 40


def test_residual_is_in_intensity_units(model, image) -> None:
    post = posterior(image, model)
    hr = upscale_bicubic(torch.from_numpy(image), 2).numpy()
    base = post.consistency(hr)[1]
    shifted = post.consistency(hr + 2)[1]
    np.testing.assert_allclose(shifted - base, 2, atol=1e-4)
    exact = downscale(torch.from_numpy(hr), 2).numpy() - image
    np.testing.assert_allclose(base, exact, atol=1e-4)


def test_cancel_during_back_projection(model, image) -> None:
    messages = []
    for event in posterior(image, model, consistent=True).stream(1):
        messages.append(event.message)
        if "back-projection" in event.message:
            break
    assert len(messages) == 2


def test_unknown_degradation(make_compact, image) -> None:
    model = make_compact(degradation=Degradation("microscope"))
    *_, last = posterior(image, model).stream(1)
    assert last.result.report["lr_psnr"] == []
    with pytest.raises(OptionError, match="'microscope'"):
        posterior(image, model, consistent=True)


def test_psnr() -> None:
    assert lr_psnr(1e-6) == pytest.approx(60)
    assert lr_psnr(0.0) == float("inf")
