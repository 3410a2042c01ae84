"""Condition: what the LR image contributes, computed once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Condition"]


@dataclass(frozen=True)
class Condition:
    """The LR image and its encoding, reused by every sample and re-sample.

    Parameters
    ----------
    lr : Tensor
        ``(B, C, h, w)`` in ``[0, 1]`` units (values outside are allowed).
    features : tuple of Tensor
        The family's encoding; its meaning is the family's own.
    """

    lr: Tensor
    features: tuple[Tensor, ...]

    @property
    def lr_size(self) -> tuple[int, int]:
        """``(h, w)``."""
        return int(self.lr.shape[-2]), int(self.lr.shape[-1])

    @property
    def nbytes(self) -> int:
        """Memory of all tensors held."""
        return sum(t.nbytes for t in (self.lr, *self.features))
