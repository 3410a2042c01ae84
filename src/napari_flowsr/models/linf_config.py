"""Sizes of a LINF network, and the encoder that they describe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from napari_flowsr.core.encoders.edsr import EDSR
from napari_flowsr.core.encoders.rdn import RDN
from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.encoders.swinir import SwinIR
from napari_flowsr.core.encoders.wdsr import WDSR
from napari_flowsr.errors import OptionError

__all__ = ["LINFConfig", "make_encoder"]

_SIZES = (
    *("channels", "patch", "width", "blocks", "expansion", "growth", "convolutions"),
    *("embed", "window_size", "hidden", "mlp_layers", "flow_layers"),
)
_OFFERED = (4.0, 2.0, 3.0, 6.0, 8.0)


@dataclass(frozen=True)
class LINFConfig:
    """Sizes of a `LINF`; by default those of the published EDSR-baseline network."""

    scale: float = 4.0
    """Taken where none is asked for; any from 1 to 32 can be."""
    channels: int = 3
    encoder: Literal["edsr", "rdn", "swinir", "rrdb", "wdsr"] = "edsr"
    """``wdsr`` is ours, the others are those of the published networks."""
    patch: int = 1
    """Side of the patches, HR pixels: 1 or 3 in the published networks."""
    width: int = 64
    """Feature channels that the encoder gives out (``G0`` of RDN)."""
    blocks: int = 16
    """Blocks of EDSR, WDSR, RRDB and RDN (``D``)."""
    expansion: int = 4
    """Channels inside a block of WDSR for each feature channel."""
    growth: int = 32
    """Growth of RRDB's and RDN's dense blocks (``G``)."""
    convolutions: int = 8
    """Growing convolutions in a block of RDN (``C``)."""
    res_scale: float = 1.0
    """Factor of each residual block of EDSR."""
    embed: int = 180
    """Channels inside SwinIR."""
    depths: tuple[int, ...] = (6,) * 6
    """Attention blocks in each layer of SwinIR."""
    heads: tuple[int, ...] = (6,) * 6
    """Attention heads in each layer of SwinIR."""
    window_size: int = 8
    """Side of SwinIR's attention windows, LR pixels."""
    mlp_ratio: float = 2.0
    """Hidden channels of SwinIR's MLPs per channel."""
    hidden: int = 256
    """Fourier features, and width of the implicit network."""
    mlp_layers: int = 3
    """Hidden layers of the implicit network."""
    flow_layers: int = 10
    """Conditional layers of the flow."""
    residual_scale: float = 0.5
    """Unit of what the flow sees, in HR units. 0.5 is that of the published networks,
    [-1, 1]; the typical size of the residual gives a new one unit numbers to learn."""
    bound: float | None = None
    """Largest magnitude of a layer's log-scale; shifts are bounded too. ``None`` is the
    published form, whose inverse may explode."""
    grid: Literal["corrected", "published"] = "corrected"
    """Which patches are computed. ``published``: that of the published evaluation, bit
    for bit, which adds one or more rows and columns and queries those outside of the
    image at its centre; a real row or column may be among them."""
    window: int = 0
    """Pad the LR image by mirroring to the next multiple of this (1 to ``window``
    pixels), as the published evaluation of SwinIR does: ``window_size``, or 0 for none.
    """
    scale_max: float = 30.0
    """Beyond this scale the network is told the pixel size of this scale."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise OptionError(
                    f"LINF {name} is {getattr(self, name)}; give 1 or more."
                )
        if self.patch % 2 == 0 or self.hidden % 2:
            raise OptionError(
                f"LINF needs an odd patch and an even hidden; got {self.patch} and "
                f"{self.hidden}."
            )
        numbers = (self.scale_max, self.mlp_ratio, self.residual_scale, self.bound or 1)
        positive = all(0 < n < math.inf for n in numbers)
        if (
            not 1 <= self.scale <= 32
            or not positive
            or not math.isfinite(self.res_scale)
        ):
            raise OptionError(
                "LINF scale is from 1 to 32; scale_max, mlp_ratio, residual_scale and "
                f"bound are positive; res_scale is a number; got {self.scale:g}, "
                f"{self.scale_max:g}, {self.mlp_ratio:g}, {self.residual_scale:g}, "
                f"{self.bound} and {self.res_scale:g}."
            )
        self._check_attention()

    def _check_attention(self) -> None:
        window = self.window_size if self.encoder == "swinir" else 0
        if self.window not in (0, window):
            raise OptionError(
                f"LINF window is {self.window}; with the {self.encoder} encoder it is "
                + (f"0 or {window}." if window else "0.")
            )
        heads_fit = all(n > 0 and self.embed % n == 0 for n in self.heads)
        if len(self.depths) != len(self.heads) or min(self.depths) < 1 or not heads_fit:
            raise OptionError(
                f"LINF depths are {self.depths} and heads {self.heads}; give one of "
                f"each for every layer, and heads that divide embed = {self.embed}."
            )

    @property
    def scales(self) -> tuple[float, ...]:
        """Scales to offer, the default first."""
        return tuple(dict.fromkeys((float(self.scale), *_OFFERED)))

    @property
    def scale_range(self) -> tuple[float, float]:
        """Least and largest scale."""
        return 1.0, 32.0


def make_encoder(config: LINFConfig) -> EDSR | WDSR | RDN | RRDB | SwinIR:
    """Build the encoder that a configuration describes."""
    c = config
    if c.encoder == "edsr":
        return EDSR(c.channels, c.width, c.blocks, c.res_scale)
    if c.encoder == "wdsr":
        return WDSR(c.channels, c.width, c.blocks, c.expansion)
    if c.encoder == "rdn":
        return RDN(c.channels, c.width, c.blocks, c.convolutions, c.growth)
    if c.encoder == "swinir":
        return SwinIR(
            c.channels,
            c.width,
            c.embed,
            c.depths,
            c.heads,
            c.window_size,
            c.mlp_ratio,
        )
    rrdb = RRDB(c.channels, c.width, c.blocks, c.growth, 1, skip_from_input=True)
    # The image head is no part of LINF.
    del rrdb.HRconv, rrdb.conv_last
    return rrdb
