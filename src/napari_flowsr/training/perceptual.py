"""Features of VGG19, from a file that the user has, for the perceptual loss.

References
----------
Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and
Zisserman, 2015), arXiv:1409.1556, table 1, column E; ESRGAN (Wang et al., 2018),
arXiv:1809.00219, section 3.3 (features before the activation, L1).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from napari_flowsr.errors import CheckpointError, TrainingError
from napari_flowsr.io.checkpoint import load_weights
from napari_flowsr.io.foreign import read_state

__all__ = ["SMALLEST", "Features", "read_features"]

SMALLEST = 16
"""Least side of an image, pixels: it is halved four times."""

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of each block, between which the image is halved."""
_WHERE = (
    "torchvision's vgg19-dcbb9e9d.pth, whose address is that of VGG19_Weights in "
    "https://docs.pytorch.org/vision/stable/models/vgg.html"
)


class Features(nn.Module):
    """``(B, C, H, W)`` in ``[0, 1]`` units to features conv5_4, before its activation.

    Images of one channel are taken as grey. Names of parameters are torchvision's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, count in _BLOCKS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
        self.features = nn.Sequential(*layers[:-1])
        # Of ImageNet, which the weights were trained on.
        for name, values in (
            ("mean", (0.485, 0.456, 0.406)),
            ("std", (0.229, 0.224, 0.225)),
        ):
            tensor = torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Features ``(B, 512, H // 16, W // 16)``."""
        colour = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
        out: Tensor = self.features((colour - self.mean) / self.std)
        return out

    def distance(self, image: Tensor, hr: Tensor) -> Tensor:
        """Mean absolute difference of features; gradients reach ``image`` alone."""
        with torch.no_grad():
            wanted = self(hr)
        found: Tensor = self(image)
        distance: Tensor = (found - wanted).abs().mean()
        return distance


def read_features(path: str) -> Features:
    """Frozen features with the weights of a file.

    Parameters
    ----------
    path : str
        torchvision's state dict of VGG19, ``.pth`` or ``.safetensors``; nothing in it
        is executed.

    Raises
    ------
    TrainingError
        There is no such file, or it is of another network.
    """
    if not path:
        raise TrainingError(
            "The perceptual loss needs the weights of VGG19, which do not come with "
            f"napari-flowsr. Download {_WHERE}, and give its path as "
            "perceptual_weights; or leave that loss out: loss_weights = "
            "{perceptual = 0}."
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise TrainingError(
            f"perceptual_weights is '{path}', where there is no file. Give the path of "
            f"{_WHERE}."
        )
    features = Features()
    try:
        state = {k: t for k, t in read_state(file).items() if k.startswith("features.")}
        load_weights(features, state, file, "VGG19")
    except CheckpointError as error:
        raise TrainingError(
            f"perceptual_weights is '{path}', which is no file of VGG19's weights: "
            f"{error} Give {_WHERE}."
        ) from error
    return features.float().eval().requires_grad_(False)
