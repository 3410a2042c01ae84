"""AdFlow: a conditional flow as the fidelity term beside an adversarial loss.

SRFlow's pyramid with fixed random rotations for the 1 x 1 convolutions, a coupling
whose scale is bounded for decoding, the injector after the coupling, features of four
blocks of the encoder, and a Gaussian or a Laplace base density. No weights and no
program were ever published; the equations and the text of the paper are followed.

References
----------
Normalizing Flow as a Flexible Fidelity Objective for Photo-Realistic Super-resolution
(AdFlow; Lugmayr et al., 2021), arXiv:2111.03649, eqs. (5) and (6), section 3.4; for
what it leaves open, SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, and supplement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.pyramid import Pyramid
from napari_flowsr.core.scales import inverse_sigmoid_scale, sigmoid_scale
from napari_flowsr.core.step import conditional_step, transition_step
from napari_flowsr.core.transforms.laplace import LaplaceToNormal
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from napari_flowsr.core.folding import Program
    from napari_flowsr.core.latents import Latents, LatentSpec
    from napari_flowsr.core.transforms.base import Transform

__all__ = ["CONFIG", "FLOW", "AdFlow", "AdFlowConfig", "example_configs"]

# Section 3.4: 3, 4 and 4 levels for 4x, 6x and 8x, each halving the size. 2x is ours.
_LEVELS = {2: 2, 4: 3, 6: 4, 8: 4}


@dataclass(frozen=True)
class AdFlowConfig:
    """Sizes of an `AdFlow`; what the paper does not say is as in SRFlow."""

    scale: int = 4
    """2, 4, 6 or 8."""
    channels: int = 3
    width: int = 64
    """Feature channels of the encoder."""
    growth: int = 32
    """Growth of the encoder's dense blocks."""
    taps: tuple[int, ...] = (1, 4, 6, 8)
    """Blocks whose outputs make up the embedding, counted from 1; the last is the
    encoder's last block, since nothing would see a later one."""
    squeezes: tuple[int, ...] = ()
    """Factor of each level's squeeze, finest first; none stands for the paper's: by 2,
    3 levels at 4x, 4 at 6x and 8x."""
    steps: int = 16
    """Conditional flow steps a level (``K``)."""
    transition_steps: int = 2
    """Unconditional flow steps after each squeeze."""
    hidden: int = 64
    """Width of the nets in the flow steps."""
    base: Literal["gaussian", "laplace"] = "gaussian"
    """Density of the flow's own latents; outside they are normal with either."""
    injector_eps: float = 1e-4
    """Lower bound of the injector's scales, what decoding divides by at worst."""
    quant: float = 32.0
    """Inverse width of the noise added while training (section 3.5)."""

    def __post_init__(self) -> None:
        if self.scale not in _LEVELS:
            raise OptionError(f"AdFlow scale is {self.scale}; it can be 2, 4, 6 or 8.")
        if any(factor not in (2, 3) for factor in self.squeezes):
            raise OptionError(
                f"AdFlow squeezes are {self.squeezes}; each factor is 2 or 3."
            )
        for name in ("channels", "width", "growth", "steps", "hidden"):
            if getattr(self, name) < 1:
                raise OptionError(
                    f"AdFlow {name} is {getattr(self, name)}; give 1 or more."
                )
        numbers_fit = 0 <= self.injector_eps < math.inf and 0 < self.quant < math.inf
        if self.transition_steps < 0 or not numbers_fit:
            raise OptionError(
                "AdFlow transition_steps and injector_eps are at least 0, quant is "
                f"positive; got {self.transition_steps}, {self.injector_eps}, "
                f"{self.quant}."
            )
        if not self.taps or min(self.taps) < 1:
            raise OptionError(
                f"AdFlow taps are {self.taps}; name at least one block, counted from 1."
            )

    @property
    def layout(self) -> tuple[int, ...]:
        """Factor of each level's squeeze."""
        return self.squeezes or (2,) * _LEVELS[self.scale]

    @property
    def cell(self) -> int:
        """HR pixels along the side of a cell of the coarsest level."""
        return math.prod(self.layout)


