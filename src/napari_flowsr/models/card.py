"""Model card: what a model is, what it was trained on, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_flowsr.data.degradation import OWN_NETWORK, Degradation
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    # It needs torch, which lists of models do not: no card or model is parsed by it.
    from napari_flowsr.core.flow import ConditionalFlow  # noqa: TC004

__all__ = ["NOT_STATED", "OWN_NETWORK", "Degradation", "Model", "ModelCard"]
__all__ += ["Normalisation", "is_stated"]

NOT_STATED = "not stated"
"""Licence of weights whose authors give none."""

_NORMALISATIONS = ("percentile", "dtype")


def is_stated(licence: str) -> bool:
    """Whether a licence says something; all rights are reserved where it does not.

    "not stated (...)" may go on with what is known.
    """
    text = licence.strip().lower()
    return bool(text) and not text.startswith((NOT_STATED, "none stated", "unknown"))


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

    def __post_init__(self) -> None:
        if self.kind not in _NORMALISATIONS or not 0 <= self.low < self.high <= 100:
            raise OptionError(
                f"Normalisation is {self.kind!r} from {self.low!r} to {self.high!r}; "
                f"give {' or '.join(map(repr, _NORMALISATIONS))}, and two percentiles "
                "from 0 to 100, the lower one first."
            )


@dataclass(frozen=True)
class ModelCard:
    """Facts about one model; stored as JSON in the header of its file."""

    name: str
    family: str
    scales: tuple[float, ...]
    """Scale factors; the first is the default."""
    channels: int
    domain: str = "unknown"
    licence: str = NOT_STATED
    """Of the weights; `NOT_STATED` where their authors give none."""
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
    source: Mapping[str, str] = field(default_factory=dict)
    """File, its sha256, and the address if any, that an imported model was made of."""
    typical: Mapping[str, Any] = field(default_factory=dict)
    """Statistics of the LR images that the model was trained on, by which unlike images
    are noticed (`inference.typical`); empty if they were not measured."""
    degradation: Degradation = field(default_factory=Degradation)
    normalisation: Normalisation = field(default_factory=Normalisation)

    @property
    def licence_is_stated(self) -> bool:
        """Whether the weights come with a licence; else people are warned before use.

        All rights are reserved where none is stated.
        """
        return is_stated(self.licence)

    def with_(self, **changes: Any) -> ModelCard:
        """Copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Model:
    """A loaded network and its card.

    Parameters
    ----------
    card : ModelCard
        What it is. Of a network that makes small images itself the degradation is
        `OWN_NETWORK`, whatever the card was written with.
    flow : ConditionalFlow
        The network, in eval mode.
    """

    card: ModelCard
    flow: ConditionalFlow

    def __post_init__(self) -> None:
        if hasattr(self.flow, "downscale"):
            own = self.card.with_(degradation=Degradation(OWN_NETWORK))
            object.__setattr__(self, "card", own)
