"""Compact: a small conditional flow around a predicted mean, for a laptop CPU.

Our own family. One squeeze by the whole scale factor, so that every layer runs at LR
resolution; flow steps as AdFlow's (fixed rotations); applied to what an EDSR-
or WDSR-like encoder could not predict:

    hr = mean(lr) + residual_scale * unsqueeze(flow^-1(z; u)),   z white

So that the inverse cannot explode on inputs unlike the training images, everything
that the nets inside the steps see is bounded (the features of the LR image, the
activations), and so are the log-scales that they predict.

The mean is bicubic interpolation plus a pixel-shuffle head, trained first, then
frozen while the flow learns by likelihood, the staging of SRFlow, section 3.4.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, eqs. (2) to (5); AdFlow (Lugmayr et
al., 2021), arXiv:2111.03649, section 3.4; EDSR (Lim et al., 2017), arXiv:1707.02921;
WDSR (Yu et al., 2018), arXiv:1808.08718; Real-Time Single Image and Video
Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network (Shi et al.,
2016), arXiv:1609.05158 (pixel shuffle).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.encoders.edsr import EDSR
from napari_flowsr.core.encoders.wdsr import WDSR
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.folding import Program, Seen, fold
from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec
from napari_flowsr.core.nets import soft_bound
from napari_flowsr.core.scales import tanh_scale
from napari_flowsr.core.step import conditional_step
from napari_flowsr.core.transforms.actnorm import ActNorm
from napari_flowsr.core.transforms.base import Compose

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CONFIG", "FLOW", "Compact", "CompactConfig", "example_configs"]


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of a `Compact` network."""

    scale: int = 2
    channels: int = 1
    width: int = 48
    """Feature channels of the encoder."""
    blocks: int = 8
    """Residual blocks of the encoder."""
    expansion: int = 1
    """Channels inside a residual block for each feature channel; with 1 it is EDSR,
    with more WDSR."""
    steps: int = 8
    """Flow steps."""
    hidden: int = 48
    """Width of the nets inside the flow steps."""
    residual_scale: float = 0.05
    """Typical size of ``hr - mean``, which brings the flow's input to unit size."""
    log_scale_bound: float = 0.75
    """Largest magnitude of a log-scale of one injector or coupling."""


_BOUND = 5.0
"""Of features and activations, in units of their standard deviation in training."""


def _encoder(config: CompactConfig) -> EDSR | WDSR:
    c = config
    if c.expansion == 1:
        return EDSR(c.channels, c.width, c.blocks)
    return WDSR(c.channels, c.width, c.blocks, c.expansion)


class Compact(ConditionalFlow):
    """Conditional flow at LR resolution around a predicted mean."""

    family: ClassVar[str] = "compact"
    multiple_of = 1

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales = (float(config.scale),)
        squeezed = config.channels * config.scale**2
        self.encoder = _encoder(config)
        last = nn.Conv2d(config.width, squeezed, 3, padding=1)
        # A zero head makes the untrained mean the bicubic interpolation.
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.head = nn.Sequential(nn.ReLU(), last)
        # Not part of the flow: it brings each feature to unit size before the bound.
        self.normalise = ActNorm(config.width)
        self.flow = Compose(
            conditional_step(
                squeezed,
                config.width,
                hidden=config.hidden,
                log_scale=partial(tanh_scale, bound=config.log_scale_bound),
                rotation=True,
                bound=_BOUND,
            )
            for _ in range(config.steps)
        )
        # The couplings' reach adds up; an injector or coupling net then reads features
        # up to 2 pixels further, and those reach as far as encoder or head do.
        self.receptive_field = self.flow.reach + self.encoder.reach + 2

    def _bicubic(self, lr: Tensor) -> Tensor:
        # antialias selects the a = -0.5 kernel of MATLAB; it has no other effect here.
        return F.interpolate(
            lr, scale_factor=self.config.scale, mode="bicubic", antialias=True
        )

    def _mean(self, lr: Tensor, features: Tensor) -> Tensor:
        """Squeezed mean ``(B, C s^2, h, w)``."""
        bicubic = F.pixel_unshuffle(self._bicubic(lr), self.config.scale)
        out: Tensor = bicubic + self.head(features)
        return out

    def condition(self, lr: Tensor) -> Condition:
        self.check_lr(lr)
        features = self.encoder(lr)
        seen = soft_bound(self.normalise(features)[0], _BOUND)
        return Condition(lr, (seen, self._mean(lr, features)))

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        self.check_scale(scale)
        s, (h, w) = self.config.scale, lr_size
        level = LatentLevel(self.config.channels * s**2, h, w, Fraction(1))
        return LatentSpec((level,), (h, w), (h * s, w * s))

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        self.check_hr(hr, cond)
        features, mean = cond.features
        residual = F.pixel_unshuffle(hr, self.config.scale) - mean
        x = residual / self.config.residual_scale
        z, logdet = self.flow(x, features)
        logdet = logdet - x[0].numel() * math.log(self.config.residual_scale)
        return Encoded(self.make_latents((z,), cond), logdet, cond.lr)

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        features, mean = cond.features
        prepared = self.prepared(cond)
        if prepared is not None:
            ((program, ready),) = prepared
            x = program.decode(latents.levels[0], ready or ())
        else:
            x, _ = self.flow.inverse(latents.levels[0], features)
        squeezed = mean + self.config.residual_scale * x
        return F.pixel_shuffle(squeezed, self.config.scale)

    def programs(self) -> tuple[Program, ...]:
        """One: there is one level."""
        return (fold(self.flow, self.config.channels * self.config.scale**2),)

    def seen(self, cond: Condition) -> Sequence[Seen]:
        """The bounded features; the mean is added after the flow."""
        return cond.features[:1]

    @property
    def latent_reach(self) -> int:
        # The encoder sees the LR image alone; latents pass through the couplings only.
        return self.flow.reach

    @property
    def condition_reach(self) -> int:
        # The mean is bicubic, which looks 2 pixels far, plus the head's convolution.
        return self.encoder.reach + 2

    def predict(self, lr: Tensor) -> Tensor:
        self.check_lr(lr)
        return F.pixel_shuffle(self._mean(lr, self.encoder(lr)), self.config.scale)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), *self.head.parameters()]


def example_configs() -> tuple[CompactConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        CompactConfig(scale=2, width=8, blocks=1, steps=2, hidden=6),
        CompactConfig(
            scale=3, channels=3, width=6, blocks=1, expansion=2, steps=1, hidden=4
        ),
        CompactConfig(
            scale=4, width=8, blocks=2, steps=2, hidden=8, residual_scale=0.1
        ),
    )


CONFIG = CompactConfig
FLOW = Compact
