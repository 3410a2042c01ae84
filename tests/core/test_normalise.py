"""Latent normalisation: eqs. (6) and (7) of SRFlow, to five standard errors."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.normalise import (
    COLLECTIONS,
    Moments,
    check_collections,
    faded,
    normalised,
)
from napari_flowsr.errors import OptionError

SHAPES = ((6, 12, 16), (12, 6, 8))


def spec(shapes=SHAPES) -> LatentSpec:
    levels = tuple(LatentLevel(*s, Fraction(s[1], 6)) for s in shapes)
    return LatentSpec(levels, (6, 8), (12, 16))


def odd(seed: int = 0) -> Latents:
    """Latents far from white: every channel and place has statistics of its own."""
    generator = torch.Generator().manual_seed(seed)
    levels = tuple(
        3
        + 2
        * torch.randn(1, *s, generator=generator, dtype=torch.float64).cumsum(1)
        * torch.rand(1, s[0], 1, 1, generator=generator, dtype=torch.float64)
        for s in SHAPES
    )
    return Latents(levels, spec())


def fresh(seed: int, tau: float = 1.0) -> Latents:
    return NoiseField(seed).draw(spec()).tempered(tau)


AXES = {"local": (1,), "spatial": (2, 3)}


def statistics(latents: Latents, kind: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Means and variances of all collections of the first level, and their size."""
    if kind == "global":
        every = torch.cat([z.flatten() for z in latents.levels]).double()
        return every.mean()[None], every.var()[None], every.numel()
    z = latents.levels[0].double()
    size = math.prod(z.shape[axis] for axis in AXES[kind])
    return z.mean(AXES[kind]).flatten(), z.var(AXES[kind]).flatten(), size


