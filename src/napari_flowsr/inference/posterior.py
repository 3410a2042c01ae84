"""Posterior: one LR image, one model, and everything that can be asked of the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.latents import Latents
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.events import Event
from napari_flowsr.inference.options import ProgressCallback
from napari_flowsr.models.card import Model

__all__ = ["Posterior", "posterior"]

Array = npt.NDArray[Any]
OUTPUTS = ("samples", "mean", "std", "quantiles")


class Posterior:
    """Distribution of HR images given one LR image; made by `posterior`."""

    geometry: Geometry
    model: Model
    device_reason: str

    def stream(
        self,
        n: int = 1,
        outputs: Sequence[str] = OUTPUTS,
        quantiles: Sequence[float] = (0.05, 0.95),
        *,
        preview: bool = True,
    ) -> Iterator[Event]:
        """Compute, and tell what happens meanwhile."""
        raise NotImplementedError

    def sample(self, n: int = 1) -> Array:
        """``(n, *upscaled shape)``."""
        raise NotImplementedError

    def mean(self, n: int = 8) -> Array:
        """Mean of samples 0 .. n - 1."""
        raise NotImplementedError

    def std(self, n: int = 8) -> Array:
        """Standard deviation of samples 0 .. n - 1."""
        raise NotImplementedError

    def quantile(self, q: float | Sequence[float], n: int = 8) -> Array:
        """Quantiles of samples 0 .. n - 1."""
        raise NotImplementedError

    def encode(self, hr: Any) -> Latents:
        """White latents of an HR image."""
        raise NotImplementedError

    def decode(self, latents: Latents) -> Array:
        """HR image of latents."""
        raise NotImplementedError

    def log_prob(self, hr: Any) -> Array:
        """Log-density, one per plane."""
        raise NotImplementedError

    def resample(
        self, hr: Any, mask: Any, seed: int, temperature: Any = None
    ) -> Array:
        """New content inside the mask only."""
        raise NotImplementedError

    def consistency(self, hr: Any) -> tuple[float, Array]:
        """LR-PSNR in dB and the LR residual map."""
        raise NotImplementedError

    def provenance(self, kind: str, **extra: Any) -> dict[str, Any]:
        """JSON-able record of how a result came about."""
        raise NotImplementedError


def posterior(
    image: Any,
    model: Model,
    *,
    temperature: float | Array | None = None,
    seed: int = 0,
    scale: float | None = None,
    axes: str | None = None,
    prior: str = "gaussian",
    noise: str = "per-plane",
    consistent: bool = False,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    nan: str = "raise",
    progress: ProgressCallback | None = None,
) -> Posterior:
    """Bind an image to a model."""
    raise NotImplementedError
