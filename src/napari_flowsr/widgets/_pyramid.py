"""Smaller copies of a very large result, so that it can be looked at as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.inference.store import new_array

__all__ = ["LARGEST_SIDE", "pyramid"]

LARGEST_SIDE = 8192
"""Pixels that are shown as they are: no graphics card lacks textures of that size."""
_SMALLEST_SIDE = 512
_STRIP = 1 << 24  # values that are averaged together


def pyramid(data: npt.NDArray[Any], *, rgb: bool) -> list[npt.NDArray[Any]]:
    """The array, and means over 2 x 2, 4 x 4, ... pixels of it, in its own dtype.

    Parameters
    ----------
    data : ndarray
        ``(..., H, W)``, or with RGB ``(..., H, W, S)``.
    rgb : bool
        Whether the last axis is colour.

    Returns
    -------
    list of ndarray
        One, if its sides are not above `LARGEST_SIDE`.
    """
    levels = [data]
    axis = data.ndim - (3 if rgb else 2)
    if max(data.shape[axis : axis + 2]) <= LARGEST_SIDE:
        return levels
    while max(levels[-1].shape[axis : axis + 2]) > _SMALLEST_SIDE:
        levels.append(_halved(levels[-1], axis))
    return levels


def _halved(data: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Half as many rows and columns; a last odd one is left out."""
    rows, columns = (side // 2 for side in data.shape[axis : axis + 2])
    rest = data.shape[axis + 2 :]
    planes = data.reshape(-1, *data.shape[axis:])
    out = new_array((len(planes), rows, columns, *rest), data.dtype)
    step = max(1, _STRIP // max(1, 4 * columns * int(np.prod(rest, dtype=int))))
    for plane, half in zip(planes, out, strict=True):
        for top in range(0, rows, step):
            part = plane[2 * top : 2 * min(top + step, rows), : 2 * columns]
            blocks = part.reshape(-1, 2, columns, 2, *rest).astype(np.float32)
            mean = blocks.mean((1, 3))
            if data.dtype.kind in "iu":
                mean = np.rint(mean)
            half[top : top + step] = mean
    return out.reshape(*data.shape[:axis], rows, columns, *rest)
