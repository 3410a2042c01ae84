"""Ways through the space of samples: between two, level by level, the best of many.

What is asked for is checked here and becomes a `Drawing`; a run decodes it as it
decodes samples, in tiles, whatever the axes and the family.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 4 and supplement, section 3.4:
the best of n samples.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.data.degradation import DEGRADATIONS
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference import given
from napari_flowsr.inference.consistency import lr_psnr
from napari_flowsr.inference.drawing import Interpolation, Levels, Sweep
from napari_flowsr.inference.options import why_single

if TYPE_CHECKING:
    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.source import Source

__all__ = ["SCORES", "Best", "Choice", "check_samples_differ", "check_temperatures"]
__all__ += ["interpolation", "level_sides", "levels", "psnr_between", "sweep"]

Array = npt.NDArray[Any]

SCORES = ("consistency", "likelihood", "reference")
"""What samples can be ranked by."""


# --- what is asked for ----------------------------------------------------------


def check_samples_differ(bound: Bound, what: str) -> None:
    """Raise `OptionError` where all samples are one, so that ``what`` is in vain."""
    single = why_single(bound.options.prior, bound.flow)
    if single:
        raise OptionError(
            f"{single}: all samples are the same, so there is nothing to {what}. "
            "Choose a model with a flow, and the Gaussian prior (prior='gaussian')."
        )


def _sample_number(name: str, value: Any) -> int:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 0:
        raise OptionError(
            f"{name} is {value!r}; it is the number of a sample, an integer from 0."
        )
    return int(value)


def _number(name: str, value: Any, low: float, high: float, remedy: str) -> float:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not low <= float(value) <= high or not math.isfinite(value):
        raise OptionError(f"{name} is {value!r}; {remedy}")
    return float(value)


def _listed(name: str, values: Any, remedy: str) -> list[Any]:
    """A sequence or one-dimensional array as a list, not empty."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        found = list(values)
        if found:
            return found
    raise OptionError(f"{name} is {values!r}; {remedy}")


def interpolation(bound: Bound, first: Any, second: Any, t: Any) -> Interpolation:
    """Check and bind: images between two samples, one for each number of ``t``."""
    check_samples_differ(bound, "interpolate")
    pair = _sample_number("first", first), _sample_number("second", second)
    if pair[0] == pair[1]:
        raise OptionError(
            f"first and second are both {pair[0]}; interpolation needs the numbers of "
            "two different samples."
        )
    remedy = "give a number from 0 (the first sample) to 1 (the second), or several."
    wanted = [t] if isinstance(t, numbers.Real) else t
    at = [_number("t", v, 0, 1, remedy) for v in _listed("t", wanted, remedy)]
    return Interpolation(*pair, tuple(at))


def check_temperatures(temperatures: Any) -> tuple[float, ...]:
    """Temperatures as numbers; `OptionError` unless at least one, all from 0."""
    remedy = "give a list of standard deviations, numbers from 0."
    listed = _listed("temperatures", temperatures, remedy)
    found = [_number("temperatures", v, 0, math.inf, remedy) for v in listed]
    return tuple(found)


def sweep(bound: Bound, temperatures: Any, *samples: Any) -> Sweep:
    """Check and bind: the same noise at each temperature."""
    check_samples_differ(bound, "compare over temperatures")
    numbered = tuple(_sample_number("sample", s) for s in samples)
    return Sweep(check_temperatures(temperatures), numbered)


def level_sides(bound: Bound) -> tuple[float, ...]:
    """HR pixels along the side of a latent cell, level by level, finest first."""
    spec = bound.setup(1).whole
    scale = bound.geometry.scale
    return tuple(
        float(level.side) if level.side is not None else float(scale / level.rate)
        for level in spec.levels
    )


