"""The trainer: a generator of typed events; stopping is to stop iterating.

Every batch is a function of seed and step, and all state is in the checkpoint, so that
a run that was interrupted goes on exactly where it was. Under ``torchrun`` each process
takes its part of the same global batch.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.data.source import (
    Plane,
    find_files,
    groups_from_manifest,
    load_planes,
)
from napari_flowsr.errors import TrainingError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import Degradation, ModelCard, Normalisation
from napari_flowsr.training.config import Stage, TrainConfig
from napari_flowsr.training.ema import AveragedWeights
from napari_flowsr.training.events import (
    Checkpoint,
    Finished,
    Started,
    Step,
    TrainEvent,
    Validation,
)
from napari_flowsr.training.losses import LossSum
from napari_flowsr.training.validate import validate

__all__ = ["train"]

_MAX_SKIPPED = 20
# What an interrupted run and its continuation must have in common.
_DETERMINING = (
    "family",
    "model",
    "stages",
    "seed",
    "ema",
    "degradation",
    "percentiles",
    "group_by",
)


class _Run:
    """State of one training run."""

    def __init__(
        self, planes: Sequence[Plane], config: TrainConfig, state_file: Path
    ) -> None:
        self.planes, self.config, self.state_file = planes, config, state_file
        self.rank = int(os.environ.get("RANK", 0))
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.device = self._device()
        torch.manual_seed(config.seed)
        self.flow: ConditionalFlow = build(config.family, config.model)
        self.flow.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = AveragedWeights(self.flow, config.ema)
        self.step = 0  # steps taken in all stages
        self.skipped = 0
        self.optimiser: torch.optim.Optimizer
        self.losses: nn.Module

    def _device(self) -> torch.device:
        if self.world == 1:
            return resolve_device(self.config.device)[0]
        if not torch.distributed.is_initialized():
            cuda = torch.cuda.is_available() and self.config.device != "cpu"
            torch.distributed.init_process_group("nccl" if cuda else "gloo")
        if torch.distributed.get_backend() == "nccl":
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("cpu")

    def sampler(self, stage: Stage) -> PatchSampler:
        """Patches of a stage."""
        return PatchSampler(
            self.planes,
            int(self.config.model["scale"]),
            stage.patch,
            stage.batch,
            self.config.seed,
            self.config.degradation,
        )

    def batch(self, sampler: PatchSampler, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """LR, HR and dequantised HR of the present step, this process's part."""
        return self._batch(sampler, stage, slice(self.rank, None, self.world))

    def _batch(
        self, sampler: PatchSampler, stage: Stage, part: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        lr, hr = sampler.draw(self.step, part)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        shape = (stage.batch, *hr.shape[1:])
        noise = (torch.rand(shape, generator=generator) - 0.5) / stage.dequantisation_levels
        noise += stage.hr_noise * torch.randn(shape, generator=generator)
        noisy = hr + noise[part]
        where = {"device": self.device, "memory_format": torch.channels_last}
        return lr.to(**where), hr.to(**where), noisy.to(**where)  # type: ignore[call-overload]

    def set_up(self, stage: Stage, taken: int) -> None:
        """Optimiser, losses and frozen parts for a stage of which ``taken`` are done."""
        if taken == 0 and "nll" in stage.losses:
            self._initialise_actnorms(stage)
        self.freeze(stage, taken)
        losses: nn.Module = LossSum(self.flow, dict(stage.losses))
        if self.world > 1:
            losses = DistributedDataParallel(losses, find_unused_parameters=True)
        self.losses = losses
        self.optimiser = torch.optim.Adam(
            self.flow.parameters(), lr=stage.learning_rate, betas=stage.betas
        )

    @torch.no_grad()
    def _initialise_actnorms(self, stage: Stage) -> None:
        """Data-dependent start values, from the same whole batch in every process."""
        lr, _, noisy = self._batch(self.sampler(stage), stage, slice(None))
        self.flow.train()
        self.flow.encode(noisy, self.flow.condition(lr))
        self.flow.eval()
        cond = self.flow.condition(lr)
        back = self.flow.decode(self.flow.encode(noisy, cond).latents, cond)
        error = float((back - noisy).abs().max())
        if not error < 1e-2:
            raise TrainingError(
                f"After initialisation the flow is not invertible (round trip error "
                f"{error:.3g}). The images may lack detail or be grey replicated to "
                "colour; use more varied images or another seed."
            )

    def freeze(self, stage: Stage, taken: int) -> None:
        """Train the encoder only after its share of the stage."""
        frozen = taken < stage.encoder_frozen_until * stage.steps
        only_encoder = all(name.startswith("predict") for name in stage.losses)
        encoder = {id(p) for p in self.flow.encoder_parameters()}
        for parameter in self.flow.parameters():
            in_encoder = id(parameter) in encoder
            parameter.requires_grad_(not frozen if in_encoder else not only_encoder)

    def optimise(self, stage: Stage, sampler: PatchSampler, taken: int) -> tuple[float, dict[str, float], float, bool]:
        """One step: loss, its terms, learning rate, whether it was skipped."""
        rate = learning_rate(stage, taken)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.flow.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss, terms = self.losses(*self.batch(sampler, stage))
        loss.backward()
        trained = [p for p in self.flow.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(trained, stage.clip_norm)
        finite = bool(torch.isfinite(norm)) and bool(torch.isfinite(loss))
        if finite:
            self.optimiser.step()
            self.ema.update(self.flow)
            self.skipped = 0
        else:
            self.skipped += 1
            if self.skipped > _MAX_SKIPPED:
                raise TrainingError(
                    f"The loss was not finite in {self.skipped} steps running (step "
                    f"{self.step}). The last checkpoint is kept; go on with a lower "
                    "learning rate."
                )
        return float(loss.detach()), {k: float(v) for k, v in terms.items()}, rate, not finite

    def save_state(self) -> None:
        """Write the checkpoint, atomically."""
        if self.rank:
            return
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.state_file.with_suffix(".tmp")
        state = {
            "config": self.config.to_dict(),
            "step": self.step,
            "flow": self.flow.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
        }
        torch.save(state, temporary)
        temporary.replace(self.state_file)

    def load_state(self) -> dict[str, Any] | None:
        """Take up weights and step of an earlier run; return the optimiser's state."""
        if not self.state_file.exists():
            return None
        state = torch.load(self.state_file, map_location=self.device, weights_only=True)
        own = self.config.to_dict()
        if any(state["config"][key] != own[key] for key in _DETERMINING):
            raise TrainingError(
                f"'{self.state_file}' belongs to a run with another configuration. Give "
                "another output, use the same configuration, or delete that file."
            )
        self.flow.load_state_dict(state["flow"])
        self.ema.load_state_dict(state["ema"])
        self.step = int(state["step"])
        optimiser: dict[str, Any] = state["optimiser"]
        return optimiser


def learning_rate(stage: Stage, taken: int) -> float:
    """Learning rate of step number ``taken`` of a stage."""
    if taken < stage.warmup:
        return stage.learning_rate * (taken + 1) / stage.warmup
    progress = taken / stage.steps
    if stage.schedule == "cosine":
        return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    if stage.schedule == "steps":
        return stage.learning_rate * 0.5 ** sum(progress >= m for m in stage.milestones)
    raise TrainingError(f"Schedule '{stage.schedule}' is unknown; use 'cosine' or 'steps'.")


def _stage_at(config: TrainConfig, step: int) -> tuple[int, int]:
    """Index of the stage of a step, and steps already taken in it."""
    for index, stage in enumerate(config.stages):
        if step < stage.steps:
            return index, step
        step -= stage.steps
    return len(config.stages), 0


def _card(run: _Run, seconds: float, images: int) -> ModelCard:
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
        groups_from_manifest(config.manifest, config.group_by) if config.manifest else None
    )
    low, high = config.percentiles
    planes = load_planes(
        find_files(source), channels, low=low, high=high, groups=groups, min_side=sampler_side
    )
    held_out = load_planes(find_files(validation), channels, low=low, high=high) if validation else []
    run = _Run(planes, config, state_file)
    yield from _loop(run, held_out, output)


def _loop(run: _Run, held_out: Sequence[Plane], output: Path) -> Iterator[TrainEvent]:
    config, began = run.config, time.monotonic()
    optimiser_state = run.load_state()
    first = run.step
    yield Started(first, config.steps, len(run.planes), run.flow.parameter_count, str(run.device))
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
            yield Step(run.step, config.steps, stage.name, loss, terms, rate, left, skipped)
            at_end = taken == stage.steps
            if held_out and (at_end or run.step % config.validate_every == 0):
                run.ema.swap(run.flow)
                likelihood = "nll" in stage.losses
                figures = validate(run.flow, held_out, config.degradation, likelihood=likelihood)
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


