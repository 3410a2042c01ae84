"""Losses of the papers, each a function of one pass of a flow over a batch.

References
----------
SRFlow (Lugmayr et al., 2020), eqs. (2) and (3); HCFlow (Liang et al., 2021),
arXiv:2108.05301, section 3.4, eqs. (7) (L1 of the image at temperature 0), (8)
(perceptual and adversarial) and (9) (rescaling); AdFlow (Lugmayr et al., 2021),
arXiv:2111.03649, section 3.3; Boosting Flow-based Generative Super-Resolution Models
via Learned Prior (Tsao et al., 2024), arXiv:2403.10988, section 4.4, eqs. (6) to (8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.data.degrade import downscale, margin
from napari_flowsr.data.resize import imresize
from napari_flowsr.errors import TrainingError
from napari_flowsr.training.adversary import fooling_loss
from napari_flowsr.training.batch import Batch, Judges, Pass

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.prior import LatentModule

__all__ = ["LOSSES", "LossSum", "is_of_encoder", "is_of_prior", "is_of_rescaling"]
__all__ += ["is_of_sample"]

Loss = Callable[[Pass], Tensor]

_NO_DETAIL = 2e-3
"""Of detail, as a standard deviation: what is less is none."""


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


def _lr_log_mse(p: Pass, image: Tensor) -> Tensor:
    """Mean over images of ln(MSE) between the LR image and that of ``image``."""
    how, scale = p.batch.degradation, p.spec.scale or p.flow.scales[0]
    back = downscale(image, scale, how)
    # The border of a patch was reduced with what lies outside of it.
    m = min(margin(scale, how), (p.lr.shape[-1] - 1) // 2)
    inner = (..., slice(m, p.lr.shape[-2] - m), slice(m, p.lr.shape[-1] - m))
    return _log_mse(back[inner], p.lr[inner])


def sample_lr_log_mse(p: Pass) -> Tensor:
    """Mean over images of ln(MSE) between the LR image and that of a sample.

    What likelihood teaches too, but slowly: samples agree with their input. The latents
    are those of the next image in the batch, standard normal as far as the flow has
    learned it, so that no random numbers are needed.
    """
    with torch.no_grad():
        latents = p.flow.encode(p.noisy, p.cond).latents.map(lambda z: z.roll(1, 0))
    return _lr_log_mse(p, p.flow.decode(latents, p.cond))


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


def latent_l1(p: Pass) -> Tensor:
    """Mean absolute difference of predicted latents and those of the true image."""
    pairs = zip(p.predicted.levels, p.encoded.levels, strict=True)
    return torch.cat([(a - b).flatten(1) for a, b in pairs], 1).abs().mean()


def image_l1(p: Pass) -> Tensor:
    """Mean absolute error of the image decoded from predicted latents."""
    return _l1(p.sample, p.hr)


def image_log_mse(p: Pass) -> Tensor:
    """Mean over images of ln(MSE) of the image decoded from predicted latents."""
    return _log_mse(p.sample, p.hr)


def image_lr_log_mse(p: Pass) -> Tensor:
    """As `sample_lr_log_mse`, of the image decoded from predicted latents."""
    return _lr_log_mse(p, p.sample)


def image_detail(p: Pass) -> Tensor:
    """Mean absolute log-ratio of how much detail there is, here and in the true image.

    Detail is what the LR image cannot hold: the image less its enlarged reduction. Its
    power is averaged over 4 x 4 LR pixels, so that texture has to be in its place but
    need not be that of the true image. Stands in for the perceptual loss of the learned
    prior's paper, eq. (7), where its weights are not at hand. Least where the power is
    the median of what the truth may have, while the mean of all true images, which
    squared errors ask for, has less.
    """
    size = (int(p.lr.shape[-2]), int(p.lr.shape[-1]))
    side = (int(p.hr.shape[-2]), int(p.hr.shape[-1]))

    def power(image: Tensor) -> Tensor:
        detail = image - imresize(imresize(image, size=size), size=side)
        places = max(1, size[0] // 4), max(1, size[1] // 4)
        mean = F.adaptive_avg_pool2d(detail.square(), places)
        return torch.log(mean + _NO_DETAIL**2)

    return _l1(power(p.sample), power(p.hr))


def adversarial(p: Pass) -> Tensor:
    """How far the adversary tells samples from true images (AdFlow)."""
    if p.judges.adversary is None:
        raise TypeError("The adversarial loss needs an adversary.")
    return fooling_loss(p.judges.adversary, p.hr, p.sample)


def perceptual(p: Pass) -> Tensor:
    """Mean absolute difference of VGG features of samples and true images."""
    if p.judges.features is None:
        raise TypeError("The perceptual loss needs features.")
    return p.judges.features.distance(p.sample, p.hr)


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
    "latent_l1": latent_l1,
    "image_l1": image_l1,
    "image_log_mse": image_log_mse,
    "image_lr_log_mse": image_lr_log_mse,
    "image_detail": image_detail,
    "adversarial": adversarial,
    "perceptual": perceptual,
}


def is_of_encoder(name: str) -> bool:
    """Whether a loss trains the encoder's prediction alone."""
    return name.startswith("predict")


def is_of_rescaling(name: str) -> bool:
    """Whether a loss needs a flow that makes small images itself."""
    return name.startswith("rescale")


def is_of_prior(name: str) -> bool:
    """Whether a loss needs a learned prior."""
    return name.startswith(("latent", "image"))


def is_of_sample(name: str) -> bool:
    """Whether a loss judges images by another network; of flows and of priors."""
    return name in ("adversarial", "perceptual")


class LossSum(nn.Module):
    """Weighted sum of losses as one module, so that DDP sees a forward pass.

    Parameters
    ----------
    flow : ConditionalFlow
        Trained, or frozen with a ``prior``.
    weights : dict
        Loss name to weight; one of weight 0 is not computed.
    prior : LatentModule, optional
        A learned prior that is trained.
    judges : Judges, optional
        Of the losses ``adversarial`` and ``perceptual``.
    """

    def __init__(
        self,
        flow: ConditionalFlow,
        weights: Mapping[str, float],
        prior: LatentModule | None = None,
        judges: Judges | None = None,
    ) -> None:
        super().__init__()
        unknown = sorted(set(weights) - set(LOSSES))
        if unknown:
            raise TrainingError(
                f"Unknown loss {', '.join(unknown)}; known are {', '.join(LOSSES)}."
            )
        self.flow, self.prior, self.judges = flow, prior, judges
        self.weights = {name: w for name, w in weights.items() if w > 0}

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Return the total, the unweighted terms, and what an adversary is shown."""
        found = Pass(self.flow, batch, self.prior, self.judges)
        terms = {name: LOSSES[name](found) for name in self.weights}
        total = torch.stack([w * terms[name] for name, w in self.weights.items()]).sum()
        shown = found.sample.detach() if "adversarial" in self.weights else None
        return total, {name: term.detach() for name, term in terms.items()}, shown
