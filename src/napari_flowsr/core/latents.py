"""Latents: white tensors, one a level, with the places that they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_flowsr.core.mixing import rotated
from napari_flowsr.core.places import LatentLevel, LatentSpec, Place, Window
from napari_flowsr.core.transforms.base import sum_per_image
from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LatentLevel", "LatentSpec", "Latents", "Place", "Window"]

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Latents:
    """White latents: standard normal under the model, whatever the family.

    Parameters
    ----------
    levels : tuple of Tensor
        ``(B, C, H, W)`` per level, finest first.
    spec : LatentSpec
        The sizes that they were checked against.
    lr : Tensor, optional
        ``(B, C, h, w)``: the LR image that they belong to, where the flow itself
        assigned it to an HR image (`ConditionalFlow.encodes_lr`) and so it is not the
        given one.
    """

    levels: tuple[Tensor, ...]
    spec: LatentSpec
    lr: Tensor | None = None

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
        return replace(self, levels=tuple(function(t) for t in self.levels))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Latents:
        """Move, and cast, each level."""
        lr = None if self.lr is None else self.lr.to(device=device, dtype=dtype)
        return replace(self.map(lambda t: t.to(device=device, dtype=dtype)), lr=lr)

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
        levels = (
            t * self.spec.on_level(tau, i).to(t) for i, t in enumerate(self.levels)
        )
        return replace(self, levels=tuple(levels))

    def where(self, mask: Tensor, other: Latents) -> Latents:
        """Take ``other`` where ``mask`` is 1, mixed so that the result stays white.

        A weight ``m`` between 0 and 1 gives ``cos(t) self + sin(t) other`` with
        ``t = m pi / 2``: variances add up to 1 (`core.mixing`).
        """

        def mix(index: int, own: Tensor, new: Tensor) -> Tensor:
            return rotated(own, new, self.spec.on_level(mask.to(own.dtype), index))

        levels = map(mix, range(len(self.levels)), self.levels, other.levels)
        return replace(self, levels=tuple(levels))

    def crop(self, spec: LatentSpec) -> Latents:
        """Cut out the cells of a window's placed ``spec``, by absolute position."""

        def cut(tensor: Tensor, own: LatentLevel, part: LatentLevel) -> Tensor:
            y, x = (b - a for a, b in zip(own.start, part.start, strict=True))
            # A negative index would count from the end; here it is out of the range.
            rows = slice(max(0, y), max(0, y + part.height))
            return tensor[..., rows, max(0, x) : max(0, x + part.width)]

        levels = map(cut, self.levels, self.spec.levels, spec.levels)
        lr, place, own = self.lr, spec.place, self.spec.place
        if lr is not None and place is not None:
            w = place.window
            y, x = (
                (w.y, w.x) if own is None else (w.y - own.window.y, w.x - own.window.x)
            )
            lr = lr[..., y : y + w.height, x : x + w.width]
        return Latents(tuple(levels), spec, lr)

    def log_prob(self) -> Tensor:
        """Log-density under the standard normal, ``(B,)``, nats."""
        terms = [sum_per_image(-0.5 * t.square() - _HALF_LOG_2PI) for t in self.levels]
        return torch.stack(terms).sum(0)

    def __getitem__(self, index: slice) -> Latents:
        """Slice the batch."""
        lr = None if self.lr is None else self.lr[index]
        return replace(self.map(lambda t: t[index]), lr=lr)

    @staticmethod
    def cat(parts: Sequence[Latents]) -> Latents:
        """Concatenate along the batch."""
        levels = zip(*(p.levels for p in parts), strict=True)
        images = [p.lr for p in parts if p.lr is not None]
        lr = torch.cat(images) if len(images) == len(parts) else None
        return Latents(tuple(torch.cat(level) for level in levels), parts[0].spec, lr)
