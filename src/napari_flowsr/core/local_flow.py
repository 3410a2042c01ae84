"""A flow on many short vectors, and the network that gives each its own parameters.

References
----------
Local Implicit Normalizing Flow for Arbitrary-Scale Image Super-Resolution (Yao et al.,
2023), arXiv:2303.05156, section 3: linear layers, each followed by a conditional affine
layer on all values; Local Texture Estimator for Implicit Representation Function (Lee
and Jin, 2022), arXiv:2111.08918, section 3 (amplitudes, frequencies, phase). The forms
are those of the published weights.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.implicit import Axis, corner_weights
from napari_flowsr.core.nets import soft_bound
from napari_flowsr.core.scales import sigmoid_scale, tanh_scale
from napari_flowsr.core.transforms.invconv import (
    exact_inverse,
    log_abs_det,
    random_rotation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ImplicitNet", "LocalFlow"]

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
_LARGEST_SHIFT = 5.0
"""Of a bounded layer, in units of the flow's input."""


class ImplicitNet(nn.Module):
    """From LR features around a query, and its place among them, to parameters.

    Each of the four corners gives amplitudes times cos and sin of frequency times
    distance, weighted by how near it is; their concatenation goes through layers with
    ReLU between them.

    Parameters
    ----------
    hidden : int
        Fourier features, even, and width of the layers.
    outputs : int
        Values a query.
    layers : int
        Hidden layers.
    """

    def __init__(self, hidden: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.phase = nn.Linear(2, hidden // 2, bias=False)
        sizes = [4 * hidden, *[hidden] * layers, outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(
        self, coef: Tensor, freq: Tensor, y: Axis, x: Axis, cell: Tensor
    ) -> Tensor:
        """Values ``(B, rows, columns, outputs)`` of the queries at all ``y``, ``x``.

        Parameters
        ----------
        coef, freq : Tensor
            Amplitudes and frequencies, ``(B, h, w, hidden)``.
        y, x : Axis
            Neighbours along both axes.
        cell : Tensor
            ``(2,)``: sides of an HR pixel; an LR pixel is 2 long.
        """
        layers: list[nn.Linear] = list(self.layers)  # type: ignore[arg-type]
        first, *rest = layers
        total: Tensor = first.bias
        weights = first.weight.chunk(4, 1)
        for wave, weight in zip(
            self.waves(coef, freq, y, x, cell), weights, strict=True
        ):
            # The layer is linear in the concatenation of the corners.
            total = total + F.linear(wave, weight)
        for layer in rest:
            total = layer(F.relu(total))
        return total

    def waves(
        self, coef: Tensor, freq: Tensor, y: Axis, x: Axis, cell: Tensor
    ) -> Iterator[Tensor]:
        """What each corner gives, ``(B, rows, columns, hidden)``, one by one."""
        half = coef.shape[-1] // 2
        phase = self.phase(cell.to(coef))

        # A function, or what one corner needed would be held while it is used.
        def wave(a: int, b: int, share: Tensor) -> Tensor:
            at = (slice(None), y.index[a][:, None], x.index[b])
            f = freq[at]
            basis = f[..., :half] * y.offset[a][:, None, None].to(f)
            basis = basis + f[..., half:] * x.offset[b][:, None].to(f) + phase
            angle = math.pi * basis
            unit = torch.cat((torch.cos(angle), torch.sin(angle)), -1)
            return share[..., None].to(f) * coef[at] * unit

        for corner, share in zip(_CORNERS, corner_weights(y, x), strict=True):
            yield wave(*corner, share)


class _Linear(nn.Module):
    """z = W x + b on the last axis, W any invertible matrix."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def inverse(self, z: Tensor) -> Tensor:
        return F.linear(z - self.bias, exact_inverse(self.weight))


class LocalFlow(nn.Module):
    r"""L times :math:`z \leftarrow s_i (W_i z + b_i) + t_i`, then a linear layer.

    Vectors are the last axis: ``(B, rows, columns, D)``. Scales and shifts are given,
    ``(B or 1, rows, columns, L, 2, D)``, and are the only coupling to their
    surroundings; the scale comes first and the shift after it, unlike in SRFlow.

    Parameters
    ----------
    size : int
        Length ``D`` of a vector.
    layers : int
        Number ``L`` of conditional layers.
    bound : float, optional
        Ours: log-scales are ``bound * tanh(raw / bound)``, and shifts do not go beyond
        `_LARGEST_SHIFT`, so that the inverse cannot explode.
    """

    def __init__(self, size: int, layers: int, bound: float | None = None) -> None:
        super().__init__()
        self.size, self.bound = size, bound
        self.linears = nn.ModuleList(_Linear(size) for _ in range(layers))
        self.last = _Linear(size)

    def _ordered(self) -> list[_Linear]:
        return list(self.linears)  # type: ignore[arg-type]

    def parameters_from(self, raw: Tensor) -> Tensor:
        """Scales and shifts from a network's output ``(..., 2 L D)``.

        Per layer D raw scales, then D shifts; s = sigmoid(raw + 2) + 1e-4 unless they
        are bounded.
        """
        parts = raw.view(*raw.shape[:-1], len(self.linears), 2, self.size)
        log_scale, shift = parts.unbind(-2)
        if self.bound is None:
            return torch.stack((sigmoid_scale(log_scale).exp(), shift), -2)
        scale = tanh_scale(log_scale, self.bound).exp()
        return torch.stack((scale, soft_bound(shift, _LARGEST_SHIFT)), -2)

    def forward(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, and the log-determinant ``(B, rows, columns)`` of each vector."""
        scales, shifts = table.unbind(-2)
        constant = log_abs_det(self.last.weight)
        for i, linear in enumerate(self._ordered()):
            x = linear(x) * scales[..., i, :] + shifts[..., i, :]
            constant = constant + log_abs_det(linear.weight)
        logdet = scales.log().sum((-2, -1)) + constant
        z: Tensor = self.last(x)
        return z, logdet.expand(z.shape[:-1])

    def inverse(self, z: Tensor, table: Tensor) -> Tensor:
        """Vectors of given latents."""
        scales, shifts = table.unbind(-2)
        x = self.last.inverse(z)
        for i, linear in reversed(list(enumerate(self._ordered()))):
            x = linear.inverse((x - shifts[..., i, :]) / scales[..., i, :])
        return x
