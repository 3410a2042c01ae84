"""One run: which tiles and samples are decoded in which order, and what is yielded.

With a preview, sample 0 is decoded everywhere first; then come the remaining samples
tile by tile. All samples of a tile are turned into its statistics before the next
tile, so that nothing but the outputs is held. Back-projected samples are a matter of
the whole plane: then a region is the plane instead of a tile.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_flowsr.core.allocator import freed_memory_kept
from napari_flowsr.errors import UnstableDecodeError
from napari_flowsr.inference.agreement import NO_SPREAD
from napari_flowsr.inference.consistency import Projection, lr_psnr
from napari_flowsr.inference.decoder import Exploded, UnitDecoder
from napari_flowsr.inference.events import (
    Event,
    Finished,
    Progress,
    Result,
    SampleReady,
)
from napari_flowsr.inference.outputs import Order, Outputs
from napari_flowsr.inference.seam import TOLERANCE
from napari_flowsr.inference.stability import RedrawGrid, redraw_report
from napari_flowsr.inference.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from napari_flowsr.inference.setup import Setup
    from napari_flowsr.inference.units import Unit

__all__ = ["Run"]

Region = tuple[Tile, ...]


class Run:
    """State of one run.

    Parameters
    ----------
    setup : Setup
        Flow, image, tiles, noise.
    order : Order
        What to compute.
    """

    def __init__(self, setup: Setup, order: Order) -> None:
        self.setup, self.order = setup, order
        self.work = setup.workload
        self.outputs = Outputs(setup.workload, order)
        self.done = 0
        self.total = len(self.work) * len(setup.plan) * order.n
        self.psnr: dict[tuple[int, int], float] = {}
        self.grids: dict[tuple[int, int], RedrawGrid] = {}

    def events(self) -> Iterator[Event]:
        """Compute; see `Posterior.stream`."""
        with freed_memory_kept():
            yield from self._events()

    def _events(self) -> Iterator[Event]:
        started = time.perf_counter()
        out = self.outputs
        for samples in self.order.passes:
            out.begin(samples)
            for unit in self.work:
                yield from self._unit(unit, samples)
            out.write_alpha(samples)
            if self.order.at_once:
                for i in samples:
                    yield SampleReady(i, out.sample(i))
            elif samples.start == 0 and out.preview is not None:
                yield SampleReady(0, out.preview[0])
        held = None if self.order.at_once else out.samples
        if held is not None:
            for i in range(1, self.order.n):
                yield SampleReady(i, held[i])
        psnr = yield from self._consistency()
        report = self._report(time.perf_counter() - started, psnr)
        yield Finished(Result(held, out.mean, out.std, out.quantiles, report))

    def _tick(self, count: int, message: str) -> Progress:
        self.done += count
        self.total = max(self.total, self.done)
        return Progress(self.done, self.total, message)

    def _unit(self, unit: Unit, samples: range) -> Iterator[Event]:
        if self.work.constant(unit):
            self.outputs.fill_constant(unit, samples)
            yield self._tick(len(samples) * len(self.setup.plan), "constant channel")
            return
        decoder = UnitDecoder(self.setup, unit)
        tiles = tuple(self.setup.plan)
        regions: list[Region] = [(tile,) for tile in tiles]
        queue = deque([tiles] if self.order.consistent else regions)
        finished: list[Region] = []
        while queue:
            region = queue.popleft()
            try:
                yield from self._region(decoder, region, samples)
                finished.append(region)
            except Exploded as signal:
                yield from self._settle(decoder, signal.sample)
                # Regions that are done already may contain redrawn latents too.
                grid = decoder.grids[signal.sample]
                again = [r for r in finished if any(grid.within(t.window) for t in r)]
                finished = [r for r in finished if r not in again]
                queue.extendleft([*again, region])
                self.total += len(samples) * sum(map(len, again))

    def _region(
        self, decoder: UnitDecoder, region: Region, samples: range
    ) -> Iterator[Event]:
        unit, boxes = decoder.unit, [self.setup.box(tile.core) for tile in region]
        y0, x0 = origin = boxes[0][0], boxes[0][2]
        shape = (len(unit.components), boxes[-1][1] - y0, boxes[-1][3] - x0)
        statistics = self.outputs.statistics(unit, shape, origin, samples)
        size = self.setup.limits.batch
        for start in range(samples.start, samples.stop, size):
            batch = range(start, min(start + size, samples.stop))
            block = np.empty((len(batch), *shape), np.float32)
            for tile, (a, b, c, d) in zip(region, boxes, strict=True):
                values = decoder.checked(tile, batch)
                block[..., a - y0 : b - y0, c - x0 : d - x0] = values
                yield self._tick(len(batch), _message(unit, batch))
            if self.order.consistent:
                yield from self._project(decoder, block, batch)
            for i, sample in enumerate(batch):
                self.outputs.take(unit, sample, block[i], origin)
                if statistics is not None:
                    statistics.add(block[i])
        if statistics is not None:
            self.outputs.write_statistics(unit, statistics, origin)
        if samples.stop == self.order.n:
            for tile in region:
                decoder.forget(tile)

    def _settle(self, decoder: UnitDecoder, sample: int) -> Iterator[Event]:
        """Redraw bad blocks of one sample until its whole plane is finite."""
        if sample in decoder.grids:
            raise UnstableDecodeError(
                f"Sample {sample} is finite in one decode and not in another: its "
                "values are at the limit of floating point. Lower the temperature."
            )
        plan, one = self.setup.plan, range(sample, sample + 1)
        grid = RedrawGrid.empty(plan.size, plan.align)
        affected = list(plan)
        while affected:
            bad = np.zeros(grid.attempts.shape, bool)
            self.total += len(affected)
            for tile in affected:
                values = decoder.decode(tile, one)[0]
                y0, y1, x0, x1 = self.setup.box(tile.core)
                rows, columns = self.setup.under
                under = rows[y0:y1], columns[x0:x1]
                bad |= grid.bad_blocks(values, under, decoder.input.limit)
                yield self._tick(1, f"sample {sample}: unstable, redrawn in part")
            if bad.any():
                grid = grid.raised(bad, sample)
            decoder.grids[sample] = grid
            affected = [tile for tile in plan if grid.touches(tile.window, bad)]
        self.grids[decoder.unit.index, sample] = grid

    def _project(
        self, decoder: UnitDecoder, block: npt.NDArray[np.float32], batch: range
    ) -> Iterator[Event]:
        """Back-project each sample of a plane, in place."""
        device = self.setup.flow.device
        lr = decoder.input.whole.to(device)
        for i, sample in enumerate(batch):
            hr = torch.from_numpy(block[i]).to(device)
            projection = Projection(hr, lr, self.setup.scale, self.order.degradation)
            while not projection.finished:
                projection.step()
                yield self._tick(0, f"sample {sample}: back-projection")
            projected, psnr = projection.result()
            block[i] = projected.cpu().numpy()
            self.psnr[decoder.unit.index, sample] = psnr

    def _consistency(self) -> Generator[Event, None, list[float]]:
        """LR-PSNR of each sample over all units, as far as whole samples are known.

        That of back-projected samples is of their float values; the others are measured
        as they are returned, rounded to the dtype.
        """
        units = [unit for unit in self.work if not self.work.constant(unit)]
        known = self.order.degradation.has_operator
        held = self.outputs.samples is not None and not self.order.at_once
        if held and known and not self.order.consistent:
            for sample in range(self.order.n):
                for unit in units:
                    found = self.outputs.lr_psnr(unit, sample)
                    self.psnr[unit.index, sample] = found
                    yield self._tick(0, "consistency with the input")
        means = []
        for sample in range(self.order.n if self.psnr else 0):
            squares = [10 ** (-0.1 * self.psnr[unit.index, sample]) for unit in units]
            means.append(lr_psnr(float(np.mean(squares))))
        return means

    def _notices(self) -> list[str]:
        found = []
        if self.order.spread and self.setup.temperature.is_zero:
            found.append(NO_SPREAD)
        if (error := self.setup.seam_error) is not None and error > TOLERANCE:
            found.append(
                "This network sees farther than a tile's halo: at the seams of tiles "
                f"the result may differ by {100 * error:.2g} % of the range from that "
                "of the whole image. Larger tiles have fewer seams."
            )
        return found

    def _report(self, seconds: float, psnr: Sequence[float]) -> dict[str, Any]:
        limits, setup = self.setup.limits, self.setup
        return {
            **redraw_report((s, g) for (_, s), g in self.grids.items()),
            "seconds": round(seconds, 3),
            "tile": setup.plan.tile,
            "tiles": len(setup.plan),
            "halo": setup.plan.halo,
            "seam_error": setup.seam_error,
            "batch": limits.batch,
            "peak_bytes": setup.peak_bytes,
            "memory_shortage": limits.area != math.inf,
            "device": str(setup.flow.device),
            "filled_pixels": self.work.intensities.filled,
            "consistent": self.order.consistent,
            "identical": setup.is_single,
            "notices": self._notices(),
            "lr_psnr": [round(p, 3) if math.isfinite(p) else None for p in psnr],
        }


def _message(unit: Unit, batch: range) -> str:
    last = f" to {batch[-1]}" if len(batch) > 1 else ""
    return f"plane {unit.plane}, sample {batch[0]}{last}"
