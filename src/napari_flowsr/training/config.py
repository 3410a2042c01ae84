"""Training configuration: frozen dataclasses, from a preset, TOML or keywords."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from napari_flowsr.data.degradation import Degradation
from napari_flowsr.errors import OptionError, TrainingError

__all__ = ["LEARNED_PRIOR", "Stage", "TrainConfig", "load_config"]

LEARNED_PRIOR = "learned-prior"
"""What `TrainConfig.family` says where no flow is trained."""

# Recipes are a few KiB; parsing takes some hundred times the size of a file.
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Stage:
    """One phase of a training: what is minimised, on what, how fast."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    steps: int
    losses: Mapping[str, float]
    """Loss name to weight; names in `training.losses.LOSSES`."""
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    """``"cosine"`` to zero, or ``"steps"``: halved at the milestones."""
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)
    """Fractions of the stage at which ``"steps"`` halves."""
    warmup: int = 100
    """Steps of linear warm-up."""
    batch: int = 8
    patch: int = 24
    """LR side of a patch, pixels."""
    encoder_frozen_until: float = 0.0
    """Fraction of the stage during which the encoder is not trained (1: never)."""
    optimiser: Literal["adam", "muon"] = "adam"
    """``"muon"``: `training.muon.Muon`, ahead of Adam by many steps on encoders."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 5.0
    dequantisation_levels: float = 255.0
    """Uniform noise of width 1 / levels is added to HR for likelihoods."""
    hr_noise: float = 0.0
    """Standard deviation of Gaussian noise added to HR, in [0, 1] units."""
    temperature: float = 1.0
    """Of the samples that adversarial and perceptual losses look at."""
    adversary_learning_rate: float = 1e-3
    """Of the adversary's own Adam; it follows the stage's schedule."""
    unusual: float = 0.0
    """Share of patches replaced by noise, masks and patterns (`data.unusual`)."""


def _degradation(given: Any) -> Any:
    """From text, or a table whose parameters lie in it or in a table of their own."""
    if isinstance(given, str):
        return Degradation.parse(given)
    if isinstance(given, Mapping) and "name" in given and "parameters" not in given:
        numbers = {key: value for key, value in given.items() if key != "name"}
        return {"name": given["name"], "parameters": numbers}
    return given


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run, stored in the model file."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    family: str
    model: Mapping[str, Any]
    """Fields of the family's configuration."""
    stages: tuple[Stage, ...]
    seed: int = 0
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones kept."""
    degradation: Annotated[Degradation, BeforeValidator(_degradation)] = field(
        default_factory=Degradation
    )
    """In TOML its text, such as ``"gaussian:sigma=1.5"``, or a table with ``name``."""
    lr_source: tuple[str, ...] = ()
    """Given LR images: folders, files or patterns; of the degradation ``"paired"``."""
    normalisation: Literal["percentile", "dtype"] = "percentile"
    """How intensities become [0, 1], see `models.card.Normalisation`."""
    percentiles: tuple[float, float] = (0.1, 99.9)
    manifest: str = ""
    """CSV with the column ``file`` and the one named by ``group_by``."""
    group_by: str = ""
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    """Weights that stand instead of those in the stages; 0 leaves a loss out."""
    adversary_width: int = 16
    """Channels of the adversary's first layer: 16 in AdFlow, 64 in ESRGAN."""
    perceptual_weights: str = ""
    """File of VGG19's weights, for the perceptual loss."""
    minutes: float | None = None
    """Time for all steps; their numbers in the stages are then but proportions."""
    validate_every: int = 1000
    checkpoint_every: int = 500
    device: str = "auto"
    name: str = ""
    domain: str = ""
    licence: str = ""
    description: str = ""
    not_for: str = ""
    temperature: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Free notes for the card, such as the licences of the images."""
    scale_range: tuple[float, float] | None = None
    """Scales of a family that takes any: one is drawn for each batch."""
    misalignment: int = 0
    """HR patches are shifted by up to this many HR pixels (SRFlow's supplement, 4.5:
    4, for content transfer); 0 for none."""
    start_from: str = ""
    """Name or path of a model whose weights are the starting point (fine-tuning)."""

    def with_(self, **changes: Any) -> TrainConfig:
        """Copy with fields changed; ``model`` is merged, unknown names raise."""
        known = set(self.__dataclass_fields__)
        unknown = sorted(set(changes) - known)
        if unknown:
            raise OptionError(
                f"Unknown training option {', '.join(unknown)}; known are "
                f"{', '.join(sorted(known))}."
            )
        if "model" in changes:
            changes["model"] = {**self.model, **changes["model"]}
        return validated(replace(self, **changes))

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able."""
        out = _adapter().dump_python(self, mode="json")
        return dict(out)


@cache
def _adapter() -> TypeAdapter[TrainConfig]:
    """Made once: that takes longer than to use it."""
    return TypeAdapter(TrainConfig)


def validated(config: TrainConfig | Mapping[str, Any]) -> TrainConfig:
    """Check types and values; errors name the field."""
    data = asdict(config) if isinstance(config, TrainConfig) else config
    try:
        result = _adapter().validate_python(data)
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
        )
        raise TrainingError(
            f"The training configuration is not valid: {lines}."
        ) from None
    for stage in result.stages:
        if stage.steps < 1 or stage.batch < 1 or stage.patch < 1 or not stage.losses:
            raise TrainingError(
                f"Stage '{stage.name}' needs steps, batch and patch of at least 1 and "
                "one loss."
            )
    return result


def load_config(path: str | Path) -> TrainConfig:
    """Read a TOML file with the fields of `TrainConfig`."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST // 1024} KiB")
        data = tomllib.loads(text.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(
            f"'{path}' is no readable TOML file: {error}. Give a file with the fields "
            "of a training configuration, as those in the folder recipes."
        ) from None
    return validated(data)
