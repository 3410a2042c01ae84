"""Split: half of the channels leave the flow as latents of a finer level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_flowsr.core.nets import ZeroConv, interleaved
from napari_flowsr.core.transforms.base import sum_per_image

__all__ = ["SplitGaussian"]


class SplitGaussian(nn.Module):
    r"""Split off the second half, standardised by a learned conditional Gaussian.

    :math:`\epsilon = (x_2 - \mu(x_1)) / \sigma(x_1)`, so that the latents that leave
    are standard normal under the model.

    Not a `Transform`, for it has two outputs; the log-determinants follow the same
    convention, and do not contain the density of the latents.

    Parameters
    ----------
    channels : int
        Channels ``C`` before the split; ``C // 2`` go on.
    net : nn.Module, optional
        ``(B, C // 2, H, W)`` to ``(B, 2 (C - C // 2), H, W)``, mean and log-scale
        interleaved; SRFlow's zero-initialised convolution if not given.

    References
    ----------
    SRFlow (Lugmayr et al., 2020), section 3.2; Real NVP (Dinh et al., 2017), section
    3.6.
    """

    def __init__(self, channels: int, net: nn.Module | None = None) -> None:
        super().__init__()
        self.kept = channels // 2
        self.net = net or ZeroConv(self.kept, 2 * (channels - self.kept))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the channels that go on, the white latents, and ``logdet (B,)``."""
        kept, gone = x[:, : self.kept], x[:, self.kept :]
        mean, logs = interleaved(self.net(kept))
        return kept, (gone - mean) * torch.exp(-logs), -sum_per_image(logs)

    def inverse(self, kept: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Put white latents ``eps`` back; ``(x, logdet)``."""
        mean, logs = interleaved(self.net(kept))
        return torch.cat((kept, mean + logs.exp() * eps), 1), sum_per_image(logs)

    @property
    def reach(self) -> int:
        """Cells on each side of a position that influence its output."""
        return 1
