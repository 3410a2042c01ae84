"""The halo of networks that see hundreds of pixels: from a measured seam curve.

Their reach is nearly all through residual branches whose influence decays long before.
How fast depends on the weights, so it is measured: the middle of a picture is decoded
with halos of several sizes, and compared with what the widest gives. The smallest halo
that is good enough is taken, and its error is told in the provenance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from napari_flowsr.core.latents import LatentLevel, LatentSpec, Window
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.places import Place
from napari_flowsr.inference.decoder import on_device
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory
from napari_flowsr.inference.tiles import TilePlan, padded_size

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["TOLERANCE", "Seam", "alignment", "find_halo", "measure_seam"]
__all__ += ["sees_too_far", "worth_measuring"]

TOLERANCE = 1e-3
"""Part of the range that a seam may have: a quarter of a grey level of 8 bits."""
_HALOS = (16, 24, 32, 48)
_WIDEST = 64
_CORE = 8


@dataclass(frozen=True)
class Seam:
    """Error against halo.

    Parameters
    ----------
    curve : tuple of (int, float)
        Halo in LR pixels, and the largest difference between the middle of a picture
        decoded with it and with ``widest``, as a part of the range of the latter.
    widest : int
        LR pixels.
    """

    curve: tuple[tuple[int, float], ...]
    widest: int

    @property
    def halo(self) -> int:
        """The smallest that is good enough, or the widest."""
        good = (halo for halo, error in self.curve if error <= TOLERANCE)
        return next(good, self.widest)

    @property
    def error(self) -> float:
        """That of `halo`; the widest has none to compare with: that of the last one."""
        errors = dict(self.curve)
        return errors.get(self.halo, self.curve[-1][1])


def alignment(flow: ConditionalFlow, size: tuple[int, int], scale: float) -> int:
    """Multiple of LR pixels at which tiles begin.

    Tiles of a flow of any scale need not begin at whole cells: a placed spec names
    them. Others begin at whole cells of every level.
    """
    levels = flow.latent_spec(size, scale).levels
    rates = [level.rate.denominator for level in levels if level.side is None]
    return math.lcm(flow.alignment, flow.multiple_of, *rates)


def sees_too_far(flow: ConditionalFlow) -> bool:
    """Whether tiles of a network see less than all that it can see."""
    return flow.receptive_field > flow.exact_halo_up_to and not flow.needs_whole


def worth_measuring(flow: ConditionalFlow, size: tuple[int, int], scale: float) -> bool:
    """Whether a part of an undivided plane should wait for a measurement.

    Not if the plane is smaller than the picture that is measured on: then that would
    take longer than the part, which is computed with nearly all of the plane anyway.
    """
    is_new = sees_too_far(flow) and scale not in flow.seams
    return is_new and min(size) >= 2 * _WIDEST + _CORE


def find_halo(flow: ConditionalFlow, scale: float) -> None:
    """Give a network that sees too far the halo that it needs at a scale, once.

    Where memory does not suffice to measure it, the halo stays what it is, and its
    error unknown.
    """
    if not sees_too_far(flow) or scale in flow.seams:
        return
    found: tuple[int, float | None]
    try:
        seam = measure_seam(flow, scale)
        found = seam.halo, seam.error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        empty_cache(flow.device)
        found = flow.halo, None
    flow.seams = {**flow.seams, scale: found}


@torch.inference_mode()
def measure_seam(flow: ConditionalFlow, scale: float) -> Seam:
    """Seam curve of a network, on a picture that is the same everywhere.

    Parameters
    ----------
    flow : ConditionalFlow
        On the device to compute on.
    scale : float
        HR pixels per LR pixel.
    """
    size = padded_size((2 * _WIDEST + _CORE,) * 2, flow.multiple_of)
    align = alignment(flow, size, scale)
    start = _WIDEST // align * align
    core = Window(start, start, align * -(-_CORE // align), align * -(-_CORE // align))
    lr = _picture(flow.channels, size)
    best = _decoded(flow, lr, core, TilePlan(size, _CORE, max(size), align), scale)
    span = float(best.max() - best.min())
    curve = []
    for halo in _HALOS:
        plan = TilePlan(size, _CORE, halo, align)
        found = _decoded(flow, lr, core, plan, scale)
        curve.append((halo, float((found - best).abs().max()) / max(span, 1e-6)))
    return Seam(tuple(curve), _WIDEST)


def _picture(channels: int, size: tuple[int, int]) -> Tensor:
    """Structures of all sizes, as natural images have: from 0 to 1."""
    level = LatentLevel(channels, *size, Fraction(1))
    white = NoiseField(0).draw(LatentSpec((level,), size, size), samples=range(1))
    rows, columns = torch.fft.fftfreq(size[0]), torch.fft.fftfreq(size[1])
    frequency = torch.hypot(rows[:, None], columns).clamp_min(1 / max(size))
    pink = torch.fft.ifft2(torch.fft.fft2(white.levels[0]) / frequency).real
    unit: Tensor = (pink - pink.min()) / (pink.max() - pink.min())
    return unit.float()


def _decoded(
    flow: ConditionalFlow, lr: Tensor, core: Window, plan: TilePlan, scale: float
) -> Tensor:
    """HR pixels of the core."""
    w = plan.around(core).window
    place = Place(w, plan.size, scale)
    spec = flow.window_spec(place, scale)
    crop = lr[..., w.y : w.y + w.height, w.x : w.x + w.width]
    cond = flow.condition(on_device(crop, flow)).at(place)
    latents = NoiseField(1).draw(spec, samples=range(1))
    moved = latents.map(lambda t: on_device(t, flow))
    hr = flow.decode(moved, flow.prepare(cond, spec)).float().cpu()
    y, x = (round(at * scale) for at in (core.y, core.x))
    height, width = (round(side * scale) for side in (core.height, core.width))
    top, left = spec.hr_start
    return hr[..., y - top : y - top + height, x - left : x - left + width]
