"""Training recipes by name.

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
from collections.abc import Callable, Mapping
from typing import Any

from napari_flowsr.errors import OptionError
from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["PRESETS", "preset"]

Losses = Mapping[str, float]


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


def _srflow(scale: int) -> TrainConfig:
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


def _adflow(scale: int) -> TrainConfig:
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


def _hcflow(scale: int, further: int = 0) -> TrainConfig:
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


def _rescale(scale: int) -> TrainConfig:
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


def _linf() -> TrainConfig:
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


def _learned_prior() -> TrainConfig:
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


def _compact_sharp() -> TrainConfig:
    """From a trained compact model: AdFlow's loss on the flow, for more texture.

    The encoder stays, and with it the prediction at temperature 0, nearly.
    """
    stage = Stage(
        name="adversary",
        steps=6000,
        losses={"nll": 1.0, "adversarial": 0.05},
        learning_rate=2e-4,
        adversary_learning_rate=2e-4,
        batch=8,
        patch=16,
        encoder_frozen_until=1.0,
    )
    return TrainConfig(family="compact", model={"scale": 4}, stages=(stage,))


def _compact_prior(scale_range: tuple[float, float] | None = None) -> TrainConfig:
    """A small learned prior for a compact or LINF model, `TrainConfig.start_from`.

    Needs no perceptual weights: `losses.image_detail` stands in for them. Its weight
    bounds how much sharpness may cost. If a part *a* of the variance that the LR image
    leaves open is added as detail, ln(MSE) grows by ln(1 + a) and the log-ratio falls
    by ln(1 + a / m), where the mode has the part *m* already; with the weight *w* the
    sum is least at a = (w - m) / (1 - w), which is at most 0.54 for w = 0.35. A sample
    at temperature 0.8 adds 0.64.
    """
    stage = Stage(
        name="prior",
        steps=8000,
        losses={"image_log_mse": 0.1, "image_detail": 0.035, "latent_l1": 0.005},
        learning_rate=5e-4,
        batch=8,
        patch=24,
    )
    model = {
        "kind": "patch",
        "dim": 48,
        "generator": "edsr",
        "blocks": 6,
        "stride": 1,
    }
    return TrainConfig(
        family="learned-prior", model=model, stages=(stage,), scale_range=scale_range
    )


# The first of a family and scale is what people get who name no preset.
PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "compact-2x": lambda: _compact(2, patch=24, batch=8),
    "compact-3x": lambda: _compact(3, patch=20, batch=10),
    "compact-4x": lambda: _compact(4, patch=16, batch=12),
    "compact-any": _compact_any,
    "compact-rescale-4x": _compact_rescale,
    "compact-prior": _compact_prior,
    "compact-prior-any": lambda: _compact_prior((1.0, 4.0)),
    "compact-sharp": _compact_sharp,
    "srflow-4x": lambda: _srflow(4),
    "srflow-8x": lambda: _srflow(8),
    "adflow-4x": lambda: _adflow(4),
    "adflow-6x": lambda: _adflow(6),
    "adflow-8x": lambda: _adflow(8),
    "hcflow-4x": lambda: _hcflow(4),
    "hcflow-8x": lambda: _hcflow(8),
    "hcflow+-4x": lambda: _hcflow(4, 1),
    "hcflow++-4x": lambda: _hcflow(4, 2),
    "rescale-4x": lambda: _rescale(4),
    "linf": _linf,
    "learned-prior": _learned_prior,
}


def preset(name: str) -> TrainConfig:
    """Return the recipe of that name; a paper's name alone stands for its 4x recipe."""
    found = PRESETS.get(name) or PRESETS.get(f"{name}-4x")
    if found is None:
        raise OptionError(
            f"Preset '{name}' is unknown; known are {', '.join(sorted(PRESETS))}."
        )
    return found()
