"""Events of one run: what `Posterior.stream` yields, for docks, scripts and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from napari_flowsr.errors import FlowSRError

if TYPE_CHECKING:
    # It needs torch, which docks have none of before a run; no event is parsed.
    from napari_flowsr.inference.tiles import Tile  # noqa: TC004

__all__ = ["Edited", "Event", "Finished", "Progress", "Result", "SampleReady"]
__all__ += ["TileDone", "TileFailed"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Progress:
    """Work done so far; whoever stops iterating here cancels the rest.

    Parameters
    ----------
    done, total : int
        In tile-decodes: one tile of one sample. ``total`` may grow while running, when
        a tile must be split (memory) or redrawn (unstable decode).
    message : str
        What was just done, for a status line.
    """

    done: int
    total: int
    message: str = ""


@dataclass(frozen=True)
class SampleReady:
    """One whole sample.

    Sample 0 comes as soon as it is decoded everywhere, the others before `Finished`
    and only if samples were asked for.

    Parameters
    ----------
    index : int
        Number of the sample.
    array : ndarray
        Of the upscaled shape and the dtype of the image.
    """

    index: int
    array: Array


@dataclass(frozen=True)
class Result:
    """Everything that was asked for; what was not is ``None`` or empty.

    Parameters
    ----------
    samples : ndarray or None
        ``(n, *upscaled shape)``, dtype and range of the image.
    mean, std : ndarray or None
        Float32, upscaled shape, intensity units; ``std`` divides by ``n``, so that one
        sample has a standard deviation of 0.
    quantiles : mapping
        Quantile to float32 array, linear between order statistics.
    report : mapping
        JSON-able facts about the run; see `Posterior.stream`.
    """

    samples: Array | None = None
    mean: Array | None = None
    std: Array | None = None
    quantiles: Mapping[float, Array] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """The last event."""

    result: Result


Event = Progress | SampleReady | Finished


@dataclass(frozen=True)
class Edited:
    """The last event of an edit.

    Parameters
    ----------
    array : ndarray
        The whole HR image; where nothing was to change, bit for bit as it was.
    report : mapping
        JSON-able: ``changed_pixels`` (HR, of all planes), ``computed`` (LR pixels that
        were decoded, halos included), ``attempts``, ``seconds``, ``tile``, ``halo``,
        ``seam_error`` (of the halo; ``None`` where it was not measured), ``device``.
    """

    array: Array
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TileDone:
    """A tile of what is in view can be looked at."""

    plane: int
    tile: Tile


@dataclass(frozen=True)
class TileFailed:
    """A tile of what is in view stays without a result."""

    plane: int
    tile: Tile
    error: FlowSRError
