"""One training run: its network, its batches, its optimiser, its checkpoint."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from napari_flowsr.core.device import resolve_device
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.errors import ExportError, TrainingError
from napari_flowsr.training.adversary import Opponent
from napari_flowsr.training.batch import Batch, Judges
from napari_flowsr.training.ema import AveragedWeights
from napari_flowsr.training.initialise import initialise
from napari_flowsr.training.losses import LossSum, is_of_encoder
from napari_flowsr.training.muon import Muon
from napari_flowsr.training.schedule import learning_rate, weights_of
from napari_flowsr.training.signals import uninterrupted
from napari_flowsr.training.state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.prior import LatentModule
    from napari_flowsr.data.source import Plane
    from napari_flowsr.models.card import Model
    from napari_flowsr.training.config import Stage, TrainConfig
    from napari_flowsr.training.perceptual import Features

__all__ = ["TrainingRun"]

_MAX_SKIPPED = 20
_OTHER_STREAM = 0x9E3779B9
"""Of a seed, so that latents do not repeat the noise of dequantisation."""


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
    flow : ConditionalFlow
        The untrained network; with a ``prior`` the trained one.
    prior : LatentModule, optional
        An untrained learned prior, which is trained in place of the flow.
    features : Features, optional
        Of the perceptual loss.
    """

    def __init__(
        self,
        planes: Sequence[Plane],
        config: TrainConfig,
        state_file: Path,
        flow: ConditionalFlow,
        prior: LatentModule | None = None,
        features: Features | None = None,
    ) -> None:
        self.planes, self.config, self.state_file = planes, config, state_file
        self.stages = config.stages  # or as many steps as a time budget allows
        self.rank = int(os.environ.get("RANK", 0))
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.owns_group = False
        self.device = self._device()
        self.flow, self.prior = flow, prior
        self.network: nn.Module = flow if prior is None else prior
        """What is trained."""
        # Convolutions run up to twice as fast with channels last on the CPU. Several
        # processes exchange gradients in the parameters' layout, which theirs is then
        # not always.
        alone = self.world == 1
        self.layout = torch.channels_last if alone else torch.contiguous_format
        for module in (flow, self.network):
            module.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        if prior is not None:
            flow.eval().requires_grad_(False)
        self.opponent = self._opponent()
        self.judges = Judges(
            None if self.opponent is None else self.opponent.network,
            None if features is None else features.to(self.device),
        )
        self.ema = AveragedWeights(self.network, config.ema)
        self.step = 0  # steps taken in all stages
        self.saved = 0  # the step that the checkpoint is of
        self.skipped = 0  # steps running whose loss was not finite
        self.consistent = True  # weights, optimiser and step belong together
        self.origin: dict[str, str] = {}
        self.optimiser: torch.optim.Optimizer
        self.losses: nn.Module

    def _opponent(self) -> Opponent | None:
        """An adversary, if one counts in any stage."""
        every = (weights_of(self.config, stage) for stage in self.stages)
        if not any("adversarial" in weights for weights in every):
            return None
        width, seed = self.config.adversary_width, self.config.seed
        return Opponent(self.flow.channels, width, seed, self.device)

    def _device(self) -> torch.device:
        if self.world == 1:
            return resolve_device(self.config.device)[0]
        if not torch.distributed.is_initialized():
            cuda = torch.cuda.is_available() and self.config.device != "cpu"
            torch.distributed.init_process_group("nccl" if cuda else "gloo")
            self.owns_group = True
        if torch.distributed.get_backend() == "nccl":
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("cpu")

    def sampler(self, stage: Stage) -> PatchSampler:
        """Patches of a stage."""
        return PatchSampler(
            self.planes,
            self.flow.scales[0],
            stage.patch,
            stage.batch,
            self.config.seed,
            self.config.degradation,
            stage.unusual,
            self.config.misalignment,
            self.config.scale_range,
        )

    def batch(self, sampler: PatchSampler, stage: Stage) -> Batch:
        """Patches of the present step, this process's part."""
        return self._batch(sampler, stage, slice(self.rank, None, self.world))

    def _batch(self, sampler: PatchSampler, stage: Stage, part: slice) -> Batch:
        lr, hr = sampler.draw(self.step, part)
        seed = self.config.seed * 1_000_003 + self.step
        generator = torch.Generator().manual_seed(seed)
        shape = (stage.batch, *hr.shape[1:])
        noise = (
            torch.rand(shape, generator=generator) - 0.5
        ) / stage.dequantisation_levels
        noise += stage.hr_noise * torch.randn(shape, generator=generator)
        return Batch(
            self._place(lr),
            self._place(hr),
            self._place(hr + noise[part]),
            seed=seed ^ _OTHER_STREAM,
            size=stage.batch,
            part=part,
            levels=stage.dequantisation_levels,
            temperature=stage.temperature,
            degradation=self.config.degradation,
        )

    def _place(self, x: Tensor) -> Tensor:
        return x.to(self.device).contiguous(memory_format=self.layout)

    def set_up(self, stage: Stage, taken: int) -> None:
        """Optimisers, losses, frozen parts; ``taken`` steps of the stage are done."""
        names = weights_of(self.config, stage)
        if taken == 0 and self.prior is None and not all(map(is_of_encoder, names)):
            # From the same whole batch in every process.
            initialise(self.flow, self._batch(self.sampler(stage), stage, slice(None)))
        self.freeze(stage, taken)
        make = Muon if stage.optimiser == "muon" else torch.optim.Adam
        self.optimiser = make(
            self.network.parameters(), lr=stage.learning_rate, betas=stage.betas
        )
        if self.opponent is not None:
            self.opponent.set_up(stage.adversary_learning_rate)
        if taken == 0:
            self.ema.reset(self.network)

    def take_up(self, state: dict[str, Any]) -> None:
        """What `set_up` made anew, as an earlier run left it."""
        self.optimiser.load_state_dict(state["optimiser"])
        if self.opponent is not None:
            self.opponent.load_state_dict(state["adversary"])

    def freeze(self, stage: Stage, taken: int) -> None:
        """Train the encoder only after its share of the stage."""
        weights = weights_of(self.config, stage)
        frozen = taken < stage.encoder_frozen_until * stage.steps
        only_encoder = all(map(is_of_encoder, weights))
        encoder = {id(p) for p in self.flow.encoder_parameters()}
        for parameter in self.network.parameters() if self.prior is None else ():
            in_encoder = id(parameter) in encoder
            parameter.requires_grad_(not frozen if in_encoder else not only_encoder)
        losses: nn.Module = LossSum(self.flow, weights, self.prior, self.judges)
        if self.world > 1:
            # Gradients are exchanged of those parameters alone that are trained when
            # it is made; so it is made anew whenever that changes.
            losses = DistributedDataParallel(losses, find_unused_parameters=True)
        self.losses = losses

    def optimise(
        self, stage: Stage, sampler: PatchSampler, taken: int
    ) -> tuple[float, dict[str, float], float, bool]:
        """One step: loss, its terms, learning rate, whether it was skipped.

        After the last step of the stage the network has the averaged weights.
        """
        rate = learning_rate(stage, taken)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        batch = self.batch(sampler, stage)
        loss, terms, shown = self.losses(batch)
        loss.backward()
        trained = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(trained, stage.clip_norm)
        # One answer for all processes: what one skips, all do.
        value = self.mean(loss)
        finite = math.isfinite(float(norm)) and math.isfinite(value)
        if shown is not None:
            terms["adversary"] = self._teach_opponent(batch.hr, shown, stage, rate)
            finite = finite and math.isfinite(float(terms["adversary"]))
        self._step(finite, taken + 1 == stage.steps)
        return value, {k: float(v) for k, v in terms.items()}, rate, not finite

    def _teach_opponent(
        self, hr: Tensor, shown: Tensor, stage: Stage, rate: float
    ) -> Tensor:
        """Gradients of the adversary, from the same images; returns its loss."""
        if self.opponent is None:
            raise TypeError("The adversarial loss needs an adversary.")
        own = rate * stage.adversary_learning_rate / stage.learning_rate
        loss = self.opponent.teach(hr, shown, own, stage.clip_norm)
        return torch.tensor(self.mean(loss))

    def _step(self, finite: bool, is_last: bool) -> None:
        """Move the weights, unless the loss is not finite; stop if it stays so."""
        with uninterrupted():
            self.consistent = False
            if finite:
                self.optimiser.step()
                if self.opponent is not None:
                    self.opponent.step()
                self.ema.update(self.network)
            if is_last:
                self.ema.copy_to(self.network)
            self.step += 1
            self.skipped = 0 if finite else self.skipped + 1
            self.consistent = True
        if self.skipped > _MAX_SKIPPED:
            raise TrainingError(
                f"The loss was not finite in {self.skipped} steps running (step "
                f"{self.step}). {self.kept} The same settings would fail again: train "
                "anew, to another output, with a lower learning_rate or clip_norm."
            )

    def mean(self, value: Tensor) -> float:
        """Mean of a number over the processes."""
        value = value.detach().clone()
        if self.world > 1:
            value = value.to(self.device)
            torch.distributed.all_reduce(value)
            value /= self.world
        return float(value)

    @property
    def kept(self) -> str:
        """One sentence on what lies on the disk."""
        if self.saved == 0:
            return "No checkpoint was kept."
        return f"The state after step {self.saved} is kept in {self.state_file}."

    def save(self) -> bool:
        """Write the checkpoint unless it is up to date; tell whether it was written.

        A state that is half a step ahead, or that led to losses which are not finite,
        never replaces a good one.
        """
        if not self.consistent or self.skipped or self.step == self.saved:
            return False
        if self.rank == 0:
            try:
                write_state(self.state_file, self._state())
            except ExportError as error:
                raise TrainingError(
                    f"{error} {self.kept} The same command goes on from what is kept."
                ) from error
        self.saved = self.step
        return True

    def _state(self) -> dict[str, Any]:
        state = {
            "config": self.config.to_dict(),
            "steps": [stage.steps for stage in self.stages],
            "step": self.step,
            "images": self._fingerprint(),
            "origin": self.origin,
            "flow": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
        }
        if self.opponent is not None:
            state["adversary"] = self.opponent.state_dict()
        return state

    def _fingerprint(self) -> str:
        """Which images these are, by names, groups and sizes."""
        text = [f"{p.name}\0{p.group}\0{p.pixels.shape}" for p in self.planes]
        return hashlib.sha256("\n".join(text).encode()).hexdigest()

    def load(self, origin: Model | None) -> dict[str, Any] | None:
        """Take up an earlier run, or the weights of a model to start from.

        Returns the state of the earlier run, for `take_up`.
        """
        state = read_state(self.state_file, self.config.to_dict(), self._fingerprint())
        if state is not None:
            self.network.load_state_dict(state["flow"])
            self.ema.load_state_dict(state["ema"])
            if self.opponent is not None:
                self.opponent.load_state_dict(state["adversary"])
            self.step = self.saved = int(state["step"])
            self.origin = dict(state.get("origin", {}))
            self.plan(state.get("steps", [s.steps for s in self.stages]))
            return state
        if origin is not None:
            if self.prior is None:
                self.flow.load_state_dict(origin.flow.state_dict())
            self.origin = {"name": origin.card.name, "sha256": origin.card.sha256}
        return None

    def plan(self, steps: Sequence[int]) -> None:
        """Take so many steps in each stage."""
        pairs = zip(self.config.stages, steps, strict=True)
        self.stages = tuple(replace(stage, steps=int(n)) for stage, n in pairs)

    @property
    def total(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def close(self) -> None:
        """Leave the group of processes, if this run entered it."""
        if self.owns_group:
            torch.distributed.destroy_process_group()
