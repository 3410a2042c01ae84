"""The papers' own recipes: for photographs, a GPU, and days.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 3.4 and supplement, section 2;
AdFlow (Lugmayr et al., 2021), arXiv:2111.03649; HCFlow (Liang et al., 2021),
arXiv:2108.05301; Local Implicit Normalizing Flow (Yao et al., 2023), arXiv:2303.05156;
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), arXiv:2403.10988. Sections are named where their numbers are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["adflow", "hcflow", "learned_prior", "linf", "rescale", "srflow"]

Losses = Mapping[str, float]


def _halving(name: str, steps: int, rate: float, losses: Losses, **more: Any) -> Stage:
    """A stage whose learning rate is halved at 50, 75, 90 and 95 % of its steps."""
    return Stage(
        name=name,
        steps=steps,
        losses=losses,
        learning_rate=rate,
        schedule="steps",
        warmup=0,
        **more,
    )


def srflow(scale: int) -> TrainConfig:
    """SRFlow's own recipe: encoder by L1, then likelihood, encoder frozen half-way.

    Learning rate 5e-4 halved at 50, 75, 90 and 95 % of 200 000 steps, batch 16, HR
    patches of 160 pixels, Gaussian noise of 4 / sqrt(3) grey levels on HR (section
    3.4; supplement, section 2). That of the encoder is ours.
    """
    common: dict[str, Any] = {"batch": 16, "patch": 160 // scale}
    encoder = Stage(
        "encoder", 200_000, {"predict_l1": 1.0}, learning_rate=2e-4, **common
    )
    flow = _halving(
        "flow",
        200_000,
        5e-4,
        {"nll": 1.0},
        encoder_frozen_until=0.5,
        hr_noise=4 / math.sqrt(3) / 255,
        **common,
    )
    return _published("srflow", {"scale": scale}, encoder, flow)


def adflow(scale: int) -> TrainConfig:
    """AdFlow: likelihood, then with the adversarial loss (sections 3.4 and 3.5).

    200 000 steps each; learning rate 1e-5 (8x: 1e-6); weight of the adversarial loss
    1e-2 (8x: 0.1), learning rate of the adversary 1e-3 (8x: 1e-4); HR patches of 160
    pixels (6x: 144); uniform noise of 1/32 of the range. Batch and milestones, which
    are not told, are SRFlow's.
    """
    rate, weight, own = (1e-6, 0.1, 1e-4) if scale == 8 else (1e-5, 1e-2, 1e-3)
    common: dict[str, Any] = {
        "batch": 16,
        "patch": (144 if scale == 6 else 160) // scale,
        "dequantisation_levels": 32.0,
    }
    flow = _halving("flow", 200_000, rate, {"nll": 1.0}, **common)
    adversary = _halving(
        "adversary",
        200_000,
        rate,
        {"nll": 1.0, "adversarial": weight},
        adversary_learning_rate=own,
        **common,
    )
    return _published("adflow", {"scale": scale}, flow, adversary)


def hcflow(scale: int, further: int = 0) -> TrainConfig:
    """HCFlow, and HCFlow+ (``further`` 1) and HCFlow++ (2) from it, section 4.1.

    Learning rate 2.5e-4 halved at 50, 75, 90 and 95 % of 300 000 steps, Adam's beta2
    0.99, batch 16, HR patches of 160 pixels. Then 50 000 steps with weights 2e-3 (NLL)
    and 1 (L1 at temperature 0); then with 0.05 (perceptual) and 0.5 (adversarial) too,
    on samples at temperature 0.8. Learning rates and steps of the last stage are not
    told; they are those of the one before.
    """
    common: dict[str, Any] = {
        "batch": 16,
        "patch": 160 // scale,
        "betas": (0.9, 0.99),
        "dequantisation_levels": 64.0,
    }
    plus = {"nll": 2e-3, "mode_l1": 1.0}
    both = {**plus, "perceptual": 0.05, "adversarial": 0.5}
    stages = (
        _halving("flow", 300_000, 2.5e-4, {"nll": 1.0}, **common),
        _halving("pixel", 50_000, 2.5e-4, plus, **common),
        _halving(
            "adversary",
            50_000,
            2.5e-4,
            both,
            temperature=0.8,
            adversary_learning_rate=2.5e-4,
            **common,
        ),
    )
    return _published("hcflow", {"scale": scale}, *stages[: 1 + further])


def rescale(scale: int) -> TrainConfig:
    """HCFlow for rescaling, section 4.1 and eq. (9).

    Learning rate 2.5e-4 halved at 100, 200, 300 and 400 of 500 thousand steps, batch
    16, HR patches of 160 pixels; weights 1 (HR, L1), 0.05 (small image, L2) and 1e-5
    (latents, L2), here of means over values.
    """
    losses = {"rescale_hr": 1.0, "rescale_guide": 0.05, "rescale_latent": 1e-5}
    stage = _halving(
        "rescale",
        500_000,
        2.5e-4,
        losses,
        milestones=(0.2, 0.4, 0.6, 0.8),
        betas=(0.9, 0.99),
        batch=16,
        patch=160 // scale,
    )
    return _published("hcflow-rescale", {"scale": scale}, stage)


def linf() -> TrainConfig:
    """LINF, 3 x 3 patches on EDSR-baseline, likelihood alone.

    Scales uniform in 1 to 4, learning rate 1e-4 halved at each fifth of 1000 epochs of
    800 images in batches of 16: as section 5.1 of the learned prior's paper, which
    restates it, has for its own training. LR patches of 48 pixels (there 96).
    """
    stage = _halving(
        "flow",
        50_000,
        1e-4,
        {"nll": 1.0},
        milestones=(0.2, 0.4, 0.6, 0.8),
        batch=16,
        patch=48,
    )
    config = _published("linf", {"scale": 4.0, "patch": 3}, stage)
    return config.with_(scale_range=(1.0, 4.0))


def learned_prior() -> TrainConfig:
    """SRFlow-LP: perceptual loss, and the latent one with 0.1 (eq. 8, section 5.1).

    Learning rate 1e-4 halved after each of five epochs, batch 12, HR patches of 160
    pixels at 4x. Steps of an epoch are not told; 8000 are taken.
    """
    stage = _halving(
        "prior",
        40_000,
        1e-4,
        {"perceptual": 1.0, "latent_l1": 0.1},
        milestones=(0.2, 0.4, 0.6, 0.8),
        batch=12,
        patch=40,
    )
    return TrainConfig("learned-prior", {}, (stage,))


def _published(family: str, model: dict[str, Any], *stages: Stage) -> TrainConfig:
    """With the whole range of an image, as 8-bit photographs mostly have it."""
    return TrainConfig(family, model, stages, percentiles=(0.0, 100.0))
