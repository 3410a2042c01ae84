"""Measuring in images: a region, a line, and what of it varies from sample to sample.

These are plain functions of arrays; `Posterior.apply` evaluates one of them, or any
other, over samples, and `band` sums up what came out.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MEASURES", "Band", "Collection", "band", "line_profile"]
__all__ += ["region_measurement"]

Array = npt.NDArray[Any]

MEASURES = ("area", "count", "mean", "sum", "min", "max")
"""What can be measured in a region."""


# --- a function over samples ----------------------------------------------------


class Collection:
    """Values of a function, image by image.

    Parameters
    ----------
    function : callable
        From an image to a number or an array.
    """

    def __init__(self, function: Callable[[Array], Any]) -> None:
        if not callable(function):
            raise OptionError(
                f"function is {function!r}; give a function that takes an image and "
                "returns a number or an array."
            )
        self._function = function
        self._values: list[Array] = []

    def take(self, image: Array) -> Array:
        """Evaluate the next image."""
        number = len(self._values)
        try:
            # A copy: a part of the image would keep all of it.
            value = np.array(self._function(image))
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            value = np.array(None)
        if value.dtype.kind not in "buif":
            raise OptionError(
                f"The function returned something of sample {number} that is no "
                "number and no array of numbers. Return one or the other."
            )
        if self._values and value.shape != self._values[0].shape:
            raise OptionError(
                f"The function returned an array of shape {value.shape} for sample "
                f"{number} and {self._values[0].shape} for sample 0. It must be the "
                "same for all, so that the values can be compared."
            )
        self._values.append(value)
        return value

    def values(self) -> Array:
        """All so far, stacked."""
        return np.stack(self._values)


@dataclass(frozen=True)
class Band:
    """Median of values, and intervals around it.

    Parameters
    ----------
    median : ndarray
        Over the first axis of the values.
    intervals : mapping
        Share of the values (such as 0.9) to the ends ``(low, high)`` of the central
        interval that holds it.
    """

    median: Array
    intervals: Mapping[float, tuple[Array, Array]] = field(default_factory=dict)


def band(values: Any, levels: Sequence[float] = (0.5, 0.9)) -> Band:
    """Median and central intervals over samples.

    Parameters
    ----------
    values : array-like
        ``(n, ...)``, as `Posterior.apply` gives them; at least 2.
    levels : sequence of float
        Shares between 0 and 1.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim < 1 or len(given) < 2:
        raise OptionError(
            f"The values have shape {given.shape}; a band needs those of at least 2 "
            "samples along the first axis, better 8 or more."
        )
    shares = [float(level) for level in levels]
    if not shares or not all(0 < share < 1 for share in shares):
        raise OptionError(
            f"levels is {levels!r}; give shares between 0 and 1, such as (0.5, 0.9)."
        )
    intervals = {}
    for share in shares:
        low, high = np.quantile(given, [0.5 - share / 2, 0.5 + share / 2], axis=0)
        intervals[share] = (low, high)
    return Band(np.median(given, axis=0), intervals)


# --- a region -------------------------------------------------------------------


def region_measurement(
    image: Any,
    region: Any,
    what: str = "mean",
    *,
    threshold: float | None = None,
    label: int | None = None,
    pixel_size: float | Sequence[float] | None = None,
) -> float | npt.NDArray[np.float64]:
    """Measure the pixels of a region.

    Parameters
    ----------
    image : array-like
        Any axes, one value per pixel (one component of a colour image).
    region : array-like
        Of the image's shape: a bool mask, or integer labels with 0 as background.
    what : str
        ``"area"``: pixels above the threshold; ``"count"``: objects above it, that is,
        connected components (neighbours by a corner too); ``"mean"``, ``"sum"``,
        ``"min"``, ``"max"``: of the pixels above the threshold, or of all without one.
    threshold : float, optional
        In the units of the image; pixels equal to it are not above. ``"area"`` and
        ``"count"`` need it.
    label : int, optional
        The one to measure; default: each of them.
    pixel_size : float or sequence of float, optional
        Length of a pixel's sides; then the area is in its square (or cube).

    Returns
    -------
    float or ndarray
        One number for a mask or ``label``, else one for each label that occurs,
        ascending. Without any pixel above the threshold the mean, least and largest
        are NaN, the others 0.
    """
    if what not in MEASURES:
        raise OptionError(f"what is {what!r}; choose from {', '.join(MEASURES)}.")
    pixels, marked = np.asarray(image), np.asarray(region)
    _check_region(pixels, marked)
    level = _threshold(what, threshold)
    unit = _pixel_area(what, pixel_size, pixels.ndim)
    if marked.dtype == bool:
        if label is not None:
            raise OptionError(
                f"label is {label}, but the region is a mask. Leave the label out."
            )
        return unit * _measure(pixels, marked, what, level)
    known = [int(k) for k in np.unique(marked) if k != 0]
    if label is not None and label not in known:
        told = ", ".join(map(str, known[:20])) or "none"
        raise OptionError(f"label is {label!r}; the labels that occur are: {told}.")
    if label is not None:
        return unit * _measure(pixels, marked == label, what, level)
    return np.array([unit * _measure(pixels, marked == k, what, level) for k in known])


