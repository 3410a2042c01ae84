"""Maps of the temperature: painted, by uncertainty, and the best one in hindsight.

Each of them is what `posterior(temperature=...)` takes.

References
----------
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), arXiv:2403.10988, Fig. 2: the best temperature of each position.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference import explored
from napari_flowsr.inference.events import SampleReady
from napari_flowsr.inference.exploring import told
from napari_flowsr.inference.options import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.inference.options import ProgressCallback

__all__ = ["METRICS", "BestTemperature", "best_temperature"]
__all__ += ["temperature_by_uncertainty", "temperature_from_labels"]

Map = npt.NDArray[np.float32]

METRICS = ("squared-error", "absolute-error")


def _temperature(name: str, value: Any) -> float:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < 0:
        raise OptionError(
            f"{name} is {value!r}; a temperature is a standard deviation, a number "
            "from 0."
        )
    return float(value)


def temperature_from_labels(
    labels: Any, temperatures: Mapping[int, float], default: float
) -> Map:
    """Temperature of each painted label.

    Parameters
    ----------
    labels : array-like
        Integers, ``(Y, X)`` on the LR or the HR grid, or with the looped axes before.
    temperatures : mapping
        Label to temperature; a label need not occur.
    default : float
        Of labels without one, and of what is not painted (label 0), unless
        ``temperatures`` has it.

    Returns
    -------
    ndarray
        Float32, shape of the labels.
    """
    painted = np.asarray(labels)
    if painted.dtype.kind not in "bui" or painted.ndim < 2:
        raise OptionError(
            f"The labels have shape {painted.shape} and dtype {painted.dtype}; they "
            "must be integers with at least the axes (Y, X). A float image can be a "
            "temperature map as it is."
        )
    if not isinstance(temperatures, Mapping):
        raise OptionError(
            f"temperatures is {temperatures!r}; give a dictionary from label to "
            "temperature, such as {1: 0.2, 2: 0.9}."
        )
    found = np.full(painted.shape, _temperature("default", default), np.float32)
    for label, value in temperatures.items():
        if isinstance(label, bool) or not isinstance(label, numbers.Integral):
            raise OptionError(f"{label!r} is no label; labels are integers.")
        found[painted == label] = _temperature(f"The temperature of {label}", value)
    return found


def temperature_by_uncertainty(
    std: Any,
    *,
    low: float,
    high: float,
    percentiles: tuple[float, float] = (5.0, 95.0),
) -> Map:
    """Temperature that follows how uncertain the result is.

    Linear in the standard deviation between two of its percentiles, so that a few
    extreme pixels do not determine the map, and constant beyond them.

    Parameters
    ----------
    std : array-like
        Standard deviation of samples, as `Posterior.std` gives it, with Y and X last;
        of a colour image the mean over its components.
    low, high : float
        Temperatures where the spread is small and where it is large. With ``low``
        above ``high`` uncertain regions get the calmer temperature.
    percentiles : tuple of float
        Of ``std``, that ``low`` and ``high`` belong to.

    Returns
    -------
    ndarray
        Float32, shape of ``std``.
    """
    try:
        spread = np.asarray(std, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"std is of type {type(std).__name__}; give the array that Posterior.std "
            "returns."
        ) from error
    ends = _temperature("low", low), _temperature("high", high)
    if spread.ndim < 2 or not np.isfinite(spread).all() or (spread < 0).any():
        raise OptionError(
            f"std, of shape {spread.shape}, must be standard deviations: at least the "
            "axes (Y, X), none negative, NaN or infinite."
        )
    between = [float(p) for p in percentiles]
    if len(between) != 2 or not 0 <= between[0] < between[1] <= 100:
        raise OptionError(
            f"percentiles is {percentiles!r}; give two from 0 to 100, ascending."
        )
    first, last = np.percentile(spread, between)
    if not last > first:
        raise OptionError(
            f"Percentiles {between[0]:g} and {between[1]:g} of std are both {first:g}, "
            "so that there is nothing to scale between. Take wider percentiles, such "
            "as (0, 100), draw more samples, or use one temperature."
        )
    share = np.clip((spread - first) / (last - first), 0, 1)
    found = ends[0] + share * (ends[1] - ends[0])
    return np.asarray(found, dtype=np.float32)


# --- in hindsight ---------------------------------------------------------------


@dataclass(frozen=True)
class BestTemperature:
    """Result of `best_temperature`.

    Parameters
    ----------
    map : ndarray
        Float32 ``(*looped axes, Y, X)`` on the HR grid: the temperature, one of those
        that were tried, with the least error around each pixel.
    temperatures : tuple of float
        That were tried.
    curve : ndarray
        Float64: mean error of each of them over everything, in normalised intensities
        (squared or absolute).
    """

    map: Map
    temperatures: tuple[float, ...]
    curve: npt.NDArray[np.float64]


def best_temperature(
    post: Posterior,
    reference: Any,
    temperatures: Sequence[float],
    *,
    n: int = 4,
    window: int = 15,
    metric: str = "squared-error",
    cancelled: Callable[[], bool] | None = None,
    progress: ProgressCallback | None = None,
) -> BestTemperature:
    """Search which temperature would have been the best one at each position.

    An analysis of a model, for it needs the HR image: exhaustive, as Fig. 2 of the
    learned-prior paper. The paper decides by LPIPS, whose network has weights of
    others that we do not ship; here it is the error of the pixels around. That
    difference matters: a squared error is least for the mean of all plausible images,
    so that it favours low temperatures where LPIPS favours texture.

    Parameters
    ----------
    post : Posterior
        LR image and model; its own temperature is not used.
    reference : array-like
        HR image, of the upscaled shape.
    temperatures : sequence of float
        To be tried, at least 2; of equally good ones the first is taken.
    n : int
        Samples at each temperature, whose errors are averaged: of one sample the map
        would show where its noise happened to fit.
    window : int
        Side of the square, in HR pixels, over which errors are averaged, clipped by
        mirroring at the image's border.
    metric : str
        One of `METRICS`.
    cancelled, progress : callable, optional
        As in `Posterior.interpolate`.
    """
    tried = explored.check_temperatures(temperatures)
    if len(set(tried)) < 2:
        raise OptionError(
            f"temperatures is {temperatures!r}; give at least two different ones."
        )
    count = check_count(n)
    search = _Search(post._bound, reference, tried, count, window, metric)
    drawing = explored.sweep(post._bound, tried, *range(count))
    events = post.explore(drawing, len(tried) * count, hold=False, cancelled=cancelled)
    for event in told(events, progress):
        if isinstance(event, SampleReady):
            search.take(event.index, event.array)
    return search.result()


class _Search:
    """Errors of one temperature at a time, and the least ones so far."""

    def __init__(
        self,
        bound: Bound,
        reference: Any,
        temperatures: tuple[float, ...],
        count: int,
        window: Any,
        metric: Any,
    ) -> None:
        whole = isinstance(window, numbers.Integral) and not isinstance(window, bool)
        if not whole or window < 1:
            raise OptionError(
                f"window is {window!r}; it is a number of HR pixels, at least 1."
            )
        if metric not in METRICS:
            raise OptionError(f"metric is {metric!r}; choose from {METRICS}.")
        self.bound, self.temperatures = bound, temperatures
        self.count, self.window = count, int(window)
        self.power = 2 if metric == "squared-error" else 1
        work = bound.workload
        self.units = [unit for unit in work if not work.constant(unit)]
        if not self.units:
            raise ImageError(
                "The image is constant, and so is every sample at any temperature. "
                "There is nothing to search for; take another image."
            )
        source = bound.hr_source(reference)
        self.reference = [bound.normalised_hr(source, unit) for unit in self.units]
        shape = (bound.geometry.planes, *bound.geometry.hr_size)
        self.errors = np.zeros(shape)
        self.least = np.full(shape, np.inf)
        self.best = np.zeros(shape, np.float32)
        self.curve = np.zeros(len(temperatures))

    def take(self, number: int, image: npt.NDArray[Any]) -> None:
        """Add the error of an image of the sweep."""
        source, counts = self.bound.hr_source(image), np.zeros(len(self.errors))
        found = np.zeros_like(self.errors)
        for unit, wanted in zip(self.units, self.reference, strict=True):
            there = self.bound.normalised_hr(source, unit)
            error = (there - wanted).double().abs() ** self.power
            found[unit.plane] += error.sum(0).numpy()
            counts[unit.plane] += len(error)
        self.errors += found / np.maximum(counts, 1)[:, None, None]
        if number % self.count == self.count - 1:
            self._compare(number // self.count)

    def _compare(self, index: int) -> None:
        """Note where a temperature, all of whose samples came, is the best so far."""
        from scipy.ndimage import uniform_filter  # here, for it takes a while to import

        errors = self.errors / self.count
        # Planes that are constant have no error and would only dilute the mean.
        planes = sorted({unit.plane for unit in self.units})
        self.curve[index] = errors[planes].mean()
        size = (1, self.window, self.window)
        local = uniform_filter(errors, size, mode="reflect")
        better = local < self.least
        self.best[better] = self.temperatures[index]
        self.least[better] = local[better]
        self.errors[:] = 0

    def result(self) -> BestTemperature:
        """What was found."""
        geometry = self.bound.geometry
        shape = (*geometry.loop_shape, *geometry.hr_size)
        return BestTemperature(self.best.reshape(shape), self.temperatures, self.curve)
