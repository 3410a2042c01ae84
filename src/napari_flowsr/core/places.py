"""Where things lie: windows of an image, cells of latents, pixels of the HR image.

A tile must give what the whole image would give there. Flows of a fixed scale need
only where their window begins. A flow of any real scale needs more: its coordinates
refer to the whole image, and its cells need not begin where an LR pixel does. Hence a
`LatentSpec` may be *placed*: it names the cells, absolute, that a window needs, and the
box of HR pixels, absolute, that these cells cover.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.sides import hr_side, lr_side
from napari_flowsr.errors import SizeError

__all__ = ["LatentLevel", "LatentSpec", "Place", "Window", "hr_side", "lr_side"]

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """A box of LR pixels, absolute in its image: rows ``y .. y + height``."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class Place:
    """Where an LR crop lies in its whole image.

    Parameters
    ----------
    window : Window
        The crop.
    whole : tuple of int
        ``(h, w)`` of the whole LR image.
    scale : float, optional
        HR pixels per LR pixel; what a flow of any scale needs in order to encode a
        crop, whose size alone does not tell it.
    """

    window: Window
    whole: tuple[int, int]
    scale: float | None = None

    def __post_init__(self) -> None:
        w, (height, width) = self.window, self.whole
        inside = w.y + w.height <= height and w.x + w.width <= width
        if min(w.y, w.x) < 0 or min(w.height, w.width) < 1 or not inside:
            raise SizeError(
                f"Window of {w.height} x {w.width} LR pixels at ({w.y}, {w.x}) does "
                f"not lie in an LR image of {height} x {width}. Clip it to the image."
            )

    @classmethod
    def all_of(cls, size: tuple[int, int], scale: float | None = None) -> Place:
        """The whole image of ``size = (h, w)``."""
        return cls(Window(0, 0, *size), size, scale)

    @property
    def is_whole(self) -> bool:
        """Whether the window is the whole image."""
        return self.window == Window(0, 0, *self.whole)


@dataclass(frozen=True)
class LatentLevel:
    """Channels of a level, its size, and its cells per LR pixel along one axis."""

    channels: int
    height: int
    width: int
    rate: Fraction
    start: tuple[int, int] = (0, 0)
    """Row and column of the first cell on the level's grid of the whole image."""
    side: int | None = None
    """HR pixels along a side of a cell, in flows of any scale: there ``rate`` is an
    approximation, and cells are counted in HR pixels."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        return self.channels, self.height, self.width

    def origin(self, window: Window) -> tuple[int, int]:
        """First row and column of ``window`` on this level's grid."""
        y, x = window.y * self.rate, window.x * self.rate
        if y.denominator != 1 or x.denominator != 1:
            raise SizeError(
                f"Window starts at LR pixel ({window.y}, {window.x}), which is not a "
                f"whole cell of a level with {self.rate} cells per LR pixel. Start "
                f"windows at multiples of {self.rate.denominator}."
            )
        return int(y), int(x)


