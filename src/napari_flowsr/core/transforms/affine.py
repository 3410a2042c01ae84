"""Affine injector and conditional affine coupling, the two conditional layers.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, eqs. (4) and (5). The papers write
``scale * h + shift``; the published networks compute ``(h + shift) * scale``, the form
used here, which is the same family of maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_flowsr.core.nets import interleaved
from napari_flowsr.core.transforms.base import Transform, sum_per_image
from napari_flowsr.errors import SizeError

if TYPE_CHECKING:
    from napari_flowsr.core.scales import LogScale

__all__ = ["AffineInjector", "ConditionalAffineCoupling"]


def _apply(x: Tensor, shift: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    return (x + shift) * logs.exp(), sum_per_image(logs).expand(x.shape[0])


def _undo(z: Tensor, shift: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    return z * torch.exp(-logs) - shift, -sum_per_image(logs).expand(z.shape[0])


class AffineInjector(Transform):
    r"""Scale and shift every channel by functions of ``u`` alone (SRFlow, eq. 5).

    Parameters
    ----------
    net : nn.Module
        ``net(u)``: ``(B, C_u, H, W)`` to ``(B, 2 C, H, W)``, shift and scale
        interleaved. ``u`` may have batch 1 for any batch of ``x``.
    log_scale : callable
        One of `core.scales`.
    """

    def __init__(self, net: nn.Module, log_scale: LogScale) -> None:
        super().__init__()
        self.net = net
        self.log_scale = log_scale

    def shift_logs(self, u: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and log-scale ``(B or 1, C, H, W)`` given ``u``."""
        if u is None:
            raise SizeError(
                "The affine injector needs the encoded LR image u; got None."
            )
        shift, h = interleaved(self.net(u))
        return shift, self.log_scale(h)

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _apply(x, *self.shift_logs(u))

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _undo(z, *self.shift_logs(u))


class ConditionalAffineCoupling(Transform):
    r"""Scale and shift the second half by a function of the first and ``u`` (eq. 4).

    The first ``C // 2`` channels pass through. With ``u=None`` it is Real NVP's
    unconditional coupling.

    Parameters
    ----------
    net : nn.Module
        ``net(kept, u)``: ``(B, C // 2, H, W)`` and ``(B or 1, C_u, H, W)`` to
        ``(B, 2 (C - C // 2), H, W)``, shift and scale interleaved.
    log_scale : callable
        One of `core.scales`.
    """

    def __init__(self, net: nn.Module, log_scale: LogScale) -> None:
        super().__init__()
        self.net = net
        self.log_scale = log_scale

    def _shift_logs(self, kept: Tensor, u: Tensor | None) -> tuple[Tensor, Tensor]:
        shift, h = interleaved(self.net(kept, u))
        return shift, self.log_scale(h)

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]
        moved, logdet = _apply(moved, *self._shift_logs(kept, u))
        return torch.cat((kept, moved), 1), logdet

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = z[:, : z.shape[1] // 2], z[:, z.shape[1] // 2 :]
        moved, logdet = _undo(moved, *self._shift_logs(kept, u))
        return torch.cat((kept, moved), 1), logdet

    @property
    def reach(self) -> int:
        return int(getattr(self.net, "reach", 0))
