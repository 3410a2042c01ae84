"""Latents: white tensors, one a level, and where they lie on the LR grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.transforms.base import sum_per_image
from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LatentLevel", "LatentSpec", "Latents", "Window"]

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Window:
    """A box of LR pixels, absolute in its image: rows ``y .. y + height``."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class LatentLevel:
    """Channels of a level, its size, and its cells per LR pixel along one axis."""

    channels: int
    height: int
    width: int
    rate: Fraction

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
    """What latents a flow needs for an LR image of one size, finest level first."""

    levels: tuple[LatentLevel, ...]
    lr_size: tuple[int, int]
    hr_size: tuple[int, int]

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """``(C, H, W)`` per level, finest first."""
        return tuple(level.shape for level in self.levels)

    @property
    def dimensions(self) -> int:
        """Latent variables of one image; equals its HR values in a plain flow."""
        return sum(math.prod(shape) for shape in self.shapes)


def _resize_map(value: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a ``(H, W)`` or ``(B, 1, H, W)`` map to a level's grid, by area mean."""
    value = value if value.ndim == 4 else value[None, None]
    if tuple(value.shape[-2:]) == size:
        return value
    shrinks = value.shape[-2] >= size[0] and value.shape[-1] >= size[1]
    mode = "area" if shrinks else "nearest"
    return F.interpolate(value, size=size, mode=mode)


@dataclass(frozen=True)
class Latents:
    """White latents: standard normal under the model, whatever the family.

    Parameters
    ----------
    levels : tuple of Tensor
        ``(B, C, H, W)`` per level, finest first.
    spec : LatentSpec
        The sizes that they were checked against.
    """

    levels: tuple[Tensor, ...]
    spec: LatentSpec

    def __post_init__(self) -> None:
        given = tuple(tuple(t.shape[1:]) for t in self.levels)
        if given != self.spec.shapes:
            raise SizeError(
                f"Latents have shapes {given}; for an LR image of "
                f"{self.spec.lr_size[0]} x {self.spec.lr_size[1]} this flow needs "
                f"{self.spec.shapes} (finest first, without the batch axis)."
            )

    @property
    def batch(self) -> int:
        """Batch size ``B``."""
        return int(self.levels[0].shape[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> Latents:
        """Apply ``function`` to each level."""
        return Latents(tuple(function(t) for t in self.levels), self.spec)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Latents:
        """Move, and cast, each level."""
        return self.map(lambda t: t.to(device=device, dtype=dtype))

    def tempered(self, tau: float | Tensor) -> Latents:
        """Multiply by the standard deviation ``tau``.

        Parameters
        ----------
        tau : float or Tensor
            One number (0 gives the mode), or a map ``(H, W)`` or ``(B, 1, H, W)`` on
            any grid of the same field of view.
        """
        if not isinstance(tau, Tensor):
            return self.map(lambda t: t * tau)
        return self.map(lambda t: t * _resize_map(tau, tuple(t.shape[-2:])).to(t))  # type: ignore[arg-type]

    def where(self, mask: Tensor, other: Latents) -> Latents:
        """Take ``other`` where ``mask`` is 1, mixed so that the result stays white.

        A weight ``m`` between 0 and 1 gives ``cos(t) self + sin(t) other`` with
        ``t = m pi / 2``: variances add up to 1.
        """

        def mix(own: Tensor, new: Tensor) -> Tensor:
            m = _resize_map(mask.to(own.dtype), tuple(own.shape[-2:]))  # type: ignore[arg-type]
            mixed = (
                torch.cos(m * torch.pi / 2) * own + torch.sin(m * torch.pi / 2) * new
            )
            # cos(pi / 2) is not exactly 0 in floating point: keep both ends exact.
            return torch.where(m <= 0, own, torch.where(m >= 1, new, mixed))

        return Latents(tuple(map(mix, self.levels, other.levels)), self.spec)

    def log_prob(self) -> Tensor:
        """Log-density under the standard normal, ``(B,)``, nats."""
        terms = [sum_per_image(-0.5 * t.square() - _HALF_LOG_2PI) for t in self.levels]
        return torch.stack(terms).sum(0)

    def __getitem__(self, index: slice) -> Latents:
        """Slice the batch."""
        return self.map(lambda t: t[index])

    @staticmethod
    def cat(parts: Sequence[Latents]) -> Latents:
        """Concatenate along the batch."""
        levels = zip(*(p.levels for p in parts), strict=True)
        return Latents(tuple(torch.cat(level) for level in levels), parts[0].spec)
