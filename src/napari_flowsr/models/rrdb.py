"""RRDB alone: a deterministic network, for encoders that were published by themselves.

It has no distribution: ``p(hr | lr)`` is all at one image. Its one level of latents has
no channels, so that every sample is the prediction, and there is no density.

References
----------
ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks (Wang et al., 2018),
arXiv:1809.00219, section 3.1; SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section
3.4 (the encoder is trained alone at first, on L1).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.latents import LatentLevel, LatentSpec
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_flowsr.core.latents import Latents

__all__ = ["CONFIG", "FLOW", "RRDBConfig", "RRDBNet", "example_configs"]


@dataclass(frozen=True)
class RRDBConfig:
    """Sizes of an `RRDBNet`."""

    scale: int = 4
    """Product of twos and threes."""
    channels: int = 3
    width: int = 64
    """Feature channels."""
    blocks: int = 23
    growth: int = 32
    """Channels that each dense convolution adds."""

    def __post_init__(self) -> None:
        for name in ("scale", "channels", "width", "blocks", "growth"):
            if getattr(self, name) < 1:
                raise OptionError(
                    f"RRDB {name} is {getattr(self, name)}; give 1 or more."
                )


class RRDBNet(ConditionalFlow):
    """One prediction for an LR image, whatever the latents, seed and temperature."""

    family: ClassVar[str] = "rrdb"
    deterministic: ClassVar[bool] = True
    multiple_of = 1

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales = (float(config.scale),)
        self.encoder = RRDB(
            config.channels, config.width, config.blocks, config.growth, config.scale
        )
        # Two more convolutions at HR size follow what the encoder's reach counts.
        self.receptive_field = self.encoder.reach + 2

    def condition(self, lr: Tensor) -> Condition:
        """Predict the HR image ``(B, C, H, W)``: there is nothing else to do."""
        return Condition(lr, (self.predict(lr),))

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One level without channels: zero numbers, and the batch of the samples."""
        self.check_scale(scale)
        s, (h, w) = self.config.scale, lr_size
        level = LatentLevel(0, h, w, Fraction(1))
        return LatentSpec((level,), (h, w), (h * s, w * s))

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Refuse: `OptionError`."""
        raise OptionError(
            "The rrdb family is deterministic: an HR image has no latents and no "
            "likelihood under it. Use a model that has a flow."
        )

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """The prediction, as often as there are samples."""
        (hr,) = cond.features
        if hr.shape[0] == latents.batch:
            return hr
        return hr.repeat(latents.batch, 1, 1, 1)

    def predict(self, lr: Tensor) -> Tensor:
        self.check_lr(lr)
        return self.encoder.predict(lr)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.parameters())


def example_configs() -> tuple[RRDBConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        RRDBConfig(scale=2, channels=1, width=5, blocks=1, growth=3),
        RRDBConfig(scale=4, channels=3, width=6, blocks=1, growth=2),
    )


CONFIG = RRDBConfig
FLOW = RRDBNet
