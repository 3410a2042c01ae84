"""Dequantisation: integers become a density by adding noise of one step's width."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_flowsr.core.transforms.base import Transform, zero_per_image

__all__ = ["UniformDequantise"]


class UniformDequantise(Transform):
    """Add uniform noise of width ``1 / levels``; the log-determinant is 0.

    A density of images in ``[0, 1]`` units needs no constant. The published SRFlow and
    HCFlow figures add ``-H W ln(levels)``, which is a choice of units, not part of
    the map, and is left to whoever compares with them.

    Parameters
    ----------
    levels : float
        Quantisation levels per unit, 255 for 8-bit images.
    centred : bool
        Noise in ``[-1/2, 1/2) / levels`` (SRFlow) or ``[0, 1) / levels`` (HCFlow).

    Notes
    -----
    `inverse` is the identity: the noise that was added is not known any more.
    """

    def __init__(self, levels: float = 255.0, *, centred: bool = True) -> None:
        super().__init__()
        self.levels = levels
        self.centred = centred

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add noise; ``u`` may hold the uniform numbers in ``[0, 1)`` to use."""
        noise = torch.rand_like(x) if u is None else u
        return x + (noise - 0.5 * self.centred) / self.levels, zero_per_image(x)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z, zero_per_image(z)
