"""SRFlow: the space of super-resolved images by a conditional normalizing flow.

A pyramid of flow steps (actnorm, 1 x 1 convolution, affine injector, conditional affine
coupling) on the HR image, conditioned at every level on features of an RRDB encoder of
the LR image. Published weights are read by `models.srflow_published`.

References
----------
SRFlow: Learning the Super-Resolution Space with Normalizing Flow (Lugmayr et al.,
2020), arXiv:2006.14200, eqs. (1) to (5), section 3.3, and its supplement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.features import StackedFeatures
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.pyramid import Pyramid
from napari_flowsr.core.scales import sigmoid_scale
from napari_flowsr.core.step import conditional_step, transition_step
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from napari_flowsr.core.folding import Program, Seen
    from napari_flowsr.core.latents import Latents, LatentSpec

__all__ = ["CONFIG", "FLOW", "SRFlow", "SRFlowConfig", "example_configs"]


@dataclass(frozen=True)
class SRFlowConfig:
    """Sizes of an `SRFlow`; by default those of the published 4x network."""

    scale: int = 4
    """2, 4 or 8."""
    channels: int = 3
    width: int = 64
    """Feature channels of the encoder (``nf``)."""
    blocks: int = 23
    """Blocks of the encoder (``nb``)."""
    growth: int = 32
    """Growth of the encoder's dense blocks (``gc``)."""
    stacked_blocks: tuple[int, ...] = (1, 8, 15, 22)
    """Blocks whose outputs are appended to the features, counted from 0."""
    levels: int = 0
    """Levels of the flow (``L``); 0 stands for the published log2(scale) + 1."""
    steps: int = 16
    """Conditional flow steps a level (``K``)."""
    transition_steps: int = 2
    """Unconditional flow steps after each squeeze."""
    hidden: int = 64
    """Width of the nets in the flow steps."""
    affine_eps: float = 1e-4
    """Lower bound of every scale, what decoding divides by at worst."""
    quant: float = 255.0
    """Quantisation levels behind the dequantisation noise of the training."""

    def __post_init__(self) -> None:
        if self.scale not in (2, 4, 8):
            raise OptionError(f"SRFlow scale is {self.scale}; it can be 2, 4 or 8.")
        if self.levels == 0:
            object.__setattr__(self, "levels", self.scale.bit_length())
        if not 1 <= self.levels <= self.scale.bit_length():
            raise OptionError(
                f"SRFlow has {self.levels} levels; at scale {self.scale} it can have 1 "
                f"to {self.scale.bit_length()}."
            )
        names = ("channels", "width", "blocks", "growth", "steps", "hidden")
        for name in names:
            if getattr(self, name) < 1:
                raise OptionError(
                    f"SRFlow {name} is {getattr(self, name)}; give 1 or more."
                )
        numbers_fit = 0 <= self.affine_eps < math.inf and 0 < self.quant < math.inf
        if self.transition_steps < 0 or not numbers_fit:
            raise OptionError(
                "SRFlow transition_steps and affine_eps are at least 0, quant is "
                f"positive; got {self.transition_steps}, {self.affine_eps}, "
                f"{self.quant}."
            )
        if any(not 0 <= block < self.blocks for block in self.stacked_blocks):
            raise OptionError(
                f"SRFlow stacked_blocks are {self.stacked_blocks}; this encoder has "
                f"{self.blocks} blocks, counted from 0. Name blocks that exist."
            )


class SRFlow(ConditionalFlow):
    """Conditional flow on an RRDB encoder."""

    family: ClassVar[str] = "srflow"

    def __init__(self, config: SRFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales = (float(config.scale),)
        self.multiple_of = max(1, 2**config.levels // config.scale)
        self.encoder = RRDB(
            config.channels, config.width, config.blocks, config.growth, config.scale
        )
        condition_channels = config.width * (1 + len(config.stacked_blocks))
        self.flow = Pyramid(
            config.channels,
            (2,) * config.levels,
            transition_step,
            partial(
                conditional_step,
                condition_channels=condition_channels,
                hidden=config.hidden,
                log_scale=partial(sigmoid_scale, eps=config.affine_eps),
            ),
            transitions=config.transition_steps,
            steps=config.steps,
        )
        # Features of the coarsest level are read two cells further, by an injector that
        # precedes the first coupling; those cells are `multiple_of` LR pixels wide, and
        # see as far as the encoder does.
        cells = 3 * self.multiple_of
        reach = math.ceil(self.flow.reach / config.scale)
        self.receptive_field = reach + cells + self.encoder.reach

    def condition(self, lr: Tensor) -> Condition:
        """Encode ``lr`` into one map a level, finest first."""
        self.check_lr(lr)
        doublings = self.config.scale.bit_length() - 1
        sizes = [doublings - level for level in range(1, self.config.levels + 1)]
        maps = self.encoder.maps(lr, sizes, self.config.stacked_blocks)
        return Condition(lr, maps)

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One level for each split, and the last one."""
        self.check_scale(scale)
        return self.flow.spec(lr_size, self.config.scale)

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr`` to latents; the learned split priors standardise them."""
        self.check_hr(hr, cond)
        latents, logdet = self.flow(hr, cond.features)
        return Encoded(self.make_latents(latents, cond), logdet, cond.lr)

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Map latents to an HR image."""
        prepared = self.prepared(cond)
        if prepared is not None:
            return self.flow.decode(latents.levels, prepared)
        return self.inverse(latents, cond)[0]

    def programs(self) -> tuple[Program, ...]:
        """One a level."""
        return self.flow.programs()

    def seen(self, cond: Condition) -> Sequence[Seen]:
        """Features of each level; finer than the LR image, taps are enlarged maps."""
        width, taps = self.config.width, self.config.stacked_blocks
        return [
            StackedFeatures.of(u, width)
            if taps and u.shape[-1] > cond.lr.shape[-1]
            else u
            for u in cond.features
        ]

    def inverse(self, latents: Latents, cond: Condition) -> tuple[Tensor, Tensor]:
        """HR image as `decode`, and the log-determinant ``(B,)`` of that direction."""
        hr, logdet = self.flow.inverse(latents.levels, cond.features)
        return hr, logdet

    def predict(self, lr: Tensor) -> Tensor:
        """The encoder's own HR image, which its pre-training compares by L1."""
        self.check_lr(lr)
        return self.encoder.predict(lr)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the RRDB encoder."""
        return list(self.encoder.parameters())


CONFIG = SRFlowConfig
FLOW = SRFlow


def example_configs() -> tuple[SRFlowConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        SRFlowConfig(
            scale=4,
            width=4,
            blocks=2,
            growth=2,
            stacked_blocks=(1, 0),
            steps=1,
            transition_steps=1,
            hidden=4,
        ),
        SRFlowConfig(
            scale=8,
            channels=1,
            width=4,
            blocks=1,
            growth=2,
            stacked_blocks=(),
            steps=1,
            transition_steps=2,
            hidden=4,
        ),
        SRFlowConfig(
            scale=2,
            channels=1,
            width=4,
            blocks=2,
            growth=3,
            stacked_blocks=(0,),
            levels=1,
            steps=2,
            transition_steps=0,
            hidden=5,
            affine_eps=1e-3,
        ),
    )
