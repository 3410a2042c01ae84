"""LPIPS, where its package and its weights are at hand; nothing is ever downloaded.

References
----------
The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al.,
2018), arXiv:1801.03924; AlexNet, as in SRFlow and its successors.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flowsr.metrics.fidelity import crop_border

__all__ = ["SMALLEST", "Perceptual", "find_lpips"]

Image = NDArray[np.float32]
Perceptual = Callable[[Image, Image, int], float]
"""Distance of two ``(C, H, W)`` images in ``[0, 1]``, a border left out."""

SMALLEST = 32
"""AlexNet pools so often that smaller images leave it nothing."""
_WEIGHTS = "alexnet-owt-7be5be79.pth"


def find_lpips() -> tuple[Perceptual | None, str]:
    """LPIPS, or None and a sentence on what is missing."""
    missing = [name for name in ("torchmetrics", "torchvision") if not find_spec(name)]
    if missing:
        return None, (
            f"LPIPS was not measured: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed "
            "(pip install napari-flowsr[metrics], and the torchvision that fits your "
            "torch)."
        )
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _WEIGHTS
    if not weights.is_file():
        return None, (
            f"LPIPS was not measured: the weights of AlexNet ({_WEIGHTS}) are not in "
            "the folder of torch.hub, and nothing is downloaded without being asked. "
            "`torchvision.models.alexnet(weights='DEFAULT')` fetches them once."
        )
    return (
        _loaded(),
        "LPIPS with AlexNet; grey images are replicated to three channels.",
    )


def _loaded() -> Perceptual:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network: Any = LearnedPerceptualImagePatchSimilarity(
        net_type="alex", normalize=True
    )
    network.eval()

    @torch.inference_mode()
    def distance(a: Image, b: Image, border: int) -> float:
        if min(crop_border(b, border).shape[-2:]) < SMALLEST:
            return float("nan")
        pair = [torch.from_numpy(_coloured(crop_border(i, border))) for i in (a, b)]
        found = float(network(*pair))
        network.reset()
        return found

    return distance


def _coloured(image: Image) -> Image:
    """``(1, 3, H, W)``, clipped to what the network knows."""
    rgb = np.repeat(image, 3, 0) if len(image) == 1 else image
    return np.ascontiguousarray(np.clip(rgb, 0, 1)[None], np.float32)
