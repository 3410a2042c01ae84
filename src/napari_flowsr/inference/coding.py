"""Encoding, decoding and re-sampling given HR images, unit by unit and tile by tile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec, Window
from napari_flowsr.errors import OutOfMemoryError, SizeError, UnstableDecodeError
from napari_flowsr.inference.decoder import Setup, UnitDecoder, on_device, pad_plane
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory
from napari_flowsr.inference.stability import (
    COOLING,
    GIVEN,
    exploded,
    explosion_limit,
)
from napari_flowsr.inference.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.inference.maps import FieldMap
    from napari_flowsr.inference.units import Unit

__all__ = ["UnitCoder"]

_SMALLEST = 16
T = TypeVar("T")
Block = npt.NDArray[np.float32]


def _inside(level: LatentLevel, box: Window, frame: Window) -> tuple[slice, slice]:
    """Rows and columns of ``box`` on a level whose tensor starts at ``frame``."""
    (y, x), (top, left) = level.origin(box), level.origin(frame)
    height, width = (int(side * level.rate) for side in (box.height, box.width))
    return slice(y - top, y - top + height), slice(x - left, x - left + width)


class UnitCoder:
    """One unit of an image, seen from its HR side.

    Parameters
    ----------
    setup : Setup
        As of a run.
    unit : Unit
        What to encode or decode.
    """

    def __init__(self, setup: Setup, unit: Unit) -> None:
        self.setup, self.unit = setup, unit
        self._decoder = UnitDecoder(setup, unit)

    @property
    def spec(self) -> LatentSpec:
        """Latents of the padded plane."""
        return self.setup.flow.latent_spec(self.setup.plan.size, self.setup.scale)

    @property
    def _whole(self) -> Window:
        return Window(0, 0, *self.setup.plan.size)

    def _fitting(self, work: Callable[[TilePlan], T]) -> T:
        """Call with the plan; on lack of memory again with tiles of half the side."""
        plan = self.setup.plan
        while True:
            try:
                return work(plan)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._decoder.release()
            empty_cache(self.setup.flow.device)
            if plan.tile <= _SMALLEST:
                raise OutOfMemoryError(
                    f"Memory does not suffice for tiles of {plan.tile} LR pixels on "
                    f"{self.setup.flow.device}. Close other programs, use a smaller "
                    "model, or another device."
                )
            plan = replace(plan, tile=max(_SMALLEST, plan.tile // 2))

    def _excess(self) -> Tensor | None:
        """Excess of the whole plane on the HR grid, if there is any."""
        height, width = self.setup.workload.geometry.hr_size
        return self._decoder.excess.on_hr((0, height, 0, width))

    def _shown(self, hr: Tensor) -> Tensor:
        """What the network has to make of ``hr``: all but the excess."""
        excess = self._excess()
        return hr if excess is None else hr - excess

    def with_excess(self, decoded: Block) -> Block:
        """A decode ``(components, H, W)`` of the whole plane, with the excess."""
        excess = self._excess()
        return decoded if excess is None else decoded + excess.numpy()

    # --- encode ---------------------------------------------------------------

    def _padded_hr(self, hr: Tensor) -> Tensor:
        """``(1, channels, H, W)`` of the padded plane, from ``(components, H, W)``."""
        padded = pad_plane(self._shown(hr), self.spec.hr_size)
        return self.setup.workload.network_input(padded)

    def _crop(self, hr: Tensor, window: Window) -> Tensor:
        s = self.setup.scale
        y, x = round(window.y * s), round(window.x * s)
        height, width = self.setup.flow.latent_spec(
            (window.height, window.width), s
        ).hr_size
        return on_device(hr[..., y : y + height, x : x + width], self.setup.flow)

    def encode(self, hr: Tensor) -> Latents:
        """White latents of ``hr`` ``(components, H, W)``, of batch 1, on the CPU."""
        padded = self._padded_hr(hr)
        return self._fitting(lambda plan: self._encode(padded, plan))

    @torch.no_grad()
    def _encode(self, hr: Tensor, plan: TilePlan) -> Latents:
        spec = self.spec
        levels = tuple(torch.empty(1, *level.shape) for level in spec.levels)
        for tile in plan:
            cond = self._decoder.condition(tile)
            part = self.setup.flow.encode(self._crop(hr, tile.window), cond).latents
            for level, whole, found in zip(
                spec.levels, levels, part.levels, strict=True
            ):
                rows, columns = _inside(level, tile.core, self._whole)
                inner_rows, inner_columns = _inside(level, tile.core, tile.window)
                whole[..., rows, columns] = found[..., inner_rows, inner_columns].cpu()
            self._decoder.forget(tile)
        return Latents(levels, spec)

    @torch.no_grad()
    def log_prob(self, hr: Tensor) -> float:
        """Log-density of ``hr``; not tiled, for the determinant is one number."""
        whole = Tile(self._whole, self._whole)
        try:
            cond = self._decoder.condition(whole)
            padded = self._crop(self._padded_hr(hr), self._whole)
            return float(self.setup.flow.log_prob(padded, cond)[0])
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError(
                    f"Memory does not suffice for the log-density of a plane of "
                    f"{self.setup.plan.size[0]} x {self.setup.plan.size[1]} LR pixels, "
                    "which cannot be tiled. Crop the image."
                ) from error
            raise

    # --- decode ---------------------------------------------------------------

    def decode(
        self, latents: Latents, wanted: Callable[[Tile], bool] = lambda tile: True
    ) -> Block:
        """HR ``(components, H, W)`` without the excess; 0 in tiles not wanted."""
        if latents.spec.shapes != self.spec.shapes:
            raise SizeError(
                f"The latents have shapes {latents.spec.shapes}; this image needs "
                f"{self.spec.shapes} (finest first). Use latents of this posterior."
            )
        return self._fitting(lambda plan: self._decode(latents, plan, wanted))

    @torch.no_grad()
    def _decode(
        self, latents: Latents, plan: TilePlan, wanted: Callable[[Tile], bool]
    ) -> Block:
        setup = self.setup
        components = len(self.unit.components)
        out = np.zeros((components, *setup.workload.geometry.hr_size), np.float32)
        for tile in filter(wanted, plan):
            w = tile.window
            spec = setup.flow.latent_spec((w.height, w.width), setup.scale)
            crops = (
                t[(..., *_inside(level, w, self._whole))]
                for level, t in zip(self.spec.levels, latents.levels, strict=True)
            )
            part = Latents(tuple(crops), spec)
            y0, y1, x0, x1 = setup.box(tile.core)
            decoded = self._decoder.run(tile, self._decoder.condition(tile), part)
            out[:, y0:y1, x0:x1] = decoded[0]
            self._decoder.forget(tile)
        return out

    def finite(self, decoded: Block, limit: float | None = None) -> bool:
        """Whether a decode is finite and not larger than ``limit``.

        Without a limit it is that of given latents, which is wide: they may well be of
        an image that is brighter than what this model would draw.
        """
        if limit is None:
            limit = explosion_limit(self._decoder.lr, factor=GIVEN)
        return not exploded(decoded[None], limit).any()

    # --- re-sampling ------------------------------------------------------------------

    def resample(
        self, hr: Tensor, mask: FieldMap, setup: Setup
    ) -> tuple[Block, npt.NDArray[np.bool_]]:
        """New latents where the mask is above 0.

        Parameters
        ----------
        hr : Tensor
            ``(components, H, W)`` in network units.
        mask : FieldMap
            0 (keep) to 1 (replace).
        setup : Setup
            With the seed and temperature of the new content.

        Returns
        -------
        decoded : ndarray
            ``(components, H, W)``, meaningful where ``changed``.
        changed : ndarray of bool
            ``(H, W)``: pixels within reach of a replaced latent.
        """
        weights = mask.window(self.unit.plane, self._whole)
        if not isinstance(weights, Tensor):
            raise TypeError("A mask is a map.")
        reached = self._reached(weights)
        changed = self._on_hr(reached)
        if not changed.any():
            return hr.numpy(), changed
        own = self.encode(hr)
        # What is kept of the image may be brighter than anything that is drawn.
        limit = max(self._decoder.limit, explosion_limit(self._shown(hr)))
        decoder = UnitDecoder(setup, self.unit)
        for attempt in range(len(COOLING) + 1):
            new = decoder.draw(self._whole, range(1), attempt)
            decoded = self.decode(
                own.where(weights, new), lambda t: _overlaps(reached, t.core)
            )
            if self.finite(decoded[:, changed][:, None], limit):
                return self.with_excess(decoded), changed
        raise UnstableDecodeError(
            f"The new content is not finite, even at temperature 0 ({len(COOLING)} "
            "redraws). Use another seed, a smaller mask, or another model."
        )

    def _reached(self, weights: Tensor) -> npt.NDArray[np.bool_]:
        """LR pixels of the padded plane that replaced latents can influence."""
        marked = (weights > 0).float()[None, None]
        marked = F.adaptive_max_pool2d(marked, self.setup.plan.size)
        r = self.setup.plan.halo
        for kernel, padding in (((2 * r + 1, 1), (r, 0)), ((1, 2 * r + 1), (0, r))):
            marked = F.max_pool2d(marked, kernel, 1, padding)
        return np.asarray(marked[0, 0].numpy() > 0)

    def _on_hr(self, lr_mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        rows, columns = (
            (np.arange(side) / self.setup.scale).astype(int)
            for side in self.setup.workload.geometry.hr_size
        )
        found: npt.NDArray[np.bool_] = lr_mask[rows[:, None], columns]
        return found


def _overlaps(mask: npt.NDArray[Any], box: Window) -> bool:
    return bool(mask[box.y : box.y + box.height, box.x : box.x + box.width].any())
