"""How an unconstrained prediction becomes a positive scale, one function a paper.

Each function maps an unconstrained tensor to the *logarithm* of the multiplicative
unit of ``forward`` (image to latent).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LogScale", "arctan_scale", "inverse_sigmoid_scale", "sigmoid_scale"]
__all__ += ["tanh_scale"]

LogScale = Callable[[Tensor], Tensor]


def sigmoid_scale(h: Tensor, eps: float = 1e-4) -> Tensor:
    r"""SRFlow's published form, :math:`s = \sigma(h + 2) + \epsilon`.

    Bounded by 1 + eps; ``decode`` divides by as little as eps, the source of the
    "exploding inverse".
    """
    return torch.log(torch.sigmoid(h + 2.0) + eps)


def inverse_sigmoid_scale(h: Tensor) -> Tensor:
    r"""AdFlow's form, :math:`s = \sigma(h)^{-1} \ge 1`.

    ``decode`` multiplies by a number in (0, 1) and cannot explode (AdFlow, section
    3.4).
    """
    return -F.logsigmoid(h)


def arctan_scale(h: Tensor) -> Tensor:
    r"""HCFlow's form, :math:`\ln s = 0.318 \arctan(2 h)`, between -1/2 and 1/2.

    0.318 stands for :math:`1 / \pi`; the published weights belong to the rounded one.
    """
    return 0.318 * torch.atan(2.0 * h)


def tanh_scale(h: Tensor, bound: float = 2.0) -> Tensor:
    r"""Our compact family's form, :math:`\ln s = b \tanh(h / b)`: bounded both ways."""
    return bound * torch.tanh(h / bound)
