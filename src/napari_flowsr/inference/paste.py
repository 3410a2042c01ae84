"""Pasting a part of one image into another: moved, scaled, flipped, matched."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import AxesError, ImageError, OptionError
from napari_flowsr.inference.intensity import cast
from napari_flowsr.inference.source import open_array

__all__ = ["matched", "paste"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_LARGEST = 1 << 15
"""Side that a scaled source may have."""
_RING = 8
"""Width, in pixels, of the surroundings that intensities are matched to."""


def paste(
    hr: Any,
    source: Any,
    *,
    at: tuple[int, int] = (0, 0),
    scale: float = 1.0,
    flip: tuple[bool, bool] = (False, False),
    mask: Any = None,
    match: bool = False,
) -> tuple[Array, Mask]:
    """Paste an image into a copy of another.

    Parameters
    ----------
    hr : array-like
        ``(..., Y, X)`` or, in colour, ``(Y, X, 3 or 4)`` like ``source``.
    source : array-like
        ``(Y, X)`` or ``(Y, X, S)``; it goes into every plane of ``hr``.
    at : tuple of int
        Row and column of ``hr`` where the first pixel of the scaled source comes to
        lie; may be negative. What lies beyond the borders is cut off.
    scale : float
        Factor of the source's sides, antialiased where it shrinks.
    flip : tuple of bool
        Upside down, left to right.
    mask : array-like, optional
        Bool ``(Y, X)`` of the source, before it is scaled and flipped: what is pasted.
    match : bool
        Give the pasted pixels the mean and standard deviation of the surroundings.

    Returns
    -------
    edited : ndarray
        Shape and dtype of ``hr``; integers are rounded and clipped to the dtype.
    pasted : ndarray of bool
        ``(Y, X)`` of ``hr``: the pixels that were pasted.

    Raises
    ------
    ImageError, OptionError
        Nothing of the source lies on ``hr``, an empty mask, or what does not fit.
    """
    target, found = np.asarray(open_array(hr, "hr")), _opened(source)
    coloured = found.ndim == 3
    _check_axes(target, found, coloured)
    marked = _mask(mask, found.shape[:2])
    found, marked = _moved(found, marked, _factor(scale), flip)
    (rows, own_rows), (columns, own_columns) = (
        _overlap(start, length, side)
        for start, length, side in zip(
            _position(at), marked.shape, _plane(target, coloured), strict=True
        )
    )
    pasted = np.zeros(_plane(target, coloured), bool)
    pasted[rows, columns] = marked[own_rows, own_columns]
    if not pasted.any():
        raise ImageError(
            f"Nothing of the source, {marked.shape[0]} x {marked.shape[1]} pixels at "
            f"{tuple(at)}, lies on the image of {pasted.shape[0]} x {pasted.shape[1]}. "
            "Move it onto the image."
        )
    content = found[own_rows, own_columns]
    edited = target.copy()
    box, inside = (rows, columns), pasted[rows, columns]
    for index in np.ndindex(*(() if coloured else target.shape[:-2])):
        plane = edited[index]
        values = matched(content, plane, pasted, box) if match else content
        plane[box][inside] = cast(values[inside], target.dtype)
    return edited, pasted


def matched(
    content: Array, plane: Array, pasted: Mask, box: tuple[slice, slice]
) -> npt.NDArray[np.float64]:
    """Content with the mean and deviation of what surrounds the place it goes to.

    Parameters
    ----------
    content : ndarray
        ``(h, w)`` or ``(h, w, S)`` of the box.
    plane : ndarray
        ``(Y, X)`` or ``(Y, X, S)`` that it goes into.
    pasted : ndarray of bool
        ``(Y, X)``: pixels that are going to be pasted.
    box : tuple of slice
        Rows and columns of the plane.
    """
    from scipy.ndimage import binary_dilation

    ring = binary_dilation(pasted, np.ones((3, 3)), iterations=_RING) & ~pasted
    # Pasted everywhere: what was there before tells brightness and contrast.
    around = plane[ring if ring.any() else pasted].astype(np.float64)
    inside = pasted[box]
    values = content.astype(np.float64)
    own = values[inside]
    spread = own.std(0)
    ratio = np.where(spread > 0, around.std(0) / np.where(spread > 0, spread, 1), 1.0)
    out: npt.NDArray[np.float64] = (values - own.mean(0)) * ratio + around.mean(0)
    return out


def _opened(source: Any) -> Array:
    found = np.asarray(open_array(source, "source"))
    if found.ndim not in (2, 3) or 0 in found.shape:
        raise AxesError(
            f"source has shape {found.shape}; one plane is needed, (Y, X), or in "
            "colour (Y, X, 3 or 4). Index the others."
        )
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ImageError(
            "source has NaN or infinite pixels. Give them a value, or leave them out "
            "by mask=numpy.isfinite(source) and numpy.nan_to_num."
        )
    return found


def _check_axes(target: Array, source: Array, coloured: bool) -> None:
    fits = target.ndim >= 2 and 0 not in target.shape
    if coloured:
        fits = fits and target.ndim == 3 and target.shape[-1] == source.shape[-1]
    if not fits:
        raise AxesError(
            f"hr has shape {target.shape} and source {source.shape}. Paste a plane "
            "(Y, X) into an image (..., Y, X), or in colour (Y, X, S) into (Y, X, S) "
            "of as many components."
        )


def _plane(target: Array, coloured: bool) -> tuple[int, int]:
    rows, columns = target.shape[:2] if coloured else target.shape[-2:]
    return rows, columns


def _mask(mask: Any, size: tuple[int, ...]) -> Mask:
    if mask is None:
        return np.ones(size, bool)
    found = np.asarray(mask)
    if found.shape != size or found.dtype.kind not in "bui":
        raise OptionError(
            f"mask has shape {found.shape} and dtype {found.dtype}; it must be bool "
            f"and of the source's size, {size}."
        )
    if not found.any():
        raise OptionError("The mask is empty. Mark the pixels to paste.")
    return found > 0


def _factor(scale: Any) -> float:
    real = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
    if not real or not (math.isfinite(scale) and scale > 0):
        raise OptionError(f"scale is {scale!r}; it must be a number above 0.")
    return float(scale)


def _position(at: Any) -> tuple[int, int]:
    try:
        row, column = (int(v) for v in at)
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"at is {at!r}; give a row and a column.") from error
    return row, column


def _moved(
    source: Array, mask: Mask, scale: float, flip: tuple[bool, bool]
) -> tuple[Array, Mask]:
    """Source and mask, scaled and flipped; in float where it was scaled."""
    if scale != 1.0:
        size = tuple(max(1, round(side * scale)) for side in mask.shape)
        if max(size) > _LARGEST:
            raise OptionError(
                f"scale {scale:g} makes the source {size[0]} x {size[1]} pixels; at "
                f"most {_LARGEST} a side are possible. Give a smaller one."
            )
        source = _resized(source, size)
        mask = _resized(mask, size) >= 0.5
        if not mask.any():
            raise OptionError(
                f"At scale {scale:g} nothing is left of the mask. Give a larger scale."
            )
    steps = tuple(slice(None, None, -1 if on else 1) for on in flip)
    return source[steps], mask[steps]


def _resized(array: Array, size: tuple[int, ...]) -> npt.NDArray[np.float64]:
    from skimage.transform import resize

    found: npt.NDArray[np.float64] = resize(  # type: ignore[no-untyped-call]
        array.astype(np.float64),
        (*size, *array.shape[2:]),
        order=1,
        mode="reflect",
        anti_aliasing=True,
        preserve_range=True,
    )
    return found


def _overlap(start: int, length: int, side: int) -> tuple[slice, slice]:
    """Where an interval lies on an axis, and which part of it does."""
    first, last = max(0, start), min(side, start + length)
    last = max(first, last)
    return slice(first, last), slice(first - start, last - start)
