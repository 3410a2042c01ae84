"""Training recipes by name.

References
----------
HCFlow (Liang et al., 2021), arXiv:2108.05301, eq. (9); AdFlow (Lugmayr et al., 2021),
arXiv:2111.03649, section 3.5. Those of the papers' own recipes: `training.papers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError
from napari_flowsr.training import papers
from napari_flowsr.training.config import Stage, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PRESETS", "preset"]


def _compact(scale: int, patch: int, batch: int) -> TrainConfig:
    """Our compact family in three stages, for a laptop's CPU.

    Likelihood alone lets the image at temperature 0 drift from the encoder's
    prediction, the better guess; the last stage brings it back, encoder and flow
    together.
    """
    common: dict[str, Any] = {"batch": batch, "patch": patch}
    encoder = Stage(
        name="encoder",
        steps=20_000,
        losses={"predict_log_mse": 0.1},
        learning_rate=1e-3,
        optimiser="muon",
        **common,
    )
    flow = Stage(
        name="flow",
        steps=12_000,
        losses={"nll": 1.0},
        learning_rate=1e-3,
        encoder_frozen_until=1.0,
        **common,
    )
    joint = Stage(
        name="joint",
        steps=3000,
        losses={"nll": 1.0, "mode_log_mse": 0.6},
        learning_rate=4e-4,
        **common,
    )
    stages = (encoder, flow, joint)
    return TrainConfig(family="compact", model={"scale": scale}, stages=stages)


def _compact_any() -> TrainConfig:
    """A small LINF for scales 1 to 4 and beyond, one channel.

    As LINF's authors, one scale a batch, uniform in 1 to 4. The image at temperature 0
    comes first, then likelihood with it, so that both are good.
    """
    common: dict[str, Any] = {
        "batch": 8,
        "patch": 20,
        "warmup": 200,
        "optimiser": "muon",
        "learning_rate": 1e-3,
    }
    mode = Stage(name="mode", steps=10_000, losses={"mode_log_mse": 0.1}, **common)
    flow = Stage(
        name="flow",
        steps=10_000,
        losses={"nll": 1.0, "mode_log_mse": 0.2},
        unusual=0.1,
        **common,
    )
    # The residual has unit size for the flow, and no layer can stretch it without
    # bounds: what the published form learns slowly, or not at all.
    model = {
        "scale": 2.0,
        "channels": 1,
        "patch": 3,
        "encoder": "wdsr",
        "width": 32,
        "blocks": 8,
        "expansion": 4,
        "hidden": 128,
        "mlp_layers": 3,
        "flow_layers": 8,
        "residual_scale": 0.03,
        "bound": 0.75,
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
    "srflow-4x": lambda: papers.srflow(4),
    "srflow-8x": lambda: papers.srflow(8),
    "adflow-4x": lambda: papers.adflow(4),
    "adflow-6x": lambda: papers.adflow(6),
    "adflow-8x": lambda: papers.adflow(8),
    "hcflow-4x": lambda: papers.hcflow(4),
    "hcflow-8x": lambda: papers.hcflow(8),
    "hcflow+-4x": lambda: papers.hcflow(4, 1),
    "hcflow++-4x": lambda: papers.hcflow(4, 2),
    "rescale-4x": lambda: papers.rescale(4),
    "linf": papers.linf,
    "learned-prior": papers.learned_prior,
}


def preset(name: str) -> TrainConfig:
    """Return the recipe of that name; a paper's name alone stands for its 4x recipe."""
    found = PRESETS.get(name) or PRESETS.get(f"{name}-4x")
    if found is None:
        raise OptionError(
            f"Preset '{name}' is unknown; known are {', '.join(sorted(PRESETS))}."
        )
    return found()
