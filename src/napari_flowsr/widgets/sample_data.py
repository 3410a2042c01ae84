"""Sample images for File > Open Sample: bundled with scikit-image, no download.

None of them is in the training data of a built-in model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["cell", "microaneurysms", "retina"]

# A list of (data, keyword arguments of the layer, layer type).
LayerData = list[tuple[Any, dict[str, Any], str]]


def _bundled(name: str, **kwargs: Any) -> LayerData:
    from skimage import data

    image = np.asarray(getattr(data, name)())
    options = {"name": name, "rgb": image.ndim == 3, **kwargs}
    return [(image, options, "image")]


def cell() -> LayerData:
    """Cell floating in saline, a quantitative phase image of 660 × 550 pixels.

    scikit-image's documentation states its pixel spacing, 0.107 µm.
    """
    return _bundled("cell", scale=(0.107, 0.107), units=("um", "um"))


def retina() -> LayerData:
    """Photograph of a human retina, RGB, 1411 × 1411 pixels of unknown size."""
    return _bundled("retina")


def microaneurysms() -> LayerData:
    """Detail of a retina with lesions, 102 × 102 pixels of unknown size."""
    return _bundled("microaneurysms")
