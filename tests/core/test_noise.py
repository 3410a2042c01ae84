"""Noise depends on position alone, and is normal, white and different everywhere."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_flowsr.core.latents import LatentLevel, LatentSpec, Window
from napari_flowsr.core.noise import NoiseField, philox4x32
from napari_flowsr.errors import OptionError, SizeError


def _words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_philox(counter: str, key: str, expected: str) -> None:
    """Known-answer vectors of the Random123 library for philox4x32-10."""
    words = tuple(torch.tensor([word]) for word in _words(counter))
    got = philox4x32(words, tuple(_words(key)))
    assert [int(word) for word in got] == _words(expected)


# --- windows --------------------------------------------------------------------


@settings(max_examples=30)
@given(
    y=st.integers(0, 40),
    x=st.integers(0, 3000),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 9),
    level=st.integers(0, 3),
)
def test_a_window_is_the_crop_of_the_whole(
    y: int, x: int, height: int, width: int, channels: int, level: int
) -> None:
    field = NoiseField(11, plane=2)
    whole = field.normal((channels, y + height, width), level=level, origin=(0, x))
    window = field.normal((channels, height, width), level=level, origin=(y, x))
    assert torch.equal(window, whole[:, y:])
    columns = field.normal(
        (channels, height, 1), level=level, origin=(y, x + width - 1)
    )
    assert torch.equal(columns[..., 0], window[..., -1])
    fewer = field.normal((1, height, width), level=level, origin=(y, x))
    assert torch.equal(fewer[0], window[0])


def test_large_draws_are_made_of_the_same_rows() -> None:
    """Rows are drawn in chunks; more than one chunk is needed here."""
    field = NoiseField(0)
    whole = field.normal((4, 300, 900))
    assert torch.equal(field.normal((4, 40, 900), origin=(250, 0)), whole[:, 250:290])


def _spec(h: int, w: int) -> LatentSpec:
    rates = (Fraction(2), Fraction(1), Fraction(1, 2))
    levels = tuple(
        LatentLevel(3 + i, int(h * rate), int(w * rate), rate)
        for i, rate in enumerate(rates)
    )
    return LatentSpec(levels, (h, w), (4 * h, 4 * w))


def test_latents_of_a_window_are_a_crop_at_every_level() -> None:
    field = NoiseField(4)
    whole = field.draw(_spec(20, 30), samples=range(2, 4))
    part = field.draw(_spec(6, 8), samples=range(2, 4), window=Window(4, 10, 6, 8))
    for big, small, level in zip(
        whole.levels, part.levels, whole.spec.levels, strict=True
    ):
        y, x = level.origin(Window(4, 10, 6, 8))
        cropped = big[..., y : y + small.shape[-2], x : x + small.shape[-1]]
        assert torch.equal(small, cropped)


def test_windows_start_at_whole_cells() -> None:
    with pytest.raises(SizeError, match="multiples of 2"):
        NoiseField(0).draw(_spec(4, 4), window=Window(3, 0, 4, 4))


def test_a_sample_does_not_depend_on_its_batch() -> None:
    field = NoiseField(1)
    batch = field.draw(_spec(4, 4), samples=range(5))
    alone = field.draw(_spec(4, 4), samples=range(3, 4))
    for many, one in zip(batch.levels, alone.levels, strict=True):
        assert torch.equal(many[3:4], one)


# --- statistics -----------------------------------------------------------------

N = 120


def _correlation(a: Tensor, b: Tensor) -> float:
    """Correlation in standard errors."""
    return float((a.double() * b.double()).mean()) * math.sqrt(a.numel())


def test_noise_is_standard_normal() -> None:
    z = NoiseField(5).normal((6, N, N)).double().flatten()
    count = z.numel()
    assert abs(float(z.mean())) < 5 / math.sqrt(count)
    assert abs(float(z.square().mean()) - 1) < 5 * math.sqrt(2 / count)
    assert abs(float(z.pow(3).mean())) < 5 * math.sqrt(15 / count)
    assert abs(float(z.pow(4).mean()) - 3) < 5 * math.sqrt(96 / count)
    ordered = z.sort().values
    expected = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    distance = (torch.special.ndtr(ordered) - expected).abs().max()
    assert float(distance) < 2.5 / math.sqrt(count)  # Kolmogorov-Smirnov, p < 1e-5


def test_neighbours_and_channels_are_uncorrelated() -> None:
    z = NoiseField(6).normal((8, N, N))
    pairs = [
        (z[:, 1:], z[:, :-1]),
        (z[..., 1:], z[..., :-1]),
        (z[:, 1:, 1:], z[:, :-1, :-1]),
    ]
    pairs += [(z[i], z[j]) for i, j in itertools.combinations(range(8), 2)]
    assert max(abs(_correlation(a, b)) for a, b in pairs) < 5


@pytest.mark.parametrize(
    ("seed", "key"),
    [
        (0, (436599579, 1371481366)),
        (7, (1269182402, 1782785402)),
        (2**64 - 1, (1648122457, 3938253356)),
    ],
)
def test_small_seeds_give_the_noise_that_they_always_gave(seed, key) -> None:
    assert NoiseField(seed, 2, 1)._key() == key


def test_all_words_of_a_seed_count() -> None:
    seeds = [0, 7, 2**63, 2**64 - 1, 2**64, 2**64 + 7, 2**65, 2**128, 2**128 + 2**64]
    seeds += [7 << shift for shift in range(1, 200)]
    places = [(0, 0), (7, 0), (0, 1), (1, 7)]
    keys = {NoiseField(seed, *place)._key() for seed in seeds for place in places}
    assert len(keys) == len(set(seeds)) * len(places)


def test_negative_seeds_are_refused() -> None:
    """They would be those of large ones, modulo 2 to the 64."""
    with pytest.raises(OptionError, match="seed is -7"):
        NoiseField(-7)


def test_seeds_samples_levels_planes_and_attempts_differ() -> None:
    size = (4, N, N)
    fields = [
        NoiseField(7).normal(size),
        NoiseField(8).normal(size),
        NoiseField(7 + 2**64).normal(size),
        NoiseField(7 + 2**65).normal(size),
        NoiseField(7 + 2**128).normal(size),
        NoiseField(7 + 2**32).normal(size),
        NoiseField(7).normal(size, sample=1),
        NoiseField(7).normal(size, level=1),
        NoiseField(7, plane=1).normal(size),
        NoiseField(7, attempt=1).normal(size),
        NoiseField(7).normal(size, origin=(N, 0)),
        NoiseField(7).normal(size, origin=(0, N)),
    ]
    worst = max(abs(_correlation(a, b)) for a, b in itertools.combinations(fields, 2))
    assert worst < 5
