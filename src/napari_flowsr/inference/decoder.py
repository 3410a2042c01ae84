"""Decoding one unit, tile by tile: conditions, latents, memory, crops."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents, Window
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.errors import OutOfMemoryError
from napari_flowsr.inference.excess import split_excess
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory
from napari_flowsr.inference.stability import (
    COOLING,
    RedrawGrid,
    exploded,
    explosion_limit,
)
from napari_flowsr.inference.tiles import Tile, TilePlan
from napari_flowsr.inference.units import Unit, Workload

__all__ = ["ConditionCache", "Exploded", "Limits", "Setup", "UnitDecoder"]

HRTile = npt.NDArray[np.float32]


class Exploded(Exception):
    """The decode of a sample is not finite and its redraws are not settled yet."""

    def __init__(self, sample: int) -> None:
        super().__init__(sample)
        self.sample = sample


@dataclass
class Limits:
    """What was found to fit into memory while running."""

    batch: int
    area: float = math.inf


@dataclass
class ConditionCache:
    """Conditions of tiles, kept from the first pass to the second while they fit."""

    budget: int
    held: int = 0
    items: OrderedDict[tuple[int, Tile], Condition] = field(default_factory=OrderedDict)

    def get(self, key: tuple[int, Tile]) -> Condition | None:
        """Condition of ``(unit, tile)`` if it is held."""
        return self.items.get(key)

    def put(self, key: tuple[int, Tile], condition: Condition) -> None:
        """Hold a condition if the budget allows it."""
        if self.held + condition.nbytes <= self.budget:
            self.items[key] = condition
            self.held += condition.nbytes

    def drop(self, key: tuple[int, Tile]) -> None:
        """Forget one that is not needed any more."""
        condition = self.items.pop(key, None)
        self.held -= condition.nbytes if condition else 0

    def clear(self) -> None:
        """Forget all, and hold no more: memory has run out."""
        self.items.clear()
        self.held = self.budget = 0


@dataclass(frozen=True)
class Setup:
    """What is common to all units of a run."""

    flow: ConditionalFlow
    workload: Workload
    plan: TilePlan
    seed: int
    shared_noise: bool
    temperature: FieldMap
    limits: Limits
    cache: ConditionCache
    peak_bytes: int = 0

    @property
    def scale(self) -> float:
        """HR pixels per LR pixel."""
        return self.workload.geometry.scale

    def box(self, core: Window) -> tuple[int, int, int, int]:
        """HR rows and columns ``(y0, y1, x0, x1)`` of a core, padding cut off."""
        height, width = self.workload.geometry.hr_size
        y0, x0 = round(core.y * self.scale), round(core.x * self.scale)
        y1 = min(height, round((core.y + core.height) * self.scale))
        x1 = min(width, round((core.x + core.width) * self.scale))
        return y0, y1, x0, x1


def pad_plane(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Mirror ``(C, h, w)`` at the bottom and right until it has ``size``."""
    bottom, right = size[0] - values.shape[-2], size[1] - values.shape[-1]
    if not (bottom or right):
        return values
    width = ((0, 0), (0, bottom), (0, right))
    return torch.from_numpy(np.pad(values.numpy(), width, mode="reflect"))


def on_device(values: Tensor, flow: ConditionalFlow) -> Tensor:
    """Bring ``(B, C, H, W)`` to a flow's device and dtype, in the fastest layout.

    Channels-last input makes all convolutions channels-last: measured on a CPU, decode
    of the compact family takes 0.6 to 0.7 of the time. MPS does not gain from it.
    """
    weight = next(flow.parameters())
    moved = values.to(weight.device, weight.dtype)
    if weight.device.type == "mps":
        return moved.contiguous()
    return moved.contiguous(memory_format=torch.channels_last)


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
        self.lr = setup.workload.normalised(unit)
        shown, self.excess = split_excess(self.lr, setup.scale)
        padded = pad_plane(shown, setup.plan.size)
        self._input = setup.workload.network_input(padded)
        self.limit = explosion_limit(shown)
        # The tile at work keeps its condition whatever the cache's budget.
        self._latest: tuple[Tile, Condition] | None = None

    @property
    def noise_plane(self) -> int:
        """Plane number for the noise; the components of an RGB plane share theirs."""
        return 0 if self.setup.shared_noise else self.unit.plane

    # --- the network ----------------------------------------------------------

    def condition(self, tile: Tile) -> Condition:
        """Condition of a tile's window, from the cache or computed."""
        if self._latest is not None and self._latest[0] == tile:
            return self._latest[1]
        key = (self.unit.index, tile)
        found = self.setup.cache.get(key)
        if found is None:
            self._latest = None
            w, flow = tile.window, self.setup.flow
            crop = self._input[..., w.y : w.y + w.height, w.x : w.x + w.width]
            found = flow.condition(on_device(crop, flow))
            self.setup.cache.put(key, found)
        self._latest = tile, found
        return found

    def forget(self, tile: Tile) -> None:
        """Drop a tile's condition: it will not be needed again."""
        self.setup.cache.drop((self.unit.index, tile))
        self._latest = None

    def release(self) -> None:
        """Drop everything that can be computed again."""
        self.setup.cache.clear()
        self._latest = None

    def draw(self, window: Window, samples: range, attempt: int = 0) -> Latents:
        """Latents of a window, on the CPU, as an attempt of all its blocks."""
        setup = self.setup
        factor = COOLING[attempt - 1] if attempt else 1.0
        temperature = setup.temperature.window(self.unit.plane, window, factor)
        noise = NoiseField(setup.seed, self.noise_plane, attempt)
        spec = setup.flow.latent_spec((window.height, window.width), setup.scale)
        return noise.draw(spec, samples=samples, window=window).tempered(temperature)

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
                part = part.where(grid.mask(window, attempt), new)  # type: ignore[union-attr]
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
        top = round(tile.window.y * self.setup.scale)
        left = round(tile.window.x * self.setup.scale)
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
        if not parts:
            raise OutOfMemoryError(
                f"Memory does not suffice for a tile of {tile.core.height} x "
                f"{tile.core.width} LR pixels ({tile.window.height} x "
                f"{tile.window.width} with its halo) on {self.setup.flow.device}. "
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
        bad = np.nonzero(exploded(values, self.limit))[0]
        if bad.size:
            raise Exploded(samples[int(bad[0])])
        excess = self.excess.on_hr(self.setup.box(tile.core))
        return values if excess is None else values + excess.numpy()
