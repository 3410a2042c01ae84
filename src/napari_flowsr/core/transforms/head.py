"""Gaussian head: what is left of a variable once its mean and scale are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_flowsr.core.nets import ZeroConv, interleaved
from napari_flowsr.core.transforms.base import Transform, sum_per_image
from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from napari_flowsr.core.scales import LogScale

__all__ = ["GaussianHead"]


class GaussianHead(Transform):
    r"""Standardise by a Gaussian conditioned on ``u``.

    :math:`\epsilon = (z - \mu(u)) / \sigma(u)`, so that the latents that leave are
    standard normal under the model; ``logdet`` is :math:`-\sum \ln \sigma`.

    Parameters
    ----------
    channels, condition_channels : int
        Channels of ``z`` and of ``u``.
    log_scale : callable, optional
        One of `core.scales`, from the prediction to :math:`\ln \sigma`; the prediction
        itself if not given.

    References
    ----------
    HCFlow (Liang et al., 2021), arXiv:2108.05301, section 3.3 and Table 1 (conditional
    prior).
    """

    def __init__(
        self,
        channels: int,
        condition_channels: int,
        log_scale: LogScale | None = None,
    ) -> None:
        super().__init__()
        self.net = ZeroConv(condition_channels, 2 * channels)
        self.log_scale = log_scale

    def mean_logs(self, u: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-scale ``(B or 1, C, H, W)`` given ``u``."""
        if u is None:
            raise SizeError("The Gaussian head needs the features u; got None.")
        mean, h = interleaved(self.net(u))
        return mean, h if self.log_scale is None else self.log_scale(h)

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, logs = self.mean_logs(u)
        return (x - mean) * torch.exp(-logs), -sum_per_image(logs).expand(x.shape[0])

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, logs = self.mean_logs(u)
        return mean + logs.exp() * z, sum_per_image(logs).expand(z.shape[0])
