"""Noise that depends on absolute position and on nothing else.

A counter-based generator (Philox) is a pure function of its counter: the noise of a
window is the crop of the noise of the whole, whatever the tile size, order, worker or
device. Sequential generators cannot do that; seeding one per block would do, but
torch's CPU generator keeps only 32 bits of its seed, so that large images would soon
see the same block twice.

References
----------
Parallel Random Numbers: As Easy as 1, 2, 3 (Salmon et al., 2011), SC'11, section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents, LatentSpec, Window
from napari_flowsr.errors import OptionError

__all__ = ["NoiseField", "philox4x32"]

_MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
# Rows are drawn in chunks of about this many counters, to bound the memory.
_CHUNK = 1 << 18


def _mulhilo(m: int, x: Tensor) -> tuple[Tensor, Tensor]:
    # The int64 product wraps modulo 2^64, and both halves survive the wrap.
    product = x * m
    return (product >> 32) & _MASK, product & _MASK


def philox4x32(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four 32-bit words (held in int64) from a counter and a key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        hi0, lo0 = _mulhilo(_M0, c0)
        hi1, lo1 = _mulhilo(_M1, c2)
        c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def _mix64(state: int, word: int) -> int:
    """One round of splitmix64: spreads each word over all 64 bits of the key.

    Of a longer word the lowest 64 bits count.
    """
    full = (1 << 64) - 1
    z = (state ^ (word & full)) + 0x9E3779B97F4A7C15 & full
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & full
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & full
    return z ^ (z >> 31)


def _normals(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Box-Muller: two words to two standard normals, in float64."""
    radius = torch.sqrt(-2.0 * torch.log((a.double() + 0.5) * 2.0**-32))
    angle = (2.0 * math.pi * 2.0**-32) * (b.double() + 0.5)
    return radius * torch.cos(angle), radius * torch.sin(angle)


@dataclass(frozen=True)
class NoiseField:
    """Standard normal noise over the plane, a function of position.

    Parameters
    ----------
    seed : int
        The user's seed; any integer from 0.
    plane : int
        Index of the 2-D plane in the nD image (0 for noise shared by all planes).
    attempt : int
        Number of the redraw, 0 for the first.
    """

    seed: int
    plane: int = 0
    attempt: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise OptionError(f"seed is {self.seed}; it must be an integer from 0.")

    def _key(self) -> tuple[int, int]:
        # First the seed's words above the lowest, so that small seeds have none.
        state, above = 0, self.seed >> 64
        while above:
            state = _mix64(state, above)
            above >>= 64
        for word in (self.seed, self.plane, self.attempt):
            state = _mix64(state, word)
        return state & _MASK, state >> 32

    def _block(
        self, sample: int, level: int, channels: int, rows: range, columns: range
    ) -> Tensor:
        quads = -(-channels // 4)
        y = torch.arange(rows.start, rows.stop)[None, :, None]
        x = torch.arange(columns.start, columns.stop)[None, None, :]
        slot = torch.arange(quads)[:, None, None] + (level << 20)
        shape = (quads, len(rows), len(columns))
        counter = (
            (x & _MASK).expand(shape),
            (y & _MASK).expand(shape),
            slot.expand(shape),
            torch.tensor(sample & _MASK).expand(shape),
        )
        a, b, c, d = philox4x32(counter, self._key())
        normals = torch.stack((*_normals(a, b), *_normals(c, d)), 1)
        return normals.flatten(0, 1)[:channels].float()

    def normal(
        self,
        size: tuple[int, int, int],
        *,
        sample: int = 0,
        level: int = 0,
        origin: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """Noise ``(C, H, W)`` of the window at ``origin``; float32, on the CPU."""
        channels, height, width = size
        out = torch.empty(size)
        step = max(1, _CHUNK // max(1, width * -(-channels // 4)))
        columns = range(origin[1], origin[1] + width)
        for start in range(0, height, step):
            stop = min(start + step, height)
            rows = range(origin[0] + start, origin[0] + stop)
            out[:, start:stop] = self._block(sample, level, channels, rows, columns)
        return out

    def draw(
        self,
        spec: LatentSpec,
        *,
        samples: range = range(1),
        window: Window | None = None,
    ) -> Latents:
        """White latents of the given sample numbers, batch ``len(samples)``.

        Parameters
        ----------
        spec : LatentSpec
            Of the window's size.
        samples : range
            Sample numbers; the same number gives the same noise in any batch.
        window : Window, optional
            Where the latents lie in the whole image; its top left corner counts.
        """
        window = window or Window(0, 0, *spec.lr_size)
        levels = []
        for index, level in enumerate(spec.levels):
            origin = level.origin(window)
            drawn = [
                self.normal(level.shape, sample=s, level=index, origin=origin)
                for s in samples
            ]
            levels.append(torch.stack(drawn))
        return Latents(tuple(levels), spec)
