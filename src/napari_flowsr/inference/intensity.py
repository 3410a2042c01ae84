"""Intensities: to the network's ``[0, 1]``, and back to the image's range and dtype.

Percentiles are taken over the whole array, per channel (C axis), so that a time series
or a stack is mapped by one range and does not flicker. The components of an RGB image
share one range if the model takes RGB, and have one each if it takes one channel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import ImageError
from napari_flowsr.inference.source import FILL, Source
from napari_flowsr.inference.tally import Tally, quantiles

if TYPE_CHECKING:
    from napari_flowsr.models.card import Normalisation

__all__ = ["Intensities", "Range", "cast", "check_single_precision", "strips"]
__all__ += ["survey"]

Array = npt.NDArray[Any]

# Beyond this many pixels of a channel every k-th one stands for all: its percentiles
# then move by less than 0.02 % of rank. Integers of up to 16 bits are counted instead.
EXACT_PIXELS = 1 << 24
# Pixels that are looked at together.
_STRIP = 1 << 20
# Floats for a model that takes them as they are may exceed 0 .. 1 by this much.
_FAR = 0.5
# Statistics are single floats. Steps between these may be this part of the range, finer
# than what anybody sees, or this many grey levels of an integer image.
_COARSEST_STEP = 1e-3
_COARSEST_GREY = 0.125
# Pixels farther away, in ranges, are no brightness, and overflow single floats.
_FARTHEST = 1e30


@dataclass(frozen=True)
class Range:
    """Intensities that become 0 and 1.

    Parameters
    ----------
    low, high : float
        In intensity units; ``high > low``.
    constant : bool
        All pixels have the value ``low``.
    """

    low: float
    high: float
    constant: bool = False

    def to_unit(self, values: Array) -> npt.NDArray[np.float32]:
        """Map intensities to network units; nothing is clipped."""
        scaled = (values.astype(np.float64) - self.low) / (self.high - self.low)
        return scaled.astype(np.float32)

    def to_intensity(self, values: Array) -> npt.NDArray[np.float64]:
        """Map network units to intensities."""
        return self.low + (self.high - self.low) * values.astype(np.float64)


def cast(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Bring intensities to a dtype.

    Integers are rounded and clipped to the dtype's limits, bool is thresholded at 0.5,
    floats are not clipped (float16 only at its largest finite number).
    """
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        # The largest 64-bit integers are no float64: stay at the float just below.
        top = np.nextafter(float(info.max), 0.0) if info.bits == 64 else info.max
        return np.clip(np.rint(values), info.min, top).astype(dtype)
    if dtype.itemsize == 2:
        largest = float(np.finfo(dtype).max)
        values = np.clip(values, -largest, largest)
    return values.astype(dtype)


@dataclass(frozen=True)
class Intensities:
    """Ranges of all channels, and how pixels without a value are filled.

    Parameters
    ----------
    source : Source
        The image.
    ranges : mapping
        ``(channel, component)`` to range.
    medians : mapping
        ``(channel, component)`` to the median, for planes without any finite pixel.
    filled : int
        Non-finite pixels that were filled.
    largest : float
        Largest absolute value of a finite pixel; 0 if it was not looked for.
    """

    source: Source
    ranges: Mapping[tuple[int, int], Range]
    medians: Mapping[tuple[int, int], float]
    filled: int = 0
    largest: float = 0.0

    def range(self, plane: int, component: int) -> Range:
        """Range of one component of one plane."""
        return self.ranges[self.source.geometry.channel(plane), component]

    def plane(self, plane: int) -> Array:
        """Pixels ``(h, w, S)`` of a plane, non-finite ones filled."""
        pixels = self.source.plane(plane)
        if not self.filled or np.isfinite(pixels).all():
            return pixels
        pixels = pixels.copy()  # it may be a view of the caller's array
        channel = self.source.geometry.channel(plane)
        for component in range(pixels.shape[2]):
            median = self.medians.get((channel, component), 0.0)
            _fill(pixels[:, :, component], median)
        return pixels

    def window(self, plane: int, rows: slice, columns: slice) -> Array:
        """Pixels ``(h, w, S)`` of a box of a plane, non-finite ones filled."""
        if self.filled:  # with the nearest pixel, which may lie outside of the box
            return self.plane(plane)[rows, columns]
        return self.source.window(plane, rows, columns)

    @property
    def constant(self) -> bool:
        """Whether every channel is constant."""
        return all(r.constant for r in self.ranges.values())


