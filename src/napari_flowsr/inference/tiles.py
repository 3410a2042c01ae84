"""Tiles: integers only. Cores partition the plane, windows are what is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_flowsr.core.latents import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Tile", "TilePlan", "padded_size"]


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Smallest size that is a multiple of ``multiple`` and holds ``size``."""
    height, width = size
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


@dataclass(frozen=True)
class Tile:
    """A box of the result and the larger box that it is computed from.

    Parameters
    ----------
    core : Window
        LR pixels whose HR content this tile gives.
    window : Window
        ``core`` and what its latents are decoded with, clipped to the plane.
    seen : Window, optional
        LR pixels that the condition is computed from, where they are more.
    """

    core: Window
    window: Window
    seen: Window | None = None

    @property
    def area(self) -> int:
        """LR pixels of the window."""
        return self.window.height * self.window.width


@dataclass(frozen=True)
class TilePlan:
    """Division of a plane into tiles of about equal size.

    Parameters
    ----------
    size : tuple of int
        ``(h, w)`` of the padded plane, LR pixels.
    tile : int
        Largest side of a core, LR pixels; rounded up to ``align``.
    halo : int
        LR pixels around the core that its content depends on.
    latent_halo : int, optional
        LR pixels around the core whose latents it depends on, where they are fewer and
        conditions can be cropped (`ConditionalFlow.condition_reach`): then samples are
        decoded in smaller windows than the encoder sees.
    align : int
        Cores and windows start at multiples of this.
    is_whole : bool
        One tile, whatever its side: the network takes no crops.
    """

    size: tuple[int, int]
    tile: int
    halo: int
    align: int = 1
    is_whole: bool = False
    latent_halo: int | None = None

    def _up(self, value: int) -> int:
        return -(-value // self.align) * self.align

    def _cuts(self, size: int) -> list[tuple[int, int]]:
        """Start and stop of each core along one axis, sides as equal as may be."""
        if self.is_whole:
            return [(0, size)]
        count = math.ceil(size / self._up(self.tile))
        side = self._up(math.ceil(size / count))
        return [(at, min(at + side, size)) for at in range(0, size, side)]

    def around(self, core: Window) -> Tile:
        """Tile of a given core."""
        seen = self.grown(core, self.halo)
        if self.latent_halo is None:
            return Tile(core, seen)
        window = self.grown(core, self.latent_halo)
        return Tile(core, window, None if window == seen else seen)

    def __iter__(self) -> Iterator[Tile]:
        for y0, y1 in self._cuts(self.size[0]):
            for x0, x1 in self._cuts(self.size[1]):
                yield self.around(Window(y0, x0, y1 - y0, x1 - x0))

    def __len__(self) -> int:
        return len(self._cuts(self.size[0])) * len(self._cuts(self.size[1]))

    def over(self, box: Window) -> list[Tile]:
        """Tiles whose cores partition a box, which begins at a multiple of `align`."""
        inner = replace(self, size=(box.height, box.width))
        cores = (tile.core for tile in inner)
        return [
            self.around(Window(box.y + c.y, box.x + c.x, c.height, c.width))
            for c in cores
        ]

    def grown(self, box: Window, by: int) -> Window:
        """A box with ``by`` more LR pixels on each side, aligned, within the plane."""
        y0, y1 = self._grown(box.y, box.y + box.height, by, self.size[0])
        x0, x1 = self._grown(box.x, box.x + box.width, by, self.size[1])
        return Window(y0, x0, y1 - y0, x1 - x0)

    def _grown(self, start: int, stop: int, by: int, size: int) -> tuple[int, int]:
        first = max(0, start - by) // self.align * self.align
        return first, min(size, self._up(stop + by))

    def split(self, tile: Tile, smallest: int = 16) -> list[Tile]:
        """Tiles of half the side with the same cores together; empty if too small."""
        core = tile.core
        if self.is_whole or max(core.height, core.width) <= max(smallest, self.align):
            return []
        half = max(core.height, core.width) // 2
        return replace(self, tile=half).over(core)
