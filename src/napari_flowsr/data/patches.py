"""Training patches, a pure function of seed and step: restarts are exact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.core.places import hr_side
from napari_flowsr.data.degradation import PAIRED, Degradation
from napari_flowsr.data.degrade import add_noise, downscale, margin
from napari_flowsr.data.detail import DetailMap
from napari_flowsr.data.source import Plane
from napari_flowsr.data.unusual import unusual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.float32]

__all__ = ["PatchSampler"]

_CANDIDATES = 3
# Number of a stream of random numbers that no patch of a batch has.
_OF_THE_BATCH = 2**32 - 1


@dataclass(frozen=True)
class _Sides:
    """What is cut out of a plane, HR pixels along a side."""

    window: int
    """All of it."""
    border: int
    """On each side of the HR patch."""
    cut: int
    """On each side of what is reduced to the LR patch and its margin."""
    margin: int
    """Of the reduction, LR pixels; it is cut off."""


@dataclass(frozen=True)
class PatchSampler:
    """Aligned LR and HR patches from planes, sampled by group and by detail.

    Groups are drawn with the square root of their image counts, so that the most
    common modality does not rule; images within a group with the square root of their
    area; of a few candidate positions one is drawn in proportion to its mean gradient.
    Where that is background, another one with detail takes its place (`data.detail`),
    so that nothing black is learned from as long as there is anything else.

    Parameters
    ----------
    planes : sequence of Plane
        ``(C, H, W)`` in ``[0, 1]``; of a `PAIRED` degradation with LR images.
    scale : float
        HR pixels per LR pixel.
    patch : int
        LR side of a patch.
    batch : int
        Patches of a (global) batch.
    seed : int
        Of the data order.
    degradation : Degradation
        How LR patches are made, noise included; or `PAIRED`.
    unusual : float
        Share of patches replaced by unusual ones, see `data.unusual`. Their LR images
        are always computed; by bicubic reduction where the degradation is `PAIRED`.
    misalignment : int
        HR patches are shifted against LR patches by up to this many HR pixels along
        each axis, all shifts being equally likely.
    scale_range : tuple of float, optional
        One scale for each batch is drawn from it, instead of ``scale``. The HR side is
        then the nearest whole number of pixels, and the LR patch is the reduction of
        the HR patch alone, mirrored at its border.
    """

    planes: Sequence[Plane]
    scale: float
    patch: int
    batch: int
    seed: int = 0
    degradation: Degradation = field(default_factory=Degradation)
    unusual: float = 0.0
    misalignment: int = 0
    scale_range: tuple[float, float] | None = None
    _maps: dict[int, DetailMap] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each plane to be drawn."""
        counts = Counter(p.group for p in self.planes)
        area = np.array([np.sqrt(p.pixels[0].size) for p in self.planes])
        total = Counter[str]()
        for p, a in zip(self.planes, area, strict=True):
            total[p.group] += a
        weight = np.array(
            [
                np.sqrt(counts[p.group]) * a / total[p.group]
                for p, a in zip(self.planes, area, strict=True)
            ]
        )
        out: NDArray[np.float64] = weight / weight.sum()
        return out

    # --- sizes ----------------------------------------------------------------

    def scale_at(self, step: int) -> float:
        """HR pixels per LR pixel in a step, the same for the whole batch."""
        if self.scale_range is None:
            return self.scale
        rng = np.random.default_rng((self.seed, step, _OF_THE_BATCH))
        return float(rng.uniform(*self.scale_range))

    @property
    def _is_paired(self) -> bool:
        return self.degradation.name == PAIRED

    def _sides(self, scale: float) -> _Sides:
        shift = self.misalignment
        if self._is_paired:
            whole = math.ceil(shift / scale) * int(scale)
            return _Sides(self.patch * int(scale) + 2 * whole, whole, whole, 0)
        if self.scale_range is not None or scale != int(scale):
            # Nothing is cut off: an LR pixel begins amid an HR pixel there.
            return _Sides(hr_side(self.patch, scale) + 2 * shift, shift, shift, 0)
        around = margin(scale, self.degradation)
        wide = (self.patch + 2 * around) * int(scale)
        return _Sides(wide + 2 * shift, shift + around * int(scale), shift, around)

    @property
    def min_side(self) -> int:
        """Smallest usable plane side in HR pixels."""
        largest = self.scale if self.scale_range is None else self.scale_range[1]
        return self._sides(largest).window

    # --- one patch --------------------------------------------------------------

    def _detail(self, number: int) -> DetailMap:
        """Of windows of the smallest HR patch."""
        if number not in self._maps:
            least = self.scale if self.scale_range is None else self.scale_range[0]
            self._maps[number] = DetailMap(
                self.planes[number].pixels, hr_side(self.patch, least)
            )
        return self._maps[number]

    def _position(
        self, rng: np.random.Generator, number: int, sides: _Sides, unit: int
    ) -> tuple[int, int]:
        """Top and left of a window, multiples of ``unit``: chosen by detail."""
        plane, side = self.planes[number], sides.window
        _, height, width = plane.pixels.shape
        tops = rng.integers(0, (height - side) // unit + 1, _CANDIDATES) * unit
        lefts = rng.integers(0, (width - side) // unit + 1, _CANDIDATES) * unit
        windows = [
            plane.pixels[:, y : y + side, x : x + side]
            for y, x in zip(tops, lefts, strict=True)
        ]
        detail = np.array([np.abs(np.diff(w, axis=-1)).mean() for w in windows]) + 1e-4
        chosen = rng.choice(_CANDIDATES, p=detail / detail.sum())
        # Detail is wanted in the middle of the patch.
        inner = self._detail(number)
        offset = (side - inner.side) // 2
        moved = inner.moved(
            rng, int(tops[chosen]) + offset, int(lefts[chosen]) + offset
        )
        top, left = (
            min(max(at - offset, 0), length - side) // unit * unit
            for at, length in zip(moved, (height, width), strict=True)
        )
        return top, left

    def _pair(
        self, rng: np.random.Generator, number: int, sides: _Sides, scale: float
    ) -> tuple[Image, Image | None]:
        """HR window and, of paired planes, LR patch: cut out, flipped, transposed."""
        unit = int(scale) if self._is_paired else 1
        y, x = self._position(rng, number, sides, unit)
        plane = self.planes[number]
        parts = [plane.pixels[:, y : y + sides.window, x : x + sides.window]]
        if self._is_paired and plane.lr is not None:
            v, u = (y + sides.cut) // unit, (x + sides.cut) // unit
            parts.append(plane.lr[:, v : v + self.patch, u : u + self.patch])
        for axes in ((1,), (2,)):
            if rng.random() < 0.5:
                parts = [np.flip(part, axes) for part in parts]
        if rng.random() < 0.5:
            parts = [part.swapaxes(1, 2) for part in parts]
        if rng.random() < self.unusual:
            parts = [unusual(rng, parts[0])]
        hr = np.ascontiguousarray(parts[0])
        return hr, np.ascontiguousarray(parts[1]) if len(parts) > 1 else None

    # --- a batch ----------------------------------------------------------------

    def draw(self, step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """LR ``(b, C, p, p)`` and HR ``(b, C, P, P)`` of a step; ``P = round(p s)``.

        ``part`` selects patches of the global batch, for one process of several: each
        patch depends on seed, step and its own number alone.
        """
        scale = self.scale_at(step)
        sides = self._sides(scale)
        rngs, wide, given = [], [], []
        for index in range(*part.indices(self.batch)):
            rng = np.random.default_rng((self.seed, step, index))
            number = int(rng.choice(len(self.planes), p=self.probabilities))
            window, lr = self._pair(rng, number, sides, scale)
            rngs.append(rng)
            wide.append(torch.from_numpy(window))
            given.append(lr)
        large = [
            self._shifted(rng, window, sides)
            for rng, window in zip(rngs, wide, strict=True)
        ]
        # All at once: many small reductions would take several times as long.
        made: Iterator[Tensor] = iter(())
        if computed := [w for w, lr in zip(wide, given, strict=True) if lr is None]:
            made = iter(self._reduced(torch.stack(computed), sides, scale))
        small = [
            add_noise(next(made), self.degradation, rng)
            if lr is None
            else torch.from_numpy(lr)
            for rng, lr in zip(rngs, given, strict=True)
        ]
        return torch.stack(small), torch.stack(large)

    def _shifted(self, rng: np.random.Generator, wide: Tensor, sides: _Sides) -> Tensor:
        """The HR patch, misaligned."""
        side, shift = sides.window - 2 * sides.border, self.misalignment
        down, right = rng.integers(-shift, shift + 1, 2) if shift else (0, 0)
        y, x = sides.border + int(down), sides.border + int(right)
        return wide[:, y : y + side, x : x + side]

    def _reduced(self, wide: Tensor, sides: _Sides, scale: float) -> Tensor:
        """LR patches of windows, still without noise."""
        end = sides.window - sides.cut
        how = Degradation() if self._is_paired else self.degradation
        lr = downscale(wide[..., sides.cut : end, sides.cut : end], scale, how)
        m = sides.margin
        return lr[..., m : m + self.patch, m : m + self.patch]