@dataclass(frozen=True)
class LatentSpec:
    """What latents a flow needs for an LR image of one size, finest level first.

    Parameters
    ----------
    levels : tuple of LatentLevel
        Sizes, and first cells.
    lr_size, hr_size : tuple of int
        Of the LR image (or crop), and of what decoding gives.
    scale : float, optional
        HR pixels per LR pixel, in flows of any scale.
    place : Place, optional
        Where the LR crop lies, if it was said.
    hr_start : tuple of int
        Row and column, in the whole HR image, of the first pixel that decoding gives.
    """

    levels: tuple[LatentLevel, ...]
    lr_size: tuple[int, int]
    hr_size: tuple[int, int]
    scale: float | None = None
    place: Place | None = None
    hr_start: tuple[int, int] = (0, 0)

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """``(C, H, W)`` per level, finest first."""
        return tuple(level.shape for level in self.levels)

    @property
    def dimensions(self) -> int:
        """Latent variables of one image.

        Equals its HR values in a plain flow; cells that reach over the border of the
        image (LINF's patches) add some.
        """
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def hr_box(self) -> tuple[int, int, int, int]:
        """Absolute HR rows and columns ``(y0, y1, x0, x1)`` that decoding gives."""
        (y, x), (height, width) = self.hr_start, self.hr_size
        return y, y + height, x, x + width

    @property
    def window(self) -> Window:
        """The LR crop, absolute; `TypeError` unless the spec is placed."""
        if self.place is None:
            raise TypeError("Latents of a window are placed.")
        return self.place.window

    def cells(self, core: Window) -> tuple[Slices, ...]:
        """Rows and columns, per level, of the tensors' cells that begin inside a core.

        Cores that partition the LR image partition the latents.
        """
        return tuple(self._cells(level, core) for level in self.levels)

    def _cells(self, level: LatentLevel, core: Window) -> Slices:
        scale, side, place = self.scale, level.side, self.place
        out = []
        for i, (at, size) in enumerate(((core.y, core.height), (core.x, core.width))):
            start, count = level.start[i], level.shape[1 + i]
            if side is None or scale is None or place is None:
                first = level.origin(core)[i] - start
                out.append(slice(first, first + int(size * level.rate)))
                continue
            first, last = (
                -(-round(edge * scale) // side) - start for edge in (at, at + size)
            )
            # The last core takes all that is left: the published grid has cells
            # beyond the image.
            is_last = at + size == place.whole[i]
            out.append(slice(first, count if is_last else last))
        return out[0], out[1]

    def lr_under(self, axis: int) -> Tensor:
        """LR row (or column) that a map's value is taken from, per HR row of `hr_box`.

        Absolute: the LR pixel under an HR pixel or, where cells are counted in HR
        pixels, under the centre of its cell.
        """
        numbers = torch.arange(self.hr_size[axis])
        place = self.place
        first = 0 if place is None else (place.window.y, place.window.x)[axis]
        for level in self.levels:
            if level.side is not None:
                cells = (numbers + self.hr_start[axis]) // level.side
                return self._under(level, axis)[cells - level.start[axis]] + first
        return numbers * self.lr_size[axis] // self.hr_size[axis] + first

    def on_level(self, value: Tensor, index: int) -> Tensor:
        """Bring a ``(H, W)`` or ``(B, 1, H, W)`` map of the crop to a level's grid.

        Where cells are counted in HR pixels, a map on the crop's LR grid gives each
        cell the value under its centre, and one on the grid of `hr_box` the mean over
        its pixels: both depend on the absolute position only. Otherwise, and for maps
        on other grids of the same field of view, it is an area mean.
        """
        value = value if value.ndim == 4 else value[None, None]
        level, size = self.levels[index], tuple(value.shape[-2:])
        if size == (level.height, level.width):
            return value
        if level.side is not None and self.place is not None:
            if size == self.hr_size:
                return _pooled(value, level)
            if size == self.lr_size:
                rows, columns = (self._under(level, axis) for axis in (0, 1))
                return value[..., rows, :][..., columns]
        shrinks = size[0] >= level.height and size[1] >= level.width
        mode = "area" if shrinks else "nearest"
        return F.interpolate(value, size=(level.height, level.width), mode=mode)

    def _under(self, level: LatentLevel, axis: int) -> Tensor:
        """LR row (or column) of the crop under the centre of each cell of a level."""
        place, side, scale = self.place, level.side, self.scale
        if place is None or side is None or scale is None:
            raise TypeError("A level counted in HR pixels belongs to a placed spec.")
        whole = place.whole[axis]
        first = (place.window.y, place.window.x)[axis]
        numbers = torch.arange(level.shape[1 + axis]) + level.start[axis]
        # Integers: the LR pixel is a function of the absolute cell and nothing else.
        under = (2 * numbers + 1) * (side * whole) // (2 * round(whole * scale))
        return (under - first).clamp(0, self.lr_size[axis] - 1)


def _pooled(value: Tensor, level: LatentLevel) -> Tensor:
    """Mean of an HR map over each cell's pixels."""
    pooled = F.avg_pool2d(
        value, level.side or 1, ceil_mode=True, count_include_pad=False
    )
    rows, columns = (
        torch.arange(count, device=value.device).clamp(max=have - 1)
        for count, have in zip(level.shape[1:], pooled.shape[-2:], strict=True)
    )
    return pooled[..., rows, :][..., columns]
