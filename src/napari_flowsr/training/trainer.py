"""The trainer: a generator of typed events; stopping is to stop iterating.

Every batch is a function of seed and step, and all state is in the checkpoint, so that
a run that was interrupted goes on exactly where it was. Under ``torchrun`` each process
takes its part of the same global batch.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.data.source import find_files, groups_from_manifest, load_planes
from napari_flowsr.errors import TrainingError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import read_image
from napari_flowsr.models.card import Degradation, ModelCard, Normalisation
from napari_flowsr.training.events import (
    Checkpoint,
    Finished,
    Started,
    Step,
    TrainEvent,
    Validation,
)
from napari_flowsr.training.run import TrainingRun
from napari_flowsr.training.validate import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_flowsr.data.source import Plane
    from napari_flowsr.training.config import TrainConfig

__all__ = ["train"]


def _stage_at(config: TrainConfig, step: int) -> tuple[int, int]:
    """Index of the stage of a step, and steps already taken in it."""
    for index, stage in enumerate(config.stages):
        if step < stage.steps:
            return index, step
        step -= stage.steps
    return len(config.stages), 0


def _card(run: TrainingRun, seconds: float, images: int) -> ModelCard:
    config, flow = run.config, run.flow
    recipe = config.to_dict()
    recipe["manifest"] = Path(config.manifest).name  # a card names no folders
    return ModelCard(
        name=config.name or run.state_file.parent.stem,
        family=config.family,
        scales=flow.scales,
        channels=flow.channels,
        domain=config.domain or "unknown",
        licence=config.licence or "unknown",
        description=config.description,
        not_for=config.not_for,
        parameters=flow.parameter_count,
        temperature=config.temperature,
        training={
            "config": recipe,
            "images": images,
            "steps": run.step,
            "seconds_of_last_run": round(seconds),
            "torch": str(torch.__version__),
        },
        degradation=Degradation(config.degradation),
        normalisation=Normalisation("percentile", *config.percentiles),
    )


def train(
    source: str | Path | Iterable[str | Path],
    config: TrainConfig,
    output: str | Path,
    *,
    validation: str | Path | Iterable[str | Path] | None = None,
) -> Iterator[TrainEvent]:
    """Train a model, or go on with an interrupted run, yielding events.

    Parameters
    ----------
    source : path, glob pattern, or list of these
        Training images.
    config : TrainConfig
        See `training.presets.preset`.
    output : path
        The ``.safetensors`` to write at the end. Checkpoints go to a folder beside it,
        ``<stem>.training``; delete that to start afresh.
    validation : path, optional
        Images for the figures during training.

    Yields
    ------
    TrainEvent
        `Started`, `Step`, `Validation`, `Checkpoint`, and last `Finished`.

    Raises
    ------
    TrainingError
        On unusable data or configuration, or when the loss stays non-finite.
    """
    output = Path(output)
    state_file = output.with_suffix(".training") / "state.pt"
    scale = int(config.model.get("scale", 0))
    if scale < 2:
        raise TrainingError(f"The model's scale is {scale}; training needs at least 2.")
    channels = int(config.model.get("channels", 3 if config.family != "compact" else 1))
    sampler_side = max(
        PatchSampler((), scale, s.patch, s.batch).min_side for s in config.stages
    )
    groups = (
        groups_from_manifest(config.manifest, config.group_by)
        if config.manifest
        else None
    )
    low, high = config.percentiles
    planes = load_planes(
        find_files(source),
        channels,
        read=read_image,
        low=low,
        high=high,
        groups=groups,
        min_side=sampler_side,
    )
    held_out = (
        load_planes(
            find_files(validation), channels, read=read_image, low=low, high=high
        )
        if validation
        else []
    )
    run = TrainingRun(planes, config, state_file)
    yield from _loop(run, held_out, output)


def _loop(
    run: TrainingRun, held_out: Sequence[Plane], output: Path
) -> Iterator[TrainEvent]:
    config, began = run.config, time.monotonic()
    optimiser_state = run.load_state()
    first = run.step
    yield Started(
        first, config.steps, len(run.planes), run.flow.parameter_count, str(run.device)
    )
    index, taken = _stage_at(config, run.step)
    while index < len(config.stages):
        stage = config.stages[index]
        run.set_up(stage, taken)
        if taken and optimiser_state is not None:
            run.optimiser.load_state_dict(optimiser_state)
        elif taken == 0:
            run.ema.reset(run.flow)
        sampler = run.sampler(stage)
        while taken < stage.steps:
            if taken == math.ceil(stage.encoder_frozen_until * stage.steps):
                run.freeze(stage, taken)
            loss, terms, rate, skipped = run.optimise(stage, sampler, taken)
            run.step += 1
            taken += 1
            pace = (time.monotonic() - began) / (run.step - first)
            left = pace * (config.steps - run.step)
            yield Step(
                run.step, config.steps, stage.name, loss, terms, rate, left, skipped
            )
            at_end = taken == stage.steps
            if held_out and (at_end or run.step % config.validate_every == 0):
                run.ema.swap(run.flow)
                likelihood = "nll" in stage.losses
                figures = validate(
                    run.flow, held_out, config.degradation, likelihood=likelihood
                )
                run.ema.swap(run.flow)
                yield Validation(run.step, stage.name, figures)
            if at_end:
                run.ema.copy_to(run.flow)
            if at_end or run.step % config.checkpoint_every == 0:
                run.save_state()
                yield Checkpoint(run.step, run.state_file)
        index, taken = index + 1, 0
    run.ema.copy_to(run.flow)
    run.flow.eval()
    seconds = time.monotonic() - began
    if run.rank == 0:
        save_model(output, run.flow, _card(run, seconds, len(run.planes)))
    yield Finished(run.step, output, seconds)
