"""How well a rescaling model brings images back from the small ones that it makes.

References
----------
Hierarchical Conditional Flow (HCFlow; Liang et al., 2021), arXiv:2108.05301, section
4.1: the small image is rounded to 8 bits, the latents are sampled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flowsr.data.degrade import downscale, upscale_bicubic
from napari_flowsr.errors import UnstableDecodeError
from napari_flowsr.metrics.fidelity import psnr, ssim
from napari_flowsr.metrics.plane import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.metrics.plane import Evaluated
    from napari_flowsr.report.plan import Plan, Subject

__all__ = ["measure_rescaling"]

Image = NDArray[np.float32]
_LEVELS = 255


def _rounded(small: Image) -> Image:
    """What an 8-bit file keeps of it."""
    return (np.rint(np.clip(small, 0, 1) * _LEVELS) / _LEVELS).astype(np.float32)


def measure_rescaling(
    found: Evaluated, subject: Subject, plan: Plan, tick: Callable[[int], None]
) -> dict[str, Any]:
    """PSNR and SSIM of images that were made small, rounded to 8 bits and brought back.

    Returns
    -------
    dict
        ``bicubic``: reduced and enlarged bicubically; ``mode``: latents of 0;
        ``sample``: sampled latents, mean over the samples; ``mean``: the samples' mean;
        each with ``psnr`` and ``ssim``. ``small``: of the 8-bit small image against the
        bicubic one. NaN where the decode was unstable.
    """
    scale, border = subject.scale, math.ceil(subject.scale)
    reduced = downscale(torch.from_numpy(found.hr), scale).numpy()
    small = _rounded(found.lr)
    bicubic = upscale_bicubic(torch.from_numpy(_rounded(reduced)), scale).numpy()

    def quality(image: Image) -> dict[str, float]:
        image = np.ascontiguousarray(image)
        return {
            "psnr": psnr(image, found.hr, border),
            "ssim": ssim(image, found.hr, border),
        }

    sampler = Sampler(subject.model, small, scale, found.seed, lambda *_: tick(0))
    nothing = {"psnr": math.nan, "ssim": math.nan}
    out = {
        "small": {"psnr": psnr(small, reduced, 1), "ssim": ssim(small, reduced, 1)},
        "bicubic": quality(bicubic),
    }
    try:
        mode = sampler.draw(0.0, 1)[0][0]
        samples, _ = sampler.draw(plan.temperature, plan.n)
    except UnstableDecodeError:
        return out | {name: dict(nothing) for name in ("mode", "sample", "mean")}
    finally:
        tick(plan.n + 1)
    each = [quality(sample) for sample in samples]
    return out | {
        "mode": quality(mode),
        "sample": {k: float(np.mean([row[k] for row in each])) for k in nothing},
        "mean": quality(samples.mean(0, dtype=np.float64).astype(np.float32)),
    }