def _pyramid(config: AdFlowConfig) -> Pyramid:
    step: Callable[[int], Transform] = partial(
        conditional_step,
        condition_channels=config.width * len(config.taps),
        hidden=config.hidden,
        log_scale=inverse_sigmoid_scale,
        injector_scale=partial(sigmoid_scale, eps=config.injector_eps),
        rotation=True,
        injector_last=True,
    )
    return Pyramid(
        config.channels,
        config.layout,
        partial(transition_step, rotation=True),
        step,
        transitions=config.transition_steps,
        steps=config.steps,
    )


class AdFlow(ConditionalFlow):
    """Conditional flow on four blocks of an RRDB encoder."""

    family: ClassVar[str] = "adflow"

    def __init__(self, config: AdFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales = (float(config.scale),)
        # The smallest LR side whose HR side is whole cells of the coarsest level.
        self.multiple_of = config.cell // math.gcd(config.cell, config.scale)
        self.encoder = RRDB(
            config.channels,
            config.width,
            max(config.taps),
            config.growth,
            config.scale,
        )
        self.flow = _pyramid(config)
        self.base = LaplaceToNormal() if config.base == "laplace" else None
        # Features of the coarsest level are read two cells further, plus one LR pixel
        # by the bilinear resizing, and see as far as the encoder does.
        cells = 3 * math.ceil(config.cell / config.scale) + 1
        reach = math.ceil(self.flow.reach / config.scale)
        self.receptive_field = reach + cells + self.encoder.reach

    def condition(self, lr: Tensor) -> Condition:
        """Embed ``lr``, and resize the embedding bilinearly to each level."""
        self.check_lr(lr)
        _, tapped = self.encoder(lr, [block - 1 for block in self.config.taps])
        embedding = torch.cat([tapped[block - 1] for block in self.config.taps], 1)
        maps = []
        cell = 1
        for factor in self.config.layout:
            cell *= factor
            size = [side * self.config.scale // cell for side in lr.shape[-2:]]
            maps.append(
                F.interpolate(embedding, size, mode="bilinear", align_corners=False)
            )
        return Condition(lr, tuple(maps))

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One level for each split, and the last one."""
        self.check_scale(scale)
        return self.flow.spec(lr_size, self.config.scale)

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr`` to latents; splits and a Laplace base are made white."""
        self.check_hr(hr, cond)
        levels, logdet = self.flow(hr, cond.features)
        if self.base is not None:
            whitened = [self.base(level) for level in levels]
            levels = tuple(level for level, _ in whitened)
            logdet = logdet + torch.stack([term for _, term in whitened]).sum(0)
        return Encoded(self.make_latents(levels, cond), logdet, cond.lr)

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Map latents to an HR image."""
        levels = latents.levels
        if self.base is not None:
            levels = tuple(self.base.inverse(level)[0] for level in levels)
        prepared = self.prepared(cond)
        if prepared is not None:
            return self.flow.decode(levels, prepared)
        hr, _ = self.flow.inverse(levels, cond.features)
        return hr

    def programs(self) -> tuple[Program, ...]:
        """One a level."""
        return self.flow.programs()

    def predict(self, lr: Tensor) -> Tensor:
        """The encoder's own HR image, for a pre-training as SRFlow's."""
        self.check_lr(lr)
        return self.encoder.predict(lr)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the RRDB encoder."""
        return list(self.encoder.parameters())


def example_configs() -> tuple[AdFlowConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    # More hidden channels than elsewhere: with few, all of a net may be dead.
    tiny = AdFlowConfig(
        channels=1, width=4, growth=2, taps=(1,), steps=1, transition_steps=1, hidden=8
    )
    return (
        replace(tiny, channels=3, taps=(1, 2)),
        replace(tiny, scale=6, squeezes=(2, 3), transition_steps=2, base="laplace"),
        replace(tiny, scale=8, taps=(2,), transition_steps=0),
    )


CONFIG = AdFlowConfig
FLOW = AdFlow
