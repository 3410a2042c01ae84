"""Sharpness: power of the finest detail, next to that of the true image.

A mean of many plausible images is the best guess in PSNR and smoother than any of them.
The power of its fine detail says by how much.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_flowsr.metrics.fidelity import crop_border

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["HALF_NYQUIST", "fine_power", "fine_ratio", "mean_ratio"]

HALF_NYQUIST = 0.25
"""Cycles per HR pixel."""
_SMALLEST = 8
# Of the whole power: less is rounding, and a ratio to it would be one of errors.
_FAINTEST = 1e-10


def fine_power(image: NDArray[np.float32], border: int = 0) -> tuple[float, float]:
    r"""Power above half the Nyquist frequency, and in all.

    Frequencies are radial: :math:`\\sqrt{f_y^2 + f_x^2} > 1/4` cycles per pixel. The
    mean is subtracted and a Hann window applied, so that the sides of the image, where
    its periodic continuation jumps, count for nothing.

    Parameters
    ----------
    image : ndarray
        ``(C, H, W)``; channels add up.
    border : int
        Pixels left out on each side.
    """
    inner = crop_border(image, border).astype(np.float64)
    height, width = inner.shape[-2:]
    inner -= inner.mean((-2, -1), keepdims=True)
    inner *= np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    power = np.abs(np.fft.rfft2(inner)) ** 2
    # Columns that stand for their mirror images too count twice.
    power[..., 1 : (width + 1) // 2] *= 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    return float(power[..., radius > HALF_NYQUIST].sum()), float(power.sum())


def fine_ratio(
    image: NDArray[np.float32], truth: NDArray[np.float32], border: int = 0
) -> float:
    """Power of the fine detail of ``image`` over that of ``truth``; 1: as sharp.

    More than 1 is more detail than there is, which may be noise. Detail in the wrong
    place counts as much as in the right one: the figure says how sharp an image is, not
    whether it is true. NaN where the truth has none, or is smaller than 8 pixels.
    """
    if min(crop_border(truth, border).shape[-2:]) < _SMALLEST:
        return math.nan
    fine, whole = fine_power(truth, border)
    if fine <= _FAINTEST * whole:
        return math.nan
    return fine_power(image, border)[0] / fine


def mean_ratio(values: Iterable[float]) -> float:
    """Geometric mean of what is a number: half and double of the truth balance."""
    known = np.array([v for v in values if not math.isnan(v)])
    if not known.size:
        return math.nan
    if (known <= 0).any():
        return 0.0
    return float(np.exp(np.log(known).mean()))
