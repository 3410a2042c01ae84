"""Activation normalisation: one learned scale and shift per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_flowsr.core.transforms.base import Transform, sum_per_image

__all__ = ["ActNorm"]


class ActNorm(Transform):
    r"""Per-channel affine map, :math:`z = (x + b) \cdot \exp(l)`.

    While training, the first batch sets ``bias`` and ``logs`` so that each channel
    leaves with mean 0 and variance 1. Whether that happened is a buffer, so that it
    survives a checkpoint; the published files lack it, and loading one sets it.

    Parameters
    ----------
    channels : int
        Number of channels ``C``.

    References
    ----------
    Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018),
    arXiv:1807.03039, section 3.1; SRFlow (Lugmayr et al., 2020), section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.logs = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(False))
        self.initialized: Tensor

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        mean = x.mean((0, 2, 3), keepdim=True)
        std = x.std((0, 2, 3), correction=0, keepdim=True)
        self.bias.copy_(-mean)
        # A channel without variance (constant input) would get an infinite scale.
        self.logs.copy_(-torch.log(std + 1e-6))
        self.initialized.fill_(True)

    def _logdet(self, x: Tensor) -> Tensor:
        pixels = x.shape[2] * x.shape[3]
        return pixels * sum_per_image(self.logs).expand(x.shape[0])

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialized:
            self._initialise(x)
        return (x + self.bias) * self.logs.exp(), self._logdet(x)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = z * torch.exp(-self.logs) - self.bias
        return x, -self._logdet(z)
