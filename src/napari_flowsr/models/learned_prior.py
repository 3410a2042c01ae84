"""Learned priors: networks that predict the latents instead of drawing them.

The latent module of SRFlow-LP (one UNet a level) and that of LINF-LP (a UNet or an
EDSR-like network, which sees the LR image too). Both start from the initial prior: the
latents that the frozen flow assigns to the LR image after bilinear enlargement. Names
of parameters are the published ones, but for the levels (`learned_prior_published`).

References
----------
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), arXiv:2403.10988, sections 4.2, 4.3 and 5.1; U-Net (Ronneberger et al., 2015),
arXiv:1505.04597; EDSR (Lim et al., 2017), arXiv:1707.02921.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.encoders.block import ResidualBlock
from napari_flowsr.core.latents import Latents
from napari_flowsr.core.nets import DenseNet
from napari_flowsr.core.prior import LatentModule
from napari_flowsr.errors import OptionError

__all__ = ["LatentEDSR", "LearnedPriorConfig", "PatchPrior", "PyramidPrior", "UNet"]
__all__ += ["build_prior"]

_DEEPEST = 16
"""Halvings: more than any image has, and few enough to be counted out at once."""


@dataclass(frozen=True)
class LearnedPriorConfig:
    """Sizes of a learned prior; by default those of SRFlow-LP."""

    kind: Literal["pyramid", "patch"] = "pyramid"
    """A network for each level (SRFlow-LP), or one that sees the LR image (LINF-LP)."""
    level_channels: tuple[int, ...] = (6, 96)
    """Channels of the latents, finest level first."""
    dim: int = 64
    """Feature channels."""
    generator: Literal["unet", "edsr"] = "unet"
    depth: int = 3
    """Halvings in a UNet."""
    bilinear: bool = True
    """Whether a UNet enlarges bilinearly, or by transposed convolutions."""
    blocks: int = 16
    """Residual blocks of an EDSR-like generator."""
    has_tail: bool = True
    """Whether a convolution follows its blocks."""
    channels: int = 3
    """Image channels, for a ``patch`` prior."""
    stride: int = 3
    """LR pixels per cell of the projected LR image, for a ``patch`` prior."""

    def __post_init__(self) -> None:
        numbers = (*self.level_channels, self.dim, self.depth, self.channels)
        if not self.level_channels or min(*numbers, self.stride, self.blocks) < 1:
            raise OptionError(
                f"Learned prior: {self} has a size below 1; give 1 or more."
            )
        if self.depth > _DEEPEST:
            raise OptionError(
                f"Learned prior: {self.depth} halvings are asked for; give at most "
                f"{_DEEPEST}."
            )
        if self.kind == "patch" and (len(self.level_channels) > 1 or self.dim % 2):
            raise OptionError(
                "A learned prior of the kind 'patch' is for one level and has an even "
                f"dim; got {self.level_channels} and {self.dim}."
            )
        if self.kind == "pyramid" and min(self.level_channels) < 2:
            raise OptionError(
                "A learned prior of the kind 'pyramid' standardises over the channels "
                f"of a level, so that each needs 2 or more; got {self.level_channels}."
            )
        if self.kind == "pyramid" and self.generator != "unet":
            raise OptionError(
                "A learned prior of the kind 'pyramid' has UNets; got the generator "
                f"{self.generator!r}."
            )


# --- generators -----------------------------------------------------------------


class _DoubleConv(nn.Module):
    """Twice: convolution 3 x 3 without bias, batch norm, LeakyReLU 0.2."""

    def __init__(self, c_in: int, c_out: int, c_mid: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise((c_in, c_mid or c_out, c_out)):
            layers += [
                nn.Conv2d(a, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.double_conv(x)
        return out


class _Down(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(c_in, c_out))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.maxpool_conv(x)
        return out


class _Up(nn.Module):
    """Enlarge, pad with zeros to the size of the skip, concatenate, convolve."""

    def __init__(self, c_in: int, c_out: int, *, bilinear: bool) -> None:
        super().__init__()
        self.up: nn.Module = (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            if bilinear
            else nn.ConvTranspose2d(c_in, c_in // 2, 2, stride=2)
        )
        self.conv = _DoubleConv(c_in, c_out, c_in // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        rows, columns = (
            a - b for a, b in zip(skip.shape[-2:], x.shape[-2:], strict=True)
        )
        top, left = rows // 2, columns // 2
        x = F.pad(x, (left, columns - left, top, rows - top))
        out: Tensor = self.conv(torch.cat((skip, x), 1))
        return out


class UNet(nn.Module):
    """``(B, c_in, H, W)`` to ``(B, c_out, H, W)``, any size from 1 x 1 up.

    Parameters
    ----------
    c_in, c_out : int
        Channels before and after.
    dim : int
        Feature channels at full size; doubled by each halving.
    depth : int
        Number of halvings.
    bilinear : bool
        Enlarge bilinearly, corner pixels aligned; else by transposed convolutions.
    """

    def __init__(
        self, c_in: int, c_out: int, dim: int, depth: int, *, bilinear: bool = True
    ) -> None:
        super().__init__()
        self.smallest = 2**depth
        share = 2 if bilinear else 1
        widths = [dim * 2**i for i in range(depth)] + [dim * 2**depth // share]
        self.inc = _DoubleConv(c_in, dim)
        self.down_layers = nn.ModuleList(_Down(a, b) for a, b in pairwise(widths))
        ups = []
        for i in range(depth):
            wide = dim * 2 ** (depth - i)
            narrow = dim if i == depth - 1 else wide // 2 // share
            ups.append(_Up(wide, narrow, bilinear=bilinear))
        self.up_layers = nn.ModuleList(ups)
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(dim, c_out, 1)})

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # Smaller maps would vanish in the poolings: the edge is repeated, and cut off.
        missing = [max(0, self.smallest - side) for side in (width, height)]
        if any(missing):
            x = F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate")
        h = self.inc(x)
        skips = []
        for down in self.down_layers:
            skips.append(h)
            h = down(h)
        for up in self.up_layers:
            h = up(h, skips.pop())
        out: Tensor = self.outc["conv"](h)
        return out[..., :height, :width]


class LatentEDSR(nn.Module):
    """EDSR-baseline's residual blocks with one long skip, then a convolution.

    Section 5.3 of the paper names it and its 64 features; no file was at hand, and
    its arrangement beyond the names ``body`` and ``last_conv`` is EDSR's.
    """

    def __init__(
        self, c_in: int, c_out: int, blocks: int, *, has_tail: bool = True
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(c_in) for _ in range(blocks)]
        if has_tail:
            layers.append(nn.Conv2d(c_in, c_in, 3, padding=1))
        self.body = nn.Sequential(*layers)
        self.last_conv = nn.Conv2d(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last_conv(x + self.body(x))
        return out


# --- latent modules ---------------------------------------------------------------


def _enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class PyramidPrior(LatentModule):
    """SRFlow-LP: each level by its own dense block and UNet, without the LR image."""

    def __init__(self, config: LearnedPriorConfig) -> None:
        super().__init__()
        self.config, self.level_channels = config, config.level_channels
        self.channels = None
        c = config
        self.input_proj = nn.ModuleList(
            DenseNet(channels, c.dim, c.dim) for channels in c.level_channels
        )
        self.unet = nn.ModuleList(
            UNet(c.dim, channels, c.dim, c.depth, bilinear=c.bilinear)
            for channels in c.level_channels
        )

    def enlarged(self, lr: Tensor, hr_size: tuple[int, int]) -> Tensor:
        """The LR image enlarged bilinearly."""
        return _enlarged(lr, hr_size)

    @staticmethod
    def standardised(latents: Latents) -> Latents:
        """Mean 0 and standard deviation 1 over the channels of each cell."""

        def standardise(x: Tensor) -> Tensor:
            std, mean = torch.std_mean(x, 1, keepdim=True)
            return (x - mean) / (std + 1e-8)

        return latents.map(standardise)

    def predict(self, initial: Latents, lr: Tensor) -> Latents:
        """Latents from the standardised initial ones."""
        levels = self.standardised(initial).levels
        nets = zip(self.input_proj, self.unet, levels, strict=True)
        out = tuple(unet(project(level)) for project, unet, level in nets)
        return Latents(out, initial.spec)


class PatchPrior(LatentModule):
    """LINF-LP: latents and LR image, each by a dense block, then one generator."""

    def __init__(self, config: LearnedPriorConfig) -> None:
        super().__init__()
        self.config, self.level_channels = config, config.level_channels
        self.channels = config.channels
        (values,), half = config.level_channels, config.dim // 2
        self.input_proj = DenseNet(values, half, half)
        self.lr_proj = nn.Sequential(
            nn.Conv2d(config.channels, values, 3, stride=config.stride, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            DenseNet(values, half, half),
        )
        self.generator: nn.Module = (
            UNet(config.dim, values, config.dim, config.depth, bilinear=config.bilinear)
            if config.generator == "unet"
            else LatentEDSR(config.dim, values, config.blocks, has_tail=config.has_tail)
        )

    def enlarged(self, lr: Tensor, hr_size: tuple[int, int]) -> Tensor:
        """The enlarged LR image plus what enlarging loses in it.

        The flow models the residual over the enlarged LR image, which would be 0 for
        that image itself. Instead the enlarged image takes the place of the HR image
        once more: it is reduced to the LR size and enlarged, and the difference is the
        residual.
        """
        up = _enlarged(lr, hr_size)
        down = _enlarged(up, (int(lr.shape[-2]), int(lr.shape[-1])))
        return up + (up - _enlarged(down, hr_size))

    def predict(self, initial: Latents, lr: Tensor) -> Latents:
        """Latents from the initial ones and the LR image."""
        (level,) = initial.levels
        of_lr = _enlarged(self.lr_proj(2 * lr - 1), (level.shape[-2], level.shape[-1]))
        out = self.generator(torch.cat((self.input_proj(level), of_lr), 1))
        return Latents((out,), initial.spec)


def build_prior(config: LearnedPriorConfig) -> LatentModule:
    """The latent module of a configuration, untrained."""
    return PyramidPrior(config) if config.kind == "pyramid" else PatchPrior(config)
