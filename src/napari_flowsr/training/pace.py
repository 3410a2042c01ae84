"""How long steps take: time left, and how many steps a time budget allows."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from napari_flowsr.training.run import TrainingRun

__all__ = ["Clock", "affordable"]

_TRIED = 3
"""Steps of each stage by which its pace is known."""
_SHARE = 0.9
"""Of the time that goes into steps; the rest is for figures and checkpoints."""


class Clock:
    """Seconds left, by the pace since the first step, which alone warms up."""

    def __init__(self, total: int) -> None:
        self.total, self.began = total, time.monotonic()
        self.first: int | None = None

    def left(self, step: int) -> float:
        """Seconds until the last step."""
        now = time.monotonic()
        pace = (now - self.began) / max(1, step - (self.first or step))
        if self.first is None:
            self.first, self.began = step, now
        return pace * (self.total - step)


def affordable(run: TrainingRun, seconds: float) -> list[int]:
    """Steps of each stage, in the recipe's proportions, that take ``seconds``.

    A few steps of each stage are taken to see how long they last, and undone: stages
    differ in pace, by which their proportions in time are not those in steps.
    """
    network = deepcopy(run.network.state_dict())
    opponent = deepcopy(run.opponent.state_dict()) if run.opponent else None
    try:
        paces = [_pace(run, number) for number in range(len(run.stages))]
    finally:
        run.step = run.skipped = 0  # what is tried is never saved
    run.network.load_state_dict(network)
    if run.opponent is not None and opponent is not None:
        run.opponent.load_state_dict(opponent)
    run.ema.reset(run.network)
    whole = sum(p * s.steps for p, s in zip(paces, run.stages, strict=True))
    factor = _SHARE * seconds / whole
    return [max(1, round(factor * stage.steps)) for stage in run.stages]


def _pace(run: TrainingRun, number: int) -> float:
    """Seconds for a step of a stage, the first one left out."""
    stage = run.stages[number]
    run.set_up(stage, 0)
    sampler = run.sampler(stage)
    run.optimise(stage, sampler, 0)
    began = time.monotonic()
    for _ in range(_TRIED):
        run.optimise(stage, sampler, 0)
    # All processes have to come to the same numbers.
    return run.mean(torch.tensor((time.monotonic() - began) / _TRIED))
