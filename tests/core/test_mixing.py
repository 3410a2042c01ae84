"""Mixed latents stay white, and are exact at both ends."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from napari_flowsr.core.latents import LatentLevel, LatentSpec
from napari_flowsr.core.mixing import by_level, interpolated, rotated
from napari_flowsr.core.noise import NoiseField

SPEC = LatentSpec(
    (LatentLevel(3, 40, 36, Fraction(2)), LatentLevel(12, 20, 18, Fraction(1))),
    (20, 18),
    (80, 72),
)


def pair():
    field = NoiseField(7)
    return (field.draw(SPEC, samples=range(i, i + 1)) for i in (0, 1))


def test_the_ends_are_exact():
    first, second = pair()
    found = interpolated(first, second, [0.0, 0.3, 1.0])
    for level, a, b in zip(found.levels, first.levels, second.levels, strict=True):
        assert level.shape == (3, *a.shape[1:])
        assert torch.equal(level[:1], a)
        assert torch.equal(level[2:], b)
        assert not torch.equal(level[1:2], a)


@pytest.mark.parametrize("t", [0.1, 0.25, 0.5, 0.8])
def test_every_point_between_is_as_probable_as_a_sample(t):
    """|z|² is chi-squared with D degrees of freedom: mean D, variance 2 D."""
    first, second = pair()
    found = interpolated(first, second, [t])
    count = SPEC.dimensions
    squares = sum(float(level.double().square().sum()) for level in found.levels)
    assert abs(squares - count) < 5 * (2 * count) ** 0.5
    total = sum(float(level.double().sum()) for level in found.levels)
    assert abs(total) < 5 * count**0.5
    # A straight line would not pass: at t = 0.5 it has half of the norm.
    line = sum(
        float((0.5 * a + 0.5 * b).double().square().sum())
        for a, b in zip(first.levels, second.levels, strict=True)
    )
    assert abs(line - count) > 5 * (2 * count) ** 0.5


def test_the_way_is_covered_evenly():
    """Angles between neighbours are the same all along, that of t / (pi / 2)."""
    first, second = pair()
    points = interpolated(first, second, [i / 4 for i in range(5)])
    flat = torch.cat([level.flatten(1) for level in points.levels], 1).double()
    flat = flat / flat.norm(dim=1, keepdim=True)
    angles = torch.arccos((flat[1:] * flat[:-1]).sum(1))
    assert angles.sum() == pytest.approx(torch.pi / 2, abs=0.1)
    assert (angles - torch.pi / 8).abs().max() < 0.05


def test_a_weight_may_vary_from_cell_to_cell():
    own, new = torch.zeros(1, 1, 1, 3) + 2, torch.zeros(1, 1, 1, 3) + 5
    found = rotated(own, new, torch.tensor([0.0, 0.5, 1.0]))[0, 0, 0]
    assert found[0] == 2
    assert found[2] == 5
    assert found[1] == pytest.approx(7 * 0.5**0.5)


def test_each_level_has_its_factor():
    first, _ = pair()
    found = by_level(first, (0.5, 0.0))
    assert torch.equal(found.levels[0], 0.5 * first.levels[0])
    assert not found.levels[1].any()
    with pytest.raises(ValueError, match="zip"):
        by_level(first, (1.0,))
