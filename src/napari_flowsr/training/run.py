"""One training run: its network, its batches, its optimiser, its checkpoint."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from napari_flowsr.core.device import resolve_device
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.errors import TrainingError
from napari_flowsr.models._registry import build
from napari_flowsr.training.ema import AveragedWeights
from napari_flowsr.training.losses import LossSum

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.data.source import Plane
    from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["TrainingRun", "learning_rate"]

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


class TrainingRun:
    """Network, averaged weights and optimiser of one run, and its checkpoint.

    Parameters
    ----------
    planes : sequence of Plane
        Training images.
    config : TrainConfig
        What determines the run.
    state_file : Path
        Where the checkpoint lies.
    """

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
            stage.unusual,
        )

    def batch(
        self, sampler: PatchSampler, stage: Stage
    ) -> tuple[Tensor, Tensor, Tensor]:
        """LR, HR and dequantised HR of the present step, this process's part."""
        return self._batch(sampler, stage, slice(self.rank, None, self.world))

    def _batch(
        self, sampler: PatchSampler, stage: Stage, part: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        lr, hr = sampler.draw(self.step, part)
        generator = torch.Generator().manual_seed(
            self.config.seed * 1_000_003 + self.step
        )
        shape = (stage.batch, *hr.shape[1:])
        noise = (
            torch.rand(shape, generator=generator) - 0.5
        ) / stage.dequantisation_levels
        noise += stage.hr_noise * torch.randn(shape, generator=generator)
        noisy = hr + noise[part]
        return self._place(lr), self._place(hr), self._place(noisy)

    def _place(self, x: Tensor) -> Tensor:
        # Convolutions run up to twice as fast in this layout on the CPU.
        return x.to(self.device).contiguous(memory_format=torch.channels_last)

    def set_up(self, stage: Stage, taken: int) -> None:
        """Optimiser, losses, frozen parts; ``taken`` steps of the stage are done."""
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

    def optimise(
        self, stage: Stage, sampler: PatchSampler, taken: int
    ) -> tuple[float, dict[str, float], float, bool]:
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
        return (
            float(loss.detach()),
            {k: float(v) for k, v in terms.items()},
            rate,
            not finite,
        )

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
                f"'{self.state_file}' belongs to a run with another configuration. "
                "Give another output, use the same configuration, or delete that file."
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
    raise TrainingError(
        f"Schedule '{stage.schedule}' is unknown; use 'cosine' or 'steps'."
    )
