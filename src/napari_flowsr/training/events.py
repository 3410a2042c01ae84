"""What a training run tells, as typed events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Checkpoint", "Finished", "Started", "Step", "TrainEvent", "Validation"]


@dataclass(frozen=True)
class Started:
    """Training begins or goes on."""

    step: int
    total: int
    images: int
    parameters: int
    device: str


@dataclass(frozen=True)
class Step:
    """One optimiser step was taken (or skipped: ``skipped``)."""

    step: int
    total: int
    stage: str
    loss: float
    """Of this step's batch, over all processes."""
    terms: Mapping[str, float]
    learning_rate: float
    seconds_left: float
    skipped: bool = False


@dataclass(frozen=True)
class Validation:
    """Figures on the validation images, with the averaged weights."""

    step: int
    stage: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed for an exact restart was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The model file is complete."""

    step: int
    path: Path
    seconds: float


TrainEvent = Started | Step | Validation | Checkpoint | Finished
