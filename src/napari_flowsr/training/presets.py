"""Training recipes by name.

References
----------
SRFlow (Lugmayr et al., 2020), section 3.4 and supplement, section 2.
"""

from __future__ import annotations

import math

from napari_flowsr.errors import OptionError
from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["PRESETS", "preset"]


def _compact(scale: int, patch: int, batch: int) -> TrainConfig:
    """Our compact family in two stages, for a laptop's CPU."""
    encoder = Stage(
        name="encoder",
        steps=20_000,
        losses={"predict_log_mse": 0.1},
        learning_rate=1e-3,
        batch=batch,
        patch=patch,
    )
    flow = Stage(
        name="flow",
        steps=15_000,
        losses={"nll": 1.0},
        learning_rate=1e-3,
        batch=batch,
        patch=patch,
        encoder_frozen_until=1.0,
    )
    return TrainConfig(family="compact", model={"scale": scale}, stages=(encoder, flow))


def _srflow(scale: int) -> TrainConfig:
    """SRFlow's own recipe: encoder by L1, then likelihood, encoder frozen half-way.

    Learning rate 5e-4 halved at 50, 75, 90 and 95 % of 200 000 steps, batch 16, HR
    patches of 160 pixels, Gaussian noise of 4 / sqrt(3) grey levels on HR.
    """
    encoder = Stage(
        name="encoder",
        steps=200_000,
        losses={"predict_l1": 1.0},
        learning_rate=2e-4,
        batch=16,
        patch=160 // scale,
    )
    flow = Stage(
        name="flow",
        steps=200_000,
        losses={"nll": 1.0},
        learning_rate=5e-4,
        schedule="steps",
        warmup=0,
        batch=16,
        patch=160 // scale,
        encoder_frozen_until=0.5,
        hr_noise=4 / math.sqrt(3) / 255,
    )
    return TrainConfig(
        family="srflow",
        model={"scale": scale},
        stages=(encoder, flow),
        percentiles=(0.0, 100.0),
    )


PRESETS = {
    "compact-2x": lambda: _compact(2, patch=24, batch=8),
    "compact-4x": lambda: _compact(4, patch=16, batch=12),
    "srflow-4x": lambda: _srflow(4),
    "srflow-8x": lambda: _srflow(8),
}


def preset(name: str) -> TrainConfig:
    """Return the recipe of that name."""
    if name not in PRESETS:
        raise OptionError(
            f"Preset '{name}' is unknown; known are {', '.join(sorted(PRESETS))}."
        )
    return PRESETS[name]()
