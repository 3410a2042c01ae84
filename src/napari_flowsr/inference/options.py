"""Options of a posterior, checked once."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["PRECISIONS", "PRIORS", "Options", "ProgressCallback", "check_callback"]
__all__ += ["check_progress", "check_spread", "check_tileable", "why_single"]

PRIORS = ("gaussian", "learned")
PRECISIONS = ("float32", "bfloat16", "float16")
"""Of the encoder (`core.precision`); the flow is computed in the first."""
_NOISE = ("per-plane", "shared")
_NAN = ("raise", "fill")

ProgressCallback = Callable[[int, int], object]


@dataclass(frozen=True)
class Options:
    """What a run depends on besides image, model and temperature.

    Parameters
    ----------
    seed : int
        Any integer from 0.
    prior : str
        One of `PRIORS`.
    noise : str
        ``"per-plane"``, or ``"shared"``: the same noise in all planes.
    consistent : bool
        Back-project each sample.
    tile : int, "auto" or None
        Side in LR pixels, from free memory, or the whole plane.
    nan : str
        ``"raise"`` or ``"fill"``.
    precision : str
        One of `PRECISIONS`.
    """

    seed: int = 0
    prior: str = "gaussian"
    noise: str = "per-plane"
    consistent: bool = False
    tile: int | Literal["auto"] | None = "auto"
    nan: str = "raise"
    precision: str = "float32"
    first_plane: int = 0
    """Number of the first plane in a larger image, of which this is a part: planes
    have the noise that they have there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", _integer("seed", self.seed))
        if self.seed < 0:
            raise OptionError(
                f"seed is {self.seed}; give an integer from 0, of any size."
            )
        _one_of("prior", self.prior, PRIORS)
        _one_of("noise", self.noise, _NOISE)
        _one_of("nan", self.nan, _NAN)
        _one_of("precision", self.precision, PRECISIONS)
        if not isinstance(self.consistent, bool):
            raise OptionError(f"consistent is {self.consistent!r}; give True or False.")
        if self.tile is not None and self.tile != "auto":
            tile = _integer("tile", self.tile)
            if tile < 1:
                raise OptionError(
                    f"tile is {tile}; it is the side in LR pixels, at least 1, 'auto', "
                    "or None for the whole plane."
                )
            object.__setattr__(self, "tile", tile)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise OptionError(f"{name} is {value!r}; it must be an integer.")
    return int(value)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        known = ", ".join(repr(a) for a in allowed)
        raise OptionError(f"{name} is {value!r}; choose from {known}.")


def check_count(n: Any) -> int:
    """Return the number of samples as an `int`; `OptionError` unless at least 1."""
    count = _integer("n", n)
    if count < 1:
        raise OptionError(f"n is {count}; it is the number of samples, at least 1.")
    return count


def check_callback(name: str, function: Any, what: str) -> None:
    """Raise `OptionError` for a callback that cannot be called."""
    if function is not None and not callable(function):
        raise OptionError(f"{name} is {function!r}; give a function {what}, or None.")


def check_progress(progress: Any) -> None:
    """Raise `OptionError` for a ``progress`` that cannot be called."""
    check_callback("progress", progress, "of two numbers, done and in all")


def why_single(prior: str, flow: ConditionalFlow) -> str:
    """Why all samples are the same one, for an error; empty if they differ."""
    if prior == "learned":
        return "A learned prior makes one prediction"
    if flow.deterministic:
        return "A deterministic model makes one prediction"
    return ""


def check_spread(n: int, single: str) -> None:
    """Raise `OptionError` where samples can show no spread: it would be 0 everywhere.

    Parameters
    ----------
    n : int
        Samples.
    single : str
        As `why_single` gives it.
    """
    if single:
        raise OptionError(
            f"{single}: there is one image and no spread, which is no sign of "
            "certainty. Leave the standard deviation and quantiles out."
        )
    if n < 2:
        raise OptionError(
            f"Standard deviation and quantiles are asked for of {n} sample, which has "
            "no spread. Draw at least 2, better 8, or leave these outputs out."
        )


def check_scale(scale: Any, flow: ConditionalFlow) -> float:
    """Return the scale to use: the given one, or the first of the model."""
    if scale is None:
        return float(flow.scales[0])
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real):
        allowed = " or ".join(f"{s:g}" for s in flow.scales)
        if flow.scale_range is not None:
            allowed = "a number from {:g} to {:g}".format(*flow.scale_range)
        raise OptionError(f"scale is {scale!r}; it must be {allowed}.")
    flow.check_scale(float(scale))
    return float(scale)


def check_prior(prior: str, flow: ConditionalFlow) -> None:
    """Raise `OptionError` if the model lacks the learned prior that is asked for."""
    if prior == "learned" and flow.latent_module is None:
        raise OptionError(
            "The learned prior is chosen, but this model was loaded without one. Load "
            "it with one (load_model(model, prior=NAME_OR_PATH), --prior-model, or "
            "'Learned prior' under More options), or choose the Gaussian one "
            "(prior='gaussian')."
        )


def check_tileable(*, consistent: bool, prior: str) -> None:
    """Raise `OptionError` for options that need a whole plane."""
    if consistent:
        raise OptionError(
            "Exact agreement with the input is reached on whole planes, so parts that "
            "are in view cannot have it. Leave one of the two out."
        )
    if prior == "learned":
        raise OptionError(
            "A learned prior sees whole planes, so that parts that are in view cannot "
            "be computed alone. Choose the Gaussian prior, or compute the whole image."
        )
