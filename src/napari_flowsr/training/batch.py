"""A batch, and what several losses need of a network's pass over it, computed once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents
from napari_flowsr.data.degradation import Degradation
from napari_flowsr.training.adversary import Adversary
from napari_flowsr.training.perceptual import Features

if TYPE_CHECKING:
    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.latents import LatentSpec
    from napari_flowsr.core.prior import LatentModule
    from napari_flowsr.models.hcflow_rescale import HCFlowRescale

__all__ = ["Batch", "Judges", "Pass"]


@dataclass(frozen=True)
class Batch:
    """Patches of one step, this process's part of them."""

    lr: Tensor
    hr: Tensor
    noisy: Tensor
    """``hr`` dequantised."""
    seed: int
    """Of the random numbers of this step, the same in all processes."""
    size: int
    """Patches in all processes."""
    part: slice
    """Which of them are here."""
    levels: float = 255.0
    """Grey levels of an image that is rounded."""
    temperature: float = 1.0
    """Of the samples that losses look at."""
    degradation: Degradation = field(default_factory=Degradation)
    """How the LR patches arose."""

    def latents(self, spec: LatentSpec) -> list[Tensor]:
        """Standard normal latents: a patch has the same, however many processes."""
        generator = torch.Generator().manual_seed(self.seed)
        return [
            torch.randn((self.size, *shape), generator=generator)[self.part].to(self.lr)
            for shape in spec.shapes
        ]


@dataclass(frozen=True)
class Judges:
    """Networks that losses ask about images; they are no part of what is trained."""

    adversary: Adversary | None = None
    features: Features | None = None


class Pass:
    """A flow and a batch; quantities of several losses, kept once computed.

    With a learned prior the flow is frozen, and its latents stand for drawn ones.
    """

    def __init__(
        self,
        flow: ConditionalFlow,
        batch: Batch,
        prior: LatentModule | None = None,
        judges: Judges | None = None,
    ) -> None:
        self.flow, self.batch, self.prior = flow, batch, prior
        self.judges = judges or Judges()
        self.lr, self.hr, self.noisy = batch.lr, batch.hr, batch.noisy

    @cached_property
    def cond(self) -> Condition:
        """The LR images, encoded."""
        return self.flow.condition(self.lr)

    @cached_property
    def spec(self) -> LatentSpec:
        """Sizes of the latents, at the scale of this batch."""
        return self.flow.spec_for(self.hr, self.cond)

    @cached_property
    def mode(self) -> Tensor:
        """HR images at temperature 0."""
        b = self.lr.shape[0]
        return self._decoded([self.lr.new_zeros(b, *s) for s in self.spec.shapes])

    @cached_property
    def sample(self) -> Tensor:
        """HR images at the temperature of the batch, or from the learned prior."""
        if self.prior is not None:
            return self.flow.decode(self.predicted, self.cond)
        tau = self.batch.temperature
        return self._decoded([tau * t for t in self.batch.latents(self.spec)])

    def _decoded(self, levels: list[Tensor]) -> Tensor:
        return self.flow.decode(Latents(tuple(levels), self.spec), self.cond)

    @cached_property
    def predicted(self) -> Latents:
        """Latents from the learned prior."""
        prior = cast("LatentModule", self.prior)
        with torch.no_grad():
            initial = prior.initial(self.flow, self.cond, self.spec.scale)
        return prior.predict(initial, self.lr)

    @cached_property
    def encoded(self) -> Latents:
        """Latents of the true HR images."""
        with torch.no_grad():
            return self.flow.encode(self.hr, self.cond).latents

    @cached_property
    def reduced(self) -> tuple[Tensor, Latents]:
        """What a rescaling flow makes of the HR images: small images and latents."""
        return cast("HCFlowRescale", self.flow).downscale(self.hr)

    @cached_property
    def restored(self) -> Tensor:
        """HR images from the rounded small images, latents drawn at temperature 1."""
        flow = cast("HCFlowRescale", self.flow)
        small, found = self.reduced
        # Rounding and clipping have no slope; the gradient passes them as it is.
        whole = (small.clamp(0, 1) * self.batch.levels).round() / self.batch.levels
        small = small + (whole - small).detach()
        drawn = Latents(tuple(self.batch.latents(found.spec)), found.spec)
        return flow.upscale(small, drawn)
