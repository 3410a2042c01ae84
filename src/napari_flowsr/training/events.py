"""What a training run tells, as typed events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flowsr.data.source import LeftOut

__all__ = ["Checkpoint", "Finished", "Measuring", "Paused", "Picture", "Started"]
__all__ += ["Step", "TrainEvent", "Validation"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Measuring:
    """Steps of a stage are timed, for a time budget; before `Started`."""

    stage: str
    number: int
    """Of the stage, from 1."""
    stages: int


@dataclass(frozen=True)
class Started:
    """Training begins or goes on."""

    step: int
    total: int
    images: int
    parameters: int
    device: str
    left_out: tuple[LeftOut, ...] = ()
    """Images that are too small or constant, those for validation included."""
    stages: tuple[tuple[str, int], ...] = ()
    """Names of the stages and their steps, as many as a time budget allows."""


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
class Picture:
    """A crop of a validation image, ``(C, H, W)`` float32, about ``[0, 1]``.

    What the stage does not train yet is None.
    """

    name: str
    lr: Image
    bicubic: Image
    mode: Image | None
    """The predicted mean, temperature 0, or what a learned prior gives."""
    sample: Image | None
    hr: Image


@dataclass(frozen=True)
class Validation:
    """Figures on the validation images, with the averaged weights."""

    step: int
    stage: str
    metrics: Mapping[str, float]
    """Means over images; keys as `training.validate.validate` says."""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Paused:
    """The training waits, after this step, until it is told to go on."""

    step: int


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
    complete: bool = True
    """Whether all steps were taken; not if it was told to finish before."""


TrainEvent = Measuring | Started | Step | Validation | Paused | Checkpoint | Finished
