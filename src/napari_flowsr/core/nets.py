"""Small convolutional nets that predict scales and shifts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.transforms.actnorm import ActNorm

__all__ = [
    "ConvNorm",
    "DenseNet",
    "PredictorNet",
    "ZeroConv",
    "interleaved",
    "soft_bound",
]


def interleaved(h: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd channels of ``h``: (shift or mean, log-scale) in SRFlow, HCFlow."""
    return h[:, 0::2], h[:, 1::2]


def soft_bound(x: Tensor, bound: float) -> Tensor:
    r"""Return :math:`b \tanh(x / b)`: near zero nearly ``x``, never beyond ``b``."""
    return bound * torch.tanh(x / bound)


class ConvNorm(nn.Module):
    """Convolution without bias, followed by its own actnorm (a net layer, no flow)."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        weight = torch.empty(c_out, c_in, kernel, kernel).normal_(0, 0.05)
        self.weight = nn.Parameter(weight)
        self.actnorm = ActNorm(c_out)

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """Convolve ``x``, or the concatenation of ``x`` and ``u``.

        A convolution is linear in its concatenated input, so the part of ``u`` is
        convolved apart: with ``u`` of batch 1 it is computed once for all samples.
        """
        norm = self.actnorm
        if self.training and not norm.initialized:
            out: Tensor = norm(self._convolve(x, u, self.weight, None))[0]
            return out
        return self._convolve(x, u, *self.folded())

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that this is."""
        # (h + b) exp(l) goes into the kernel: no pass over the activations for it.
        scale = self.actnorm.logs.exp()
        return self.weight * scale.view(-1, 1, 1, 1), (
            self.actnorm.bias * scale
        ).flatten()

    def _convolve(
        self, x: Tensor, u: Tensor | None, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        padding = weight.shape[-1] // 2
        if u is None:
            return F.conv2d(x, weight, bias, padding=padding)
        of_x, of_u = weight[:, : x.shape[1]], weight[:, x.shape[1] :]
        of_u_alone = F.conv2d(u, of_u, bias, padding=padding)
        return F.conv2d(x, of_x, padding=padding) + of_u_alone


class ZeroConv(nn.Module):
    """3 x 3 convolution that starts at zero, scaled by ``exp(3 logs)`` per channel."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(c_out, c_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.logs = nn.Parameter(torch.zeros(c_out, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, *self.folded(), padding=1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that this is."""
        scale = torch.exp(3 * self.logs)
        return self.weight * scale[..., None], self.bias * scale.flatten()


class PredictorNet(nn.Sequential):
    """conv 3 x 3, ReLU, conv 1 x 1, ReLU, zero conv 3 x 3: SRFlow's coupling net.

    The supplement of SRFlow calls all three convolutions 3 x 3; the published weights
    have a 1 x 1 in the middle.

    Parameters
    ----------
    c_in, c_out : int
        Channels of ``x`` and ``u`` together, and of the output.
    hidden : int
        Width.
    bound : float
        If finite, ``x`` is first brought softly below this magnitude. What the net
        returns is then bounded too, whatever the flow does to ``x``.
    """

    reach = 2

    def __init__(
        self, c_in: int, c_out: int, hidden: int = 64, bound: float = math.inf
    ) -> None:
        super().__init__(
            ConvNorm(c_in, hidden, 3),
            nn.ReLU(inplace=True),
            ConvNorm(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            ZeroConv(hidden, c_out),
        )
        self.bound = bound

    def convolutions(self) -> tuple[ConvNorm, ConvNorm, ZeroConv]:
        """The three convolutions, in order."""
        first, _, middle, _, last = self
        return first, middle, last  # type: ignore[return-value]

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        if math.isfinite(self.bound):
            x = soft_bound(x, self.bound)
        first, *rest = self
        h = first(x, u)
        for layer in rest:
            h = layer(h)
        out: Tensor = h
        return out


class DenseNet(nn.Module):
    """Five 3 x 3 convolutions, each of which sees the outputs of all before it.

    LeakyReLU 0.2 after the first four, nothing after the last, no residual: the net of
    HCFlow's rescaling couplings and of the learned priors; RRDB puts it in a residual.

    Parameters
    ----------
    c_in, c_out : int
        Channels before and after.
    growth : int
        Channels that each of the first four convolutions adds.

    References
    ----------
    ESRGAN (Wang et al., 2018), arXiv:1809.00219, section 3.1, without its residuals;
    HCFlow (Liang et al., 2021), arXiv:2108.05301, section 4.1 (rescaling).
    """

    reach = 5

    def __init__(self, c_in: int, c_out: int, growth: int) -> None:
        super().__init__()
        for i in range(4):
            conv = nn.Conv2d(c_in + i * growth, growth, 3, padding=1)
            self.add_module(f"conv{i + 1}", conv)
        self.conv5 = nn.Conv2d(c_in + 4 * growth, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grown = [x]
        *dense, last = self.children()
        for conv in dense:
            grown.append(F.leaky_relu(conv(torch.cat(grown, 1)), 0.2))
        out: Tensor = last(torch.cat(grown, 1))
        return out
