"""How long steps take: time left, and how many steps a time budget allows."""

from __future__ import annotations

import time
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from napari_flowsr.training.events import Measuring

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_flowsr.training.run import TrainingRun

__all__ = ["Clock", "affordable"]

_TRIED = 3
"""Steps of each stage by which its pace is known, if there is time for them."""
_TRYING = 0.1
"""Of the time that may go into these; a step of each stage is taken in any case."""
_SHARE = 0.9
"""Of the time that goes into steps; the rest is for figures and checkpoints."""
_FIGURES = 10
"""Times as long as figures take, training goes on before the next, in a budget."""


class Clock:
    """Seconds left, by the pace since the first step, which alone warms up."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.waited = 0.0
        """Seconds in which it stood still."""
        self.began = self._now()
        self.first: int | None = None
        self._took, self._told = 0.0, self.began  # of the last figures

    def _now(self) -> float:
        return time.monotonic() - self.waited

    def left(self, step: int) -> float:
        """Seconds until the last step."""
        now = self._now()
        pace = (now - self.began) / max(1, step - (self.first or step))
        if self.first is None:
            self.first, self.began = step, now
        return pace * (self.total - step)

    @property
    def has_time_for_figures(self) -> bool:
        """Whether a tenth of the time since the last ones is what they take."""
        return self._now() - self._told >= _FIGURES * self._took

    @contextmanager
    def figures(self) -> Iterator[None]:
        """Figures are taken in the block."""
        began = self._now()
        yield
        self._told = self._now()
        self._took = self._told - began

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Time in the block counts neither for the pace nor as training."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - began


def affordable(
    run: TrainingRun, seconds: float
) -> Generator[Measuring, None, list[int]]:
    """Steps of each stage, in the recipe's proportions, that take ``seconds``.

    A few steps of each stage are taken to see how long they last, and undone: stages
    differ in pace, by which their proportions in time are not those in steps. What this
    takes is part of the time, but for what goes beyond a tenth of it.
    """
    network = deepcopy(run.network.state_dict())
    opponent = deepcopy(run.opponent.state_dict()) if run.opponent else None
    began, paces = time.monotonic(), []
    try:
        for number, stage in enumerate(run.stages):
            yield Measuring(stage.name, number + 1, len(run.stages))
            paces.append(_pace(run, number, _TRYING * seconds / len(run.stages)))
    finally:
        run.step = run.skipped = 0  # what is tried is never saved
    run.network.load_state_dict(network)
    if run.opponent is not None and opponent is not None:
        run.opponent.load_state_dict(opponent)
    run.ema.reset(run.network)
    whole = sum(p * s.steps for p, s in zip(paces, run.stages, strict=True))
    # Beyond its share, on a machine that is busy, it is not taken off the training.
    spent = min(time.monotonic() - began, _TRYING * seconds)
    factor = (_SHARE * seconds - run.mean(torch.tensor(spent))) / whole
    return [max(1, round(factor * stage.steps)) for stage in run.stages]


def _pace(run: TrainingRun, number: int, limit: float) -> float:
    """Seconds for a step of a stage, the first one left out if there are more."""
    stage = run.stages[number]
    run.set_up(stage, 0)
    sampler = run.sampler(stage)
    lasted: list[float] = []
    while not lasted or (len(lasted) <= _TRIED and sum(lasted) < limit):
        began = time.monotonic()
        run.optimise(stage, sampler, 0)
        # All processes have to come to the same numbers.
        lasted.append(run.mean(torch.tensor(time.monotonic() - began)))
    warm = lasted[1:] or lasted
    return sum(warm) / len(warm)
