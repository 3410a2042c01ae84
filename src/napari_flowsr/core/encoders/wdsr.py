"""WDSR trunk: residual blocks that are wide where they are rectified.

Few features go from block to block and many more are seen by the ReLU between a block's
two convolutions; at the same cost such a trunk predicts better than one of even width.

References
----------
Wide Activation for Efficient and Accurate Image Super-Resolution (Yu et al., 2018),
arXiv:1808.08718, section 3.1 (WDSR-A); weight normalisation is left out.
"""

from __future__ import annotations

from torch import Tensor, nn

from napari_flowsr.core.encoders.block import ResidualBlock

__all__ = ["WDSR"]


class WDSR(nn.Module):
    """``(B, C, h, w)`` to features ``(B, width, h, w)`` at LR resolution.

    Parameters
    ----------
    channels : int
        Image channels.
    width : int
        Feature channels.
    blocks : int
        Residual blocks.
    expansion : int
        Channels inside a block for each feature channel.
    """

    def __init__(
        self, channels: int, width: int = 32, blocks: int = 8, expansion: int = 4
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(width, expansion) for _ in range(blocks))
        )
        self.reach = 2 * blocks + 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(self.head(x))
        return out
