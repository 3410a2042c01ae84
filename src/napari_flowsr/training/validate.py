"""Quick figures and pictures during training; `metrics.evaluate` is the protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.prior import LatentModule
from napari_flowsr.data.degradation import PAIRED, Degradation
from napari_flowsr.data.degrade import degrade, downscale, upscale_bicubic
from napari_flowsr.metrics.calibration import fair_crps
from napari_flowsr.metrics.fidelity import psnr
from napari_flowsr.metrics.sharpness import fine_ratio, mean_ratio
from napari_flowsr.training.events import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.data.source import Plane
    from napari_flowsr.training.events import Image

__all__ = ["Subject", "smallest_side", "validate"]

_SIDE = 128
_SAMPLES = 4
_PICTURES = 4
_COOLER = 0.8
"""Temperature of the sample that a learned prior is compared to, as in its paper."""


@dataclass(frozen=True)
class Subject:
    """What is measured, and how far it is trained."""

    flow: ConditionalFlow
    degradation: Degradation
    knows_samples: bool
    """Whether more than the encoder's prediction is trained."""
    temperature: float = 1.0
    prior: LatentModule | None = None

    @property
    def makes_lr(self) -> bool:
        """Whether the network makes small images itself."""
        return hasattr(self.flow, "downscale")


def smallest_side(flow: ConditionalFlow) -> int:
    """Smallest usable side of an image in pixels: its border is left out."""
    return 4 * int(flow.scales[0]) * flow.multiple_of


def _plain(image: Tensor) -> Image:
    return np.ascontiguousarray(image[0].float().cpu().numpy())


