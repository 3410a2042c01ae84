"""Losses of the papers, each a function of flow, LR and HR batch.

References
----------
SRFlow (Lugmayr et al., 2020), eqs. (2) and (3); HCFlow (Liang et al., 2021),
arXiv:2108.05301, section 3.4 (L1 of the image at temperature 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.data.degrade import downscale, margin
from napari_flowsr.errors import TrainingError

__all__ = ["LOSSES", "LossSum"]

Loss = Callable[[ConditionalFlow, Tensor, Tensor, Tensor], Tensor]


def nll(flow: ConditionalFlow, lr: Tensor, hr: Tensor, noisy: Tensor) -> Tensor:
    """Negative log-likelihood of the dequantised HR image, bits per dimension."""
    log_prob = flow.log_prob(noisy, flow.condition(lr))
    return -log_prob.mean() / (math.log(2.0) * hr[0].numel())


def predict_l1(flow: ConditionalFlow, lr: Tensor, hr: Tensor, noisy: Tensor) -> Tensor:
    """Mean absolute error of the encoder's own prediction."""
    return (flow.predict(lr) - hr).abs().mean()


def _log_mse(image: Tensor, hr: Tensor) -> Tensor:
    """Mean over images of ln(MSE): PSNR, up to a constant.

    Every image counts alike, dim smooth ones as much as textured ones. The small term
    (a PSNR of 70 dB) keeps flat patches from ruling the gradient.
    """
    mse = (image - hr).square().flatten(1).mean(1)
    return torch.log(mse + 1e-7).mean()


def predict_log_mse(
    flow: ConditionalFlow, lr: Tensor, hr: Tensor, noisy: Tensor
) -> Tensor:
    """Mean over images of ln(MSE) of the encoder's own prediction."""
    return _log_mse(flow.predict(lr), hr)


def _mode(flow: ConditionalFlow, lr: Tensor) -> Tensor:
    cond = flow.condition(lr)
    spec = flow.latent_spec(cond.lr_size)
    zeros = [lr.new_zeros(lr.shape[0], *shape) for shape in spec.shapes]
    return flow.decode(flow.make_latents(zeros, cond), cond)


def mode_l1(flow: ConditionalFlow, lr: Tensor, hr: Tensor, noisy: Tensor) -> Tensor:
    """Mean absolute error of the image decoded at temperature 0 (HCFlow+)."""
    return (_mode(flow, lr) - hr).abs().mean()


def mode_log_mse(
    flow: ConditionalFlow, lr: Tensor, hr: Tensor, noisy: Tensor
) -> Tensor:
    """Mean over images of ln(MSE) of the image decoded at temperature 0."""
    return _log_mse(_mode(flow, lr), hr)


def sample_lr_log_mse(
    flow: ConditionalFlow, lr: Tensor, hr: Tensor, noisy: Tensor
) -> Tensor:
    """Mean over images of ln(MSE) between the LR image and that of a sample.

    What likelihood teaches too, but slowly: samples agree with their input. The latents
    are those of the next image in the batch, standard normal as far as the flow has
    learned it, so that no random numbers are needed. For LR images that arose by the
    antialiased bicubic reduction.
    """
    cond = flow.condition(lr)
    with torch.no_grad():
        latents = flow.encode(noisy, cond).latents.map(lambda z: z.roll(1, 0))
    back = downscale(flow.decode(latents, cond), flow.scales[0])
    # The border of a patch was reduced with what lies outside of it.
    m = margin(flow.scales[0])
    return _log_mse(back[..., m:-m, m:-m], lr[..., m:-m, m:-m])


LOSSES: dict[str, Loss] = {
    "nll": nll,
    "predict_l1": predict_l1,
    "predict_log_mse": predict_log_mse,
    "mode_l1": mode_l1,
    "mode_log_mse": mode_log_mse,
    "sample_lr_log_mse": sample_lr_log_mse,
}


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

    def forward(
        self, lr: Tensor, hr: Tensor, noisy: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and the unweighted terms."""
        terms = {name: LOSSES[name](self.flow, lr, hr, noisy) for name in self.weights}
        total = torch.stack([w * terms[name] for name, w in self.weights.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}
