"""What is gathered of pixels, part by part, for their extremes and quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Tally", "quantiles"]

Array = npt.NDArray[Any]

_AT_ONCE = 1 << 20
"""Pixels that are counted together."""


@dataclass
class Tally:
    """What is gathered of one channel's component, or of several that share a range.

    Parameters
    ----------
    dtype : dtype
        Of the image. Integers of up to 16 bits are counted by value, which takes the
        same memory for any number of pixels; of other types pixels are kept.
    low, high : float
        Extremes of what was added; infinite, and the wrong way round, before.
    values : list of ndarray
        Pixels that were kept.
    counts : ndarray, optional
        How often each value of the type occurs, from its lowest on.
    """

    dtype: np.dtype[Any]
    low: float = math.inf
    high: float = -math.inf
    values: list[Array] = field(default_factory=list)
    counts: npt.NDArray[np.int64] | None = None

    def add(self, finite: Array, step: int, skip: int) -> None:
        """Gather finite pixels; where they are kept, each ``step``-th from ``skip``."""
        if not finite.size:
            return
        self.low = min(self.low, float(finite.min()))
        self.high = max(self.high, float(finite.max()))
        if _is_counted(self.dtype):
            self._count(finite)
            return
        # A strided view would keep all pixels in memory.
        kept = finite[skip::step] if finite[skip::step].size else finite[:1]
        self.values.append(kept.copy() if step > 1 else finite)

    def _count(self, finite: Array) -> None:
        lowest = int(np.iinfo(self.dtype).min)
        if self.counts is None:
            self.counts = np.zeros(1 << 8 * self.dtype.itemsize, np.int64)
        # It may be a chunk as large as the plane, and indices have eight bytes.
        for at in range(0, finite.size, _AT_ONCE):
            index = np.subtract(finite[at : at + _AT_ONCE], lowest, dtype=np.intp)
            self.counts += np.bincount(index, minlength=self.counts.size)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel was added."""
        return not self.high >= self.low


def _is_counted(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "ui" and dtype.itemsize <= 2


def quantiles(group: list[Tally], shares: Sequence[float]) -> list[float]:
    """Quantiles of the pixels at hand, linear between order statistics."""
    size, ordered = _order_statistics(group)
    last = size - 1
    below = [min(math.floor(share * last), max(0, last - 1)) for share in shares]
    at = sorted({k for first in below for k in (first, min(first + 1, last))})
    value = dict(zip(at, ordered(at), strict=True))
    found = []
    for share, first in zip(shares, below, strict=True):
        ends = value[first], value[min(first + 1, last)]
        found.append(float(np.interp(share * last, (first, first + 1), ends)))
    return found


def _order_statistics(
    group: list[Tally],
) -> tuple[int, Callable[[list[int]], list[float]]]:
    """How many pixels there are at hand, and how to find the k-th smallest of them."""
    dtype = group[0].dtype
    if _is_counted(dtype):
        until = sum(t.counts for t in group if t.counts is not None).cumsum()  # type: ignore[union-attr]
        lowest = int(np.iinfo(dtype).min)
        return int(until[-1]), lambda at: [
            float(lowest + k) for k in np.searchsorted(until, at, side="right")
        ]
    # In the image's own dtype: as float64 the pixels of a large image would take more
    # memory than its decoding.
    values = np.concatenate([part for tally in group for part in tally.values])

    def ordered(at: list[int]) -> list[float]:
        values.partition(at)
        return [float(values[k]) for k in at]

    return values.size, ordered
