"""The one convention of every transform: image to latent is ``forward``.

References
----------
SRFlow: Learning the Super-Resolution Space with Normalizing Flow (Lugmayr et al.,
2020), arXiv:2006.14200, eqs. (1) to (3).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Compose", "Transform", "sum_per_image", "zero_per_image"]


def sum_per_image(x: Tensor) -> Tensor:
    """Sum ``(B, ...)`` over everything but the batch, in float32 or better.

    Log-determinants are sums over hundreds of thousands of numbers: they are never
    accumulated in half precision.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.flatten(1).sum(1, dtype=dtype)


def zero_per_image(x: Tensor) -> Tensor:
    """Log-determinant ``(B,)`` of a volume-preserving map of ``x``."""
    return x.new_zeros(x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))


class Transform(nn.Module, ABC):
    """An invertible map of ``(B, C, H, W)`` tensors, possibly conditioned on ``u``.

    Both directions return ``(output, logdet)`` with ``logdet`` of shape ``(B,)``, the
    natural logarithm of ``|det|`` of the Jacobian *of the direction evaluated*. No
    size is fixed at construction: ``H`` and ``W`` are whatever arrives.
    """

    @abstractmethod
    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map image side to latent side."""

    @abstractmethod
    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent side to image side."""

    @property
    def reach(self) -> int:
        """Cells on each side of a position that influence its output."""
        return 0


class Compose(Transform):
    """Transforms one after another; all see the same condition ``u``."""

    def __init__(self, transforms: Iterable[Transform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def ordered(self) -> Sequence[Transform]:
        """The transforms, image side first."""
        return list(self.transforms)  # type: ignore[arg-type]

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logdet = zero_per_image(x)
        for transform in self.ordered():
            x, term = transform(x, u)
            logdet = logdet + term
        return x, logdet

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logdet = zero_per_image(z)
        for transform in reversed(self.ordered()):
            z, term = transform.inverse(z, u)
            logdet = logdet + term
        return z, logdet

    @property
    def reach(self) -> int:
        return sum(t.reach for t in self.ordered())
