"""Latent priors: where the latents of a sample come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.latents import Latents, LatentSpec, Window
    from napari_flowsr.core.noise import NoiseField

__all__ = ["GaussianPrior", "LatentPrior"]


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
