"""Whether an LR image is like those that a model learned from, by a few statistics.

Some numbers describe an image: how its differences grow with distance, how noisy and
how sparse they are, and how its intensities are distributed. Over the images that a
model was trained on they have a mean and a covariance; the distance from that mean, in
standard deviations, is the score, and what 99 % of the training images do not exceed is
the threshold. No network is asked, so that it costs next to nothing and is the same for
every family.

It tells images that are grossly unlike (noise, masks, patterns, few photons) from
others. It does not tell what is shown: a photograph whose texture is like that of a
section passes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import TrainingError
from napari_flowsr.inference.plane_input import PlaneInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.units import Unit, Workload

__all__ = ["VERSION", "Doubt", "calibrated", "describe", "doubt"]

VERSION = 1
"""Of what `describe` gives; numbers of another version cannot be compared."""

STATISTICS = 15
"""How many numbers describe an image."""

SMALLEST = 48
"""LR pixels on a side below which statistics scatter too much to tell anything.

Of parts of 32 pixels of images that are like those of training, 8 % seemed unlike."""

Array = npt.NDArray[np.float64]

_WINDOW, _GRID = 128, 4  # at most 4 x 4 windows of 128 pixels of a plane are looked at
_PLANES = 8  # of a channel
_QUANTILE = 99.0
# Added to the correlation matrix: directions in which training images hardly differ
# would otherwise rule.
_RIDGE = 0.01
_PERCENTILES = (0.1, 99.9)
_RANGE = (-0.1, 1.1)


@dataclass(frozen=True)
class Doubt:
    """How far an image is from those that a model learned from.

    Parameters
    ----------
    score : float
        Root mean square of its statistics, in standard deviations of the training
        images; NaN where it cannot be told.
    threshold : float
        What 99 % of the training images do not exceed; NaN without a calibration.
    is_outside : bool
        Whether the score is above the threshold.
    text : str
        For people.
    """

    score: float
    threshold: float
    is_outside: bool
    text: str

    def facts(self) -> dict[str, Any]:
        """Plain values for a report; None where there is no number."""
        return {
            "score": _number(self.score),
            "threshold": _number(self.threshold),
            "is_outside": self.is_outside,
        }


def _number(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


# --- statistics -----------------------------------------------------------------


def describe(plane: npt.NDArray[Any]) -> Array | None:
    """Statistics of an LR plane, whatever its intensity range.

    Parameters
    ----------
    plane : ndarray
        ``(h, w)``.

    Returns
    -------
    ndarray or None
        None if it is constant within its percentiles, or smaller than `SMALLEST`.
    """
    height, width = plane.shape
    return _described((height, width), lambda rows, columns: plane[rows, columns])


def _described(
    size: tuple[int, int], read: Callable[[slice, slice], npt.NDArray[Any]]
) -> Array | None:
    """As `describe`, of a plane of which only some windows are read."""
    if min(size) < SMALLEST:
        return None
    x = np.stack([np.asarray(read(*at), np.float64) for at in _windows(size)])
    low, high = np.percentile(x, _PERCENTILES)
    if not high > low:
        return None
    x = np.clip((x - low) / (high - low), *_RANGE)
    return np.asarray([*_of_differences(x), *_of_intensities(x)])


def _windows(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Windows of one size spread evenly over a plane, all of it if it is small."""
    return itertools.product(_spans(size[0]), _spans(size[1]))


