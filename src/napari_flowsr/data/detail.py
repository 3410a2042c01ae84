"""Where a plane has something to learn from: so that patches are not black.

Detail is measured on a coarse copy, in which noise of single pixels has been averaged
away but structure is left: a dark background with noise in it is no detail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DetailMap"]

_POOL = 4
_LEAST = 4 * _POOL
# Windows with less than this part of a plane's largest detail count as background.
_BACKGROUND_BELOW = 0.1
# Share of these that is kept where they were drawn, so that background is not unknown.
_KEPT = 0.1
# Mean gradient, [0, 1] units, of what is as good as constant.
_NOTHING = 1e-5


class DetailMap:
    """Mean gradient of any square window of a plane, and where it is large.

    Parameters
    ----------
    pixels : ndarray
        ``(C, H, W)`` in ``[0, 1]``.
    side : int
        Of the windows, pixels.
    """

    def __init__(self, pixels: NDArray[np.float32], side: int) -> None:
        self.side = side
        self._pool = _POOL if side >= _LEAST else 1
        self._sums = _integral(_gradient(pixels, self._pool))
        step = max(1, side // 2)
        rows, columns = (self._starts(n, step) for n in pixels.shape[1:])
        tops, lefts = (g.ravel() for g in np.meshgrid(rows, columns, indexing="ij"))
        found = self.of(tops, lefts)
        self._threshold = max(_BACKGROUND_BELOW * float(found.max()), _NOTHING)
        good = found >= self._threshold
        self._tops, self._lefts = tops[good], lefts[good]
        self._weights = found[good] / found[good].sum() if good.any() else found[good]

    def _starts(self, length: int, step: int) -> NDArray[np.int64]:
        last = length - self.side
        return np.append(np.arange(0, last, step), last)

    def of(
        self, top: NDArray[np.int64], left: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Mean gradient of windows that begin at ``top`` and ``left``."""
        k, s = self._pool, self._sums
        # Differences between cells that lie in the window, all of them.
        y0, x0 = -(-top // k) + 1, -(-left // k) + 1
        y1, x1 = (top + self.side) // k, (left + self.side) // k
        total = s[y1, x1] - s[y0, x1] - s[y1, x0] + s[y0, x0]
        out: NDArray[np.float64] = total / ((y1 - y0) * (x1 - x0))
        return out

    def moved(self, rng: np.random.Generator, top: int, left: int) -> tuple[int, int]:
        """The window itself, or one with detail in place of background.

        A part of what is background stays, unless it is constant. So does everything
        in a plane in which there is nothing but single bright pixels.
        """
        here = float(self.of(np.asarray(top), np.asarray(left)))
        if here >= self._threshold or not len(self._tops):
            return top, left
        if here > _NOTHING and rng.random() < _KEPT:
            return top, left
        chosen = int(rng.choice(len(self._tops), p=self._weights))
        return int(self._tops[chosen]), int(self._lefts[chosen])


def _gradient(pixels: NDArray[np.float32], pool: int) -> NDArray[np.float64]:
    """Absolute differences to the cells above and to the left, mean over channels."""
    channels, height, width = pixels.shape
    rows, columns = height // pool, width // pool
    cells = pixels[:, : rows * pool, : columns * pool].astype(np.float64)
    cells = cells.reshape(channels, rows, pool, columns, pool).mean((2, 4))
    down = np.abs(np.diff(cells, axis=1, prepend=cells[:, :1])).mean(0)
    across = np.abs(np.diff(cells, axis=2, prepend=cells[:, :, :1])).mean(0)
    out: NDArray[np.float64] = down + across
    return out


def _integral(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over all that lies above and to the left, with a row and column of 0."""
    out = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    out[1:, 1:] = values.cumsum(0).cumsum(1)
    return out