def levels(bound: Bound, factors: Any, sample: Any) -> Levels:
    """Check and bind: a sample whose levels have temperatures of their own."""
    check_samples_differ(bound, "change level by level")
    sides = level_sides(bound)
    many = f"{len(sides)} levels" if len(sides) > 1 else "1 level"
    cells = ", ".join(f"{side:g}" for side in sides)
    remedy = (
        f"this model has {many} of latents (cells of {cells} HR pixels, finest "
        "first); give one factor of the temperature for each, a number from 0."
    )
    listed = _listed("factors", factors, remedy)
    found = [_number("factors", v, 0, math.inf, remedy) for v in listed]
    if len(found) != len(sides):
        raise OptionError(f"There are {len(found)} factors; {remedy}")
    return Levels(tuple(found), _sample_number("sample", sample))


# --- the best of n --------------------------------------------------------------


def psnr_between(bound: Bound, first: Source, second: Source) -> float:
    """PSNR in dB of two HR images, peak 1 in normalised intensities.

    Over all planes and colours, but for channels of which the LR image is constant.
    """
    squares, count = 0.0, 0
    for unit in bound.workload:
        if bound.workload.constant(unit):
            continue
        pair = [bound.normalised_hr(source, unit) for source in (first, second)]
        squares += float((pair[0] - pair[1]).double().square().sum())
        count += pair[0].numel()
    return lr_psnr(squares / count) if count else math.inf


@dataclass(frozen=True)
class Best:
    """The best of several samples.

    Parameters
    ----------
    index : int
        Its number; of equal ones the first.
    scores : ndarray
        Float64, of each sample; higher is better.
    image : ndarray
        The sample, as `Posterior.sample` gives it.
    """

    index: int
    scores: npt.NDArray[np.float64]
    image: Array


class Choice:
    """Scores samples one by one and keeps the best.

    Parameters
    ----------
    bound : Bound
        LR image and model.
    by : str
        One of `SCORES`.
    reference : array-like, optional
        HR image, for ``by="reference"``.
    """

    def __init__(self, bound: Bound, by: Any, reference: Any = None) -> None:
        if not isinstance(by, str) or by not in SCORES:
            raise OptionError(f"by is {by!r}; choose from {', '.join(SCORES)}.")
        if (reference is None) == (by == "reference"):
            has = "no" if reference is None else "a"
            raise OptionError(
                f"by is {by!r}, and {has} reference was given; by='reference' needs "
                "an HR image of the upscaled shape (reference=...), the others none."
            )
        degradation = bound.card.degradation
        if by == "consistency" and not degradation.has_operator:
            raise OptionError(
                f"by is 'consistency', but the model's card names the degradation "
                f"'{degradation}', which has no operator here (known are "
                f"{', '.join(DEGRADATIONS)}). Rank by another one of "
                f"{', '.join(SCORES)}."
            )
        if by == "likelihood" and bound.flow.deterministic:
            check_samples_differ(bound, "rank by likelihood")
        self.bound, self.by = bound, by
        # Kept, so that the LR image is not encoded anew for each sample.
        self._setup = bound.setup(1) if by == "likelihood" else None
        self._reference = None if reference is None else bound.hr_source(reference)
        self._scores: list[float] = []
        self._index, self._image = 0, np.empty(0)

    def take(self, image: Array) -> float:
        """Score the next sample."""
        found = self.score(image)
        if math.isnan(found):
            raise ImageError(
                f"Sample {len(self._scores)} has no score by {self.by}: its "
                f"{self.by} is not a number. Rank by another one of "
                f"{', '.join(SCORES)}."
            )
        if not self._scores or found > max(self._scores):
            # A copy: the sample may be a part of a larger array.
            self._index, self._image = len(self._scores), image.copy()
        self._scores.append(found)
        return found

    def score(self, image: Array) -> float:
        """Score of one sample: dB, or nats; higher is better."""
        if self.by == "consistency":
            return given.consistency(self.bound, image)[0]
        if self.by == "likelihood":
            return float(given.log_prob(self.bound, image, self._setup).sum())
        if self._reference is None:
            raise RuntimeError("The reference is missing.")
        return psnr_between(self.bound, self.bound.hr_source(image), self._reference)

    def best(self) -> Best:
        """The best one so far."""
        return Best(self._index, np.array(self._scores), self._image)
