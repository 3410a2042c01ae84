"""The trainer: a generator of typed events; stopping is to stop iterating.

Every batch is a function of seed and step, and all state is in the checkpoint. It is
written every `TrainConfig.checkpoint_every` steps, at the end of a stage, and when the
training is stopped (generator closed, Ctrl-C, memory exhausted), so that the same call
goes on where it was: bit for bit on the same CPU with the same number of threads; on a
GPU but for the order in which it adds numbers. A killed process loses the steps since
the last checkpoint. Under ``torchrun`` each process takes its part of the same global
batch.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_flowsr.data.source import groups_from_manifest, load_planes
from napari_flowsr.errors import ExportError, TrainingError
from napari_flowsr.inference.memory import is_out_of_memory
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import read_image
from napari_flowsr.models.card import (
    NOT_STATED,
    ModelCard,
    Normalisation,
)
from napari_flowsr.training.checks import check
from napari_flowsr.training.events import (
    Checkpoint,
    Finished,
    Started,
    Step,
    TrainEvent,
    Validation,
)
from napari_flowsr.training.run import TrainingRun
from napari_flowsr.training.validate import smallest_side, validate

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_flowsr.data.source import ArrayImage, Images, LeftOut, Plane
    from napari_flowsr.training.checks import Job
    from napari_flowsr.training.config import Stage, TrainConfig

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
    for field in ("manifest", "start_from"):
        recipe[field] = Path(recipe[field]).name  # a card names no folders
    recipe["lr_source"] = [Path(each).name for each in recipe["lr_source"]]
    return ModelCard(
        name=config.name or run.state_file.parent.stem,
        family=config.family,
        scales=flow.scales,
        scale_range=flow.scale_range,
        channels=flow.channels,
        domain=config.domain or "unknown",
        licence=config.licence or NOT_STATED,
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
        }
        | ({"start_from": run.origin} if run.origin else {}),
        degradation=config.degradation,
        normalisation=Normalisation(config.normalisation, *config.percentiles),
    )


def train(
    source: Images,
    config: TrainConfig,
    output: str | Path,
    *,
    validation: Images | None = None,
    lr_source: Images | None = None,
) -> Generator[TrainEvent, None, None]:
    """Train a model, or go on with an interrupted run, yielding events.

    Options, paths and the device are checked at once; images are read, and training
    goes on, while the events are iterated. To stop, stop iterating (``close()``, or
    Ctrl-C): the state is saved, and the same call goes on from it.

    Parameters
    ----------
    source : path, glob pattern, `ArrayImage`, or list of these
        Training images.
    config : TrainConfig
        See `training.presets.preset`.
    output : path
        The ``.safetensors`` to write at the end. Checkpoints go to a folder beside it,
        ``<stem>.training``; delete that to start afresh.
    validation : path or the like, optional
        Images for the figures during training.
    lr_source : path or the like, optional
        Given LR images of all these, matched by name, in place of those that
        ``config.lr_source`` names; for the degradation ``"paired"``.

    Returns
    -------
    generator of TrainEvent
        `Started`, `Step`, `Validation`, `Checkpoint`, and last `Finished`.

    Raises
    ------
    OptionError, ExportError, DeviceError, ModelNotFoundError
        At once, on an unusable output, device, network or model to start from.
    TrainingError
        At once, on an unusable configuration or missing images. While iterating, on
        unusable images, a checkpoint of another run or one that cannot be written,
        when the memory is exhausted, or when the loss stays non-finite.
    """
    return _events(check(source, config, output, validation, lr_source))


def _planes(
    job: Job,
    images: Sequence[Path | ArrayImage],
    min_side: int,
    groups: dict[str, str] | None = None,
) -> tuple[list[Plane], list[LeftOut]]:
    low, high = job.config.percentiles
    try:
        return load_planes(
            images,
            job.flow.channels,
            read=read_image,
            low=low,
            high=high,
            kind=job.config.normalisation,
            groups=groups,
            min_side=min_side,
            pairs=job.pairs,
        )
    except MemoryError as error:
        raise TrainingError(
            f"The {len(images)} images do not fit into memory. Give fewer or smaller "
            "images, or close other programs."
        ) from error


def _events(job: Job) -> Generator[TrainEvent, None, None]:
    config = job.config
    held_out: list[Plane] = []
    groups = (
        groups_from_manifest(config.manifest, config.group_by)
        if config.manifest
        else None
    )
    planes, left_out = _planes(job, job.images, job.min_side, groups)
    if job.validation:
        held_out, useless = _planes(job, job.validation, smallest_side(job.flow))
        left_out += [
            replace(one, reason=f"{one.reason} (validation)") for one in useless
        ]
    run = TrainingRun(planes, config, job.state_file, job.flow)
    try:
        yield from _loop(run, held_out, job, tuple(left_out))
    except (GeneratorExit, KeyboardInterrupt):
        run.save()
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(run) from error
    finally:
        run.close()


def _out_of_memory(run: TrainingRun) -> TrainingError:
    try:
        run.save()
        kept = run.kept
    except (TrainingError, RuntimeError, MemoryError):
        kept = f"The state could not be saved. {run.kept}"
    stage = run.config.stages[
        min(_stage_at(run.config, run.step)[0], len(run.config.stages) - 1)
    ]
    return TrainingError(
        f"Out of memory on {run.device} in stage '{stage.name}', with a batch of "
        f"{stage.batch} patches of {stage.patch} x {stage.patch} LR pixels. {kept} If "
        "other programs took the memory, close them, and the same command goes on. "
        "Otherwise train anew with a smaller batch or patch, to another output."
    )


def _loop(
    run: TrainingRun,
    held_out: Sequence[Plane],
    job: Job,
    left_out: tuple[LeftOut, ...],
) -> Generator[TrainEvent, None, None]:
    config, began = run.config, time.monotonic()
    optimiser_state = run.load(job.origin)
    yield Started(
        run.step,
        config.steps,
        len(run.planes),
        run.flow.parameter_count,
        str(run.device),
        left_out,
    )
    index, taken = _stage_at(config, run.step)
    clock = _Clock(config.steps)
    for stage in config.stages[index:]:
        run.set_up(stage, taken)
        if taken and optimiser_state is not None:
            run.optimiser.load_state_dict(optimiser_state)
        yield from _stage(run, held_out, stage, taken, clock)
        taken = 0
    seconds = time.monotonic() - began
    _write_model(run, job.output, seconds)
    yield Finished(run.step, job.output, seconds)


def _stage(
    run: TrainingRun,
    held_out: Sequence[Plane],
    stage: Stage,
    taken: int,
    clock: _Clock,
) -> Generator[TrainEvent, None, None]:
    """The steps of a stage; the run can be saved wherever this yields."""
    config, sampler = run.config, run.sampler(stage)
    while taken < stage.steps:
        if 0 < taken == math.ceil(stage.encoder_frozen_until * stage.steps):
            run.freeze(stage, taken)
        loss, terms, rate, skipped = run.optimise(stage, sampler, taken)
        taken += 1
        left = clock.left(run.step)
        yield Step(run.step, config.steps, stage.name, loss, terms, rate, left, skipped)
        at_end = taken == stage.steps
        if held_out and (at_end or run.step % config.validate_every == 0):
            figures = validate(
                run.ema.averaged(run.flow),
                held_out,
                config.degradation,
                likelihood="nll" in stage.losses,
            )
            yield Validation(run.step, stage.name, figures)
        due = at_end or run.step % config.checkpoint_every == 0
        if due and run.save():
            yield Checkpoint(run.step, run.state_file)


class _Clock:
    """Seconds left, by the pace since the first step, which alone warms up."""

    def __init__(self, total: int) -> None:
        self.total, self.began = total, time.monotonic()
        self.first: int | None = None

    def left(self, step: int) -> float:
        now = time.monotonic()
        pace = (now - self.began) / max(1, step - (self.first or step))
        if self.first is None:
            self.first, self.began = step, now
        return pace * (self.total - step)


def _write_model(run: TrainingRun, output: Path, seconds: float) -> None:
    run.flow.eval()
    if run.rank:
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_model(output, run.flow, _card(run, seconds, len(run.planes)))
    except (ExportError, OSError) as error:
        raise TrainingError(
            f"The training is complete, but its model was not written: {error} "
            f"{run.kept} The same command then writes the model."
        ) from error
