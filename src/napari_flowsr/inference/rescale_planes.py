"""One plane through a rescaling network, in tiles, there and back."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_flowsr.core.allocator import freed_memory_kept
from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.latents import Latents, LatentSpec
from napari_flowsr.errors import OptionError, OutOfMemoryError
from napari_flowsr.inference.bound import flow_on
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory, plan_budget
from napari_flowsr.inference.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_flowsr.models.card import Model

__all__ = ["PlaneWork", "check_rescales", "in_double", "needs_double", "rescaling_flow"]

# A round trip of small crops that is worse than this, in network units, makes the work
# be done in double precision: 1e-5 is promised for the whole image.
_SINGLE_IS_ENOUGH = 2e-6
_PROBE = 12  # side of those crops, LR pixels


def check_rescales(model: Model) -> None:
    """Raise `OptionError` unless the model makes images smaller."""
    if not hasattr(model.flow, "downscale"):
        raise OptionError(
            f"The model '{model.card.name}' ({model.card.family}) enlarges images; it "
            "cannot make them smaller. Give a model of the family hcflow-rescale."
        )


def rescaling_flow(model: Model, device: str | torch.device) -> Any:
    """Flow of a model on a device; `OptionError` unless it makes images smaller."""
    check_rescales(model)
    return flow_on(model.flow, resolve_device(device)[0])


def in_double(flow: Any) -> Any:
    """Copy of a flow in double precision."""
    return copy.deepcopy(flow).double()


def needs_double(flow: Any, hr: Tensor) -> bool:
    """Whether single precision does not bring crops of ``hr (1, C, H, W)`` back.

    The crops are the middle and the surroundings of the most extreme pixel.
    """
    if flow.device.type == "mps":  # has no double precision
        return False
    height, width = hr.shape[-2:]
    extreme = int((hr - 0.5).abs().amax((0, 1)).argmax())
    return any(
        not _error(flow, hr, y, x) <= _SINGLE_IS_ENOUGH
        for y, x in ((height // 2, width // 2), divmod(extreme, width))
    )


def _error(flow: Any, hr: Tensor, y: int, x: int) -> float:
    """Largest error of the way there and back of a crop around a pixel."""
    scale = int(flow.scales[0])
    box = []
    for at, length in ((y, hr.shape[-2]), (x, hr.shape[-1])):
        side = min(_PROBE * scale, length)
        first = min(max(0, at - side // 2), length - side)
        box.append(slice(first, first + side))
    crop = hr[..., box[0], box[1]].to(flow.device, torch.float32).contiguous()
    with torch.inference_mode():
        back = flow.upscale(*flow.downscale(crop))
    return float((back - crop).abs().max())


def _plan(flow: Any, size: tuple[int, int], tile: int | str | None) -> TilePlan:
    # All that a pixel can see, also where it is more than `ConditionalFlow.halo`: what
    # one tile leaves out another one lacks, and nothing would come back exactly.
    halo = int(flow.receptive_field)
    budget = plan_budget(
        flow,
        size,
        scale=float(flow.scales[0]),
        halo=halo,
        tile=tile,  # type: ignore[arg-type]
        samples=1,
    )
    return TilePlan(size, budget.tile, halo)


def _each(
    plan: TilePlan, work: Callable[[Tile], None], device: torch.device
) -> Iterator[int]:
    """Do ``work(tile)`` for all tiles, smaller ones where memory lacks.

    Yields the share of the plane, in parts of 1000, that is done.
    """
    with freed_memory_kept():
        yield from _tiles(plan, work, device)


def _tiles(
    plan: TilePlan, work: Callable[[Tile], None], device: torch.device
) -> Iterator[int]:
    queue, done = list(plan), 0
    total = plan.size[0] * plan.size[1]
    while queue:
        tile, error = queue.pop(0), None
        try:
            work(tile)
        except (RuntimeError, MemoryError) as raised:
            if not is_out_of_memory(raised):
                raise
            error = str(raised)
        if error is None:
            done += tile.core.height * tile.core.width
            yield 1000 * done // total
            continue
        empty_cache(device)
        parts = plan.split(tile)
        if not parts:
            raise OutOfMemoryError(
                f"Memory does not suffice for {tile.window.height} x "
                f"{tile.window.width} small pixels at once on {device} ({error}). "
                "Close other programs, or use another device."
            )
        queue = [*parts, *queue]


def _cut(tensor: Tensor, tile: Tile, rate: int, *, core: bool) -> Tensor:
    """View of a plane's tensor with ``rate`` cells per LR pixel: window or core."""
    box = tile.core if core else tile.window
    rows = slice(box.y * rate, (box.y + box.height) * rate)
    return tensor[..., rows, box.x * rate : (box.x + box.width) * rate]


def _inner(tensor: Tensor, tile: Tile, rate: int) -> Tensor:
    """The core in a tensor of the window."""
    y, x = tile.core.y - tile.window.y, tile.core.x - tile.window.x
    rows = slice(y * rate, (y + tile.core.height) * rate)
    return tensor[..., rows, x * rate : (x + tile.core.width) * rate]


class PlaneWork:
    """One plane through the network, in tiles; tensors stay on the CPU.

    Parameters
    ----------
    flow : ConditionalFlow
        Of a rescaling family.
    size : tuple of int
        Of the small plane.
    tile : int, "auto" or None
        Side in pixels of the small plane; ``None``: whole planes.
    """

    def __init__(
        self, flow: Any, size: tuple[int, int], tile: int | str | None = "auto"
    ) -> None:
        self.flow, self.scale = flow, int(flow.scales[0])
        self.plan = _plan(flow, size, tile)
        self.spec: LatentSpec = flow.latent_spec(size)
        self.weight = next(flow.parameters())
        self.rates = [int(level.rate) for level in self.spec.levels]

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.weight.device, self.weight.dtype).contiguous()

    def down(self, hr: Tensor, raw: Tensor, levels: list[Tensor]) -> Iterator[int]:
        """Fill ``raw (C, h, w)`` and ``levels`` from ``hr (1, C, H, W)``.

        Yields the share that is done, in parts of 1000.
        """

        @torch.inference_mode()
        def work(tile: Tile) -> None:
            crop = _cut(hr, tile, self.scale, core=False)
            lr, latents = self.flow.downscale(self._there(crop))
            _cut(raw, tile, 1, core=True).copy_(_inner(lr[0], tile, 1))
            for out, found, rate in zip(
                levels, latents.levels, self.rates, strict=True
            ):
                _cut(out, tile, rate, core=True).copy_(_inner(found[0], tile, rate))

        yield from _each(self.plan, work, self.weight.device)

    def up(self, lr: Tensor, levels: list[Tensor], out: Tensor) -> Iterator[int]:
        """Fill ``out (C, H, W)`` from ``lr (1, C, h, w)`` and latents, as `down`."""

        @torch.inference_mode()
        def work(tile: Tile) -> None:
            w = tile.window
            spec = self.flow.latent_spec((w.height, w.width))
            parts = tuple(
                self._there(_cut(t[None], tile, rate, core=False))
                for t, rate in zip(levels, self.rates, strict=True)
            )
            small = self._there(_cut(lr, tile, 1, core=False))
            hr = self.flow.upscale(small, Latents(parts, spec))
            inner = _inner(hr[0], tile, self.scale)
            _cut(out, tile, self.scale, core=True).copy_(inner)

        yield from _each(self.plan, work, self.weight.device)
