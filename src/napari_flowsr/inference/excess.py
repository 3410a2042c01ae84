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

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["NETWORK_RANGE", "Excess", "split_excess"]

NETWORK_RANGE = (-0.1, 1.1)
"""Normalised intensities that a network is shown; what lies beyond is excess."""


@dataclass(frozen=True)
class Excess:
    """Part of an LR plane beyond `NETWORK_RANGE`, and the same on the HR grid.

    Parameters
    ----------
    lr : Tensor or None
        ``(components, h, w)``, plane minus clamped plane; None if that is 0 throughout.
    scale : float
        HR pixels per LR pixel.
    """

    lr: Tensor | None
    scale: float

    def on_hr(self, box: tuple[int, int, int, int]) -> Tensor | None:
        """Excess of HR rows and columns ``(y0, y1, x0, x1)``; None if there is none.

        Each value depends on its position alone, so that parts equal the whole.
        """
        if self.lr is None:
            return None
        y0, y1, x0, x1 = box
        above, below, down = self._neighbours(y0, y1, self.lr.shape[-2])
        left, right, along = self._neighbours(x0, x1, self.lr.shape[-1])
        rows = torch.lerp(self.lr[..., above, :], self.lr[..., below, :], down[:, None])
        if not bool(rows.any()):
            return None
        return torch.lerp(rows[..., left], rows[..., right], along)

    def _neighbours(
        self, start: int, stop: int, side: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """LR pixels on either side of each HR pixel's centre, weight of the second."""
        centre = (torch.arange(start, stop, dtype=torch.float64) + 0.5) / self.scale
        first = torch.floor(centre - 0.5)
        t = centre - 0.5 - first
        weight = (t * t * (3 - 2 * t)).float()
        low, high = first.long(), first.long() + 1
        return low.clamp(0, side - 1), high.clamp(0, side - 1), weight


def split_excess(lr: Tensor, scale: float) -> tuple[Tensor, Excess]:
    """Divide a plane into what a network is shown and the excess.

    Parameters
    ----------
    lr : Tensor
        ``(components, h, w)`` in network units.
    scale : float
        HR pixels per LR pixel.
    """
    shown = torch.clamp(lr, *NETWORK_RANGE)
    beyond = lr - shown
    return shown, Excess(beyond if bool(beyond.any()) else None, scale)
