"""Couplings between an image and its detail, HCFlow's pair for rescaling.

References
----------
HCFlow (Liang et al., 2021), arXiv:2108.05301, section 4.1; Invertible Image Rescaling
(Xiao et al., 2020), arXiv:2005.05650, section 3.2, eqs. (2) and (3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_flowsr.core.nets import interleaved
from napari_flowsr.core.transforms.base import (
    Transform,
    sum_per_image,
    zero_per_image,
)

if TYPE_CHECKING:
    from napari_flowsr.core.scales import LogScale

__all__ = ["DetailCoupling", "ImageShift"]


class _BetweenImageAndDetail(Transform):
    def __init__(self, net: nn.Module, image_channels: int) -> None:
        super().__init__()
        self.net = net
        self.image_channels = image_channels

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.image_channels], x[:, self.image_channels :]

    @property
    def reach(self) -> int:
        return int(getattr(self.net, "reach", 0))


class DetailCoupling(_BetweenImageAndDetail):
    r"""Shift and scale the detail by functions of the image, which passes through.

    Parameters
    ----------
    net : nn.Module
        ``(B, I, H, W)`` to ``(B, 2 (C - I), H, W)``, shift and scale interleaved.
    log_scale : callable
        One of `core.scales`.
    image_channels : int
        Leading channels ``I`` that are the image.
    """

    def __init__(
        self, net: nn.Module, log_scale: LogScale, image_channels: int
    ) -> None:
        super().__init__(net, image_channels)
        self.log_scale = log_scale

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        image, detail = self._parts(x)
        shift, h = interleaved(self.net(image))
        logs = self.log_scale(h)
        moved = (detail + shift) * logs.exp()
        return torch.cat((image, moved), 1), sum_per_image(logs)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        image, moved = self._parts(z)
        shift, h = interleaved(self.net(image))
        logs = self.log_scale(h)
        detail = moved * torch.exp(-logs) - shift
        return torch.cat((image, detail), 1), -sum_per_image(logs)


class ImageShift(_BetweenImageAndDetail):
    """Shift the image by a function of the detail; log-determinant 0.

    Parameters
    ----------
    net : nn.Module
        ``(B, C - I, H, W)`` to ``(B, I, H, W)``.
    image_channels : int
        Leading channels ``I`` that are the image.
    """

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        image, detail = self._parts(x)
        return torch.cat((image + self.net(detail), detail), 1), zero_per_image(x)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        image, detail = self._parts(z)
        return torch.cat((image - self.net(detail), detail), 1), zero_per_image(z)