def _crop(plane: Plane, subject: Subject, seed: int) -> tuple[Tensor, Tensor]:
    """Central crop of HR, a multiple of what the flow needs, and its LR image."""
    flow, scale = subject.flow, subject.flow.scales[0]
    multiple = int(scale) * flow.multiple_of
    sides = [min(n, _SIDE) // multiple * multiple for n in plane.pixels.shape[1:]]
    # At whole LR pixels, for LR images that were given.
    starts = [
        (n - side) // 2 // int(scale) * int(scale)
        for n, side in zip(plane.pixels.shape[1:], sides, strict=True)
    ]
    (height, width), (top, left) = sides, starts
    crop = plane.pixels[:, top : top + height, left : left + width]
    hr = torch.from_numpy(crop.copy())[None].to(flow.device)
    if plane.lr is not None and subject.degradation.name == PAIRED:
        top, left, height, width = (n // int(scale) for n in (top, left, height, width))
        given = plane.lr[:, top : top + height, left : left + width].copy()
        return hr, torch.from_numpy(given)[None].to(hr)
    return hr, degrade(hr, scale, subject.degradation, np.random.default_rng(seed))


@torch.no_grad()
def validate(
    subject: Subject, planes: Sequence[Plane]
) -> tuple[dict[str, float], tuple[Picture, ...]]:
    """Means over central crops, and pictures of a few.

    Returns
    -------
    metrics : dict
        ``psnr_bicubic``; ``psnr_predict`` of the encoder's prediction, where there is
        one; and, once more is trained, ``psnr_mode`` (temperature 0), ``crps`` (fair,
        of 4 samples), ``lr_psnr`` of a sample, and ``bpd`` (bits per dimension with the
        noise of 8-bit dequantisation). Of a rescaling network ``psnr_mode`` is that of
        the way down and up, and ``lr_psnr`` compares its small image to the bicubic
        one. Of a learned prior there are ``psnr_prior``, ``psnr_sample`` (temperature
        0.8), ``psnr_mode``, ``lr_psnr``, and ``sharpness_prior`` and
        ``sharpness_mode``: power of fine detail relative to that of the true image.
    pictures : tuple of Picture
    """
    subject.flow.eval()
    if subject.prior is not None:
        subject.prior.eval()
    every: dict[str, list[float]] = {}
    pictures = []
    for number, plane in enumerate(planes):
        hr, lr = _crop(plane, subject, number)
        measure = _Measure(subject, hr, lr, number)
        for key, value in measure.figures().items():
            every.setdefault(key, []).append(value)
        if number < _PICTURES:
            pictures.append(measure.picture(plane.name))
    metrics = {
        key: mean_ratio(values)
        if key.startswith("sharpness")
        else float(np.mean([v for v in values if math.isfinite(v)] or [math.nan]))
        for key, values in every.items()
    }
    return metrics, tuple(pictures)


class _Measure:
    """One crop, decoded in the ways that are to be compared."""

    def __init__(self, subject: Subject, hr: Tensor, lr: Tensor, seed: int) -> None:
        self.subject, self.hr, self.lr, self.seed = subject, hr, lr, seed
        self.flow, self.scale = subject.flow, subject.flow.scales[0]
        self.truth = _plain(hr)
        self.bicubic = _plain(upscale_bicubic(lr, self.scale))
        self.mode: Image | None = None
        self.sample: Image | None = None

    def _psnr(self, image: Image) -> float:
        return psnr(image, self.truth, int(self.scale))

    def figures(self) -> dict[str, float]:
        """Figures of this crop; fills in what `picture` shows."""
        out = {"psnr_bicubic": self._psnr(self.bicubic)}
        if self.subject.makes_lr:
            return out | self._of_rescaling()
        if self.subject.prior is not None:
            return out | self._of_prior(self.subject.prior)
        if self.flow.encoder_parameters():
            self.mode = _plain(self.flow.predict(self.lr))
            out["psnr_predict"] = self._psnr(self.mode)
        return out | self._of_flow() if self.subject.knows_samples else out

    def _of_flow(self) -> dict[str, float]:
        cond = self.flow.condition(self.lr)
        tau = self.subject.temperature
        mode = self.flow.sample(cond, 1, temperature=0.0)
        samples = self.flow.sample(cond, _SAMPLES, temperature=tau, seed=self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        noise = (torch.rand(self.hr.shape, generator=generator) - 0.5) / 255
        noisy = self.hr + noise.to(self.hr)
        nats = -self.flow.log_prob(noisy, cond) / self.hr.numel()
        self.mode, self.sample = _plain(mode), _plain(samples)
        out = {
            "psnr_mode": self._psnr(self.mode),
            "crps": fair_crps(samples.float().cpu().numpy(), self.truth),
            "bpd": float(nats) / math.log(2),
        }
        return out | self._agreement(samples[:1])

    def _of_prior(self, prior: LatentModule) -> dict[str, float]:
        cond = self.flow.condition(self.lr)
        latents = prior.predict(prior.initial(self.flow, cond), self.lr)
        found = self.flow.decode(latents, cond)
        cool = self.flow.sample(cond, 1, temperature=_COOLER, seed=self.seed)
        mode = _plain(self.flow.sample(cond, 1, temperature=0.0))
        self.mode, self.sample = _plain(found), _plain(cool)
        border = int(self.scale)
        out = {
            "psnr_prior": self._psnr(self.mode),
            "psnr_sample": self._psnr(self.sample),
            "psnr_mode": self._psnr(mode),
            "sharpness_prior": fine_ratio(self.mode, self.truth, border),
            "sharpness_mode": fine_ratio(mode, self.truth, border),
        }
        return out | self._agreement(found)

    def _of_rescaling(self) -> dict[str, float]:
        small, latents = self.flow.downscale(self.hr)  # type: ignore[operator]
        small = (small.clamp(0, 1) * 255).round() / 255
        agreement = psnr(_plain(small), _plain(self.lr), 1)
        self.lr = small
        up = self.flow.upscale(small, latents.map(torch.zeros_like))  # type: ignore[operator]
        self.mode = _plain(up)
        return {"psnr_mode": self._psnr(self.mode), "lr_psnr": agreement}

    def _agreement(self, image: Tensor) -> dict[str, float]:
        """LR-PSNR, where the operator is known."""
        if self.subject.degradation.name == PAIRED:
            return {}
        reduced = downscale(image, self.scale, self.subject.degradation)
        return {"lr_psnr": psnr(_plain(reduced), _plain(self.lr), 1)}

    def picture(self, name: str) -> Picture:
        """What was decoded for the figures."""
        return Picture(
            name, _plain(self.lr), self.bicubic, self.mode, self.sample, self.truth
        )
