"""What a stage asks for in each of its steps: learning rate and weights of losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_flowsr.errors import TrainingError

if TYPE_CHECKING:
    from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["SCHEDULES", "learning_rate", "weights_of"]

SCHEDULES = ("cosine", "steps")


def weights_of(config: TrainConfig, stage: Stage) -> dict[str, float]:
    """Losses of a stage that count, with their weights."""
    found = {name: config.loss_weights.get(name, w) for name, w in stage.losses.items()}
    return {name: weight for name, weight in found.items() if weight > 0}


def learning_rate(stage: Stage, taken: int) -> float:
    """Learning rate of step number ``taken`` of a stage."""
    # The warm-up multiplies the schedule: a stage shorter than it still comes down.
    rate = stage.learning_rate * min(1.0, (taken + 1) / max(stage.warmup, 1))
    progress = taken / stage.steps
    if stage.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    if stage.schedule == "steps":
        return rate * 0.5 ** sum(progress >= m for m in stage.milestones)
    raise TrainingError(
        f"Schedule '{stage.schedule}' is unknown; use {' or '.join(SCHEDULES)}."
    )
