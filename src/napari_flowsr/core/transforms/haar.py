"""Haar squeeze: space to channels, sorted into an average and three differences."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_flowsr.core.transforms.base import Transform
from napari_flowsr.core.transforms.squeeze import Squeeze

__all__ = ["HAAR", "HaarSqueeze"]

HAAR = (
    ((1.0, 1.0), (1.0, 1.0)),
    ((1.0, -1.0), (1.0, -1.0)),
    ((1.0, 1.0), (-1.0, -1.0)),
    ((1.0, -1.0), (-1.0, 1.0)),
)
"""Average, and horizontal, vertical and diagonal difference, times 4."""


class HaarSqueeze(Transform):
    r"""``(B, C, H, W)`` to ``(B, 4 C, H/2, W/2)``, one Haar level.

    Output channel ``k C + c``: first the ``C`` averages of 2 x 2 pixels, which are a
    small image, then all horizontal, all vertical, all diagonal differences. The
    filters are divided by 4, so that the average is one: per 2 x 2 pixels and channel
    :math:`\ln |\det| = \ln (16 / 4^4) = -4 \ln 2`.

    Parameters
    ----------
    channels : int
        Image channels ``C``.

    Notes
    -----
    The filters are a buffer ``(4 C, 1, 2, 2)``, row ``4 c + k``, as in the published
    files; inverse and log-determinant are those of whatever filters are in it.

    References
    ----------
    HCFlow (Liang et al., 2021), arXiv:2108.05301, section 4.1; Invertible Image
    Rescaling (Xiao et al., 2020), arXiv:2005.05650, section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        bank = torch.tensor(HAAR).view(4, 1, 2, 2).repeat(channels, 1, 1, 1)
        self.register_buffer("filters", bank)
        self.filters: Tensor
        self._squeeze = Squeeze()

    def _matrices(self) -> Tensor:
        """One matrix ``(4, 4)`` a channel, from 2 x 2 pixels to the four sums."""
        # Apple's GPUs have no float64; inverse and determinant of +-1/4 are exact.
        precise = self.filters.device.type != "mps"
        bank = self.filters if precise else self.filters.cpu()
        return bank.double().view(-1, 4, 4) / 4

    def _logdet(self, x: Tensor, pixels: int) -> Tensor:
        total: Tensor = pixels * torch.linalg.slogdet(self._matrices()).logabsdet.sum()
        dtype = torch.promote_types(x.dtype, torch.float32)
        return total.to(x.device, dtype).expand(x.shape[0])

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        squeezed, _ = self._squeeze(x)
        b, c4, h, w = squeezed.shape
        pixels = squeezed.view(b, c4 // 4, 4, h, w)
        matrices = self._matrices().to(x.device, x.dtype)
        z = torch.einsum("ckj,bcjhw->bkchw", matrices, pixels)
        return z.reshape(b, c4, h, w), self._logdet(x, h * w)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        b, c4, h, w = z.shape
        matrices = torch.linalg.inv(self._matrices()).to(z.device, z.dtype)
        sums = z.reshape(b, 4, c4 // 4, h, w)
        pixels = torch.einsum("cjk,bkchw->bcjhw", matrices, sums)
        x, _ = self._squeeze.inverse(pixels.reshape(b, c4, h, w))
        return x, -self._logdet(z, h * w)