def _fill(pixels: Array, otherwise: float) -> None:
    """Give each non-finite pixel the value of the nearest finite one, in place."""
    bad = ~np.isfinite(pixels)
    if bad.all():
        pixels[...] = otherwise
    elif bad.any():
        from scipy.ndimage import distance_transform_edt

        rows, columns = distance_transform_edt(
            bad, return_distances=False, return_indices=True
        )
        pixels[...] = pixels[rows, columns]


def _step(source: Source) -> int:
    """Every how many pixels of a plane one is looked at, coprime to the width."""
    height, width = source.geometry.lr_size
    planes = source.geometry.planes
    if "C" in source.geometry.axes:
        planes //= source.geometry.input_shape[source.geometry.axes.index("C")]
    step = max(1, math.ceil(height * width * planes / EXACT_PIXELS))
    while math.gcd(step, width) > 1:
        step += 1
    return step


def strips(source: Source) -> list[slice]:
    """Rows of a plane that are read together: whole chunks, where it has any."""
    height, width = source.geometry.lr_size
    rows = max(1, _STRIP // max(1, width))
    chunks = getattr(source.array, "chunks", None)
    if chunks and not source.geometry.transposed:
        sizes = chunks[source.geometry.axes.index("Y")]
        chunk = max(sizes) if isinstance(sizes, tuple) else int(sizes)
        rows = max(chunk, rows // chunk * chunk)
    return [slice(top, top + rows) for top in range(0, height, rows)]


def survey(
    source: Source, normalisation: Normalisation, *, joint: bool, nan: str
) -> Intensities:
    """Read the whole image once: check it, and find the range of each channel.

    Parameters
    ----------
    source : Source
        The image.
    normalisation : Normalisation
        Of the model's card.
    joint : bool
        Colour components share a range (the model takes RGB).
    nan : str
        ``"raise"`` or ``"fill"`` for pixels that are NaN or infinite.

    Raises
    ------
    ImageError
        Non-finite pixels (with ``nan="raise"``, or no finite one at all), or a range
        that is too large for floating point.
    """
    tallies: dict[tuple[int, int], Tally] = {}
    geometry, step = source.geometry, _step(source)
    width, bad = geometry.lr_size[1], 0
    parts = itertools.product(range(geometry.planes), strips(source))
    for plane, rows in parts:
        pixels = source.window(plane, rows, slice(None))
        skip = -rows.start * width % step
        for component in range(min(geometry.components, 3)):
            flat = pixels[:, :, component].ravel()
            if flat.dtype.kind == "f":
                finite = np.isfinite(flat)
                missing = flat.size - int(np.count_nonzero(finite))
                if missing:
                    bad += missing
                    flat = flat[finite]
            key = geometry.channel(plane), component
            tallies.setdefault(key, Tally(source.dtype)).add(flat, step, skip)
        if source.dtype.kind == "f" and geometry.components == 4:
            bad += int(np.count_nonzero(~np.isfinite(pixels[:, :, 3])))
    _check_finite(bad, tallies, nan)
    ranges = {}
    for key, tally in tallies.items():
        group = [t for k, t in tallies.items() if k[0] == key[0]] if joint else [tally]
        ranges[key] = _range(tally, group, source.dtype, normalisation)
    medians = {k: quantiles([t], [0.5])[0] for k, t in tallies.items() if bad}
    largest = max(max(abs(t.low), abs(t.high)) for t in tallies.values())
    return Intensities(source, ranges, medians, bad, largest)


def _check_finite(bad: int, tallies: Mapping[Any, Tally], nan: str) -> None:
    if bad and nan == "raise":
        raise ImageError(
            f"The image has {bad} pixels that are NaN or infinite. Replace them, or "
            f"choose to fill them with the nearest finite pixel ({FILL})."
        )
    if any(t.is_empty for t in tallies.values()):
        raise ImageError(
            "A channel of the image has no finite pixel, so there is nothing to fill "
            "with. Leave that channel out."
        )


def _dtype_range(group: list[Tally], dtype: np.dtype[Any]) -> Range:
    """Limits of an integer dtype; floats are taken as they are, if they can be."""
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        return Range(float(info.min), float(info.max))
    lowest, highest = min(t.low for t in group), max(t.high for t in group)
    if lowest < -_FAR or highest > 1.0 + _FAR:
        # A few pixels may be far outside, see `inference.excess`, but not the image.
        low, high = quantiles(group, (0.001, 0.999))
        if low < -_FAR or high > 1.0 + _FAR:
            raise ImageError(
                f"The image has floats from {lowest:g} to {highest:g}, but this model "
                "takes floats as they are, from 0 to 1 (its card's normalisation is "
                "'dtype'). Divide the image by its full scale, such as 255, or convert "
                "it to the integer dtype that it came in."
            )
    return Range(0.0, 1.0)


def _range(
    tally: Tally, group: list[Tally], dtype: np.dtype[Any], wanted: Normalisation
) -> Range:
    if tally.low == tally.high:
        return Range(tally.low, tally.low + 1.0, constant=True)
    if dtype.kind == "b":
        return Range(0.0, 1.0)
    if wanted.kind == "dtype":
        return _dtype_range(group, dtype)
    lowest, highest = min(t.low for t in group), max(t.high for t in group)
    if not 1e-300 < highest - lowest < math.inf:
        raise ImageError(
            f"Intensities from {lowest:g} to {highest:g} span a range that floating "
            "point cannot resolve. Rescale the image."
        )
    low, high = quantiles(group, (wanted.low / 100, wanted.high / 100))
    # Nearly all pixels may have one value, as in a sparse image: then the extremes.
    if not high > low:
        return Range(lowest, highest)
    if highest - lowest > _FARTHEST * (high - low):
        raise ImageError(
            f"Nearly all pixels are from {low:g} to {high:g}, but the extremes are "
            f"{lowest:g} and {highest:g}, which looks like a mark for missing values. "
            f"Set those pixels to NaN and choose to fill them ({FILL})."
        )
    return Range(low, high)


def check_single_precision(intensities: Intensities, *, levels: bool) -> None:
    """Raise `ImageError` unless float32 resolves the image as well as its own dtype.

    Parameters
    ----------
    intensities : Intensities
        The image.
    levels : bool
        Brightness is to be resolved, and not only differences of it.
    """
    dtype = intensities.source.dtype
    if dtype.kind == "b" or (dtype.kind == "f" and dtype.itemsize <= 4):
        return
    grey = _COARSEST_GREY if dtype.kind in "ui" else 0.0
    for found in intensities.ranges.values():
        span = found.high - found.low
        # A result may go somewhat beyond the image.
        largest = max(intensities.largest, abs(found.low), abs(found.high)) + span
        if largest < float(np.finfo(np.float32).max):
            step = float(np.spacing(np.float32(largest if levels else span)))
            if found.constant or step <= max(_COARSEST_STEP * span, grey):
                continue
        raise ImageError(
            f"Intensities from {found.low!r} to {found.high!r} cannot be resolved in "
            "single precision (float32), in which means, standard deviations, "
            "quantiles and differences are given. Subtract an offset from the image "
            "or rescale it, to 0 .. 1 for example; or ask for samples only, which have "
            f"the image's own data type, {dtype}."
        )
