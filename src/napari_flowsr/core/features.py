"""A feature map whose last channels are an enlarged, coarser map: what is saved by it.

Each pixel of a map that was enlarged by nearest neighbour is seen several times by a
3 x 3 convolution. At twice the size, the nine taps of an output pixel fall on four
pixels of the coarser map only, which of the nine on which depending on whether its row
and column are even. The convolution is thus four 2 x 2 convolutions of the coarser map,
whose outputs interleave: 4 products instead of 9 for an output value, and the sum is
the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["StackedFeatures"]


@dataclass(frozen=True)
class StackedFeatures:
    """Channels of a map, followed by those of a map of half the size, enlarged.

    Parameters
    ----------
    own : Tensor
        ``(B, C1, H, W)``.
    low : Tensor
        ``(B, C2, H / 2, W / 2)``, nearest-neighbour enlarged in `whole`.
    """

    own: Tensor
    low: Tensor

    @classmethod
    def of(cls, features: Tensor, channels: int) -> StackedFeatures:
        """Split ``(B, C, H, W)``; all but its first ``channels`` are enlarged by 2."""
        last = features.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        own, low = (
            part.contiguous(memory_format=layout)
            for part in (features[:, :channels], features[:, channels:, ::2, ::2])
        )
        return cls(own, low)

    def whole(self) -> Tensor:
        """The map itself, ``(B, C1 + C2, H, W)``."""
        enlarged = F.interpolate(self.low, scale_factor=2.0, mode="nearest")
        return torch.cat((self.own, enlarged), 1)

    def convolved(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """3 x 3 convolution of the whole map with ``weight (C_out, C1 + C2, 3, 3)``."""
        split = self.own.shape[1]
        out = F.conv2d(self.own, weight[:, :split], bias, padding=1)
        phases = F.conv2d(self.low, _phases(weight[:, split:]), padding=1)
        c, (h, w) = out.shape[1], self.low.shape[-2:]
        for number, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            part = phases[:, number * c : (number + 1) * c, y : y + h, x : x + w]
            out[..., y::2, x::2] += part
        return out


def _phases(weight: Tensor) -> Tensor:
    """Kernels ``(4 C_out, C, 2, 2)`` of even and odd rows and columns.

    An even pixel has its first tap on the coarser pixel before its own; an odd one has
    its last tap on the one after.
    """
    first, second, third = weight.unbind(2)
    even, odd = (first, second + third), (first + second, third)
    kernels = []
    for rows in (even, odd):
        left, middle, right = torch.stack(rows, 2).unbind(3)
        kernels.append(torch.stack((left, middle + right), 3))
        kernels.append(torch.stack((left + middle, right), 3))
    return torch.cat(kernels)
