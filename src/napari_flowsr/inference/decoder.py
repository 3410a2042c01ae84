"""Decoding one unit, tile by tile: conditions, latents, memory, crops."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents, Window
from napari_flowsr.core.layout import layout_of
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.precision import FULL, conditioned
from napari_flowsr.errors import OutOfMemoryError
from napari_flowsr.inference.learned import LearnedLatents
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory
from napari_flowsr.inference.plane_input import PlaneInput
from napari_flowsr.inference.setup import ConditionCache, Limits, Setup
from napari_flowsr.inference.stability import (
    RedrawGrid,
    cooling,
    exploded,
)

if TYPE_CHECKING:
    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.latents import LatentSpec
    from napari_flowsr.inference.tiles import Tile
    from napari_flowsr.inference.units import Unit

__all__ = ["ConditionCache", "Exploded", "Limits", "Setup", "UnitDecoder"]
__all__ += ["on_device", "pad_plane"]

HRTile = npt.NDArray[np.float32]


class Exploded(Exception):
    """The decode of a sample is not finite and its redraws are not settled yet."""

    def __init__(self, sample: int) -> None:
        super().__init__(sample)
        self.sample = sample


def pad_plane(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Mirror ``(C, h, w)`` at the bottom and right until it has ``size``."""
    bottom, right = size[0] - values.shape[-2], size[1] - values.shape[-1]
    if not (bottom or right):
        return values
    width = ((0, 0), (0, bottom), (0, right))
    return torch.from_numpy(np.pad(values.numpy(), width, mode="reflect"))


def on_device(values: Tensor, flow: ConditionalFlow) -> Tensor:
    """Bring ``(B, C, H, W)`` to a flow's device and dtype, in the fastest layout."""
    weight = next(flow.parameters())
    moved = values.to(weight.device, weight.dtype)
    return moved.contiguous(memory_format=layout_of(weight.device))


