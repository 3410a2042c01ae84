"""RDN: residual dense network, the trunk without upsampling.

References
----------
Residual Dense Network for Image Super-Resolution (Zhang et al., 2018),
arXiv:1802.08797, section 3 (eqs. 1 to 9).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RDN"]


class _Grow(nn.Module):
    """Convolution whose activated output is appended to its input."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(c_in, growth, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, F.relu(self.conv(x))), 1)


class _DenseBlock(nn.Module):
    """Growing convolutions, local fusion by a 1 x 1 convolution, local skip."""

    def __init__(self, width: int, growth: int, convolutions: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(_Grow(width + i * growth, growth) for i in range(convolutions))
        )
        self.LFF = nn.Conv2d(width + convolutions * growth, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.LFF(self.convs(x))
        return out


class RDN(nn.Module):
    """``(B, C, h, w)`` to features ``(B, width, h, w)``; parameters named as published.

    Parameters
    ----------
    channels : int
        Image channels.
    width : int
        Feature channels (``G0``).
    blocks : int
        Dense blocks (``D``).
    convolutions : int
        Growing convolutions a block (``C``).
    growth : int
        Channels that each of them adds (``G``).
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: int = 16,
        convolutions: int = 8,
        growth: int = 64,
    ) -> None:
        super().__init__()
        self.SFENet1 = nn.Conv2d(channels, width, 3, padding=1)
        self.SFENet2 = nn.Conv2d(width, width, 3, padding=1)
        self.RDBs = nn.ModuleList(
            _DenseBlock(width, growth, convolutions) for _ in range(blocks)
        )
        self.GFF = nn.Sequential(
            nn.Conv2d(blocks * width, width, 1), nn.Conv2d(width, width, 3, padding=1)
        )
        self.reach = blocks * convolutions + 3

    def forward(self, x: Tensor) -> Tensor:
        first = self.SFENet1(x)
        y = self.SFENet2(first)
        outputs = []
        for block in self.RDBs:
            y = block(y)
            outputs.append(y)
        fused: Tensor = self.GFF(torch.cat(outputs, 1)) + first
        return fused
