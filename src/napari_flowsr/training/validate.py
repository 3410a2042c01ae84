"""Quick figures during training; the full protocol is `metrics.evaluate`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_flowsr.data.degrade import downscale, upscale_bicubic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.data.degradation import Degradation
    from napari_flowsr.data.source import Plane

__all__ = ["smallest_side", "validate"]

_SIDE = 128


def smallest_side(flow: ConditionalFlow) -> int:
    """Smallest usable side of an image in pixels: its border is left out."""
    return 4 * int(flow.scales[0]) * flow.multiple_of


def _psnr(a: Tensor, b: Tensor, border: int) -> float:
    error = (a - b)[..., border:-border, border:-border]
    return float(-10 * torch.log10(error.square().mean() + 1e-12))


def _crop(plane: Plane, side: int, multiple: int) -> Tensor:
    """Central crop, a multiple of what the flow needs."""
    height, width = (
        min(n, side) // multiple * multiple for n in plane.pixels.shape[1:]
    )
    top, left = (
        (plane.pixels.shape[1] - height) // 2,
        (plane.pixels.shape[2] - width) // 2,
    )
    crop = plane.pixels[:, top : top + height, left : left + width]
    return torch.from_numpy(crop.copy())[None]


@torch.no_grad()
def validate(
    flow: ConditionalFlow,
    planes: Sequence[Plane],
    degradation: Degradation,
    *,
    likelihood: bool,
) -> dict[str, float]:
    """Mean PSNR over bicubic of the prediction, and with ``likelihood`` of the flow.

    Returns
    -------
    dict
        ``gain_predict`` in dB; with ``likelihood`` also ``gain_mode`` (dB), ``bpd``
        (bits per dimension with the noise of 8-bit dequantisation) and ``lr_psnr`` (dB)
        of one sample.
    """
    flow.eval()
    device, scale = flow.device, flow.scales[0]
    sums: dict[str, float] = {}
    for number, plane in enumerate(planes):
        hr = _crop(plane, _SIDE, int(scale) * flow.multiple_of).to(device)
        lr = downscale(hr, scale, degradation)
        border = int(scale)
        base = _psnr(upscale_bicubic(lr, scale), hr, border)
        figures = {}
        if flow.encoder_parameters():
            figures["gain_predict"] = _psnr(flow.predict(lr), hr, border) - base
        if likelihood:
            cond = flow.condition(lr)
            mode = flow.sample(cond, 1, temperature=0.0)
            sample = flow.sample(cond, 1, seed=number)
            generator = torch.Generator().manual_seed(number)
            noise = (torch.rand(hr.shape, generator=generator) - 0.5) / 255
            bits = (
                -flow.log_prob(hr + noise.to(device), cond) / math.log(2) / hr.numel()
            )
            figures["gain_mode"] = _psnr(mode, hr, border) - base
            figures["bpd"] = float(bits)
            figures["lr_psnr"] = _psnr(downscale(sample, scale, degradation), lr, 1)
        for key, value in figures.items():
            sums[key] = sums.get(key, 0.0) + value / len(planes)
    return sums