class UnitDecoder:
    """Samples of one unit, any tile at a time.

    Parameters
    ----------
    setup : Setup
        Of the run.
    unit : Unit
        What to decode.
    """

    def __init__(self, setup: Setup, unit: Unit) -> None:
        self.setup = setup
        self.unit = unit
        self.grids: dict[int, RedrawGrid] = {}
        self.input = PlaneInput(setup.workload, unit, setup.plan.size)
        # The tile at work keeps its condition whatever the cache's budget.
        self._latest: tuple[Tile, Condition] | None = None

    @property
    def noise_plane(self) -> int:
        """Plane number for the noise; the components of an RGB plane share theirs."""
        first = self.setup.first_plane
        return 0 if self.setup.shared_noise else first + self.unit.plane

    # --- the network ----------------------------------------------------------

    def condition(self, tile: Tile) -> Condition:
        """Condition of a tile's window, from the cache or computed."""
        if self._latest is not None and self._latest[0] == tile:
            return self._latest[1]
        key = (self.unit.index, tile)
        found = self.setup.cache.get(key)
        if found is None:
            self._latest = None
            found = self._condition(tile.window, tile.seen)
            self.setup.cache.put(key, found)
        self._latest = tile, found
        return found

    def _condition(self, window: Window, seen: Window | None) -> Condition:
        w, setup = seen or window, self.setup
        crop = self.input.window(w)
        if seen is None:
            return self.condition_of(crop, window, setup.precision)
        moved = on_device(crop, setup.flow)
        wide = conditioned(setup.flow, moved, setup.precision).at(setup.place(w))
        return setup.flow.prepare(wide.crop(window), setup.spec(window))

    def condition_of(
        self, crop: Tensor, window: Window, precision: str = FULL
    ) -> Condition:
        """Prepared condition of a window's LR pixels ``(1, C, h, w)``, not kept."""
        setup, moved = self.setup, on_device(crop, self.setup.flow)
        cond = conditioned(setup.flow, moved, precision).at(setup.place(window))
        return setup.flow.prepare(cond, setup.spec(window))

    def forget(self, tile: Tile) -> None:
        """Drop a tile's condition: it will not be needed again."""
        self.setup.cache.drop((self.unit.index, tile))
        self._latest = None

    def release(self) -> None:
        """Drop everything that can be computed again."""
        self.setup.cache.clear()
        self._latest = None

    # --- latents --------------------------------------------------------------

    @cached_property
    def learned(self) -> LearnedLatents:
        """Latents of the learned prior."""
        return LearnedLatents(self)

    def noise(self, spec: LatentSpec, samples: range, attempt: int = 0) -> Latents:
        """White noise of samples, for a placed spec."""
        field = NoiseField(self.setup.seed, self.noise_plane, attempt)
        return field.draw(spec, samples=samples)

    def temperature(self, spec: LatentSpec, attempt: int = 0) -> float | Tensor:
        """Temperature of a placed spec, cooled for a redraw."""
        factor = cooling(attempt)
        return self.setup.temperature.window(self.unit.plane, spec, factor)

    def draw(self, window: Window, samples: range, attempt: int = 0) -> Latents:
        """Latents of a window, on the CPU, as an attempt of all its blocks."""
        setup = self.setup
        return setup.drawing.draw(self, setup.spec(window), samples, attempt)

    def latents(self, window: Window, samples: range) -> Latents:
        """Latents of a window, with the redraws that are known of."""
        drawn = self.draw(window, samples)
        redrawn = {s: g for s in samples if (g := self.grids.get(s)) is not None}
        if not any(grid.within(window) for grid in redrawn.values()):
            return drawn
        parts = []
        for i, sample in enumerate(samples):
            part = drawn[i : i + 1]
            grid = redrawn.get(sample)
            for attempt in grid.within(window) if grid else ():
                one = range(sample, sample + 1)
                new = self.draw(window, one, attempt)
                part = part.where(grid.mask(part.spec, attempt), new)  # type: ignore[union-attr]
            parts.append(part)
        return Latents.cat(parts)

    @torch.inference_mode()
    def _decode_once(self, tile: Tile, samples: range) -> HRTile:
        cond = self.condition(tile)
        latents = self.latents(tile.window, samples)
        return self.run(tile, cond, latents)

    def run(self, tile: Tile, cond: Condition, latents: Latents) -> HRTile:
        """Decode given latents of a window; ``(B, components, ...)`` of the core."""
        flow = self.setup.flow
        hr = flow.decode(latents.map(lambda t: on_device(t, flow)), cond)
        y0, y1, x0, x1 = self.setup.box(tile.core)
        top, left = latents.spec.hr_start
        hr = hr[..., y0 - top : y1 - top, x0 - left : x1 - left]
        reduced = self.setup.workload.reduced(hr)
        return np.asarray(reduced.float().cpu().numpy())

    # --- memory and stability -------------------------------------------------

    def decode(self, tile: Tile, samples: range) -> HRTile:
        """HR content of a tile's core, ``(B, components, H, W)`` in network units.

        As the network gives it, without the excess. If memory does not suffice, first
        fewer samples at once are tried, then tiles of half the side; neither changes
        the result.

        Raises
        ------
        OutOfMemoryError
            Not even the smallest tile fits.
        """
        limits = self.setup.limits
        if self.setup.is_single and len(samples) > 1:
            return np.repeat(self.decode(tile, samples[:1]), len(samples), axis=0)
        if len(samples) > limits.batch:
            batches = [
                samples[i : i + limits.batch]
                for i in range(0, len(samples), limits.batch)
            ]
            return np.concatenate([self.decode(tile, b) for b in batches])
        if tile.area > limits.area:
            return self._in_parts(tile, samples)
        try:
            return self._decode_once(tile, samples)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the except clause, whose traceback would keep the tensors alive.
        self.release()
        empty_cache(self.setup.flow.device)
        if len(samples) > 1:
            limits.batch = len(samples) // 2
        else:
            limits.area = tile.area - 1
        return self.decode(tile, samples)

    def _in_parts(self, tile: Tile, samples: range) -> HRTile:
        parts = self.setup.plan.split(tile)
        if not parts and self.setup.plan.is_whole:
            raise OutOfMemoryError(
                f"Memory does not suffice for {tile.core.height} x {tile.core.width} "
                f"LR pixels on {self.setup.flow.device}, and this model takes no "
                "tiles. Crop the image, or load the model so that it does: "
                'assume={"grid": "corrected"} for LINF.'
            )
        if not parts:
            seen = tile.seen or tile.window
            raise OutOfMemoryError(
                f"Memory does not suffice for a tile of {tile.core.height} x "
                f"{tile.core.width} LR pixels ({seen.height} x {seen.width} with its "
                f"halo) on {self.setup.flow.device}. "
                "Close other programs, use a smaller model, or another device."
            )
        y0, y1, x0, x1 = self.setup.box(tile.core)
        components = len(self.unit.components)
        out = np.empty((len(samples), components, y1 - y0, x1 - x0), np.float32)
        for part in parts:
            a, b, c, d = self.setup.box(part.core)
            out[..., a - y0 : b - y0, c - x0 : d - x0] = self.decode(part, samples)
        return out

    def checked(self, tile: Tile, samples: range) -> HRTile:
        """As `decode`, with the excess.

        Raises
        ------
        Exploded
            With the first sample whose decode exploded.
        """
        values = self.decode(tile, samples)
        bad = np.nonzero(exploded(values, self.input.limit))[0]
        if bad.size:
            raise Exploded(samples[int(bad[0])])
        excess = self.input.excess.on_hr(self.setup.box(tile.core))
        return values if excess is None else values + excess.numpy()
