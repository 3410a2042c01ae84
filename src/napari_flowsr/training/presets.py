"""Training recipes by name.

References
----------
SRFlow (Lugmayr et al., 2020), section 3.4 and supplement, section 2.
"""

from __future__ import annotations

import math
from typing import Any

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


def _compact_any() -> TrainConfig:
    """A small LINF for scales 1 to 4 and beyond, one channel.

    As LINF's authors, one scale a batch, uniform in 1 to 4. The image at temperature 0
    comes first, then likelihood with it, so that both are good.
    """
    common: dict[str, Any] = {"batch": 8, "patch": 24, "warmup": 200}
    mode = Stage(
        name="mode",
        steps=14_000,
        losses={"mode_log_mse": 0.1},
        learning_rate=1e-3,
        **common,
    )
    flow = Stage(
        name="flow",
        steps=10_000,
        losses={"nll": 1.0, "mode_log_mse": 0.1},
        learning_rate=5e-4,
        **common,
    )
    model = {
        "scale": 4.0,
        "channels": 1,
        "patch": 3,
        "width": 48,
        "blocks": 8,
        "hidden": 128,
        "mlp_layers": 2,
        "flow_layers": 8,
    }
    return TrainConfig(
        family="linf",
        model=model,
        stages=(mode, flow),
        scale_range=(1.0, 4.0),
    )


def _compact_rescale() -> TrainConfig:
    """A small rescaling network of one channel, by HCFlow's eq. (9).

    The restored image counts as ln(MSE), so that every image counts alike; the weights
    of the other terms are ours.
    """
    stage = Stage(
        name="rescale",
        steps=12_000,
        losses={
            "rescale_hr_log_mse": 0.1,
            "rescale_guide": 10.0,
            "rescale_latent": 1e-4,
        },
        learning_rate=1e-3,
        warmup=200,
        batch=8,
        patch=16,
    )
    # The finest level has four times the pixels of the next, and so fewer steps.
    model = {
        "scale": 4,
        "channels": 1,
        "width": 16,
        "blocks": (1, 1),
        "growth": 8,
        "steps": (4, 6),
        "conditional_steps": (2, 3),
        "hidden": 16,
        "conditional_hidden": 24,
    }
    return TrainConfig(family="hcflow-rescale", model=model, stages=(stage,))


PRESETS = {
    "compact-any": _compact_any,
    "compact-rescale-4x": _compact_rescale,
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
