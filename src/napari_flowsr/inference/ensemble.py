"""Statistics over samples, one region of the plane at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Statistics", "check_quantiles"]


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return quantiles as floats; `OptionError` unless each is from 0 to 1."""
    try:
        checked = tuple(float(q) for q in quantiles)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"quantiles is {quantiles!r}; give numbers from 0 to 1, such as "
            "(0.05, 0.95)."
        ) from error
    if not all(0.0 <= q <= 1.0 for q in checked):
        raise OptionError(f"quantiles is {quantiles!r}; each must be from 0 to 1.")
    return checked


class Statistics:
    """Mean, standard deviation and exact quantiles of arrays that come one by one.

    Samples are taken in one by one, so that the result does not depend on how they
    were batched. They are kept only if quantiles are wanted.

    Parameters
    ----------
    shape : tuple of int
        Of each array.
    n : int
        Arrays that will come.
    keep : bool
        Keep them, for `quantile`.

    References
    ----------
    Note on a Method for Calculating Corrected Sums of Squares and Products (Welford,
    1962), Technometrics 4(3).
    """

    def __init__(self, shape: tuple[int, ...], n: int, *, keep: bool) -> None:
        self._count = 0
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)
        self._kept = np.empty((n, *shape), np.float32) if keep else None
        self._sorted = False

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one sample."""
        if self._kept is not None:
            self._kept[self._count] = values
        self._count += 1
        delta = values - self._mean
        self._mean += delta / self._count
        self._squares += delta * (values - self._mean)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean of what came so far."""
        return self._mean

    @property
    def std(self) -> npt.NDArray[np.float64]:
        """Standard deviation of what came so far, the sum of squares divided by n."""
        deviation: npt.NDArray[np.float64] = np.sqrt(
            self._squares / max(1, self._count)
        )
        return deviation

    def quantile(self, q: float) -> npt.NDArray[Any]:
        """Quantile ``q``, linear between order statistics (as `numpy.quantile`)."""
        if self._kept is None or self._count != len(self._kept):
            raise RuntimeError("Quantiles need all samples to be kept.")
        if not self._sorted:
            self._kept.sort(axis=0)
            self._sorted = True
        position = q * (self._count - 1)
        below = min(int(position), max(0, self._count - 2))
        above = min(below + 1, self._count - 1)
        weight = position - below
        low, high = (self._kept[i].astype(np.float64) for i in (below, above))
        found: npt.NDArray[Any] = low + weight * (high - low)
        return found
