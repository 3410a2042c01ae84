"""Squeeze: space to channels, so that a flow can mix neighbouring pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

from napari_flowsr.core.transforms.base import Transform, zero_per_image
from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Squeeze"]


class Squeeze(Transform):
    """``(B, C, H, W)`` to ``(B, C f^2, H/f, W/f)``; log-determinant 0.

    Output channel ``c f^2 + dy f + dx``: colour-major, then row, then column.

    References
    ----------
    Density estimation using Real NVP (Dinh et al., 2017), arXiv:1605.08803,
    section 3.6.
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise SizeError(
                f"Image is {height} x {width}; a squeeze by {self.factor} needs both "
                f"sides divisible by {self.factor}. Pad or crop the image."
            )
        return F.pixel_unshuffle(x, self.factor), zero_per_image(x)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z, self.factor), zero_per_image(z)
