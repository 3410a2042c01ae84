"""Pixels of an image to normalised planes: axes, colour, intensities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.errors import AxesError, ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["arranged", "channels_first", "check_pixels", "checked_axes", "luminance"]
__all__ += ["intensity_range", "place", "to_unit"]

# ITU-R BT.601 luma, the weights of the field's one-channel figures.
_LUMA = np.array([0.299, 0.587, 0.114])
# Beyond this many pixels every k-th one stands for all, as where a model is used on
# floats (integers are counted there): percentiles move by less than 0.02 % of rank.
_EXACT_PIXELS = 1 << 24
# Floats that are taken as they are may exceed 0 .. 1 by this much.
_FAR = 0.5


def luminance(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """``(..., 3 or 4)`` to ``(...)``; alpha has no part in it."""
    out: NDArray[np.float64] = rgb[..., :3].astype(np.float64) @ _LUMA
    return out


def checked_axes(name: str, data: NDArray[Any], axes: str | None) -> str:
    """One letter per axis; ``Q`` for those of which nothing is known."""
    if axes is None:
        if data.ndim >= 3 and data.shape[-1] in (3, 4):
            raise AxesError(
                f"'{name}' has shape {data.shape}, and it is not known whether "
                "its last axis is colour or X. Save it as PNG (colour) or OME-TIFF, "
                "which name their axes; of an array, give axes."
            )
        axes = "Q" * (data.ndim - 2) + "YX"
    fits = len(axes) == data.ndim and all(axes.count(a) == 1 for a in "YX")
    if not fits or axes.count("S") > 1 or axes.count("C") > 1:
        raise AxesError(
            f"'{name}' has shape {data.shape} and axes '{axes}'; expected an image "
            "with Y and X. Save it as OME-TIFF."
        )
    if "S" in axes and data.shape[axes.index("S")] not in (3, 4):
        raise AxesError(
            f"'{name}' has {data.shape[axes.index('S')]} colour components; expected "
            "3 (RGB) or 4 (RGBA). Save its parts as channels of an OME-TIFF."
        )
    return axes


def check_pixels(name: str, data: NDArray[Any]) -> None:
    """Raise `ImageError` unless there are pixels, and real numbers in them."""
    if data.dtype.kind not in "buif":
        raise ImageError(
            f"'{name}' holds {data.dtype} pixels; expected integers, bool or real "
            "floats. Save what is to be learned as a real image, for example the "
            "magnitude or the phase of a complex one."
        )
    if data.size == 0:
        raise ImageError(f"'{name}' has shape {data.shape} and no pixels. Remove it.")


def intensity_range(
    name: str, image: NDArray[Any], kind: str, low: float, high: float
) -> tuple[float, float]:
    """Intensities that become 0 and 1; equal ones for an image without a range.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    image : ndarray
        All that shares the range.
    kind : str
        ``"percentile"``, or ``"dtype"``: the limits of an integer dtype; floats are
        taken as ``[0, 1]``.
    low, high : float
        Percentiles.
    """
    if image.dtype.kind == "b":
        return (0.0, 1.0) if image.any() and not image.all() else (0.0, 0.0)
    bad = 0
    if image.dtype.kind == "f":
        bad = image.size - int(np.count_nonzero(np.isfinite(image)))
    if bad:
        raise ImageError(
            f"'{name}' has {bad} pixels that are NaN or infinite, of which nothing can "
            "be learned or measured. Give them a value, or leave the file out."
        )
    darkest, brightest = float(image.min()), float(image.max())
    if not brightest - darkest < math.inf:
        raise ImageError(
            f"'{name}' has intensities from {darkest:g} to {brightest:g}, a range that "
            "floating point cannot resolve. Rescale the image."
        )
    if kind == "dtype" and image.dtype.kind in "ui":
        info = np.iinfo(image.dtype)
        return float(info.min), float(info.max)
    values = _sampled(image)
    if kind == "dtype":
        seen = np.percentile(values, (0.1, 99.9))
        if seen[0] < -_FAR or seen[1] > 1 + _FAR:
            raise ImageError(
                f"'{name}' has floats from {darkest:g} to {brightest:g}, but floats "
                "are taken as they are, from 0 to 1 (normalisation is 'dtype'). Divide "
                "the image by its full scale, or set normalisation to 'percentile'."
            )
        return 0.0, 1.0
    found = np.percentile(values, (low, high))
    return float(found[0]), float(found[1])


def _sampled(image: NDArray[Any]) -> NDArray[np.float64]:
    """All pixels, or of a large image every k-th, k coprime to its width."""
    step = -(-image.size // _EXACT_PIXELS)
    while step > 1 and math.gcd(step, image.shape[-1]) > 1:
        step += 1
    return image.reshape(-1)[::step].astype(np.float64)


def to_unit(image: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.float32]:
    """Range to ``[0, 1]``, clipped; zero where the range is empty."""
    low, high = limits
    if high <= low:
        return np.zeros(image.shape, np.float32)
    scaled = (image.astype(np.float64) - low) / (high - low)
    out: NDArray[np.float32] = np.clip(scaled, 0, 1).astype(np.float32)
    return out


def arranged(data: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """Array with axes C (of length 1 if there is none), others, Y, X, S; C and others.

    Without a copy.
    """
    if "C" not in axes:
        data, axes = data[None], f"C{axes}"
    rank = {"C": -2, "Y": 0, "X": 1, "S": 2}
    order = sorted(range(len(axes)), key=lambda i: rank.get(axes[i], -1))
    loops = "".join(axes[i] for i in order if rank.get(axes[i], -1) < 0)
    return data.transpose(order), loops


def place(loops: str, index: Sequence[int], shape: Sequence[int]) -> str:
    """Where in its file a plane lies, such as `` [C1 Z20]``; empty if it is alone."""
    parts = [
        f"{'' if letter == 'Q' else letter}{i}"
        for letter, i, side in zip(loops, index, shape, strict=False)
        if side > 1
    ]
    return f" [{' '.join(parts)}]" if parts else ""


def channels_first(plane: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """``(H, W)`` or ``(H, W, 3)`` to ``(channels, H, W)``."""
    if plane.ndim == 3:
        return np.ascontiguousarray(np.moveaxis(plane, -1, 0))
    return np.repeat(plane[None], channels, 0)
