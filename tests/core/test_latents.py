"""Latents: sizes, temperature, mixing that stays white, density; Gaussian prior."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec, Place, Window
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.prior import GaussianPrior
from napari_flowsr.errors import SizeError

SPEC = LatentSpec(
    (LatentLevel(3, 80, 120, Fraction(2)), LatentLevel(8, 20, 30, Fraction(1, 2))),
    (40, 60),
    (160, 240),
)


def draw(seed: int) -> Latents:
    return NoiseField(seed).draw(SPEC, samples=range(2))


def test_sizes_are_checked() -> None:
    assert SPEC.shapes == ((3, 80, 120), (8, 20, 30))
    assert SPEC.dimensions == 3 * 80 * 120 + 8 * 20 * 30
    with pytest.raises(SizeError, match="finest first"):
        Latents(draw(0).levels[::-1], SPEC)


def test_origin_of_a_window() -> None:
    fine, coarse = SPEC.levels
    assert fine.origin(Window(4, 6, 1, 1)) == (8, 12)
    assert coarse.origin(Window(4, 6, 1, 1)) == (2, 3)
    with pytest.raises(SizeError, match="not a whole cell"):
        coarse.origin(Window(3, 6, 1, 1))


def test_window_of_a_placed_spec() -> None:
    window = Window(4, 6, 40, 60)
    assert replace(SPEC, place=Place(window, (50, 70))).window == window
    with pytest.raises(TypeError, match="placed"):
        _ = SPEC.window


def test_log_prob_is_the_standard_normal() -> None:
    latents = draw(1)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = sum(
        normal.log_prob(t.double()).flatten(1).sum(1) for t in latents.levels
    )
    assert latents.log_prob().shape == (2,)
    assert torch.allclose(latents.log_prob().double(), expected, rtol=1e-5)


def test_temperature_as_number_and_as_map() -> None:
    latents = draw(2)
    for tempered, level in zip(
        latents.tempered(0.5).levels, latents.levels, strict=True
    ):
        assert torch.equal(tempered, 0.5 * level)
    lr_map = torch.zeros(SPEC.lr_size)
    lr_map[:, 30:] = 2.0
    for tempered, level in zip(
        latents.tempered(lr_map).levels, latents.levels, strict=True
    ):
        half = level.shape[-1] // 2
        assert not tempered[..., :half].any()
        assert torch.equal(tempered[..., half:], 2 * level[..., half:])
    hr_map = torch.rand(2, 1, *SPEC.hr_size)
    coarse = latents.tempered(hr_map).levels[1] / latents.levels[1]
    blocks = hr_map.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2))
    assert torch.allclose(coarse, blocks.expand_as(coarse), atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_mixing_keeps_the_variance(weight: float) -> None:
    own, other = draw(3), draw(4)
    mixed = own.where(torch.full(SPEC.hr_size, weight), other)
    for level in mixed.levels:
        count = level.numel()
        assert abs(float(level.double().var()) - 1) < 5 * math.sqrt(2 / count)
        assert abs(float(level.double().mean())) < 5 / math.sqrt(count)
    if weight in {0.0, 1.0}:
        same = own if weight == 0.0 else other
        assert all(map(torch.equal, mixed.levels, same.levels))


def test_mixing_happens_inside_the_mask_only() -> None:
    own, other = draw(3), draw(4)
    mask = torch.zeros(SPEC.lr_size, dtype=torch.bool)
    mask[:20] = True
    for a, b, mixed in zip(
        own.levels, other.levels, own.where(mask, other).levels, strict=True
    ):
        half = a.shape[-2] // 2
        assert torch.equal(mixed[..., :half, :], b[..., :half, :])
        assert torch.equal(mixed[..., half:, :], a[..., half:, :])


def test_gaussian_prior_is_tempered_noise() -> None:
    cond = Condition(torch.zeros(1, 1, 40, 60), ())
    drawn = GaussianPrior(0.7).draw(None, cond, SPEC, NoiseField(5), range(1, 3))
    noise = NoiseField(5).draw(SPEC, samples=range(1, 3))
    assert all(map(torch.equal, drawn.levels, noise.tempered(0.7).levels))
    assert cond.lr_size == (40, 60)
    assert cond.nbytes == 40 * 60 * 4


def test_latents_move_and_cast() -> None:
    assert (
        draw(0).to(torch.device("cpu"), torch.float64).levels[0].dtype == torch.float64
    )
    assert draw(0).batch == 2
