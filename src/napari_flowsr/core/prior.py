"""Latent priors: where the latents of a sample come from.

References
----------
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), arXiv:2403.10988, section 4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.latents import LatentSpec, Window
    from napari_flowsr.core.noise import NoiseField

__all__ = ["GaussianPrior", "LatentModule", "LatentPrior", "LearnedPrior"]


class LatentPrior(Protocol):
    """Anything that gives latents for a flow and an LR image."""

    def draw(
        self,
        flow: ConditionalFlow,
        cond: Condition,
        spec: LatentSpec,
        noise: NoiseField,
        samples: range,
        window: Window | None = None,
    ) -> Latents:
        """Latents of the given sample numbers for the window that ``cond`` covers."""


@dataclass(frozen=True)
class GaussianPrior:
    """Standard normal latents times a temperature (a standard deviation, or a map)."""

    temperature: float | Tensor = 1.0

    def draw(
        self,
        flow: ConditionalFlow,
        cond: Condition,
        spec: LatentSpec,
        noise: NoiseField,
        samples: range,
        window: Window | None = None,
    ) -> Latents:
        """Draw by absolute position; a map covers the same window as ``cond``."""
        latents = noise.draw(spec, samples=samples, window=window)
        return latents.tempered(self.temperature)


@dataclass(frozen=True)
class LearnedPrior:
    """Latents that a `LatentModule` predicted, the same for every sample.

    Parameters
    ----------
    latents : Latents
        Of the whole image, batch 1, from `ConditionalFlow.learned_prior`.
    """

    latents: Latents

    def draw(
        self,
        flow: ConditionalFlow,
        cond: Condition,
        spec: LatentSpec,
        noise: NoiseField,
        samples: range,
        window: Window | None = None,
    ) -> Latents:
        """Cut out the window of a placed ``spec``; neither noise nor temperature."""
        part = self.latents.crop(spec).to(cond.lr.device, cond.lr.dtype)
        return part.map(lambda t: t.expand(len(samples), -1, -1, -1))


class LatentModule(nn.Module, ABC):
    """A network that predicts the latents of an LR image in one pass (eqs. 4 and 5).

    It starts from the *initial prior*, the latents that the flow itself assigns to the
    enlarged LR image.
    """

    level_channels: tuple[int, ...]
    """Channels of the latents, finest level first."""
    channels: int | None
    """Channels of the LR image that it sees, None if it sees latents alone."""

    @abstractmethod
    def enlarged(self, lr: Tensor, hr_size: tuple[int, int]) -> Tensor:
        """HR image whose latents are the initial prior, from the whole LR image."""

    def initial(
        self, flow: ConditionalFlow, cond: Condition, scale: float | None = None
    ) -> Latents:
        """Latents of the enlarged LR image: a function of places, like `encode`."""
        hr_size = flow.spec_of(cond, scale).hr_size
        return flow.encode(self.enlarged(cond.lr, hr_size), cond).latents

    @abstractmethod
    def predict(self, initial: Latents, lr: Tensor) -> Latents:
        """Latents ``(B, C, H, W)`` from the initial ones and ``lr`` in ``[0, 1]``.

        A function of the whole image: sizes enter into the interpolation between the
        module's own scales, so that a part cannot be computed alone.
        """

    def check_fits(self, flow: ConditionalFlow) -> None:
        """Raise `OptionError` unless ``flow`` has latents of these channels."""
        side = 2 * flow.multiple_of
        shapes = flow.latent_spec((side, side)).shapes
        found = tuple(shape[0] for shape in shapes)
        if found != self.level_channels or self.channels not in (None, flow.channels):
            image = flow.channels if self.channels is None else self.channels
            raise OptionError(
                f"The learned prior is for latents of {self.level_channels} channels "
                f"(finest first) and images of {image}; this model, of the "
                f"{flow.family} family, has {found} and {flow.channels}. Give the "
                "model that the prior was trained with."
            )
