"""Which losses fit which network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.errors import TrainingError
from napari_flowsr.training.config import LEARNED_PRIOR
from napari_flowsr.training.losses import (
    LOSSES,
    is_of_encoder,
    is_of_prior,
    is_of_rescaling,
    is_of_sample,
)
from napari_flowsr.training.perceptual import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_flowsr.core.prior import LatentModule
    from napari_flowsr.training.config import Stage

__all__ = ["check_losses"]


def check_losses(
    stage: Stage,
    weights: Mapping[str, float],
    flow: ConditionalFlow,
    prior: LatentModule | None,
) -> None:
    """Raise `TrainingError` for losses that this stage cannot have.

    Parameters
    ----------
    stage : Stage
        With its losses.
    weights : mapping
        Of those that count.
    flow, prior
        The networks.
    """
    unknown = sorted(set(stage.losses) - set(LOSSES))
    if unknown:
        raise TrainingError(
            f"Unknown loss {', '.join(unknown)} in stage '{stage.name}'; known are "
            f"{', '.join(LOSSES)}."
        )
    for name, weight in stage.losses.items():
        what = f"Weight of the loss {name} in stage '{stage.name}'"
        if not 0 <= weight < math.inf:
            raise TrainingError(f"{what} is {weight!r}; it must be 0 or more.")
    if not weights:
        raise TrainingError(
            f"All losses of stage '{stage.name}' have the weight 0, so nothing would "
            "learn. Give one of them a weight."
        )
    _check_kinds(stage, weights, flow, prior)
    if "perceptual" in weights and stage.patch * flow.scales[0] < SMALLEST:
        raise TrainingError(
            f"patch of stage '{stage.name}' is {stage.patch} at {flow.scales[0]:g}x; "
            f"the perceptual loss needs at least {SMALLEST} HR pixels. Take more."
        )


def _check_kinds(
    stage: Stage,
    weights: Mapping[str, float],
    flow: ConditionalFlow,
    prior: LatentModule | None,
) -> None:
    """Each loss needs something of the network."""
    given = ", ".join(weights)
    of_prior = [name for name in weights if is_of_prior(name)]
    others = [n for n in weights if not is_of_prior(n) and not is_of_sample(n)]
    if prior is not None and others:
        raise TrainingError(
            f"Stage '{stage.name}' has the loss {', '.join(others)}, which trains a "
            "flow; that of a learned prior is frozen. Use latent_l1, image_log_mse, "
            "image_detail, adversarial or perceptual."
        )
    if prior is None and of_prior:
        raise TrainingError(
            f"Stage '{stage.name}' has the loss {', '.join(of_prior)}, which trains a "
            f"learned prior. Set family to '{LEARNED_PRIOR}', or use 'nll'."
        )
    predicting = [name for name in weights if is_of_encoder(name)]
    if predicting and type(flow).predict is ConditionalFlow.predict:
        raise TrainingError(
            f"Stage '{stage.name}' has the loss {', '.join(predicting)}, which trains "
            f"an encoder's prediction; the {flow.family} family has none. Use 'nll' or "
            "'mode_l1'."
        )
    rescaling = [name for name in weights if is_of_rescaling(name)]
    if rescaling and not hasattr(flow, "downscale"):
        raise TrainingError(
            f"Stage '{stage.name}' has the loss {', '.join(rescaling)}, for networks "
            f"that make small images themselves; the {flow.family} family takes them "
            "as they are. Train the hcflow-rescale family, or use 'nll'."
        )
    if flow.deterministic and len(predicting) < len(weights):
        raise TrainingError(
            f"Stage '{stage.name}' has the losses {given}; the {flow.family} family is "
            "deterministic and has no likelihood. Use 'predict_l1' alone."
        )
    if len(predicting) == len(weights) and stage.encoder_frozen_until > 0:
        raise TrainingError(
            f"Stage '{stage.name}' has only losses of the encoder ({given}) but "
            f"freezes it (encoder_frozen_until is {stage.encoder_frozen_until:g}), so "
            "nothing would learn. Set encoder_frozen_until to 0, or add 'nll'."
        )
