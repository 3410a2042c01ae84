"""Calibration figures against closed forms; bounds are five standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.metrics.calibration import (
    coverage,
    coverage_floor,
    diversity,
    fair_crps,
)

N, PIXELS = 8, 200_000


@pytest.fixture(scope="module")
def gaussian() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((N, PIXELS), np.float32)
    return samples, rng.standard_normal(PIXELS, np.float32)


def test_crps_equals_its_definition() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.random((5, 40), np.float32), rng.random(40, np.float32)
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (2 * 5 * 4)
    expected = np.mean(np.abs(x - y).mean(0) - pairs)
    assert fair_crps(x, y) == pytest.approx(expected, rel=1e-6)
    assert fair_crps(x[:1], y) == pytest.approx(np.abs(x[0] - y).mean(), rel=1e-6)


def test_calibrated_gaussian(gaussian: tuple[np.ndarray, np.ndarray]) -> None:
    samples, truth = gaussian
    # CRPS of N(0, 1) against itself is 1 / sqrt(pi); the ratio to E|y| is 0.7071.
    tolerance = 5 / np.sqrt(PIXELS)
    assert fair_crps(samples, truth) == pytest.approx(1 / np.sqrt(np.pi), abs=tolerance)
    assert diversity(samples) == pytest.approx(0.9650, abs=tolerance)  # c4(8)
    for level in (0.5, 0.9):
        assert coverage(samples, truth, level) == pytest.approx(level, abs=tolerance)


def test_overconfidence_shows(gaussian: tuple[np.ndarray, np.ndarray]) -> None:
    samples, truth = gaussian
    assert coverage(0.5 * samples, truth, 0.9) < 0.8
    assert coverage(2.0 * samples, truth, 0.5) > 0.6


def test_ties_are_shared() -> None:
    flat = np.zeros((8, 10), np.float32)
    for level in (0.5, 0.9):
        assert coverage(flat, flat[0], level) == pytest.approx(level)


def test_few_samples_give_no_coverage_rather_than_the_level() -> None:
    """One sample far from every truth used to cover 90 %."""
    rng = np.random.default_rng(2)
    for level, least in ((0.5, 2), (0.9, 7)):
        for n in range(1, 25):
            far = rng.random((n, 50), np.float32) + 5
            found = coverage(far, np.zeros(50, np.float32), level)
            if n < least:
                assert np.isnan(found)
            else:
                assert found == pytest.approx(coverage_floor(n, level))
                assert found < 0.7 * level


def test_coverage_floor_is_zero_where_ranks_resolve_the_interval() -> None:
    assert coverage_floor(1, 0.9) == pytest.approx(0.9)
    assert coverage_floor(8, 0.9) == pytest.approx(0.55)
    assert coverage_floor(19, 0.9) == pytest.approx(0, abs=1e-12)
    assert coverage_floor(3, 0.5) == 0
