"""Which parts of a plane an edit can change, and what has to be computed for them.

New latents in a mask M change the image as far as they reach, r. Decoding these pixels
takes latents up to r further out, and encoding those takes pixels still further. But a
crop is an image of its own: what is encoded there comes back exactly, whatever its
border did to the latents. So one window around M is both encoded and decoded, wide
enough that its border does not meet what is new: a layer that the border has reached by
its forward pass is read again in the inverse one only where the new latents have not
come yet, if the window goes twice the reach of one layer further than the sum of all.
Where conditions can be cropped, the LR image is seen further than that.
Where M is too large for one window, tiles are used, each with its halo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.latents import Window
from napari_flowsr.inference.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_flowsr.inference.setup import Setup
    from napari_flowsr.inference.tiles import TilePlan

__all__ = ["Region", "lone_tile", "marked", "reached", "regions"]

_LAYER = 2
"""Cells that one layer of a flow reaches to each side: two 3 x 3 convolutions."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A part of a plane that is edited on its own.

    Parameters
    ----------
    window : Window
        LR pixels whose latents are held.
    encoded, decoded : tuple of Tile
        What is computed: the cores of the first partition the window.
    changed : ndarray of bool
        ``(h, w)`` of the plane: LR pixels that the edit can change here.
    """

    window: Window
    encoded: tuple[Tile, ...]
    decoded: tuple[Tile, ...]
    changed: Mask

    @property
    def is_single(self) -> bool:
        """Whether one window is both encoded and decoded."""
        return self.encoded == self.decoded


def marked(weights: Tensor, setup: Setup) -> Mask:
    """LR pixels ``(h, w)`` of the padded plane that a map ``(rows, columns)`` marks.

    With all LR pixels of the same cells of latents.
    """
    found = F.adaptive_max_pool2d((weights > 0).float()[None, None], setup.plan.size)
    align = setup.plan.align
    whole = F.max_pool2d(found, align, align, ceil_mode=True)
    spread = whole.repeat_interleave(align, -2).repeat_interleave(align, -1)
    height, width = setup.plan.size
    return np.asarray(spread[0, 0, :height, :width].numpy() > 0)


def reached(mask: Mask, by: int) -> Mask:
    """The mask and ``by`` LR pixels around it, along both axes."""
    grown = torch.from_numpy(mask)[None, None].float()
    for kernel, padding in (((2 * by + 1, 1), (by, 0)), ((1, 2 * by + 1), (0, by))):
        grown = F.max_pool2d(grown, kernel, 1, padding)
    return np.asarray(grown[0, 0].numpy() > 0)


def _box(rows: slice, columns: slice) -> Window:
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return Window(rows.start, columns.start, height, width)


def _overlaps(mask: Mask, box: Window) -> bool:
    return bool(mask[box.y : box.y + box.height, box.x : box.x + box.width].any())


def regions(mask: Mask, setup: Setup, plan: TilePlan) -> list[Region]:
    """Divide what an edit can change; empty if the mask is.

    Parameters
    ----------
    mask : ndarray of bool
        `marked` LR pixels of the padded plane.
    setup : Setup
        Of the run.
    plan : TilePlan
        The setup's, or one of smaller tiles.
    """
    changed = reached(mask, setup.latent_reach)
    labels, count = ndimage.label(changed, np.ones((3, 3)))
    found = []
    for number, part in enumerate(ndimage.find_objects(labels), 1):
        here = labels == number if count > 1 else changed
        inner = ndimage.find_objects((here & mask).astype(np.int8))[0]
        found.append(_region(here, _box(*inner), _box(*part), setup, plan))
    return found


def lone_tile(window: Window, setup: Setup, plan: TilePlan) -> Tile | None:
    """The tile that encodes and decodes a window at once; None if it is too large."""
    if plan.is_whole:
        return Tile(window, window)
    side = plan.tile + 2 * setup.halo
    if window.height * window.width > side * side:
        return None
    reach = setup.flow.condition_reach
    return Tile(window, window, None if reach is None else plan.grown(window, reach))


def _region(
    changed: Mask, inner: Window, outer: Window, setup: Setup, plan: TilePlan
) -> Region:
    halo = setup.halo
    coarsest = max(math.ceil(1 / level.rate) for level in setup.whole.levels)
    # Where conditions are cropped, only what latents reach has to be in the window.
    window = plan.grown(inner, setup.latent_reach + 2 * _LAYER * coarsest)
    if plan.is_whole:
        window = Window(0, 0, *plan.size)
    if (alone := lone_tile(window, setup, plan)) is not None:
        return Region(window, (alone,), (alone,), changed)
    box = plan.grown(outer, 0)
    decoded = tuple(t for t in plan.over(box) if _overlaps(changed, t.core))
    window = plan.grown(box, halo)
    return Region(window, _needed(plan.over(window), decoded), decoded, changed)


def _needed(tiles: Iterable[Tile], decoded: tuple[Tile, ...]) -> tuple[Tile, ...]:
    """Those tiles whose latents the decode of others needs."""
    return tuple(t for t in tiles if any(_meet(t.core, d.window) for d in decoded))


def _meet(a: Window, b: Window) -> bool:
    rows = a.y < b.y + b.height and b.y < a.y + a.height
    return rows and a.x < b.x + b.width and b.x < a.x + a.width
