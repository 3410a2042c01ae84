"""Degradation by name: sizes, margins, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_flowsr.data.degrade import (
    Degradation,
    add_noise,
    degrade,
    downscale,
    margin,
    upscale_bicubic,
    white_noise_gain,
)
from napari_flowsr.errors import OptionError, SizeError

AREA = Degradation("area")
RNG = np.random.default_rng(5)
HOW = {
    text: Degradation.parse(text)
    for text in (
        "matlab-bicubic",
        "area",
        "gaussian:sigma=0.1",
        "gaussian:sigma=0.7",
        "gaussian:sigma=3.1",
    )
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_margin_covers_the_kernel(scale: int, how: str) -> None:
    """An LR pixel does not change with HR content beyond the margin."""
    given = HOW[how]
    reach = margin(scale, given)
    side = 2 * reach + 1
    hr = torch.zeros(1, (side + 8) * scale, (side + 8) * scale, dtype=torch.float64)
    changed = hr.clone()
    centre = side // 2 + 4
    lo, hi = (centre - reach) * scale, (centre + reach + 1) * scale
    changed[:] = 1.0
    changed[:, lo:hi, lo:hi] = 0.0
    a, b = downscale(hr, scale, given), downscale(changed, scale, given)
    assert float(a[0, centre, centre]) == pytest.approx(
        float(b[0, centre, centre]), abs=1e-12
    )


def test_bicubic_enlargement_of_a_ramp_is_the_ramp() -> None:
    x = torch.arange(16, dtype=torch.float64).expand(1, 16, 16)
    up = upscale_bicubic(x, 2)[0, 16, 8:-8]
    expected = (torch.arange(32, dtype=torch.float64) + 0.5) / 2 - 0.5
    torch.testing.assert_close(up, expected[8:-8])


@pytest.mark.parametrize(
    ("how", "scale"),
    [("matlab-bicubic", s) for s in (1, 2, 3, 4, 8)]
    + [(h, s) for h in list(HOW)[1:] for s in (1, 2, 3)],
)
def test_what_a_reduction_leaves_of_white_noise(how: str, scale: int) -> None:
    side = scale * (300 if scale < 4 else 150)
    noise = torch.randn(side, side, generator=torch.manual_seed(0))
    found = white_noise_gain(scale, HOW[how])
    left = downscale(noise, scale, HOW[how])
    assert found == pytest.approx(float(left.std()), rel=0.04)


# --- area and Gaussian ----------------------------------------------------------


def test_binning_is_the_mean_of_each_block() -> None:
    hr = torch.rand(2, 12, 18, generator=torch.manual_seed(0), dtype=torch.float64)
    expected = hr.reshape(2, 4, 3, 6, 3).mean((2, 4))
    torch.testing.assert_close(downscale(hr, 3, AREA), expected)


@pytest.mark.parametrize("scale", [1.0, 1.3, 2.5, 3.7])
def test_binning_at_any_scale_keeps_the_sum(scale: float) -> None:
    """Against a grid so fine that pixels fit into each other."""
    side = round(10 * scale)
    hr = torch.rand(side, side, generator=torch.manual_seed(0), dtype=torch.float64)
    found = downscale(hr, scale, AREA)
    assert found.shape == (10, 10)
    fine = hr.repeat_interleave(10, 0).repeat_interleave(10, 1)
    expected = fine.reshape(10, side, 10, side).mean((1, 3))
    torch.testing.assert_close(found, expected)
    assert float(found.mean()) == pytest.approx(float(hr.mean()), rel=1e-12)


@pytest.mark.parametrize("scale", [1, 2, 3, 2.4])
@pytest.mark.parametrize("sigma", [0.05, 0.8, 2.0])
def test_a_gaussian_is_taken_at_the_centres_of_lr_pixels(scale, sigma) -> None:
    """By the sum over all HR pixels, far from the border."""
    h = round(20 * scale)
    hr = torch.rand(h, h, generator=torch.manual_seed(0), dtype=torch.float64)
    found = downscale(hr, scale, Degradation("gaussian", {"sigma": sigma}))
    i, step = 10, h / 20
    distance = torch.arange(h, dtype=torch.float64) - ((i + 0.5) * step - 0.5)
    square = distance.square() - distance.square().min()
    weight = torch.exp(-square / (2 * sigma**2))
    weight /= weight.sum()
    assert float(found[i, i]) == pytest.approx(float(weight @ hr @ weight), abs=2e-4)
    if sigma < 0.5 and not float(scale).is_integer():
        return  # only the nearest pixel
    ramp = torch.arange(h, dtype=torch.float64).expand(h, h)
    low = downscale(ramp, scale, Degradation("gaussian", {"sigma": sigma}))
    assert float(low[i, i]) == pytest.approx((i + 0.5) * step - 0.5, abs=step / 100)


def test_width_of_the_psf_follows_from_the_optics() -> None:
    """Zhang et al. (2007): sigma = 0.225 wavelengths by NA."""
    given = {"na": 0.75, "wavelength_nm": 600.0, "pixel_nm": 100.0}
    sigma = Degradation("gaussian", given).sigma
    assert sigma == pytest.approx(0.225 * 600 / 0.75 / 100, rel=1e-3)
    # The full width at half maximum is close to that of the Airy disc, 0.51 / NA.
    assert 2.355 * sigma * 100 == pytest.approx(0.51 * 600 / 0.75, rel=0.05)


def test_noise_has_the_variance_of_counting_and_of_reading() -> None:
    how = Degradation.parse("area:photons=40,read_noise=0.03")
    hr = torch.full((400, 400), 0.25)
    lr = degrade(hr, 2, how, np.random.default_rng(0))
    assert float(lr.mean()) == pytest.approx(0.25, abs=2e-3)
    assert float(lr.var()) == pytest.approx(0.25 / 40 + 0.03**2, rel=0.03)
    assert torch.equal(lr, degrade(hr, 2, how, np.random.default_rng(0)))
    assert torch.equal(degrade(hr, 2, AREA, np.random.default_rng(0)), hr[::2, ::2])
    counts = add_noise(lr * 0 + 0.25, Degradation.parse("area:photons=40"), RNG) * 40
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)
    below = add_noise(torch.full((9,), -0.02), Degradation.parse("area:photons=9"), RNG)
    assert torch.equal(below, torch.full((9,), -0.02))


# --- text ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "matlab-bicubic",
        "area:photons=200",
        "gaussian:sigma=1.5",
        "gaussian:na=1.4,wavelength_nm=520,pixel_nm=65,photons=200,read_noise=0.01",
        "paired",
    ],
)
def test_text_and_back(text: str) -> None:
    found = Degradation.parse(text)
    assert str(found) == text
    assert Degradation.parse(f" {text} ".replace(",", " , ")) == found
    assert {found: 1}[Degradation.parse(text)] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blur", "blur.*matlab-bicubic, area, gaussian"),
        ("area:2", "'2'.*key=number"),
        ("area:photons", "key=number"),
        ("area:photons=many", "key=number"),
        ("area:photons=0", "positive"),
        ("area:photons=inf", "positive"),
        ("area:read_noise=nan", "positive"),
        ("area:sigma=1", "takes photons, read_noise"),
        ("paired:photons=3", "no parameters"),
        ("gaussian", "either sigma"),
        ("gaussian:sigma=1,na=1", "either sigma"),
        ("gaussian:na=1.4,pixel_nm=65", "either sigma"),
        ("gaussian:sigma=1,sigma=2", "twice"),
        ("area,photons=3", "no colon"),
        ("gaussian:sigma=1e9", "sigma is in HR"),
        ("gaussian:na=1.4,wavelength_nm=0.52,pixel_nm=65", "in nanometres"),
        ("gaussian:na=1.4,wavelength_nm=520,pixel_nm=0.065", "in nanometres"),
        ("gaussian:na=60,wavelength_nm=520,pixel_nm=65", "na is 60"),
    ],
)
def test_text_that_is_none(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Degradation.parse(text)


def test_errors() -> None:
    with pytest.raises(SizeError, match="divisible by 2"):
        downscale(torch.zeros(5, 6), 2)
    with pytest.raises(OptionError, match="pairs of given"):
        downscale(torch.zeros(4, 4), 2, Degradation("paired"))
    with pytest.raises(OptionError, match="rescale_down"):
        downscale(torch.zeros(4, 4), 2, Degradation("own network"))
    with pytest.raises(OptionError, match="matlab-bicubic"):
        downscale(torch.zeros(4, 4), 2, Degradation("nearest"))
