"""L1 losses as one-layer conditional flows, the starting point of AdFlow.

    z = (hr - g(lr)) / b(lr),   z standard Laplace

With a constant ``b`` the negative log-likelihood is the L1 loss, up to a factor and a
constant; with a predicted one it is the paper's scaled L1 loss. Sampling adds white
Laplace noise to the prediction: a baseline for what deeper flows gain.

References
----------
Normalizing Flow as a Flexible Fidelity Objective for Photo-Realistic Super-resolution
(AdFlow; Lugmayr et al., 2021), arXiv:2111.03649, section 3.1, eqs. (1) to (4). The
network behind ``g`` is any; here EDSR (Lim et al., 2017), arXiv:1707.02921.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.encoders.edsr import EDSR
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.latents import LatentLevel, LatentSpec
from napari_flowsr.core.transforms.base import sum_per_image
from napari_flowsr.core.transforms.laplace import LaplaceToNormal
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.core.latents import Latents

__all__ = ["CONFIG", "FLOW", "L1Config", "L1Flow", "ScaledL1Flow", "example_configs"]


@dataclass(frozen=True)
class L1Config:
    """Sizes of an `L1Flow` or a `ScaledL1Flow`."""

    scale: int = 4
    channels: int = 3
    width: int = 64
    """Feature channels of the encoder."""
    blocks: int = 16
    """Residual blocks of the encoder."""
    scaled: bool = False
    """Predict the Laplace scale of every value: a `ScaledL1Flow`."""
    b: float = 1.0
    """Laplace scale, in units of intensity; of a `ScaledL1Flow` the one to start with.
    1 is the paper's; about 0.03 is what errors are like."""

    def __post_init__(self) -> None:
        for name in ("scale", "channels", "width", "blocks"):
            if getattr(self, name) < 1:
                raise OptionError(
                    f"L1 {name} is {getattr(self, name)}; give 1 or more."
                )
        if not self.b > 0 or math.isinf(self.b):
            raise OptionError(f"L1 b is {self.b}; give a positive number.")


class L1Flow(ConditionalFlow):
    """One layer, a constant Laplace scale: eqs. (1) and (2)."""

    family: ClassVar[str] = "l1"
    outputs: ClassVar[int] = 1
    """Numbers that the encoder predicts for each HR value."""
    multiple_of = 1

    def __init__(self, config: L1Config) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales = (float(config.scale),)
        squeezed = config.channels * config.scale**2
        self.encoder = EDSR(config.channels, config.width, config.blocks)
        self.head = nn.Conv2d(config.width, self.outputs * squeezed, 3, padding=1)
        # A zero head makes the untrained prediction the bicubic interpolation.
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self.base = LaplaceToNormal()
        self.receptive_field = self.encoder.reach + 1

    def _logs(self, h: tuple[Tensor, ...]) -> Tensor:
        """``ln b`` for each HR value."""
        return torch.full_like(h[0], math.log(self.config.b))

    def condition(self, lr: Tensor) -> Condition:
        """Predict ``g(lr)`` and ``ln b``, both ``(B, C, H, W)``."""
        self.check_lr(lr)
        h = F.pixel_shuffle(self.head(F.relu(self.encoder(lr))), self.config.scale)
        parts = h.chunk(self.outputs, 1)
        # antialias selects the a = -0.5 kernel of MATLAB; it has no other effect here.
        bicubic = F.interpolate(
            lr, scale_factor=self.config.scale, mode="bicubic", antialias=True
        )
        return Condition(lr, (bicubic + parts[0], self._logs(parts)))

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One level, one latent for each HR value."""
        self.check_scale(scale)
        hr_size = (lr_size[0] * self.config.scale, lr_size[1] * self.config.scale)
        level = LatentLevel(self.channels, *hr_size, Fraction(self.config.scale))
        return LatentSpec((level,), lr_size, hr_size)

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Standardise the error of the prediction, eq. (3), and make it normal."""
        self.check_hr(hr, cond)
        mean, logs = cond.features
        z, logdet = self.base((hr - mean) * torch.exp(-logs))
        latents = self.make_latents((z,), cond)
        return Encoded(latents, logdet - sum_per_image(logs), cond.lr)

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Add Laplace noise of scale ``b`` to the prediction."""
        mean, logs = cond.features
        return mean + logs.exp() * self.base.inverse(latents.levels[0])[0]


class ScaledL1Flow(L1Flow):
    """One layer, a predicted Laplace scale: eqs. (3) and (4)."""

    outputs: ClassVar[int] = 2

    def _logs(self, h: tuple[Tensor, ...]) -> Tensor:
        return h[1] + math.log(self.config.b)


def FLOW(config: L1Config) -> L1Flow:
    """The flow of a configuration."""
    return ScaledL1Flow(config) if config.scaled else L1Flow(config)


def example_configs() -> tuple[L1Config, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        L1Config(scale=3, channels=1, width=5, blocks=1, b=0.5),
        L1Config(scale=2, channels=3, width=6, blocks=2, scaled=True, b=0.1),
    )


CONFIG = L1Config