def _spans(side: int) -> list[slice]:
    window = min(side, _WINDOW)
    starts = np.linspace(0, side - window, min(_GRID, -(-side // window))).astype(int)
    return [slice(int(at), int(at) + window) for at in starts]


def _of_differences(x: Array) -> list[float]:
    """Growth with distance, noise, sparseness and correlation of differences."""
    variance = float(x.var()) + 1e-8
    growth = [
        math.log(0.5 * (_square(x[:, k:] - x[:, :-k]) + _square(_across(x, k))) + 1e-7)
        for k in (1, 2, 4, 8)
    ]
    down, along = x[:, 1:] - x[:, :-1], _across(x, 1)
    diagonal = (down[:, :, 1:] - down[:, :, :-1]) / 2
    energy = math.log(_square(diagonal) + 1e-7)
    # The median is that of noise, for edges are few.
    noise = math.log(float(np.median(np.abs(diagonal))) / 0.6745 + 1e-3)
    square = 0.5 * (_square(down) + _square(along))
    fourth = 0.5 * (_square(down**2) + _square(along**2))
    return [
        growth[0] - math.log(variance),
        *np.diff(growth),
        energy - growth[0],
        noise,
        noise - 0.5 * energy,
        math.log(fourth / (square**2 + 1e-12) + 1e-3),
        0.5 * (_alike(down[:, 1:], down[:, :-1]) + _alike(*_ends(along))),
        0.5 * (_alike(*_ends(down)) + _alike(along[:, 1:], along[:, :-1])),
    ]


def _of_intensities(x: Array) -> list[float]:
    """Mean, spread, skewness, tails, and how much is at the ends of the range."""
    mean, spread = float(x.mean()), math.sqrt(float(x.var()) + 1e-8)
    z = (x - mean) / spread
    ends = float(np.mean((x <= 0.005) | (x >= 0.995)))
    return [
        mean,
        math.log(spread),
        math.asinh(float((z**3).mean())),
        math.log(float((z**4).mean()) + 1e-2),
        math.log(ends + 3e-3),
    ]


def _square(values: Array) -> float:
    return float(np.square(values).mean())


def _across(x: Array, k: int) -> Array:
    return np.asarray(x[:, :, k:] - x[:, :, :-k])


def _ends(x: Array) -> tuple[Array, Array]:
    return x[:, :, 1:], x[:, :, :-1]


def _alike(a: Array, b: Array) -> float:
    """Correlation of neighbouring differences; -0.5 for white noise along them."""
    return float((a * b).mean()) / (_square(a) + 1e-9)


# --- calibration ----------------------------------------------------------------


def calibrated(described: Sequence[Array], **facts: Any) -> dict[str, Any]:
    """What a card holds (`ModelCard.typical`), of descriptions of training images.

    Parameters
    ----------
    described : sequence of ndarray
        Of `describe`.
    **facts
        Further entries, such as what was described.
    """
    values = np.stack(described)
    mean, spread = values.mean(0), values.std(0)
    if not (spread > 0).all():
        raise TrainingError(
            f"The {len(values)} images are alike in some statistic, so that nothing "
            "tells which others are like them. Give more, and different, images."
        )
    z = (values - mean) / spread
    correlation = z.T @ z / len(z) + _RIDGE * np.eye(z.shape[1])
    precision = np.linalg.inv(correlation)
    usual = _Usual(mean, spread, precision, 0.0)
    threshold = float(np.percentile([usual.score(v) for v in values], _QUANTILE))
    return {
        "version": VERSION,
        "mean": np.round(mean, 5).tolist(),
        "std": np.round(spread, 5).tolist(),
        "precision": np.round(precision, 5).tolist(),
        "threshold": round(threshold, 4),
        "quantile": _QUANTILE / 100,
        "count": len(values),
        **facts,
    }


@dataclass(frozen=True)
class _Usual:
    """Numbers of a card, checked."""

    mean: Array
    std: Array
    precision: Array
    threshold: float

    @classmethod
    def of(cls, typical: Mapping[str, Any]) -> _Usual | None:
        """Numbers that this version understands; cards may come from anybody."""
        try:
            mean = np.asarray(typical["mean"], float)
            std = np.asarray(typical["std"], float)
            precision = np.asarray(typical["precision"], float)
            threshold = float(typical["threshold"])
        except (KeyError, TypeError, ValueError):
            return None
        fits = typical.get("version") == VERSION and math.isfinite(threshold)
        fits = fits and mean.shape == std.shape == (STATISTICS,)
        fits = fits and precision.shape == (STATISTICS, STATISTICS)
        if not fits or not np.isfinite([mean, std, *precision]).all():
            return None
        return cls(mean, std, precision, threshold) if (std > 0).all() else None

    def score(self, described: Array) -> float:
        """Root mean square of the statistics, in standard deviations."""
        z = (described - self.mean) / self.std
        return math.sqrt(max(0.0, float(z @ self.precision @ z)) / len(z))


# --- an image ---------------------------------------------------------------------


def doubt(bound: Bound) -> Doubt:
    """Compare the LR image of a posterior with what its model learned from.

    Of a stack the median over some planes of a channel counts, and of several channels
    the one that is farthest.
    """
    name, typical = bound.card.name, bound.card.typical
    usual = _Usual.of(typical)
    if usual is None:
        written = "does not tell" if not typical else "tells in another way"
        text = (
            f"The card of '{name}' {written} what its training images were like, so "
            "whether this image is like them is not known."
        )
        return Doubt(math.nan, math.nan, False, text)
    score, most = _farthest(bound, usual), usual.threshold
    if math.isnan(score):
        text = (
            f"Whether this image is like those that '{name}' learned from cannot be "
            f"told: {_why_not(bound)}."
        )
    elif score <= most:
        text = (
            f"The image is like those that '{name}' learned from ({score:.1f}; up to "
            f"{most:.1f} is usual)."
        )
    else:
        text = (
            f"The image is unlike those that '{name}' learned from: its statistics are "
            f"{score:.1f} standard deviations away; {most:.1f} is rare among them. "
            "Trust the inferred detail, and how sure it looks, less than usual. Noise, "
            "few photons, masks and drawings are such images; a model that was trained "
            "on images like this one may suit it better."
        )
    return Doubt(score, most, score > most, text)


def _why_not(bound: Bound) -> str:
    height, width = bound.geometry.lr_size
    if min(height, width) >= SMALLEST:
        return "it is constant"
    return (
        f"it is too small, {height} x {width} pixels; the statistics need {SMALLEST} "
        "on a side"
    )


def _farthest(bound: Bound, usual: _Usual) -> float:
    """Score of the channel that is farthest; NaN if none can be described."""
    workload = bound.workload
    channels: dict[tuple[Any, ...], list[Unit]] = {}
    for unit in workload:
        if not workload.constant(unit):
            key = bound.geometry.channel(unit.plane), unit.components
            channels.setdefault(key, []).append(unit)
    found = []
    for units in channels.values():
        some = np.linspace(0, len(units) - 1, min(_PLANES, len(units))).astype(int)
        descriptions = (_of_unit(workload, units[i]) for i in set(some))
        described = [d for d in descriptions if d is not None]
        if described:
            scores = [usual.score(d) for d in described]
            found.append(float(np.median(scores)))
    return max(found, default=math.nan)


def _of_unit(workload: Workload, unit: Unit) -> Array | None:
    size = workload.geometry.lr_size
    plane = PlaneInput(workload, unit, size)  # windows of a plane of any size

    def read(rows: slice, columns: slice) -> npt.NDArray[Any]:
        grey: npt.NDArray[Any] = plane.pixels(rows, columns).mean(0).numpy()
        return grey

    return _described(size, read)
