"""HCFlow for super-resolution: the LR image is part of the latent.

The flow turns an HR image into its own version of the LR image and white latents, which
are modelled level by level on all that is coarser. A narrow Gaussian around the given
LR image makes it a conditional density. Published weights are read by
`models.hcflow_published`; HCFlow, HCFlow+ and HCFlow++ are the same network, trained
with other losses.

References
----------
Hierarchical Conditional Flow: A Unified Framework for Image Super-Resolution and Image
Rescaling (HCFlow; Liang et al., 2021), arXiv:2108.05301, eqs. (2) to (6), section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from napari_flowsr.core.flow import Encoded
from napari_flowsr.core.hierarchical import (
    HierarchicalFlow,
    check_positive,
    levels_of,
    per_level,
)
from napari_flowsr.core.hierarchy import DetailSizes, Hierarchy
from napari_flowsr.core.scales import arctan_scale
from napari_flowsr.core.step import coupling_step
from napari_flowsr.core.transforms.base import Compose, sum_per_image
from napari_flowsr.core.transforms.squeeze import Squeeze
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.core.condition import Condition

__all__ = ["CONFIG", "FLOW", "HCFlow", "HCFlowConfig", "example_configs"]


@dataclass(frozen=True)
class HCFlowConfig:
    """Sizes of an `HCFlow`; by default those of the published 4x network."""

    scale: int = 4
    """2, 4 or 8: one, two or three levels."""
    channels: int = 3
    width: int = 64
    """Feature channels of the encoders (``nf``)."""
    blocks: tuple[int, int] = (7, 7)
    """Blocks of the two trunks of each encoder (``nb``)."""
    growth: int = 32
    """Growth of the encoders' dense blocks (``gc``)."""
    steps: tuple[int, ...] = (13,)
    """Unconditional flow steps of each level, finest first; one number for all."""
    conditional_steps: tuple[int, ...] = (13,)
    """Conditional flow steps of each level, finest first; one number for all."""
    hidden: int = 64
    """Width of the nets in the unconditional steps."""
    conditional_hidden: int = 64
    """Width of the nets in the conditional steps."""
    lr_log_sigma: float = -6.0
    """Logarithm of the standard deviation of the LR image around the given one."""
    quant: float = 64.0
    """Quantisation levels behind the dequantisation noise of the training."""

    def __post_init__(self) -> None:
        levels = levels_of("HCFlow", self.scale)
        for name in ("steps", "conditional_steps"):
            counts = per_level(f"HCFlow {name}", getattr(self, name), levels)
            object.__setattr__(self, name, counts)
        check_positive(
            "HCFlow",
            channels=self.channels,
            width=self.width,
            blocks=min(self.blocks),
            growth=self.growth,
            steps=min(self.steps),
            conditional_steps=min(self.conditional_steps),
            hidden=self.hidden,
            conditional_hidden=self.conditional_hidden,
        )
        if not 0 < self.quant < math.inf:
            raise OptionError(f"HCFlow quant is {self.quant}; it is a positive number.")


def _straight_through_8_bit(lr: Tensor) -> Tensor:
    """Clamp and round to 8 bits; the gradient is that of the identity."""
    rounded = (lr.detach().clamp(0, 1) * 255).round() / 255
    return lr + (rounded - lr.detach())


class HCFlow(HierarchicalFlow):
    """Hierarchical conditional flow with squeezes and 1 x 1 convolutions."""

    family: ClassVar[str] = "hcflow"

    def __init__(self, config: HCFlowConfig) -> None:
        def main(channels: int, level: int) -> Compose:
            return Compose(
                coupling_step(channels, hidden=config.hidden, log_scale=arctan_scale)
                for _ in range(config.steps[level])
            )

        sizes = DetailSizes(
            config.width,
            config.growth,
            config.blocks,
            config.conditional_hidden,
            with_early=True,
            head_scale=None,
        )
        hierarchy = Hierarchy(
            config.channels, lambda _: Squeeze(), main, config.conditional_steps, sizes
        )
        super().__init__(hierarchy, config.channels, config.scale)
        self.config = config

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr`` to latents and the LR image ``Encoded.lr``, raw and unclamped.

        The latents are conditioned on that image; the given one only enters the
        likelihood. ``logdet`` contains `lr_log_prob`.
        """
        self.check_hr(hr, cond)
        lr, latents, logdet = self.flow(hr)
        logdet = logdet + self.lr_log_prob(lr, cond)
        return Encoded(self.make_latents(latents, cond), logdet, lr)

    def lr_log_prob(self, lr: Tensor, cond: Condition) -> Tensor:
        r"""Log-density of the flow's LR image given the real one, ``(B,)``, nats.

        :math:`\ln N(q(lr); lr^*, \sigma^2)` (eq. 4), where *q* rounds to 8 bits, as the
        published program does: the density is one of 8-bit LR images.
        """
        logs = self.config.lr_log_sigma
        error = (_straight_through_8_bit(lr) - cond.lr) * math.exp(-logs)
        return sum_per_image(-0.5 * error.square() - logs - 0.5 * math.log(2 * math.pi))


CONFIG = HCFlowConfig
FLOW = HCFlow


def example_configs() -> tuple[HCFlowConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        HCFlowConfig(
            scale=4,
            width=4,
            blocks=(1, 1),
            growth=2,
            steps=(1, 2),
            conditional_steps=(2, 1),
            hidden=4,
            conditional_hidden=5,
        ),
        HCFlowConfig(
            scale=8,
            channels=1,
            width=3,
            blocks=(1, 1),
            growth=2,
            steps=(1,),
            conditional_steps=(1,),
            hidden=4,
            conditional_hidden=4,
        ),
        HCFlowConfig(
            scale=2,
            channels=1,
            width=4,
            blocks=(1, 2),
            growth=2,
            steps=(2,),
            conditional_steps=(2,),
            hidden=4,
            conditional_hidden=4,
            lr_log_sigma=-3.0,
        ),
    )
