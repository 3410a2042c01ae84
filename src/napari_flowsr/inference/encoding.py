"""Encoding an HR plane tile by tile into the latents of the whole plane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents, Window
from napari_flowsr.errors import OutOfMemoryError
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from napari_flowsr.inference.decoder import UnitDecoder
    from napari_flowsr.inference.tiles import Tile, TilePlan

__all__ = ["encode_steps", "encode_tiles", "fitting", "smaller"]

_SMALLEST = 16
T = TypeVar("T")


def fitting(decoder: UnitDecoder, work: Callable[[TilePlan], T]) -> T:
    """Call with the plan; on lack of memory again with tiles of half the side."""
    plan = decoder.setup.plan
    while True:
        try:
            return work(plan)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        plan = smaller(decoder, plan)


def smaller(decoder: UnitDecoder, plan: TilePlan) -> TilePlan:
    """Release memory; the plan with tiles of half the side.

    Raises
    ------
    OutOfMemoryError
        They are as small as may be already.
    """
    device = decoder.setup.flow.device
    decoder.release()
    empty_cache(device)
    if plan.tile <= _SMALLEST or plan.is_whole:
        raise OutOfMemoryError(
            f"Memory does not suffice for tiles of {plan.tile} LR pixels on {device}. "
            "Close other programs, use a smaller model, or another device."
        )
    return replace(plan, tile=max(_SMALLEST, plan.tile // 2))


def encode_tiles(
    decoder: UnitDecoder, hr: Tensor, tiles: Iterable[Tile], *, keep: bool = False
) -> Latents:
    """Latents of an HR plane, of batch 1, on the CPU; see `encode_steps`."""
    steps = encode_steps(decoder, hr, tiles, keep=keep)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Latents = end.value
            return found


def encode_steps(
    decoder: UnitDecoder,
    hr: Tensor,
    tiles: Iterable[Tile],
    *,
    window: Window | None = None,
    keep: bool = False,
) -> Generator[None, None, Latents]:
    """Latents of an HR plane, or of a window of it, of batch 1, on the CPU.

    Each tile gives the cells that begin in its core; with them, where the flow finds
    the LR image itself, that image's core.

    Parameters
    ----------
    decoder : UnitDecoder
        Whose conditions are used.
    hr : Tensor
        ``(1, channels, H, W)`` of the padded plane, network units.
    tiles : iterable of Tile
        Their cores partition the window.
    window : Window, optional
        LR pixels whose latents are wanted; default: the whole padded plane.
    keep : bool
        Conditions are needed again: keep them while memory allows.

    Yields
    ------
    None
        After each tile.

    Returns
    -------
    Latents
        Of the window; what no core covers is 0.
    """
    setup, flow = decoder.setup, decoder.setup.flow
    there = Window(0, 0, *setup.plan.size) if window is None else window
    whole = setup.whole if window is None else setup.spec(window)
    levels = tuple(torch.zeros(1, *shape) for shape in whole.shapes)
    lr = torch.zeros(1, flow.channels, there.height, there.width)
    weight = next(flow.parameters())
    for tile in tiles:
        spec = setup.spec(tile.window)
        y0, y1, x0, x1 = spec.hr_box
        crop = hr[..., y0:y1, x0:x1].to(weight.device, weight.dtype).contiguous()
        found = flow.encode(crop, decoder.condition(tile))
        for out, part, to, here in zip(
            levels,
            found.latents.levels,
            whole.cells(tile.core),
            spec.cells(tile.core),
            strict=True,
        ):
            out[(..., *to)] = part[(..., *here)].cpu()
        if flow.encodes_lr:
            core = tile.core
            lr[(..., *_within(core, there))] = found.lr[
                (..., *_within(core, tile.window))
            ].cpu()
        if not keep:
            decoder.forget(tile)
        yield
    return Latents(levels, whole, lr if flow.encodes_lr else None)


def _within(core: Window, window: Window) -> tuple[slice, slice]:
    """Rows and columns of a core in a tensor of the LR pixels of a window."""
    y, x = core.y - window.y, core.x - window.x
    return slice(y, y + core.height), slice(x, x + core.width)
