"""Interpolations that every model is compared with, besides bicubic.

References
----------
Lanczos Filtering in One and Two Dimensions (Duchon, 1979), Journal of Applied
Meteorology 18: the windowed sinc; three lobes, the weights normalised to a sum of 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_flowsr.core.places import hr_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["lanczos", "nearest"]

_LOBES = 3


def nearest(lr: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Each HR pixel of ``(C, H, W)`` has the value of the LR pixel under its centre."""
    rows, columns = (_under(side, scale) for side in lr.shape[-2:])
    return lr[..., rows[:, None], columns]


def lanczos(lr: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Windowed sinc of three lobes, borders mirrored with the edge pixel repeated.

    Parameters
    ----------
    lr : ndarray
        ``(C, h, w)``.
    scale : float
        At least 1.

    Returns
    -------
    ndarray
        ``(C, H, W)``.
    """
    out = _along(np.moveaxis(lr, -2, -1), scale)
    return np.ascontiguousarray(_along(np.moveaxis(out, -2, -1), scale))


def _centres(side: int, scale: float) -> NDArray[np.float64]:
    """Where the centres of the HR pixels lie on the LR axis."""
    large = hr_side(side, scale)
    return np.asarray((np.arange(large) + 0.5) * (side / large) - 0.5, np.float64)


def _under(side: int, scale: float) -> NDArray[np.int64]:
    found = np.floor(_centres(side, scale) + 0.5).astype(np.int64)
    return np.clip(found, 0, side - 1)


def _along(lr: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Interpolate the last axis."""
    side = lr.shape[-1]
    centre = _centres(side, scale)
    first = np.floor(centre).astype(np.int64) - _LOBES + 1
    index = first[:, None] + np.arange(2 * _LOBES)
    distance = centre[:, None] - index
    weights = np.sinc(distance) * np.sinc(distance / _LOBES)
    weights /= weights.sum(1, keepdims=True)
    mirrored = np.concatenate((np.arange(side), np.arange(side)[::-1]))
    source = mirrored[index % (2 * side)]
    out = np.zeros((*lr.shape[:-1], len(centre)), np.float64)
    for tap in range(2 * _LOBES):
        out += lr[..., source[:, tap]] * weights[:, tap]
    return out.astype(np.float32)
