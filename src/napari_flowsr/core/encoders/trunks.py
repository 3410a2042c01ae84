"""Features of one level of HCFlow: two RRDB trunks on an image and coarser features.

References
----------
HCFlow (Liang et al., 2021), arXiv:2108.05301, section 3.3 and eq. (5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.encoders.rrdb import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TwoTrunks"]


class TwoTrunks(nn.Module):
    """``(B, C, h, w)`` and coarser features to ``(B, out_channels, h, w)``.

    Parameters
    ----------
    channels : int
        Channels of the input.
    coarser_channels : int
        Channels of all coarser features together.
    width, growth : int
        Feature channels, and channels that each dense convolution adds.
    blocks : pair of int
        RRDB blocks of the first and the second trunk.
    with_early : bool
        Give the output of the first trunk as well, before that of the second
        (super-resolution), or of the second alone (rescaling).
    """

    def __init__(
        self,
        channels: int,
        coarser_channels: int,
        width: int,
        growth: int,
        blocks: tuple[int, int],
        *,
        with_early: bool,
    ) -> None:
        super().__init__()
        self.with_early = with_early
        self.out_channels = width * (2 if with_early else 1)
        self.conv_first = nn.Conv2d(channels + coarser_channels, width, 3, padding=1)
        trunks = [
            nn.Sequential(*(Block(width, growth) for _ in range(n))) for n in blocks
        ]
        self.RRDB_trunk0, self.RRDB_trunk1 = trunks
        self.trunk_conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.reach = 2 + Block.reach * sum(blocks)

    def _first(self, y: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """First convolution of ``y`` and the enlarged coarser features.

        It is linear, so that each part is convolved apart: features of batch 1, the
        same for all samples, are convolved once.
        """
        # not made integers: an exported program takes images of any size
        size = (y.shape[-2], y.shape[-1])
        parts = [y, *(F.interpolate(c, size=size, mode="nearest") for c in coarser)]
        channels = [part.shape[1] for part in parts]
        weights = torch.split(self.conv_first.weight, channels, 1)
        first = F.conv2d(y, weights[0], self.conv_first.bias, padding=1)
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            first = first + F.conv2d(part, weight, padding=1)
        return first

    def forward(self, y: Tensor, coarser: Sequence[Tensor] = ()) -> Tensor:
        """Features of ``y``, given those of coarser levels, the nearest level first."""
        first = self._first(y, coarser)
        early = self.RRDB_trunk0(first)
        late: Tensor = first + self.trunk_conv1(self.RRDB_trunk1(early))
        return torch.cat((early, late), 1) if self.with_early else late
