"""How large a tile and a batch may be, from the memory that is free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from napari_flowsr.inference.free_memory import LIMIT, free_memory

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["LIMIT", "Budget", "available_memory", "free_memory", "is_out_of_memory"]
__all__ += ["plan_budget"]

# Part of the free memory that tiles may use: the estimate is rough, and other programs
# want some too. Conditions kept between the passes may use another part.
_WORKING_SHARE = 0.5
_CONDITION_SHARE = 0.25
# Activations alive at once, in units of the widest one; measured: 2 to 3 (compact).
_ALIVE = 5
# Larger tiles gain little (the halo is already a small part) and make one tile, hence
# cancelling, slow.
_LARGEST = {"cpu": 256, "mps": 512, "cuda": 1024}
# What samples share is prepared with the condition. What is left is bound by memory on
# a CPU: measured, four at once take as long as one by one, or half as long again.
_LARGEST_BATCH = {"cpu": 1, "mps": 8, "cuda": 16}
_SMALLEST = 32
# Side of the image whose condition is measured, LR pixels.
_PROBE = 16
_MESSAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is one of the ways in which torch or NumPy lack memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(m in text for m in _MESSAGES)


def available_memory(device: torch.device) -> int:
    """Bytes that can be allocated now on ``device``."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
            device
        )
        return int(free + cached)
    if device.type == "mps":
        used = torch.mps.current_allocated_memory()
        return max(0, int(torch.mps.recommended_max_memory() - used))
    return free_memory()


def empty_cache(device: torch.device) -> None:
    """Give cached blocks back before a smaller tile is tried."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@dataclass(frozen=True)
class Budget:
    """What was decided before a run.

    Parameters
    ----------
    tile : int
        Side of a core in LR pixels.
    batch : int
        Samples decoded at once.
    condition_bytes : int
        Conditions that may be kept between passes.
    peak_bytes : int
        Estimate of the working memory of one tile.
    """

    tile: int
    batch: int
    condition_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class _Cost:
    """Bytes per LR pixel of a window."""

    condition: float
    sample: float
    kept: float

    def of(self, batch: int) -> float:
        return self.condition + self.sample * batch + self.kept


@torch.inference_mode()
def _cost(flow: ConditionalFlow, scale: float, kept_samples: int) -> _Cost:
    """Measure the condition of a small image, and estimate the rest from the widths."""
    side = flow.multiple_of * max(1, _PROBE // flow.multiple_of)
    weight = next(flow.parameters())
    lr = torch.zeros(1, flow.channels, side, side, device=weight.device)
    cond = flow.condition(lr.to(weight.dtype))
    spec = flow.latent_spec((side, side), scale)
    encoded = cond.nbytes
    # What a family derives from it for this scale, such as LINF's table of all queries.
    prepared = flow.prepare(cond, spec).nbytes - encoded
    itemsize = weight.element_size()
    widest = max((p.shape[0] for p in flow.parameters() if p.ndim == 4), default=1)
    cells = max(level.height * level.width for level in spec.levels) / side**2
    hr = flow.channels * scale**2
    # The encoder's own activations come before any sample's and are of the same size
    # as what it leaves; the statistics hold mean and spread in float64.
    return _Cost(
        condition=(3 * encoded + prepared) / side**2 + _ALIVE * widest * itemsize,
        sample=_ALIVE * (widest * cells + hr) * itemsize,
        kept=hr * (32 + 8 * kept_samples),
    )


def plan_budget(
    flow: ConditionalFlow,
    size: tuple[int, int],
    *,
    scale: float,
    halo: int,
    tile: int | Literal["auto"] | None,
    samples: int,
    keep: int = 0,
) -> Budget:
    """Choose tile and batch.

    Parameters
    ----------
    flow : ConditionalFlow
        On the device that it will run on.
    size : tuple of int
        Of the plane, LR pixels.
    scale : float
        HR pixels per LR pixel.
    halo : int
        LR pixels around a core.
    tile : int, "auto" or None
        As asked for; a given one is kept.
    samples : int
        That will be drawn.
    keep : int
        Samples of a tile that are held at once (for quantiles).
    """
    kind = flow.device.type
    free = available_memory(flow.device)
    working = int(free * _WORKING_SHARE)
    cost = _cost(flow, scale, keep)
    batch = max(1, min(samples, _LARGEST_BATCH.get(kind, 8)))
    if tile is None:
        side = max(size)
    elif tile == "auto":
        side = _side(working, cost, batch, halo)
        while side < 2 * _SMALLEST and batch > 1:
            batch //= 2
            side = _side(working, cost, batch, halo)
        side = max(_SMALLEST, min(side, _LARGEST.get(kind, 256)))
    else:
        side = tile
    side = min(side, max(size))
    area = math.prod(min(s, side + 2 * halo) for s in size)
    while batch > 1 and area * cost.of(batch) > working:
        batch //= 2
    peak = int(area * cost.of(batch))
    return Budget(side, batch, int(free * _CONDITION_SHARE), peak)


def _side(working: int, cost: _Cost, batch: int, halo: int) -> int:
    return math.isqrt(int(working / cost.of(batch))) - 2 * halo
