"""Outputs of a run: what is held, and how regions of results get into it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.data.degradation import Degradation
from napari_flowsr.data.degrade import downscale
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.consistency import lr_psnr, strips
from napari_flowsr.inference.ensemble import Statistics, check_quantiles
from napari_flowsr.inference.options import check_count, check_spread
from napari_flowsr.inference.source import plane_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.inference.units import Unit, Workload

__all__ = ["OUTPUTS", "Order", "Outputs"]

OUTPUTS = ("samples", "mean", "std", "quantiles")
Array = npt.NDArray[Any]
Block = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Parameters
    ----------
    n : int
        Samples.
    outputs : frozenset of str
        Some of `OUTPUTS`.
    quantiles : tuple of float
        From 0 to 1.
    consistent : bool
        Back-project each sample.
    degradation : Degradation
        Of the model's card.
    preview : bool
        Finish sample 0 everywhere before the others are begun.
    single : str
        Why all samples are the same one, which is then decoded once; else empty.
    at_once : int
        Samples of a pass, which are handed over when it is done and not held, so that
        memory does not grow with ``n``. 0: what is asked for is held.
    """

    n: int
    outputs: frozenset[str]
    quantiles: tuple[float, ...]
    consistent: bool
    degradation: Degradation
    preview: bool
    single: str = ""
    at_once: int = 0

    @classmethod
    def checked(
        cls,
        n: int,
        outputs: Sequence[str] | None,
        quantiles: Sequence[float],
        **further: Any,
    ) -> Order:
        """Check what a caller asks for; `OptionError` says what is allowed.

        ``None`` asks for all outputs that there are: there is no spread of one image.
        """
        count, levels = check_count(n), check_quantiles(quantiles)
        if outputs is None:
            outputs = (
                OUTPUTS if count > 1 and not further.get("single") else OUTPUTS[:2]
            )
        listed = isinstance(outputs, Iterable) and not isinstance(outputs, str)
        wanted: list[Any] = list(outputs) if listed else [outputs]
        if not wanted or any(o not in OUTPUTS for o in wanted):
            raise OptionError(
                f"outputs is {outputs!r}; choose one or more of {', '.join(OUTPUTS)}."
            )
        order = cls(count, frozenset(wanted), levels, **further)
        if order.spread:
            check_spread(count, order.single)
        return order

    @property
    def spread(self) -> bool:
        """Whether the spread of the samples is asked for, in any form."""
        asked = bool(self.quantiles) and "quantiles" in self.outputs
        return asked or "std" in self.outputs

    @property
    def statistics(self) -> bool:
        """Whether anything beyond samples is asked for."""
        return bool(self.outputs - {"samples"})

    @property
    def passes(self) -> list[range]:
        """Sample numbers of each pass."""
        if self.at_once:
            starts = range(0, self.n, self.at_once)
            return [range(i, min(i + self.at_once, self.n)) for i in starts]
        if self.preview and self.n > 1 and not self.single:
            return [range(1), range(1, self.n)]
        return [range(self.n)]


