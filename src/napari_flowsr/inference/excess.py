"""What lies far outside of a network's range: kept from it, and added back afterwards.

A bead or a hot pixel may be dozens of ranges brighter than the percentile that becomes
1. Networks learn on ``[0, 1]``, and inverse flows explode far outside of it; a range
wide enough for such pixels would flatten everything else. So the network is shown the
clamped image, and what was cut off, the excess, is enlarged and added to each sample.
An HR image that is to be encoded has it subtracted first.

It is enlarged by Hermite's cubic (Keys' kernel with a = 0): unlike the usual cubic it
has no negative lobes, so no dark ring around a bright pixel, and it keeps the sum of
the intensities.

References
----------
Cubic Convolution Interpolation for Digital Image Processing (Keys, 1981).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["NETWORK_RANGE", "Excess", "shown", "split_excess"]

NETWORK_RANGE = (-0.1, 1.1)
"""Normalised intensities that a network is shown; what lies beyond is excess."""

Read = Callable[[slice, slice], Tensor]


def shown(values: Tensor) -> Tensor:
    """What a network is shown: values clamped to `NETWORK_RANGE`."""
    return torch.clamp(values, *NETWORK_RANGE)


@dataclass(frozen=True)
class Excess:
    """Part of an LR plane beyond `NETWORK_RANGE`, on the HR grid.

    Parameters
    ----------
    read : callable or None
        Rows and columns to pixels ``(components, h, w)`` of the plane, not clamped;
        None if all of it is within the range.
    lr_size : tuple of int
        ``(h, w)`` of the plane.
    hr_size : tuple of int
        Of the HR plane, which covers the same field of view.
    """

    read: Read | None
    lr_size: tuple[int, int]
    hr_size: tuple[int, int]

    def on_hr(self, box: tuple[int, int, int, int]) -> Tensor | None:
        """Excess of HR rows and columns ``(y0, y1, x0, x1)``; None if there is none.

        Each value depends on its position alone, so that parts equal the whole.
        """
        if self.read is None:
            return None
        y0, y1, x0, x1 = box
        above, below, down = self._neighbours(y0, y1, 0)
        left, right, along = self._neighbours(x0, x1, 1)
        top, first = int(above.min()), int(left.min())
        pixels = self.read(
            slice(top, int(below.max()) + 1), slice(first, int(right.max()) + 1)
        )
        lr = pixels - shown(pixels)
        if not bool(lr.any()):
            return None
        rows = torch.lerp(
            lr[..., above - top, :], lr[..., below - top, :], down[:, None]
        )
        return torch.lerp(rows[..., left - first], rows[..., right - first], along)

    def _neighbours(
        self, start: int, stop: int, axis: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """LR pixels on either side of each HR pixel's centre, weight of the second."""
        side = self.lr_size[axis]
        rate = self.hr_size[axis] / side
        centre = (torch.arange(start, stop, dtype=torch.float64) + 0.5) / rate
        first = torch.floor(centre - 0.5)
        t = centre - 0.5 - first
        weight = (t * t * (3 - 2 * t)).float()
        low, high = first.long(), first.long() + 1
        return low.clamp(0, side - 1), high.clamp(0, side - 1), weight


def split_excess(lr: Tensor, hr_size: tuple[int, int]) -> tuple[Tensor, Excess]:
    """Divide a plane into what a network is shown and the excess.

    Parameters
    ----------
    lr : Tensor
        ``(components, h, w)`` in network units.
    hr_size : tuple of int
        ``(H, W)`` of the enlarged plane.
    """
    seen = shown(lr)

    def read(rows: slice, columns: slice) -> Tensor:
        return lr[:, rows, columns]

    size = (int(lr.shape[-2]), int(lr.shape[-1]))
    return seen, Excess(None if bool(torch.equal(seen, lr)) else read, size, hr_size)
