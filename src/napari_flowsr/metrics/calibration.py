"""Calibration: whether the samples spread as much as they err.

References
----------
Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007),
JASA 102, section 4.2 (CRPS); Fair scores for ensemble forecasts (Ferro, 2014), QJRMS
140 (the estimator that is unbiased for any ensemble size); Interpretation of rank
histograms for verifying ensemble forecasts (Hamill, 2001), Monthly Weather Review 129.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["coverage", "coverage_floor", "diversity", "fair_crps"]

# Above this part of the level, the smallest value that can be found tells too little.
_HIGHEST_FLOOR = 0.7


def fair_crps(samples: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    r"""Mean continuous ranked probability score, unbiased in the number of samples.

    :math:`\frac1n\sum_i|x_i-y| - \frac1{2n(n-1)}\sum_{i,j}|x_i-x_j|`, in the units of
    the image. For one sample the second term is missing: the absolute error.

    Parameters
    ----------
    samples : ndarray
        ``(n, ...)``.
    truth : ndarray
        ``(...)``.
    """
    n = len(samples)
    accuracy = float(np.mean(np.abs(samples - truth), dtype=np.float64))
    if n < 2:
        return accuracy
    # For sorted values the double sum over pairs is a weighted single sum.
    ordered = np.sort(samples, axis=0)
    weights = (2 * np.arange(1, n + 1) - n - 1).reshape(-1, *([1] * truth.ndim))
    pairs = float(np.mean(np.sum(weights * ordered, axis=0, dtype=np.float64)))
    return accuracy - pairs / (n * (n - 1))


def diversity(samples: NDArray[np.float32]) -> float:
    """Mean over pixels of the standard deviation between samples (n - 1)."""
    if len(samples) < 2:
        return 0.0
    return float(np.mean(np.std(samples, axis=0, ddof=1, dtype=np.float64)))


def coverage_floor(n: int, level: float) -> float:
    """Smallest value that `coverage` can give with ``n`` samples: its resolution.

    The ``n`` samples and the truth make ``n + 1`` ranks of ``1 / (n + 1)`` each. Where
    the tail beyond the interval, ``(1 - level) / 2``, is narrower than a rank, truths
    outside of all samples still count by the part of the outermost rank that lies
    inside: ``1 - (n + 1) (1 - level) / 2``. That is 0 from 3 samples for the 50 %
    interval and from 19 for the 90 % one; 8 samples have 0.55 at 90 %, one has the
    level itself.
    """
    return max(0.0, 1.0 - (n + 1) * (1.0 - level) / 2.0)


def coverage(
    samples: NDArray[np.float32], truth: NDArray[np.float32], level: float
) -> float:
    """Share of pixels whose truth lies in the central interval of that probability.

    From the rank histogram: a calibrated model puts the truth on each of the ``n + 1``
    ranks equally often, and a rank that straddles the interval's end counts by the
    part inside. Unbiased under calibration for any ``n``, unlike counting between
    sample quantiles, which eight samples cannot resolve at 90 %.

    It is never below `coverage_floor`: few samples show overconfidence compressed, one
    does not show it at all. Where the floor is more than 0.7 of the level
    (fewer than 2 samples at 50 %, 7 at 90 %) the result is NaN.

    Parameters
    ----------
    samples : ndarray
        ``(n, ...)``.
    truth : ndarray
        ``(...)``.
    level : float
        Probability of the interval, above 0 and below 1.
    """
    n = len(samples)
    if coverage_floor(n, level) > _HIGHEST_FLOOR * level:
        return float("nan")
    # Ties (saturated or constant pixels) are shared evenly between the ranks they span.
    below = np.sum(samples < truth, axis=0)
    upto = np.sum(samples <= truth, axis=0)
    edges = np.arange(n + 2) / (n + 1)
    low, high = 0.5 - level / 2, 0.5 + level / 2
    inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    cumulative = np.concatenate(([0.0], np.cumsum(inside * (n + 1))))
    share = (cumulative[upto + 1] - cumulative[below]) / (upto + 1 - below)
    return float(np.mean(share))