def _check_region(pixels: Array, marked: Array) -> None:
    if pixels.dtype.kind not in "buif":
        raise OptionError(
            f"The image has dtype {pixels.dtype}; it must be bool, integer or float."
        )
    if marked.dtype.kind not in "bui":
        raise OptionError(
            f"The region has dtype {marked.dtype}; it must be a bool mask or integer "
            "labels. A float mask becomes one by mask > 0.5."
        )
    if marked.shape != pixels.shape:
        raise OptionError(
            f"The region has shape {marked.shape}, the image {pixels.shape}; they must "
            "be the same. Draw the region on the grid of the samples, and of a colour "
            "image measure one component: image[..., 0]."
        )
    if not marked.any():
        raise OptionError(
            "The region has no pixels. Mark those that are to be measured."
        )


def _threshold(what: str, threshold: Any) -> float | None:
    if threshold is None:
        if what in ("area", "count"):
            raise OptionError(
                f"'{what}' needs a threshold: what is above it inside the region is "
                "measured. Give threshold=... in the units of the image."
            )
        return None
    if not isinstance(threshold, numbers.Real) or not math.isfinite(threshold):
        raise OptionError(
            f"threshold is {threshold!r}; give a number in the units of the image."
        )
    return float(threshold)


def _pixel_area(what: str, pixel_size: Any, ndim: int) -> float:
    """Area (or volume) of a pixel; 1 without a pixel size."""
    if pixel_size is None:
        return 1.0
    if what != "area":
        raise OptionError(
            f"pixel_size was given for '{what}', which has no length in it; it is for "
            "'area'. Leave it out."
        )
    sides = list(pixel_size) if isinstance(pixel_size, Iterable) else [pixel_size]
    if len(sides) == 1:
        sides = sides * ndim
    if len(sides) != ndim or not all(math.isfinite(s) and s > 0 for s in sides):
        raise OptionError(
            f"pixel_size is {pixel_size!r}; give one length above 0, or one for each "
            f"of the {ndim} axes."
        )
    return math.prod(float(side) for side in sides)


def _measure(
    pixels: Array, inside: npt.NDArray[np.bool_], what: str, threshold: float | None
) -> float:
    if threshold is not None:
        inside = inside & (pixels > threshold)
    if what == "area":
        return float(np.count_nonzero(inside))
    if what == "count":
        from skimage.measure import label  # here, for it takes a while to import

        components = label(inside, return_num=True)  # type: ignore[no-untyped-call]
        return float(components[1])
    values = pixels[inside].astype(np.float64)
    if what == "sum":
        return float(values.sum())
    if not values.size:
        return math.nan
    if what == "mean":
        return float(values.mean())
    return float(values.min() if what == "min" else values.max())


# --- a line ---------------------------------------------------------------------


def line_profile(
    image: Any, start: Sequence[float], stop: Sequence[float], width: int = 1
) -> npt.NDArray[np.float64]:
    """Intensities along a line.

    Parameters
    ----------
    image : array-like
        ``(Y, X)``, or ``(Y, X, S)`` with colour last; of other images take a plane.
    start, stop : sequence of float
        Row and column of the ends, in pixels of this image; (0, 0) is the centre of
        the first pixel.
    width : int
        Pixels across the line that are averaged.

    Returns
    -------
    ndarray
        Float64 ``(points,)`` or ``(points, S)``: points at equal distances of about
        one pixel, the first at ``start`` and the last at ``stop``, interpolated
        linearly.
    """
    pixels = np.asarray(image)
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3):
        raise OptionError(
            f"The image has shape {pixels.shape} and dtype {pixels.dtype}; a profile "
            "is of one plane (Y, X), or (Y, X, S) in colour, of numbers. Pick a plane."
        )
    ends = [
        _point(*pair, pixels.shape[:2]) for pair in (("start", start), ("stop", stop))
    ]
    if ends[0] == ends[1]:
        raise OptionError(
            f"start and stop are both {ends[0]}; a line needs two different points."
        )
    whole = isinstance(width, numbers.Integral) and not isinstance(width, bool)
    if not whole or width < 1:
        raise OptionError(
            f"width is {width!r}; it is the number of pixels across, at least 1."
        )
    from skimage.measure import profile_line

    # A wide line may reach beyond the border of the image: its last pixel goes on.
    found = profile_line(  # type: ignore[no-untyped-call]
        pixels.astype(np.float64),
        ends[0],
        ends[1],
        linewidth=int(width),
        order=1,
        mode="nearest",
    )
    return np.asarray(found, dtype=np.float64)


def _point(name: str, value: Any, shape: tuple[int, ...]) -> tuple[float, float]:
    try:
        row, column = (float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{name} is {value!r}; give a row and a column, in pixels."
        ) from error
    inside = [-0.5 <= v <= n - 0.5 for v, n in zip((row, column), shape, strict=True)]
    if not all(inside):
        raise OptionError(
            f"{name} is ({row:g}, {column:g}), outside of the image of {shape[0]} x "
            f"{shape[1]} pixels. Points are in pixels of the image that is measured: "
            "those of an LR image are to be multiplied by the scale."
        )
    return row, column
