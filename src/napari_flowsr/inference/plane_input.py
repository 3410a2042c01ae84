"""The LR pixels of a unit, read window by window: a plane need not fit into memory.

What a network is shown of a window does not depend on which windows are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.core.latents import Window
from napari_flowsr.inference.excess import Excess, shown
from napari_flowsr.inference.intensity import strips
from napari_flowsr.inference.source import READ_AT_ONCE
from napari_flowsr.inference.stability import GIVEN, explosion_limit
from napari_flowsr.inference.units import Unit, Workload

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["PlaneInput"]


@dataclass(frozen=True)
class PlaneInput:
    """A unit's plane in network units, mirrored to a size that a network takes.

    Parameters
    ----------
    workload : Workload
        The image.
    unit : Unit
        Which plane, which components.
    padded : tuple of int
        ``(h, w)`` with the mirrored pixels, at the bottom and on the right.
    """

    workload: Workload
    unit: Unit
    padded: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """``(h, w)`` of the plane itself."""
        return self.workload.geometry.lr_size

    @cached_property
    def _held(self) -> npt.NDArray[Any] | None:
        """The whole plane, where a part of it costs as much to read or to fill."""
        intensities = self.workload.intensities
        array = intensities.source.array
        height, width = self.size
        is_small = height * width * array.dtype.itemsize <= READ_AT_ONCE
        is_lazy = is_small and not isinstance(array, np.ndarray)
        if not (is_lazy or intensities.filled):
            return None
        return intensities.plane(self.unit.plane)

    def pixels(self, rows: slice, columns: slice) -> Tensor:
        """Normalised pixels ``(components, h, w)``, not clamped."""
        if self._held is not None:
            return self.workload.normalised_of(self._held[rows, columns], self.unit)
        return self.workload.normalised(self.unit, rows, columns)

    @property
    def whole(self) -> Tensor:
        """All normalised pixels ``(components, h, w)``, not clamped."""
        return self.pixels(slice(None), slice(None))

    def window(self, window: Window | None = None) -> Tensor:
        """What a network is shown of a window, or of all: ``(1, channels, h, w)``."""
        w = Window(0, 0, *self.padded) if window is None else window
        rows = _reflected(self.size[0], w.y, w.y + w.height)
        columns = _reflected(self.size[1], w.x, w.x + w.width)
        top, left = int(rows.min()), int(columns.min())
        values = self.pixels(
            slice(top, int(rows.max()) + 1), slice(left, int(columns.max()) + 1)
        )
        values = shown(values)[:, rows - top][:, :, columns - left]
        return self.workload.network_input(values)

    @cached_property
    def _extremes(self) -> tuple[float, float]:
        """Darkest and brightest pixel, of strips."""
        low, high = [], []
        for rows in strips(self.workload.intensities.source):
            strip = self.pixels(rows, slice(None))
            low.append(float(strip.min()))
            high.append(float(strip.max()))
        return min(low), max(high)

    @cached_property
    def limit(self) -> float:
        """Magnitude of an HR value that no sample has."""
        return explosion_limit(shown(torch.tensor(self._extremes)))

    @cached_property
    def given_limit(self) -> float:
        """As `limit`, for given latents, which may be of a brighter image."""
        return explosion_limit(torch.tensor(self._extremes), factor=GIVEN)

    @cached_property
    def excess(self) -> Excess:
        """What a network is not shown, on the HR grid."""
        extremes = torch.tensor(self._extremes)
        is_within = bool(torch.equal(shown(extremes), extremes))
        read = None if is_within else self.pixels
        return Excess(read, self.size, self.workload.geometry.hr_size)


def _reflected(size: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Indices ``start`` to ``stop`` of an axis that is mirrored beyond ``size``."""
    if size == 1:
        return np.zeros(stop - start, np.int64)
    period = 2 * (size - 1)
    at = np.arange(start, stop) % period
    return np.where(at < size, at, period - at)
