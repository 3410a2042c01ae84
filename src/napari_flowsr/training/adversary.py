"""An adversary that learns to tell decoded images from true ones, and its losses.

References
----------
AdFlow: Normalizing Flow as a Flexible Fidelity Objective for Photo-Realistic
Super-resolution (Lugmayr et al., 2021), arXiv:2111.03649, sections 3.3 to 3.5 (16
internal channels; samples of the flow); ESRGAN (Wang et al., 2018), arXiv:1809.00219,
section 3.2 (relativistic average); Photo-Realistic Single Image Super-Resolution Using
a Generative Adversarial Network (Ledig et al., 2017), arXiv:1609.04802, section 2.1.1
(the VGG-like discriminator).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Adversary", "Opponent", "adversary_loss", "fooling_loss"]

_GROUP = 8
"""Channels that are normalised together."""


def _layer(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False),
        nn.GroupNorm(max(1, c_out // _GROUP), c_out),
        nn.LeakyReLU(0.2, inplace=True),
    )


class Adversary(nn.Module):
    """``(B, C, H, W)`` to one number ``(B,)``: how true an image looks.

    Eight 3 x 3 convolutions, every second one halving the image and the next one
    doubling the channels, then two dense layers at each place, averaged over places: so
    that patches of any size will do.

    Deviates from the papers in its normalisation. Batch norm would make what it says of
    an image depend on the others in the batch, and so on how a batch is shared out to
    processes; here groups of channels of one image are normalised.

    Parameters
    ----------
    channels : int
        Of the image, 1 or 3.
    width : int
        Channels of the first layer: 16 in AdFlow, 64 in ESRGAN.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            _layer(width, width, 2),
        ]
        for wide in (2 * width, 4 * width, 8 * width):
            layers += [_layer(wide // 2, wide, 1), _layer(wide, wide, 2)]
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Conv2d(8 * width, 100, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(100, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Higher for what looks true; images in ``[0, 1]`` units."""
        places: Tensor = self.dense(self.features(2 * image - 1))
        return places.mean((1, 2, 3))


class _SumOfAll(torch.autograd.Function):
    """Sum over the processes; so is the gradient, which each has a part in."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _mean_of_all(values: Tensor) -> Tensor:
    """Mean over the batch in all processes; gradients flow through all of them."""
    mean = values.mean()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        total: Tensor = _SumOfAll.apply(mean)  # type: ignore[no-untyped-call]
        return total / torch.distributed.get_world_size()
    return mean


def _relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """Mean over the batch of -ln of the odds that the real one looks truer.

    Relative to the mean of the other kind (ESRGAN, eqs. 1 and 2).
    """
    above = real - _mean_of_all(fake)
    below = fake - _mean_of_all(real)
    return (F.softplus(-above) + F.softplus(below)).mean()


def adversary_loss(adversary: Adversary, real: Tensor, fake: Tensor) -> Tensor:
    """What the adversary minimises: ``real`` images look truer than ``fake`` ones."""
    return 0.5 * _relativistic(adversary(real), adversary(fake))


def fooling_loss(adversary: Adversary, real: Tensor, fake: Tensor) -> Tensor:
    """What the makers of ``fake`` images minimise: theirs look truer than ``real``."""
    with torch.no_grad():
        of_real = adversary(real)
    return 0.5 * _relativistic(adversary(fake), of_real)


class Opponent:
    """An adversary and its own Adam, taught beside the network that it judges.

    Parameters
    ----------
    channels, width : int
        As of `Adversary`.
    seed : int
        Of its start values.
    device : torch.device
        Where it is.
    """

    def __init__(
        self, channels: int, width: int, seed: int, device: torch.device
    ) -> None:
        # The caller's random numbers are left as they were.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.network = Adversary(channels, width)
        # What is trained by its judgement must not train it.
        self.network.to(device).requires_grad_(False)
        self.set_up(0.0)

    def set_up(self, learning_rate: float) -> None:
        """Begin a stage: its weights stay, its averages of gradients do not."""
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)

    def teach(
        self, real: Tensor, fake: Tensor, learning_rate: float, clip_norm: float
    ) -> Tensor:
        """Find the gradients for a `step`, the same in all processes.

        Returns its loss on this process's images; not finite if a gradient is not.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        self.network.requires_grad_(True)
        loss = adversary_loss(self.network, real, fake)
        loss.backward()  # type: ignore[no-untyped-call]
        self.network.requires_grad_(False)
        parameters = list(self.network.parameters())
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for parameter in parameters:
                if parameter.grad is not None:
                    torch.distributed.all_reduce(parameter.grad)
                    parameter.grad /= torch.distributed.get_world_size()
        norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
        return loss.detach() + 0 * norm

    def step(self) -> None:
        """Move the weights by the gradients that `teach` found, if it did."""
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
