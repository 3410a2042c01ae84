"""Start values of a flow that depend on data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_flowsr.errors import TrainingError

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.training.batch import Batch

__all__ = ["initialise"]

_TOLERANCE = 1e-2


@torch.no_grad()
def initialise(flow: ConditionalFlow, batch: Batch) -> None:
    """Set actnorms that are not set yet, and see that the flow is invertible.

    Raises
    ------
    TrainingError
        If it is not.
    """
    flow.train()
    flow.encode(batch.noisy, flow.condition(batch.lr))
    flow.eval()
    cond = flow.condition(batch.lr)
    encoded = flow.encode(batch.noisy, cond)
    if flow.encodes_lr:
        # The latents belong to the LR image that the flow found.
        cond = flow.condition(encoded.lr)
    back = flow.decode(encoded.latents, cond)
    error = float((back - batch.noisy).abs().max())
    if not error < _TOLERANCE:
        raise TrainingError(
            f"After initialisation the flow is not invertible (round trip error "
            f"{error:.3g}). The images may lack detail or be grey replicated to "
            "colour; use more varied images or another seed."
        )
