"""Residual block without normalisation, of EDSR and, wide inside, of WDSR.

References
----------
Enhanced Deep Residual Networks for Single Image Super-Resolution (Lim et al., 2017),
arXiv:1707.02921, section 3; Wide Activation for Efficient and Accurate Image
Super-Resolution (Yu et al., 2018), arXiv:1808.08718, section 3.1 (WDSR-A).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ResidualBlock"]


class ResidualBlock(nn.Module):
    """``x + res_scale * conv(ReLU(conv(x)))``.

    Parameters
    ----------
    width : int
        Feature channels.
    expansion : int
        Channels inside the block for each feature channel.
    res_scale : float
        Factor of what is added.
    """

    def __init__(self, width: int, expansion: int = 1, res_scale: float = 1.0) -> None:
        super().__init__()
        inside = width * expansion
        self.body = nn.Sequential(
            nn.Conv2d(width, inside, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inside, width, 3, padding=1),
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.res_scale * self.body(x)
        return out
