"""RRDB: residual-in-residual dense blocks, with taps and maps of several sizes.

References
----------
ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks (Wang et al., 2018),
arXiv:1809.00219, section 3.1; SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section
3.3, and its supplement, section 1.1 (activations of several blocks concatenated).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.nets import DenseNet

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["RRDB", "Block"]

_RESIDUAL = 0.2


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class _DenseBlock(DenseNet):
    """Dense net in a residual branch."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__(width, width, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + _RESIDUAL * super().forward(x)


class Block(nn.Module):
    """Three dense blocks with a residual around them."""

    reach = 15

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = _DenseBlock(width, growth)
        self.RDB2 = _DenseBlock(width, growth)
        self.RDB3 = _DenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + _RESIDUAL * self.RDB3(self.RDB2(self.RDB1(x)))
        return out


def _factors(scale: int) -> tuple[int, ...]:
    """Twos, then threes, whose product is ``scale``."""
    found = []
    for factor in (2, 3):
        while scale % factor == 0:
            found.append(factor)
            scale //= factor
    return tuple(found)


class RRDB(nn.Module):
    """Encoder of ``(B, C, h, w)`` images; names of parameters are the published ones.

    Parameters
    ----------
    channels : int
        Image channels.
    width, blocks, growth : int
        Feature channels (``nf``), number of blocks (``nb``), channels that each dense
        convolution adds (``gc``).
    scale : int
        Product of twos and threes; one upsampling convolution for each factor.
    skip_from_input : bool
        The long skip starts at the first convolution, as in ESRGAN and LINF. SRFlow's
        starts after the trunk, so that it goes around one convolution only: the same
        tensors, another function.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: int = 23,
        growth: int = 32,
        scale: int = 4,
        *,
        skip_from_input: bool = False,
    ) -> None:
        super().__init__()
        self.factors = _factors(scale)
        self.doublings = len(self.factors)
        self.skip_from_input = skip_from_input
        self.conv_first = _conv(channels, width)
        self.RRDB_trunk = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        self.trunk_conv = _conv(width, width)
        for i in range(self.doublings):
            self.add_module(f"upconv{i + 1}", _conv(width, width))
        self.HRconv = _conv(width, width)
        self.conv_last = _conv(width, channels)
        # First and trunk convolution, the blocks, and less than a pixel for each
        # upsampling convolution.
        self.reach = 2 + Block.reach * blocks + self.doublings

    def forward(
        self, x: Tensor, taps: Collection[int] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Features ``(B, width, h, w)``, and the outputs of the blocks in ``taps``."""
        first = h = self.conv_first(x)
        tapped = {}
        for index, block in enumerate(self.RRDB_trunk):
            h = block(h)
            if index in taps:
                tapped[index] = h
        skip = first if self.skip_from_input else h
        return skip + self.trunk_conv(h), tapped

    def _enlarged(self, features: Tensor, doublings: int) -> list[Tensor]:
        """Maps of 2, 4, ... (6: 2, 6) times the LR size, *after* the activation."""
        maps = []
        for i in range(doublings):
            factor = float(self.factors[i])
            features = F.interpolate(features, scale_factor=factor, mode="nearest")
            features = _lrelu(self.get_submodule(f"upconv{i + 1}")(features))
            maps.append(features)
        return maps

    def maps(
        self, x: Tensor, doublings: Sequence[int], taps: Sequence[int] = ()
    ) -> tuple[Tensor, ...]:
        """Features at several sizes, tapped blocks appended to each.

        Only what is asked for is computed.

        Parameters
        ----------
        x : Tensor
            ``(B, C, h, w)``; even sides if a negative doubling is asked for.
        doublings : sequence of int
            Sizes as powers of two of the LR size: 1 is twice the size, 0 the LR size,
            -1 half of it.
        taps : sequence of int
            Blocks whose outputs are appended, in this order, resized by nearest
            neighbour (the supplement says bilinear; the published weights were trained
            with nearest).

        Returns
        -------
        tuple of Tensor
            ``(B, width * (1 + len(taps)), 2^d h, 2^d w)`` for each ``d``.
        """
        features, tapped = self(x, taps)
        enlarged = self._enlarged(features, max(0, *doublings))
        stacked = torch.cat([tapped[i] for i in taps], 1) if taps else None
        maps = []
        for d in doublings:
            if d > 0:
                own = enlarged[d - 1]
            else:
                own = F.avg_pool2d(features, 2**-d) if d < 0 else features
            if stacked is not None:
                # nearest picks the top left pixel of each 2 x 2 when shrinking
                # not made integers: an exported program takes images of any size
                size = (own.shape[-2], own.shape[-1])
                resized = F.interpolate(stacked, size=size, mode="nearest")
                own = torch.cat((own, resized), 1)
            maps.append(own)
        return tuple(maps)

    def predict(self, x: Tensor) -> Tensor:
        """The encoder's own HR image ``(B, C, scale h, scale w)``, for pre-training."""
        features, _ = self(x)
        if self.doublings:
            features = self._enlarged(features, self.doublings)[-1]
        out: Tensor = self.conv_last(_lrelu(self.HRconv(features)))
        return out
