"""Encoding and decoding given HR images, unit by unit and tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents, LatentSpec, Window
from napari_flowsr.errors import OutOfMemoryError, SizeError
from napari_flowsr.inference.decoder import Setup, UnitDecoder, on_device, pad_plane
from napari_flowsr.inference.encoding import encode_tiles, fitting
from napari_flowsr.inference.memory import is_out_of_memory
from napari_flowsr.inference.stability import exploded
from napari_flowsr.inference.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_flowsr.inference.units import Unit

__all__ = ["UnitCoder"]

Block = npt.NDArray[np.float32]


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
        self.decoder = UnitDecoder(setup, unit)

    @property
    def spec(self) -> LatentSpec:
        """Latents of the padded plane."""
        return self.setup.whole

    @property
    def _whole(self) -> Window:
        return Window(0, 0, *self.setup.plan.size)

    def _excess(self) -> Tensor | None:
        """Excess of the whole plane on the HR grid, if there is any."""
        height, width = self.setup.workload.geometry.hr_size
        return self.decoder.input.excess.on_hr((0, height, 0, width))

    def shown(self, hr: Tensor) -> Tensor:
        """What the network has to make of ``hr``: all but the excess."""
        excess = self._excess()
        return hr if excess is None else hr - excess

    def with_excess(self, decoded: Block) -> Block:
        """A decode ``(components, H, W)`` of the whole plane, with the excess."""
        excess = self._excess()
        return decoded if excess is None else decoded + excess.numpy()

    # --- encode ---------------------------------------------------------------

    def padded_hr(self, hr: Tensor) -> Tensor:
        """``(1, channels, H, W)`` of the padded plane, from ``(components, H, W)``."""
        return self.padded(self.shown(hr))

    def padded(self, shown: Tensor) -> Tensor:
        """As `padded_hr`, of what is left without the excess."""
        plane = pad_plane(shown, self.spec.hr_size)
        return self.setup.workload.network_input(plane)

    @torch.no_grad()
    def encode(self, hr: Tensor) -> Latents:
        """White latents of ``hr`` ``(components, H, W)``, of batch 1, on the CPU.

        With the LR image that they belong to, where the flow finds that itself.
        """
        padded, decoder = self.padded_hr(hr), self.decoder
        return fitting(decoder, lambda plan: encode_tiles(decoder, padded, plan))

    @torch.no_grad()
    def log_prob(self, hr: Tensor) -> float:
        """Log-density of ``hr``; not tiled, for the determinant is one number."""
        whole = Tile(self._whole, self._whole)
        try:
            cond = self.decoder.condition(whole)
            padded = on_device(self.padded_hr(hr), self.setup.flow)
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

    def decode(self, latents: Latents) -> Block:
        """HR ``(components, H, W)`` of the whole plane, without the excess."""
        if latents.spec.shapes != self.spec.shapes:
            raise SizeError(
                f"The latents have shapes {latents.spec.shapes}; this image needs "
                f"{self.spec.shapes} (finest first). Use latents of this posterior."
            )
        return fitting(self.decoder, lambda plan: self._decode(latents, plan))

    @torch.no_grad()
    def _decode(self, latents: Latents, tiles: Iterable[Tile]) -> Block:
        components = len(self.unit.components)
        out = np.zeros((components, *self.setup.workload.geometry.hr_size), np.float32)
        for tile in tiles:
            y0, y1, x0, x1 = self.setup.box(tile.core)
            out[:, y0:y1, x0:x1] = self.decode_tile(latents, tile)
            self.decoder.forget(tile)
        return out

    def decode_tile(self, latents: Latents, tile: Tile) -> Block:
        """Core of a tile, ``(components, ...)``, from the latents around it."""
        setup, decoder = self.setup, self.decoder
        part = latents.crop(setup.spec(tile.window))
        # Latents of a flow that finds the LR image itself belong to that one, which
        # `encode` conditioned on in full precision.
        if part.lr is not None:
            cond = decoder.condition_of(part.lr, tile.window)
        else:
            cond = decoder.condition(tile)
        found: Block = decoder.run(tile, cond, part)[0]
        return found

    def finite(self, decoded: Block, limit: float | None = None) -> bool:
        """Whether a decode is finite and not larger than ``limit``.

        Without a limit it is that of given latents, which is wide: they may well be of
        an image that is brighter than what this model would draw.
        """
        if limit is None:
            limit = self.decoder.input.given_limit
        return not exploded(decoded[None], limit).any()
