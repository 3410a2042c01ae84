"""Losses of the papers, each a function of one pass of a flow over a batch.

References
----------
SRFlow (Lugmayr et al., 2020), eqs. (2) and (3); HCFlow (Liang et al., 2021),
arXiv:2108.05301, section 3.4, eqs. (7) (L1 of the image at temperature 0) and (9)
(rescaling).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_flowsr.data.degrade import downscale, margin
from napari_flowsr.errors import TrainingError
from napari_flowsr.training.batch import Batch, Pass

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["LOSSES", "LossSum", "is_of_encoder", "is_of_rescaling"]

Loss = Callable[[Pass], Tensor]


def _l1(image: Tensor, hr: Tensor) -> Tensor:
    return (image - hr).abs().mean()


def _log_mse(image: Tensor, hr: Tensor) -> Tensor:
    """Mean over images of ln(MSE): PSNR, up to a constant.

    Every image counts alike, dim smooth ones as much as textured ones. The small term
    (a PSNR of 70 dB) keeps flat patches from ruling the gradient.
    """
    mse = (image - hr).square().flatten(1).mean(1)
    return torch.log(mse + 1e-7).mean()


def nll(p: Pass) -> Tensor:
    """Negative log-likelihood of the dequantised HR image, bits per dimension."""
    return -p.flow.log_prob_per_value(p.noisy, p.cond).mean() / math.log(2.0)


def predict_l1(p: Pass) -> Tensor:
    """Mean absolute error of the encoder's own prediction."""
    return _l1(p.flow.predict(p.lr), p.hr)


def predict_log_mse(p: Pass) -> Tensor:
    """Mean over images of ln(MSE) of the encoder's own prediction."""
    return _log_mse(p.flow.predict(p.lr), p.hr)


def mode_l1(p: Pass) -> Tensor:
    """Mean absolute error of the image decoded at temperature 0 (HCFlow+)."""
    return _l1(p.mode, p.hr)


def mode_log_mse(p: Pass) -> Tensor:
    """Mean over images of ln(MSE) of the image decoded at temperature 0."""
    return _log_mse(p.mode, p.hr)


def sample_lr_log_mse(p: Pass) -> Tensor:
    """Mean over images of ln(MSE) between the LR image and that of a sample.

    What likelihood teaches too, but slowly: samples agree with their input. The latents
    are those of the next image in the batch, standard normal as far as the flow has
    learned it, so that no random numbers are needed. For LR images that arose by the
    antialiased bicubic reduction.
    """
    flow, scale = p.flow, p.flow.scales[0]
    with torch.no_grad():
        latents = flow.encode(p.noisy, p.cond).latents.map(lambda z: z.roll(1, 0))
    back = downscale(flow.decode(latents, p.cond), scale)
    # The border of a patch was reduced with what lies outside of it.
    m = margin(scale)
    return _log_mse(back[..., m:-m, m:-m], p.lr[..., m:-m, m:-m])


def rescale_hr(p: Pass) -> Tensor:
    """Mean absolute error after the way down and up, the small image rounded."""
    return _l1(p.restored, p.hr)


def rescale_hr_log_mse(p: Pass) -> Tensor:
    """As `rescale_hr`, but the mean over images of ln(MSE)."""
    return _log_mse(p.restored, p.hr)


def rescale_guide(p: Pass) -> Tensor:
    """Mean squared distance of the small image from the bicubic reduction."""
    return (p.reduced[0] - p.lr).square().mean()


def rescale_latent(p: Pass) -> Tensor:
    """Mean square of the latents that the way down gives."""
    levels = [z.flatten(1) for z in p.reduced[1].levels]
    return torch.cat(levels, 1).square().mean()


LOSSES: dict[str, Loss] = {
    "nll": nll,
    "predict_l1": predict_l1,
    "predict_log_mse": predict_log_mse,
    "mode_l1": mode_l1,
    "mode_log_mse": mode_log_mse,
    "sample_lr_log_mse": sample_lr_log_mse,
    "rescale_hr": rescale_hr,
    "rescale_hr_log_mse": rescale_hr_log_mse,
    "rescale_guide": rescale_guide,
    "rescale_latent": rescale_latent,
}


def is_of_encoder(name: str) -> bool:
    """Whether a loss trains the encoder's prediction alone."""
    return name.startswith("predict")


def is_of_rescaling(name: str) -> bool:
    """Whether a loss needs a flow that makes small images itself."""
    return name.startswith("rescale")


class LossSum(nn.Module):
    """Weighted sum of losses as one module, so that DDP sees a forward pass."""

    def __init__(self, flow: ConditionalFlow, weights: dict[str, float]) -> None:
        super().__init__()
        unknown = sorted(set(weights) - set(LOSSES))
        if unknown:
            raise TrainingError(
                f"Unknown loss {', '.join(unknown)}; known are {', '.join(LOSSES)}."
            )
        self.flow = flow
        self.weights = weights

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and the unweighted terms."""
        found = Pass(self.flow, batch)
        terms = {name: LOSSES[name](found) for name in self.weights}
        total = torch.stack([w * terms[name] for name, w in self.weights.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}
