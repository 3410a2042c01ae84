"""HCFlow for rescaling: make an image smaller so that it can be brought back.

`HCFlowRescale.downscale` turns an HR image into a small one that is still a picture,
and white latents; with both the way back is exact, with the small image alone the
latents are sampled. Haar squeezes instead of plain ones, couplings between image and
detail in turn, and no channel mixing between them. Published weights are read by
`models.hcflow_rescale_published`.

References
----------
Hierarchical Conditional Flow: A Unified Framework for Image Super-Resolution and Image
Rescaling (HCFlow; Liang et al., 2021), arXiv:2108.05301, section 3.3, section 4.1
(image rescaling), eq. (9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from napari_flowsr.core.flow import Encoded
from napari_flowsr.core.hierarchical import (
    HierarchicalFlow,
    check_positive,
    levels_of,
    per_level,
)
from napari_flowsr.core.hierarchy import DetailSizes, Hierarchy
from napari_flowsr.core.latents import Latents
from napari_flowsr.core.nets import DenseNet
from napari_flowsr.core.scales import arctan_scale
from napari_flowsr.core.transforms.actnorm import ActNorm
from napari_flowsr.core.transforms.base import Compose, Transform
from napari_flowsr.core.transforms.detail import DetailCoupling, ImageShift
from napari_flowsr.core.transforms.haar import HaarSqueeze
from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.core.condition import Condition

__all__ = ["CONFIG", "FLOW", "HCFlowRescale", "HCFlowRescaleConfig", "example_configs"]


@dataclass(frozen=True)
class HCFlowRescaleConfig:
    """Sizes of an `HCFlowRescale`; by default those of the published 4x network."""

    scale: int = 4
    """2, 4 or 8: one, two or three levels."""
    channels: int = 3
    width: int = 64
    """Feature channels of the encoders (``nf``)."""
    blocks: tuple[int, int] = (2, 1)
    """Blocks of the two trunks of each encoder (``nb``)."""
    growth: int = 16
    """Growth of the encoders' dense blocks (``gc``)."""
    steps: tuple[int, ...] = (8,)
    """Unconditional flow steps of each level, finest first; one number for all."""
    conditional_steps: tuple[int, ...] = (6,)
    """Conditional flow steps of each level, finest first; one number for all."""
    hidden: int = 32
    """Growth of the dense nets in the unconditional steps."""
    conditional_hidden: int = 64
    """Width of the nets in the conditional steps."""

    def __post_init__(self) -> None:
        levels = levels_of("HCFlow rescaling", self.scale)
        for name in ("steps", "conditional_steps"):
            counts = per_level(f"HCFlow rescaling {name}", getattr(self, name), levels)
            object.__setattr__(self, name, counts)
        check_positive(
            "HCFlow rescaling",
            channels=self.channels,
            width=self.width,
            blocks=min(self.blocks),
            growth=self.growth,
            steps=min(self.steps),
            conditional_steps=min(self.conditional_steps),
            hidden=self.hidden,
            conditional_hidden=self.conditional_hidden,
        )


def _step(channels: int, image: int, growth: int, number: int) -> Compose:
    """Actnorm, then the detail moves (even steps) or the image (odd steps)."""
    detail = channels - image
    coupling: Transform
    if number % 2 == 0:
        net = DenseNet(image, 2 * detail, growth)
        coupling = DetailCoupling(net, arctan_scale, image)
    else:
        net = DenseNet(detail, image, growth)
        coupling = ImageShift(net, image)
    # An untrained step is the identity, as with the zero convolutions elsewhere.
    nn.init.zeros_(net.conv5.weight)
    if net.conv5.bias is not None:
        nn.init.zeros_(net.conv5.bias)
    return Compose((ActNorm(channels), coupling))


class HCFlowRescale(HierarchicalFlow):
    """Hierarchical conditional flow with Haar squeezes, for making images smaller."""

    family: ClassVar[str] = "hcflow-rescale"

    def __init__(self, config: HCFlowRescaleConfig) -> None:
        def main(channels: int, level: int) -> Compose:
            return Compose(
                _step(channels, config.channels, config.hidden, number)
                for number in range(config.steps[level])
            )

        sizes = DetailSizes(
            config.width,
            config.growth,
            config.blocks,
            config.conditional_hidden,
            with_early=False,
            head_scale=arctan_scale,
        )
        hierarchy = Hierarchy(
            config.channels, HaarSqueeze, main, config.conditional_steps, sizes
        )
        super().__init__(hierarchy, config.channels, config.scale)
        self.config = config

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr`` to latents and its small image ``Encoded.lr``, unclamped.

        The paper gives this network no likelihood. ``logdet`` is that of the map, the
        Haar squeezes included, with every LR image taken as equally likely; it does not
        depend on ``cond``.
        """
        self.check_hr(hr, cond)
        lr, latents, logdet = self.flow(hr)
        return Encoded(self.make_latents(latents, cond), logdet, lr)

    def downscale(self, hr: Tensor) -> tuple[Tensor, Latents]:
        """Small image ``(B, C, H/s, W/s)``, unclamped and not rounded, and latents.

        Parameters
        ----------
        hr : Tensor
            ``(B, C, H, W)`` in [0, 1] units; sides that are multiples of the scale.
        """
        scale = self.config.scale
        if hr.ndim != 4 or hr.shape[1] != self.channels or hr[0, 0].numel() == 0:
            raise SizeError(
                f"HR tensor has shape {tuple(hr.shape)}; this model needs "
                f"(B, {self.channels}, H, W)."
            )
        if any(side % scale for side in hr.shape[-2:]):
            raise SizeError(
                f"HR image is {hr.shape[-2]} x {hr.shape[-1]}; downscaling by {scale} "
                f"needs sides that are multiples of {scale}. Pad or crop it, or use "
                "napari_flowsr.rescale_down."
            )
        lr, latents, _ = self.flow(hr)
        size = (int(lr.shape[-2]), int(lr.shape[-1]))
        return lr, Latents(latents, self.latent_spec(size))

    def upscale(self, lr: Tensor, latents: Latents) -> Tensor:
        """Bring a small image back, ``(B, C, H, W)``, never clamped.

        With the latents of `downscale` and the same ``lr`` the image is what it was;
        with a rounded ``lr`` or sampled latents it is close to it.
        """
        return self.decode(latents, self.condition(lr))


CONFIG = HCFlowRescaleConfig
FLOW = HCFlowRescale


def example_configs() -> tuple[HCFlowRescaleConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        HCFlowRescaleConfig(
            scale=4,
            width=4,
            blocks=(1, 1),
            growth=2,
            steps=(2, 3),
            conditional_steps=(2, 1),
            hidden=3,
            conditional_hidden=5,
        ),
        HCFlowRescaleConfig(
            scale=2,
            channels=1,
            width=4,
            blocks=(2, 1),
            growth=2,
            steps=(3,),
            conditional_steps=(2,),
            hidden=2,
            conditional_hidden=4,
        ),
    )
