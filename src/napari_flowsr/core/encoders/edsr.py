"""EDSR-like trunk: residual blocks without normalisation, one long skip.

References
----------
Enhanced Deep Residual Networks for Single Image Super-Resolution (Lim et al., 2017),
arXiv:1707.02921, section 3.
"""

from __future__ import annotations

from torch import Tensor, nn

from napari_flowsr.core.encoders.block import ResidualBlock

__all__ = ["EDSR"]


class EDSR(nn.Module):
    """``(B, C, h, w)`` to features ``(B, width, h, w)`` at LR resolution.

    Parameters
    ----------
    channels : int
        Image channels.
    width : int
        Feature channels.
    blocks : int
        Residual blocks.
    res_scale : float
        Factor of each block's output.
    """

    def __init__(
        self, channels: int, width: int = 64, blocks: int = 16, res_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        layers: list[nn.Module] = [
            ResidualBlock(width, res_scale=res_scale) for _ in range(blocks)
        ]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1))
        self.reach = 2 * blocks + 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        out: Tensor = x + self.body(x)
        return out
