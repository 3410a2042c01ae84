"""Encoding an HR plane tile by tile into the latents of the whole plane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import OutOfMemoryError
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.inference.decoder import UnitDecoder
    from napari_flowsr.inference.tiles import TilePlan

__all__ = ["encode_tiles", "fitting"]

_SMALLEST = 16
T = TypeVar("T")


def fitting(decoder: UnitDecoder, work: Callable[[TilePlan], T]) -> T:
    """Call with the plan; on lack of memory again with tiles of half the side."""
    plan, device = decoder.setup.plan, decoder.setup.flow.device
    while True:
        try:
            return work(plan)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        decoder.release()
        empty_cache(device)
        if plan.tile <= _SMALLEST or plan.is_whole:
            raise OutOfMemoryError(
                f"Memory does not suffice for tiles of {plan.tile} LR pixels on "
                f"{device}. Close other programs, use a smaller model, or another "
                "device."
            )
        plan = replace(plan, tile=max(_SMALLEST, plan.tile // 2))


def encode_tiles(
    decoder: UnitDecoder, hr: Tensor, plan: TilePlan, *, keep: bool = False
) -> Latents:
    """Latents of an HR plane, of batch 1, on the CPU.

    Each tile gives the cells that begin in its core; with them, where the flow finds
    the LR image itself, that image's core.

    Parameters
    ----------
    decoder : UnitDecoder
        Whose conditions are used.
    hr : Tensor
        ``(1, channels, H, W)`` of the padded plane, network units.
    plan : TilePlan
        Of the padded plane.
    keep : bool
        Conditions are needed again: keep them while memory allows.
    """
    setup, flow = decoder.setup, decoder.setup.flow
    whole = setup.whole
    levels = tuple(torch.empty(1, *shape) for shape in whole.shapes)
    lr = torch.empty_like(decoder.input) if flow.encodes_lr else None
    weight = next(flow.parameters())
    for tile in plan:
        spec = setup.spec(tile.window)
        y0, y1, x0, x1 = spec.hr_box
        crop = hr[..., y0:y1, x0:x1].to(weight.device, weight.dtype).contiguous()
        found = flow.encode(crop, decoder.condition(tile))
        for out, part, there, here in zip(
            levels,
            found.latents.levels,
            whole.cells(tile.core),
            spec.cells(tile.core),
            strict=True,
        ):
            out[(..., *there)] = part[(..., *here)].cpu()
        if lr is not None:
            core, window = tile.core, tile.window
            y, x = core.y - window.y, core.x - window.x
            part = found.lr[..., y : y + core.height, x : x + core.width]
            rows = slice(core.y, core.y + core.height)
            lr[..., rows, core.x : core.x + core.width] = part.cpu()
        if not keep:
            decoder.forget(tile)
    return Latents(levels, whole, lr)
