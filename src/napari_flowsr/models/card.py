"""Model card: what a model is, what it was trained on, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["Degradation", "Model", "ModelCard", "Normalisation"]


@dataclass(frozen=True)
class Normalisation:
    """How intensities become ``[0, 1]`` before the network sees them.

    Parameters
    ----------
    kind : str
        ``"percentile"`` of the whole image, or ``"dtype"``: the range of the data type
        (floats are taken as ``[0, 1]`` already).
    low, high : float
        Percentiles that become 0 and 1.
    """

    kind: str = "percentile"
    low: float = 0.1
    high: float = 99.9


@dataclass(frozen=True)
class Degradation:
    """How an LR image arises from the HR image; part of a model's identity."""

    name: str = "matlab-bicubic"
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelCard:
    """Facts about one model; stored as JSON in the header of its file."""

    name: str
    family: str
    scales: tuple[float, ...]
    """Scale factors; the first is the default."""
    channels: int
    domain: str = "unknown"
    licence: str = "unknown"
    description: str = ""
    not_for: str = ""
    sha256: str = ""
    """Of the file; filled in by the loader, never stored in it."""
    parameters: int = 0
    temperature: float = 1.0
    """Default standard deviation of the latents."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters that the file could not tell, and what was taken."""
    inferred: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters read from names and shapes in a file of another program."""
    scale_range: tuple[float, float] | None = None
    """Least and largest scale of a model that takes any real one between; ``scales``
    are suggestions then."""
    prior: Mapping[str, Any] = field(default_factory=dict)
    """Name, sha256, licence and sizes of the learned prior that was loaded with the
    model; filled in by the loader, never stored."""
    degradation: Degradation = field(default_factory=Degradation)
    normalisation: Normalisation = field(default_factory=Normalisation)

    def with_(self, **changes: Any) -> ModelCard:
        """Copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Model:
    """A loaded network and its card.

    Parameters
    ----------
    card : ModelCard
        What it is.
    flow : ConditionalFlow
        The network, in eval mode.
    """

    card: ModelCard
    flow: ConditionalFlow
