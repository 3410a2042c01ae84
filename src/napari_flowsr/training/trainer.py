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
from typing import TYPE_CHECKING

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.prior import LatentModule
from napari_flowsr.data.source import groups_from_manifest, load_planes
from napari_flowsr.errors import Cancelled, TrainingError
from napari_flowsr.inference.memory import is_out_of_memory
from napari_flowsr.io.images import read_image
from napari_flowsr.training.checks import check
from napari_flowsr.training.control import Control
from napari_flowsr.training.events import (
    Checkpoint,
    Finished,
    Paused,
    Started,
    Step,
    TrainEvent,
    Validation,
)
from napari_flowsr.training.losses import is_of_encoder
from napari_flowsr.training.pace import Clock, affordable
from napari_flowsr.training.product import write_product
from napari_flowsr.training.run import TrainingRun
from napari_flowsr.training.schedule import weights_of
from napari_flowsr.training.validate import Subject, smallest_side, validate

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_flowsr.data.source import ArrayImage, Images, LeftOut, Plane
    from napari_flowsr.training.checks import Job
    from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["train"]


def _stage_at(stages: Sequence[Stage], step: int) -> tuple[int, int]:
    """Index of the stage of a step, and steps already taken in it."""
    for index, stage in enumerate(stages):
        if step < stage.steps:
            return index, step
        step -= stage.steps
    return len(stages), 0


def train(
    source: Images,
    config: TrainConfig,
    output: str | Path,
    *,
    validation: Images | None = None,
    lr_source: Images | None = None,
    control: Control | None = None,
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
    control : Control, optional
        To pause it, or to have the model written before all steps are taken. Not with
        several processes, of which each would be told at another step.

    Returns
    -------
    generator of TrainEvent
        `Measuring` for a time budget, `Started`, `Step`, `Validation`, `Paused`,
        `Checkpoint`, and last `Finished`.

    Raises
    ------
    OptionError, ExportError, DeviceError, ModelNotFoundError
        At once, on an unusable output, device, network or model to start from.
    TrainingError
        At once, on an unusable configuration or missing images. While iterating, on
        unusable images, a checkpoint of another run or one that cannot be written,
        when the memory is exhausted, or when the loss stays non-finite.
    """
    job = check(source, config, output, validation, lr_source)
    return _events(job, control or Control())


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


def _events(job: Job, control: Control) -> Generator[TrainEvent, None, None]:
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
    run = TrainingRun(planes, config, job.state_file, job.flow, job.prior, job.features)
    try:
        yield from _loop(run, held_out, job, tuple(left_out), control)
    except (GeneratorExit, KeyboardInterrupt, Cancelled):
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
    stage = run.stages[min(_stage_at(run.stages, run.step)[0], len(run.stages) - 1)]
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
    control: Control,
) -> Generator[TrainEvent, None, None]:
    began = time.monotonic()
    earlier = run.load(job.origin)
    if earlier is None and run.config.minutes is not None:
        run.plan((yield from affordable(run, 60 * run.config.minutes)))
    yield Started(
        run.step,
        run.total,
        len(run.planes),
        sum(p.numel() for p in run.network.parameters()),
        str(run.device),
        left_out,
        tuple((stage.name, stage.steps) for stage in run.stages),
    )
    index, taken = _stage_at(run.stages, run.step)
    clock = Clock(run.total)
    for stage in run.stages[index:]:
        run.set_up(stage, taken)
        if taken and earlier is not None:
            run.take_up(earlier)
        yield from _stage(run, held_out, stage, taken, clock, control)
        taken = 0
        if control.is_to_finish:
            break
    if run.step == 0:
        raise TrainingError(
            "The training was finished before its first step, so there is no model to "
            "be kept. Let it train for a while."
        )
    complete = run.step == run.total
    if not complete:
        # The state is kept before the network takes the averaged weights.
        run.save()
        run.ema.copy_to(run.network)
    seconds = time.monotonic() - began - clock.waited
    write_product(run, job.output, seconds)
    yield Finished(run.step, job.output, seconds, complete)


def _stage(
    run: TrainingRun,
    held_out: Sequence[Plane],
    stage: Stage,
    taken: int,
    clock: Clock,
    control: Control,
) -> Generator[TrainEvent, None, None]:
    """The steps of a stage; the run can be saved wherever this yields."""
    config, sampler = run.config, run.sampler(stage)
    often = config.validate_every
    if config.minutes is not None:
        often = min(often, max(1, run.total // 20))  # however few steps there are
    while taken < stage.steps and not control.is_to_finish:
        if 0 < taken == math.ceil(stage.encoder_frozen_until * stage.steps):
            run.freeze(stage, taken)
        loss, terms, rate, skipped = run.optimise(stage, sampler, taken)
        taken += 1
        left = clock.left(run.step)
        yield Step(run.step, run.total, stage.name, loss, terms, rate, left, skipped)
        at_end = taken == stage.steps
        wanted = run.step % often == 0
        if config.minutes is not None:
            wanted = wanted and clock.has_time_for_figures
        if held_out and (at_end or wanted):
            with clock.figures():
                told = _validation(run, held_out, stage)
            yield told
        due = at_end or run.step % config.checkpoint_every == 0
        if due and run.save():
            yield Checkpoint(run.step, run.state_file)
        if control.is_paused:
            if run.save():
                yield Checkpoint(run.step, run.state_file)
            with clock.stopped():
                yield Paused(run.step)
                control.wait()


def _validation(
    run: TrainingRun, held_out: Sequence[Plane], stage: Stage
) -> Validation:
    averaged = run.ema.averaged(run.network)
    subject = Subject(
        averaged if isinstance(averaged, ConditionalFlow) else run.flow,
        run.config.degradation,
        not all(map(is_of_encoder, weights_of(run.config, stage))),
        run.config.temperature,
        averaged if isinstance(averaged, LatentModule) else None,
    )
    metrics, pictures = validate(subject, held_out)
    return Validation(run.step, stage.name, metrics, pictures)
