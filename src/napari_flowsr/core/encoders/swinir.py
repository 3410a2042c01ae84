"""SwinIR: windowed self-attention with shifted windows, the trunk without upsampling.

References
----------
SwinIR: Image Restoration Using Swin Transformer (Liang et al., 2021), arXiv:2108.10257,
section 3; Swin Transformer (Liu et al., 2021), arXiv:2103.14030, section 3.2 (eq. 4 is
the attention with a relative position bias).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SwinIR"]

_MASKED = -100.0


def _windows(x: Tensor, size: int) -> Tensor:
    """``(B, H, W, C)`` to windows ``(B, n, size * size, C)``."""
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c).transpose(2, 3)
    return x.reshape(b, -1, size * size, c)


def _joined(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """Inverse of `_windows`."""
    b, _, _, c = windows.shape
    x = windows.view(b, height // size, width // size, size, size, c)
    return x.transpose(2, 3).reshape(b, height, width, c)


def _relative_position(size: int) -> Tensor:
    """Row of the bias table ``(size^2, size^2)`` for each two pixels of a window."""
    y, x = torch.arange(size * size) // size, torch.arange(size * size) % size
    dy, dx = (a[:, None] - a[None, :] + size - 1 for a in (y, x))
    return dy * (2 * size - 1) + dx


def _shift_mask(height: int, width: int, size: int, like: Tensor) -> Tensor:
    """Bias ``(n, 1, size^2, size^2)`` that keeps apart what the shift brought together.

    After the cyclic shift the last windows hold pixels of both ends of the image.
    """
    regions = []
    for side in (height, width):
        number = torch.zeros(side)
        number[-size:] = 1
        number[-(size // 2) :] = 2
        regions.append(number)
    region = 3 * regions[0][:, None] + regions[1]
    own = _windows(region[None, :, :, None], size)[0, ..., 0]
    apart = own[:, :, None] != own[:, None, :]
    return (apart.to(like.device, like.dtype) * _MASKED)[:, None]


class _Attention(nn.Module):
    """Multi-head self-attention inside windows."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(
            nn.init.trunc_normal_(torch.empty((2 * size - 1) ** 2, heads), std=0.02)
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``x (B, n, size^2, C)``; the mask is added to the logits."""
        b, n, t, c = x.shape
        qkv = self.qkv(x).view(b, n, t, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        index = _relative_position(self.size).to(x.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)
        logits = (q * (c // self.heads) ** -0.5) @ k.mT + bias
        if mask is not None:
            logits = logits + mask
        out = (logits.softmax(-1) @ v).transpose(2, 3).reshape(b, n, t, c)
        projected: Tensor = self.proj(out)
        return projected


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    """Attention in windows, then an MLP; both on normalised input, with skips."""

    def __init__(
        self, width: int, heads: int, size: int, mlp_ratio: float, *, shifted: bool
    ) -> None:
        super().__init__()
        self.size, self.shift = size, size // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads, size)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _MLP(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(B, H, W, C)``, and the mask of shifted windows."""
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = self.attn(_windows(y, self.size), mask if self.shift else None)
        y = _joined(y, self.size, int(x.shape[1]), int(x.shape[2]))
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _ResidualGroup(nn.Module):
    """The blocks of a residual Swin Transformer block; odd ones are shifted."""

    def __init__(
        self, width: int, depth: int, heads: int, size: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(width, heads, size, mlp_ratio, shifted=i % 2 == 1)
            for i in range(depth)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


class _Layer(nn.Module):
    """Residual group, convolution, skip (RSTB)."""

    def __init__(
        self, width: int, depth: int, heads: int, size: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.residual_group = _ResidualGroup(width, depth, heads, size, mlp_ratio)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.residual_group(x, mask).permute(0, 3, 1, 2)
        out: Tensor = x + self.conv(y).permute(0, 2, 3, 1)
        return out


class SwinIR(nn.Module):
    """``(B, C, h, w)`` to features ``(B, width, h, w)``; parameters named as published.

    Sides are multiples of the window: padding is the caller's.

    Parameters
    ----------
    channels : int
        Image channels.
    width : int
        Feature channels given out.
    embed : int
        Channels inside.
    depths, heads : sequence of int
        Blocks of each layer, and attention heads in them.
    window : int
        Side of the attention windows, LR pixels.
    mlp_ratio : float
        Hidden channels of the MLPs per channel.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        embed: int = 180,
        depths: Sequence[int] = (6,) * 6,
        heads: Sequence[int] = (6,) * 6,
        window: int = 8,
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__()
        self.window = window
        self.conv_first = nn.Conv2d(channels, embed, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(embed)})
        self.layers = nn.ModuleList(
            _Layer(embed, depth, count, window, mlp_ratio)
            for depth, count in zip(depths, heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed)
        self.conv_after_body = nn.Conv2d(embed, embed, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(embed, width, 3, padding=1), nn.LeakyReLU()
        )
        # A block sees its whole window; each layer has one convolution, and there are
        # three more.
        self.reach = sum(depths) * (window - 1) + len(depths) + 3

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        y = self.patch_embed["norm"](first.permute(0, 2, 3, 1))
        mask = _shift_mask(int(y.shape[1]), int(y.shape[2]), self.window, y)
        for layer in self.layers:
            y = layer(y, mask)
        y = self.norm(y).permute(0, 3, 1, 2)
        out: Tensor = self.conv_before_upsample(self.conv_after_body(y) + first)
        return out
