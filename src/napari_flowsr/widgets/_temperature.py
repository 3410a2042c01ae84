"""What the page "Temperature" of the Edit dock computes. No Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.widgets._edit_page import EditContext

__all__ = ["WAYS", "Recipe", "redrawn"]

WAYS = ("painted labels", "a map (image layer)", "by uncertainty")

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """How to come to the map, with all that the layers say.

    Parameters
    ----------
    way : str
        One of the three.
    values : ndarray or None
        Labels, temperatures or standard deviations on the HR grid; ``None``: the
        deviations are computed.
    table : dict
        Label to temperature.
    default, low, high : float
        Elsewhere; where the spread is small, and where it is large.
    samples : int
        To compute the spread of.
    """

    way: str
    values: Any
    table: dict[int, float]
    default: float
    low: float
    high: float
    samples: int

    def map(self, context: EditContext) -> Iterator[Any]:
        """Progress, and last the map; in the worker's thread."""
        from napari_flowsr.inference.temperature_maps import (
            temperature_by_uncertainty,
            temperature_from_labels,
        )

        if self.way == WAYS[0]:
            yield temperature_from_labels(self.values, self.table, self.default)
        elif self.way == WAYS[1]:
            found = np.asarray(self.values, np.float32)
            yield np.where(np.isnan(found), np.float32(self.default), found)
        else:
            std = self.values
            if std is None:
                std = yield from _spread(context, self.samples)
            yield temperature_by_uncertainty(std, low=self.low, high=self.high)

    def facts(self) -> dict[str, Any]:
        """For the record."""
        if self.way == WAYS[0]:
            table = {str(label): value for label, value in self.table.items()}
            return {"temperatures": table, "default": self.default}
        if self.way == WAYS[1]:
            return {"default": self.default}
        facts: dict[str, Any] = {"low": self.low, "high": self.high}
        return facts | ({"n": self.samples} if self.values is None else {})


def _spread(context: EditContext, samples: int) -> Any:
    """Standard deviation of samples, without colour, as a map."""
    from napari_flowsr.inference.events import Finished, Progress

    post = context.posterior()
    for event in post.stream(samples, ("std",), preview=False):
        if isinstance(event, Progress):
            yield event
        elif isinstance(event, Finished) and event.result.std is not None:
            std = event.result.std
            return context.planes(std.mean(-1) if "S" in post.geometry.axes else std)
    raise RuntimeError("The run ended without a standard deviation.")


def redrawn(context: EditContext, taus: Map, hr: Any, mask: Any, seed: int) -> Any:
    """The image, drawn anew with a map of temperatures; progress meanwhile."""
    from napari_flowsr.inference.events import Progress, SampleReady

    if mask is not None:
        for step in context.posterior().resampling(hr, mask, seed, taus):
            if isinstance(step, Progress):
                yield step
            else:
                return step.array
    post = context.posterior(temperature=taus, seed=seed)
    for event in post.stream(1, ("samples",)):
        if isinstance(event, Progress):
            yield event
        elif isinstance(event, SampleReady):
            return event.array.astype(hr.dtype, copy=False)
    raise RuntimeError("The run ended without an image.")
