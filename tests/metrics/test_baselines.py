"""Nearest neighbour and Lanczos: against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.metrics.baselines import lanczos, nearest


@pytest.fixture
def lr() -> np.ndarray:
    return np.random.default_rng(0).random((3, 7, 9), np.float32)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_nearest_repeats_pixels(lr: np.ndarray, scale: int) -> None:
    expected = lr.repeat(scale, 1).repeat(scale, 2)
    assert np.array_equal(nearest(lr, scale), expected)


def test_a_fractional_scale_gives_the_sizes_of_models(lr: np.ndarray) -> None:
    for enlarge in (nearest, lanczos):
        assert enlarge(lr, 2.5).shape == (3, round(7 * 2.5), round(9 * 2.5))


def test_lanczos_keeps_constants_and_single_pixels() -> None:
    flat = np.full((1, 1, 1), 0.3, np.float32)
    assert lanczos(flat, 4) == pytest.approx(0.3)
    assert lanczos(np.full((1, 6, 2), 0.7, np.float32), 3) == pytest.approx(0.7)


def test_lanczos_is_the_windowed_sinc() -> None:
    """An impulse becomes the kernel, at distances that an even scale gives."""
    impulse = np.zeros((1, 1, 31), np.float32)
    impulse[..., 15] = 1
    distance = (np.arange(62) + 0.5) / 2 - 0.5 - 15
    kernel = np.sinc(distance) * np.sinc(distance / 3) * (abs(distance) < 3)
    found = lanczos(impulse.repeat(9, 1), 2)[0, 8]
    assert found / found.sum() == pytest.approx(kernel / kernel.sum(), abs=2e-3)


def test_lanczos_follows_a_smooth_wave_better_than_nearest() -> None:
    x = (np.arange(80) + 0.5) / 2 - 0.5
    wave, low = np.cos(0.6 * x), np.cos(0.6 * np.arange(40))
    lr = np.broadcast_to(low, (1, 12, 40)).astype(np.float32)
    inner = np.s_[12, 10:-10]
    error = np.abs(lanczos(lr, 2)[0] - wave)[inner].max()
    assert error < 0.02 < 0.1 < np.abs(nearest(lr, 2)[0] - wave)[inner].max()