class Outputs:
    """Arrays that are filled region by region.

    Parameters
    ----------
    workload : Workload
        The image; its output shape and ranges.
    order : Order
        What to hold.
    """

    def __init__(self, workload: Workload, order: Order) -> None:
        self._work, self._order = workload, order
        dtype, wanted = workload.intensities.source.dtype, order.outputs
        held = 0 if order.at_once else order.n
        self.samples = workload.new(dtype, held) if "samples" in wanted else None
        self._start = 0  # the number of the first sample in it
        self.preview = self.samples
        if self.samples is None and order.preview:
            self.preview = workload.new(dtype, 1)
        self.mean = workload.new(np.float32) if "mean" in wanted else None
        self.std = workload.new(np.float32) if "std" in wanted else None
        asked = order.quantiles if "quantiles" in wanted else ()
        self.quantiles = {q: workload.new(np.float32) for q in asked}
        # Sample 0 in network units, for statistics that are made in a later pass.
        self._first: dict[int, Block] = {}

    def begin(self, samples: range) -> None:
        """Prepare a pass: new arrays for samples that will be handed over."""
        if self._order.at_once:
            dtype = self._work.intensities.source.dtype
            self.samples = self._work.new(dtype, len(samples))
            self._start = samples.start

    def sample(self, number: int) -> Array:
        """One of the samples that are held."""
        if self.samples is None:
            raise RuntimeError("Samples are not held.")
        found: Array = self.samples[number - self._start]
        return found

    def statistics(
        self,
        unit: Unit,
        shape: tuple[int, ...],
        origin: tuple[int, int],
        samples: range,
    ) -> Statistics | None:
        """Statistics of a region of the last pass, with what earlier passes gave."""
        if samples.stop < self._order.n or not self._order.statistics:
            return None
        statistics = Statistics(shape, self._order.n, keep=bool(self.quantiles))
        if samples.start > 0:
            y, x = origin
            first = self._first[unit.index]
            statistics.add(first[:, y : y + shape[1], x : x + shape[2]])
        return statistics

    def take(
        self, unit: Unit, sample: int, values: Block, origin: tuple[int, int]
    ) -> None:
        """Write one sample of a region, ``(components, h, w)`` in network units."""
        if self.samples is not None:
            self._work.write(self.sample(sample), unit, origin, values)
        elif sample == 0 and self.preview is not None:
            self._work.write(self.preview[0], unit, origin, values)
        if sample == 0 and self._order.statistics and len(self._order.passes) > 1:
            if unit.index not in self._first:
                shape = (len(values), *self._work.geometry.hr_size)
                self._first[unit.index] = np.empty(shape, np.float32)
            (y, x), (_, height, width) = origin, values.shape
            self._first[unit.index][:, y : y + height, x : x + width] = values

    def write_statistics(
        self, unit: Unit, statistics: Statistics, origin: tuple[int, int]
    ) -> None:
        """Write the statistics of a region."""
        if self.mean is not None:
            self._work.write(self.mean, unit, origin, statistics.mean)
        if self.std is not None:
            self._work.write_spread(self.std, unit, origin, statistics.std)
        for q, out in self.quantiles.items():
            self._work.write(out, unit, origin, statistics.quantile(q))

    def _of_pass(self, samples: range) -> list[Array]:
        """Arrays of image values that a pass completes."""
        found: list[Array] = []
        if self.samples is not None:
            found += [self.sample(i) for i in samples]
        elif self.preview is not None and samples.start == 0:
            found.append(self.preview[0])
        if samples.stop == self._order.n:
            found += [a for a in (self.mean, *self.quantiles.values()) if a is not None]
        return found

    def fill_constant(self, unit: Unit, samples: range) -> None:
        """Write a constant channel, which needs no network."""
        for out in self._of_pass(samples):
            self._work.fill_constant(out, unit)
        if self.std is not None and samples.stop == self._order.n:
            self._work.fill_constant(self.std, unit, spread=True)

    def write_alpha(self, samples: range) -> None:
        """Write the alpha component, if there is one."""
        if not self._work.alpha:
            return
        for out in self._of_pass(samples):
            for plane in range(self._work.geometry.planes):
                self._work.write_alpha(out, plane)
        if self.std is not None and samples.stop == self._order.n:
            self.std[..., 3] = 0

    def lr_psnr(self, unit: Unit, sample: int) -> float:
        """LR-PSNR of one unit of a sample as it is returned, rounded to the dtype."""
        geometry, how = self._work.geometry, self._order.degradation
        total, count = 0.0, 0
        for strip in strips(geometry.lr_size, geometry.scale, how):
            view = plane_view(
                self.sample(sample), geometry.upscaled, unit.plane, strip.hr_rows
            )
            hr = self._work.normalised_of(view, unit)
            low = downscale(hr, geometry.scale, how)[:, strip.within]
            residual = low - self._work.normalised(unit, strip.rows)
            total += float(residual.double().square().sum())
            count += residual.numel()
        return lr_psnr(total / count)
