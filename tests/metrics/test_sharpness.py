"""Power of fine detail: against waves whose power is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_flowsr.errors import SizeError
from napari_flowsr.metrics.sharpness import fine_power, fine_ratio, mean_ratio


def wave(frequency: float, side: int = 64, amplitude: float = 1.0) -> np.ndarray:
    x = np.arange(side)
    row = amplitude * np.cos(2 * np.pi * frequency * x)
    return np.broadcast_to(row, (1, side, side)).astype(np.float32)


@pytest.mark.parametrize("side", [63, 64])
@pytest.mark.parametrize(("frequency", "share"), [(0.15, 0.0), (0.35, 1.0)])
def test_half_nyquist_divides_waves(frequency: float, share: float, side: int) -> None:
    fine, whole = fine_power(wave(frequency, side))
    assert fine / whole == pytest.approx(share, abs=1e-3)


def test_both_halves_of_the_spectrum_count() -> None:
    image = np.random.default_rng(0).random((2, 31, 40), np.float32).astype(float)
    image -= image.mean((1, 2), keepdims=True)
    window = np.hanning(33)[1:-1, None] * np.hanning(42)[1:-1]
    expected = (np.abs(np.fft.fft2(image * window)) ** 2).sum()
    assert fine_power(image.astype(np.float32))[1] == pytest.approx(expected, rel=1e-5)


def test_the_ratio_is_one_of_powers_and_leaves_the_border_out() -> None:
    truth = wave(0.4) + wave(0.1)
    half = wave(0.4, amplitude=0.5) + wave(0.1, amplitude=3.0)
    assert fine_ratio(half, truth) == pytest.approx(0.25, rel=1e-2)
    assert fine_ratio(truth, truth) == 1.0
    spoiled = truth.copy()
    spoiled[:, :2] = 9
    assert fine_ratio(spoiled, truth, border=2) == 1.0
    # A level is no detail.
    assert fine_ratio(truth + 5, truth) == pytest.approx(1.0, rel=1e-4)


def test_what_has_no_detail_has_no_ratio() -> None:
    flat = np.full((1, 32, 32), 0.4, np.float32)
    assert math.isnan(fine_ratio(wave(0.4, 32), flat))
    assert fine_ratio(flat, wave(0.4, 32)) == pytest.approx(0, abs=1e-9)
    assert math.isnan(fine_ratio(wave(0.4, 8), wave(0.4, 8), border=1))
    with pytest.raises(SizeError):
        fine_ratio(wave(0.4, 8), wave(0.4, 8), border=4)


def test_half_and_double_balance() -> None:
    assert mean_ratio([0.5, 2.0, math.nan]) == pytest.approx(1.0)
    assert mean_ratio([0.0, 2.0]) == 0.0
    assert math.isnan(mean_ratio([math.nan]))
