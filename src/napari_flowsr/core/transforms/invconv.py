"""Channel mixing by one matrix per step: learned, or a fixed random rotation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.transforms.base import Transform, zero_per_image

__all__ = ["FixedRotation", "InvertibleConv1x1", "exact_inverse"]
__all__ += ["log_abs_det", "random_rotation"]


def random_rotation(channels: int, generator: torch.Generator | None = None) -> Tensor:
    """Random orthogonal matrix ``(channels, channels)`` with determinant +1."""
    gauss = torch.randn(channels, channels, dtype=torch.float64, generator=generator)
    if gauss.is_meta:  # built only for its shapes, which have no determinant
        return gauss.to(torch.get_default_dtype())
    q, r = torch.linalg.qr(gauss)
    q = q * torch.sign(torch.diagonal(r))  # uniform (Haar), not biased by QR's signs
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    rotation: Tensor = q.to(torch.get_default_dtype())
    return rotation


def _double(matrix: Tensor) -> Tensor:
    # Apple's GPUs have no float64; these matrices are small enough for the CPU.
    return (matrix.cpu() if matrix.device.type == "mps" else matrix).double()


def exact_inverse(matrix: Tensor) -> Tensor:
    """Inverse of a matrix, computed in float64, of the matrix' own dtype and device."""
    inverse: Tensor = torch.linalg.inv(_double(matrix)).to(matrix)
    return inverse


def log_abs_det(matrix: Tensor) -> Tensor:
    """Logarithm of |det|, computed in float64, a scalar on the matrix' device."""
    logabsdet: Tensor = torch.linalg.slogdet(_double(matrix)).logabsdet
    dtype = torch.promote_types(matrix.dtype, torch.float32)
    return logabsdet.to(matrix.device, dtype)


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    return F.conv2d(x, matrix.to(x.device, x.dtype)[:, :, None, None])


class InvertibleConv1x1(Transform):
    r"""Learned 1 x 1 convolution, :math:`z_{ij} = W x_{ij}`.

    The inverse matrix is computed in float64: an ill-conditioned ``W`` would otherwise
    lose the round trip.

    References
    ----------
    Glow (Kingma and Dhariwal, 2018), section 3.2; SRFlow (Lugmayr et al., 2020),
    section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(channels))

    @property
    def matrix(self) -> Tensor:
        """Of `forward`, ``(C, C)``."""
        return self.weight

    def inverse_matrix(self) -> Tensor:
        """Of `inverse`, in float64."""
        inverse: Tensor = torch.linalg.inv(_double(self.weight))
        return inverse

    def _log_abs_det(self, x: Tensor) -> Tensor:
        logabsdet = torch.linalg.slogdet(self.weight.double()).logabsdet
        dtype = torch.promote_types(x.dtype, torch.float32)
        total: Tensor = x.shape[2] * x.shape[3] * logabsdet
        return total.to(dtype).expand(x.shape[0])

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _mix(x, self.weight), self._log_abs_det(x)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _mix(z, self.inverse_matrix()), -self._log_abs_det(z)


class FixedRotation(Transform):
    """Fixed random rotation of the channels; log-determinant 0.

    Trains faster than a learned matrix at the same quality, and its inverse is its
    transpose.

    References
    ----------
    Normalizing Flow as a Flexible Fidelity Objective for Photo-Realistic
    Super-resolution (AdFlow; Lugmayr et al., 2021), arXiv:2111.03649, section 3.4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("rotation", random_rotation(channels))
        self.rotation: Tensor

    @property
    def matrix(self) -> Tensor:
        """Of `forward`, ``(C, C)``, as stored."""
        return self.rotation

    def inverse_matrix(self) -> Tensor:
        """Of `inverse`, in float64."""
        return self._orthogonal(torch.float64).mT.cpu()

    def _orthogonal(self, dtype: torch.dtype) -> Tensor:
        """The rotation, orthogonal to the precision of ``dtype``.

        Stored in float32 or float16 it is so only to 1e-7 or 1e-3, and its transpose
        would not be its inverse. Two Newton-Schulz steps take the error e to e^4.
        """
        stored = _double(self.rotation) if dtype == torch.float64 else self.rotation
        q = stored.to(torch.promote_types(dtype, torch.float32))
        for _ in range(2):
            q = 1.5 * q - 0.5 * q @ q.mT @ q
        return q

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _mix(x, self._orthogonal(x.dtype)), zero_per_image(x)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _mix(z, self._orthogonal(z.dtype).mT), zero_per_image(z)
