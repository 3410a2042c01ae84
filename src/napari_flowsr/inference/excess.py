"""What lies far outside of a network's range: kept from it, and added back afterwards.

A bead or a hot pixel may be dozens of ranges brighter than the percentile that becomes
1. Networks learn on ``[0, 1]``, and inverse flows explode far outside of it; a range
wide enough for such pixels would flatten everything else. So the network is shown the
clamped image, and what was cut off, the excess, is enlarged bicubically and added to
each sample. An HR image that is to be encoded has it subtracted first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_flowsr.data.resize import imresize

__all__ = ["NETWORK_RANGE", "Excess", "split_excess"]

NETWORK_RANGE = (-0.1, 1.1)
"""Normalised intensities that a network is shown; what lies beyond is excess."""
# Cubic convolution reaches 2 LR pixels to each side, and pixel centres are between.
_MARGIN = 3


@dataclass(frozen=True)
class Excess:
    """Part of an LR plane beyond `NETWORK_RANGE`, and the same on the HR grid.

    Parameters
    ----------
    lr : Tensor or None
        ``(components, h, w)``, plane minus clamped plane; None if that is 0 throughout.
    scale : float
        HR pixels per LR pixel.
    align : int
        LR rows and columns at multiples of this are at whole HR pixels.
    """

    lr: Tensor | None
    scale: float
    align: int = 1

    def on_hr(self, box: tuple[int, int, int, int]) -> Tensor | None:
        """Excess of HR rows and columns ``(y0, y1, x0, x1)``; None if there is none.

        The same for a part as for the whole: it is enlarged with all that it depends
        on. Not clipped, so that it keeps the sum of the intensities.
        """
        if self.lr is None:
            return None
        y0, y1, x0, x1 = box
        top, bottom = self._reach(y0, y1, self.lr.shape[-2])
        left, right = self._reach(x0, x1, self.lr.shape[-1])
        crop = self.lr[..., top:bottom, left:right]
        if not bool(crop.any()):
            return None
        # In double precision the taps of a part and of the whole round alike.
        enlarged = imresize(crop.double(), self.scale).float()
        y, x = round(top * self.scale), round(left * self.scale)
        return enlarged[..., y0 - y : y1 - y, x0 - x : x1 - x]

    def _reach(self, start: int, stop: int, side: int) -> tuple[int, int]:
        """LR pixels that HR pixels from ``start`` to ``stop`` depend on."""
        first = max(0, int(start / self.scale) - _MARGIN) // self.align * self.align
        return first, min(side, math.ceil(stop / self.scale) + _MARGIN)


def split_excess(lr: Tensor, scale: float, align: int) -> tuple[Tensor, Excess]:
    """Divide a plane into what a network is shown and the excess.

    Parameters
    ----------
    lr : Tensor
        ``(components, h, w)`` in network units.
    scale, align
        As in `Excess`.
    """
    shown = torch.clamp(lr, *NETWORK_RANGE)
    beyond = lr - shown
    return shown, Excess(beyond if bool(beyond.any()) else None, scale, align)
