"""PSNR and SSIM of images in ``[0, 1]``, a border left out.

References
----------
Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al.,
2004), IEEE TIP 13(4): Gaussian window of 11 x 11 pixels, sigma 1.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.metrics import structural_similarity

from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["crop_border", "psnr", "ssim"]

_SSIM_WINDOW = 11


def crop_border(image: NDArray[np.float32], border: int) -> NDArray[np.float32]:
    """Leave out ``border`` pixels on each side of ``(..., H, W)``.

    Raises
    ------
    SizeError
        Nothing would remain.
    """
    if min(image.shape[-2:]) <= 2 * border:
        raise SizeError(
            f"The image is {image.shape[-2]} x {image.shape[-1]} pixels; a border of "
            f"{border} on each side leaves nothing to compare. Give a larger image."
        )
    return image[..., border:-border, border:-border] if border else image


def psnr(a: NDArray[np.float32], b: NDArray[np.float32], border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for equal images."""
    error = crop_border(a, border).astype(np.float64) - crop_border(b, border)
    mse = float(np.mean(error**2))
    return float("inf") if mse == 0 else -10.0 * float(np.log10(mse))


def ssim(a: NDArray[np.float32], b: NDArray[np.float32], border: int = 0) -> float:
    """Structural similarity of ``(C, H, W)`` images, mean over channels.

    NaN where the image is smaller than the window.
    """
    a, b = crop_border(a, border), crop_border(b, border)
    if min(a.shape[-2:]) < _SSIM_WINDOW:
        return float("nan")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        a.astype(np.float64),
        b.astype(np.float64),
        data_range=1.0,
        channel_axis=0,
        **options,
    )
    return float(similarity)