@pytest.mark.parametrize("tau", [1.0, 0.6])
@pytest.mark.parametrize("kind", COLLECTIONS)
def test_the_new_statistics_follow_eq_6(kind: str, tau: float) -> None:
    means, variances, own = [], [], odd()
    for seed in range(60 if kind != "local" else 4):
        (new,) = normalised([own], [fresh(seed, tau)], kind)
        mean, variance, size = statistics(new, kind)
        means.append(mean)
        variances.append(variance)
    mean, variance = torch.cat(means), torch.cat(variances)
    n = len(mean)
    # mean ~ N(0, tau^2 / N)
    assert abs(mean.mean()) < 5 * tau / math.sqrt(size * n)
    spread = mean.var() / (tau**2 / size)
    assert abs(spread - 1) < 5 * math.sqrt(2 / n)
    # variance ~ Gamma((N - 1) / 2, 2 tau^2 / (N - 1))
    shape, scale = (size - 1) / 2, 2 * tau**2 / (size - 1)
    deviation = math.sqrt(shape) * scale
    assert abs(variance.mean() - tau**2) < 5 * deviation / math.sqrt(n)
    kurtosis = 3 + 6 / shape
    error = math.sqrt((kurtosis - 1) / n)
    assert abs(variance.var() / deviation**2 - 1) < 5 * error
    # The two are independent.
    pairs = torch.stack((mean, variance))
    assert abs(torch.corrcoef(pairs)[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_eq_7_is_one_scale_and_shift_for_each_collection(kind: str) -> None:
    own = odd()
    (new,) = normalised([own], [fresh(1)], kind)
    axes = AXES.get(kind, (1, 2, 3))
    for z, moved in zip(own.levels, new.levels, strict=True):
        mean, std = z.mean(axes, keepdim=True), z.std(axes, keepdim=True)
        white = (moved - moved.mean(axes, keepdim=True)) / moved.std(axes, keepdim=True)
        torch.testing.assert_close(white, (z - mean) / std)
    assert (new.levels[0] - own.levels[0]).abs().max() > 1


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_the_seed_decides(kind: str) -> None:
    a, b, c = (normalised([odd()], [fresh(s)], kind)[0] for s in (1, 1, 2))
    assert torch.equal(a.levels[0], b.levels[0])
    assert not torch.equal(a.levels[0], c.levels[0])


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_parts_are_one_collection(kind: str) -> None:
    """Two halves of the plane give what the whole gives."""

    def halves(latents: Latents) -> list[Latents]:
        half = tuple((c, h, w // 2) for c, h, w in SHAPES)
        cut = (slice(None, 8), slice(None, 4)), (slice(8, None), slice(4, None))
        return [
            Latents(
                tuple(z[..., s] for z, s in zip(latents.levels, side, strict=True)),
                spec(half),
            )
            for side in cut
        ]

    own, new = odd(), fresh(5)
    (whole,) = normalised([own], [new], kind)
    left, right = normalised(halves(own), halves(new), kind)
    for i, z in enumerate(whole.levels):
        torch.testing.assert_close(torch.cat((left.levels[i], right.levels[i]), -1), z)


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_what_is_no_member_stays_and_does_not_count(kind: str) -> None:
    own = odd()
    members = [torch.zeros(1, 1, *s[1:], dtype=torch.bool) for s in SHAPES]
    members[0][..., 2:9, 3:11] = members[1][..., 1:4, 2:6] = True
    (new,) = normalised([own], [fresh(3)], kind, [members])
    wild = [
        torch.where(m, z, 1e3 * z) for m, z in zip(members, own.levels, strict=True)
    ]
    (other,) = normalised([Latents(tuple(wild), spec())], [fresh(3)], kind, [members])
    for i, member in enumerate(members):
        kept = ~member.expand_as(own.levels[i])
        assert torch.equal(new.levels[i][kept], own.levels[i][kept])
        torch.testing.assert_close(new.levels[i][~kept], other.levels[i][~kept])


def test_without_amplification_variance_is_only_lost() -> None:
    own = odd()
    quiet = own.map(lambda z: 1e-3 * z)
    for latents in (own, quiet):
        (new,) = normalised([latents], [fresh(1)], "spatial", amplify=False)
        before = latents.levels[0].var((2, 3))
        after = new.levels[0].var((2, 3))
        assert (after <= before * (1 + 1e-6)).all()
    assert new.levels[0].std() < 0.1


def test_a_collection_without_variance_gets_the_mean_alone() -> None:
    flat = odd().map(lambda z: torch.full_like(z, 7.0))
    (new,) = normalised([flat], [fresh(1)], "spatial")
    wanted = fresh(1).levels[0].double().mean((2, 3), keepdim=True)
    torch.testing.assert_close(new.levels[0], wanted.expand_as(new.levels[0]))


def test_local_needs_channels() -> None:
    thin = LatentSpec((LatentLevel(1, 4, 4, Fraction(1)),), (4, 4), (4, 4))
    latents = Latents((torch.randn(1, 1, 4, 4),), thin)
    with pytest.raises(OptionError, match="'spatial' or 'global'"):
        normalised([latents], [latents], "local")


@pytest.mark.parametrize("given", ["locall", [], ("local", "x")])
def test_unknown_collections_are_named(given) -> None:
    with pytest.raises(OptionError, match="global, local, spatial"):
        check_collections(given)


def test_moments_add_up() -> None:
    generator = torch.Generator().manual_seed(1)
    z = 1e3 + torch.randn(1, 2, 5, 40, generator=generator)
    whole = Moments.of(z, "spatial")
    parts = Moments.of(z[..., :7], "spatial") + Moments.of(z[..., 7:], "spatial")
    torch.testing.assert_close(parts.std, z.double().std((2, 3), keepdim=True))
    torch.testing.assert_close(parts.mean, whole.mean)


def test_fading_is_exact_at_both_ends() -> None:
    a, b = fresh(1), fresh(2)
    ramp = torch.linspace(0, 1, 16).expand(12, 16)
    mixed = faded(a, b, ramp)
    assert torch.equal(mixed.levels[0][..., 0], a.levels[0][..., 0])
    assert torch.equal(mixed.levels[0][..., -1], b.levels[0][..., -1])
    assert torch.equal(faded(a, b, 0.0).levels[1], a.levels[1])
    assert torch.equal(faded(a, b, 1.0).levels[1], b.levels[1])
    half = 0.5 * (a.levels[0] + b.levels[0])
    torch.testing.assert_close(faded(a, b, 0.5).levels[0], half)
