"""Consistency with the LR image: residual, LR-PSNR, and projection onto it.

`Projection` adds to an HR image the smallest correction (in the least-squares sense)
after which its downscale is the LR image: ``hr + D' (D D')^-1 (lr - D hr)``, with the
linear degradation operator ``D`` and its adjoint ``D'``. The system is solved by
conjugate gradients over the whole plane, so tiles play no part in it.

References
----------
Improving Resolution by Image Registration (Irani and Peleg, 1991), CVGIP 53(3):
back-projection. Methods of Conjugate Gradients for Solving Linear Systems (Hestenes and
Stiefel, 1952).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_flowsr.data.degradation import DEGRADATIONS, OWN_NETWORK, PAIRED
from napari_flowsr.data.degrade import Degradation, downscale, margin
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Projection", "Strip", "check_degradation", "lr_psnr", "lr_residual"]
__all__ += ["strips"]

FLOOR_DB = 60.0
"""LR-PSNR that ``consistent=True`` promises."""
_TARGET_DB = 72.0
# In Python, in a shell and in a dock.
_LEAVE_OUT = (
    "Do without exact agreement (consistent=False, no --consistent, or untick 'agree "
    "exactly with input' under More options)"
)
_MAX_STEPS = 60
# Where a PSF is wider than half an LR pixel, the finest detail of an LR image is
# weaker by orders, and the system as ill-conditioned.
_MAX_STEPS_WIDE = 300


def check_degradation(degradation: Degradation) -> None:
    """Raise `OptionError` if the degradation of a card has no operator here."""
    if degradation.name == OWN_NETWORK:
        raise OptionError(
            "This is a rescaling model: its small images are made by its own network, "
            "not by bicubic reduction. Each of its float results already reduces to "
            "the given image by that network; pushing it towards another reduction "
            "would spoil that. "
            f"{_LEAVE_OUT}, or compare with what rescale_down makes of the result."
        )
    if degradation.name == PAIRED:
        raise OptionError(
            "The model was trained on pairs of given HR and LR images (its card's "
            "degradation is 'paired'), so it is not known how an image reduces to the "
            f"input. {_LEAVE_OUT}."
        )
    if not degradation.has_operator:
        raise OptionError(
            f"The model's card names the degradation '{degradation}', whose operator "
            f"is not known; known are {', '.join(DEGRADATIONS)}. {_LEAVE_OUT}."
        )


def lr_residual(
    hr: Tensor, lr: Tensor, scale: float, degradation: Degradation
) -> Tensor:
    """``D(hr) - lr``, ``(..., h, w)``, in the units of its arguments."""
    return downscale(hr, scale, degradation) - lr


def lr_psnr(mean_square: float) -> float:
    """PSNR in dB for a mean squared residual in network units (peak 1)."""
    return -10.0 * math.log10(mean_square) if mean_square > 0 else math.inf


_STRIP = 1 << 18
"""LR pixels of a strip."""


@dataclass(frozen=True)
class Strip:
    """Rows of an LR plane, and the HR rows that they are reduced from."""

    rows: slice
    hr_rows: slice
    within: slice
    """Of what ``hr_rows`` reduce to."""


def strips(
    lr_size: tuple[int, int], scale: float, degradation: Degradation
) -> Iterator[Strip]:
    """Parts of a plane whose reductions are parts of its reduction.

    One, the whole, where the scale is no whole number: then LR rows begin amid HR rows.
    """
    height, width = lr_size
    step = max(1, _STRIP // width)
    if scale != int(scale) or step >= height:
        yield Strip(slice(0, height), slice(None), slice(None))
        return
    around = margin(scale, degradation)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        first, last = max(0, top - around), min(height, bottom + around)
        hr_rows = slice(first * int(scale), last * int(scale))
        yield Strip(slice(top, bottom), hr_rows, slice(top - first, bottom - first))


class Projection:
    """Iterative projection of an HR image onto those that downscale to the LR image.

    Parameters
    ----------
    hr : Tensor
        ``(..., H, W)`` in network units; not modified.
    lr : Tensor
        ``(..., h, w)``.
    scale : float
        ``H / h``.
    degradation : Degradation
        Of the model's card; its noise plays no part.
    """

    def __init__(
        self, hr: Tensor, lr: Tensor, scale: float, degradation: Degradation
    ) -> None:
        self._lr, self._scale, self._degradation = lr, scale, degradation
        self._shape = hr.shape
        self._steps = 0
        self.hr = hr
        self._restart()

    def _restart(self) -> None:
        """Take the true residual; it also sweeps away what rounding has left."""
        self._residual = -(self._reduced(self.hr) - self._lr)
        self._direction = self._residual
        self._norm = float(self._residual.double().square().sum())

    def _reduced(self, hr: Tensor) -> Tensor:
        return downscale(hr, self._scale, self._degradation)

    def _adjoint(self, y: Tensor) -> Tensor:
        # D is linear, so its adjoint is its vector-Jacobian product, anywhere.
        with torch.inference_mode(False), torch.enable_grad():
            at = torch.zeros(self._shape, dtype=y.dtype, device=y.device)
            at.requires_grad_(True)
            out = self._reduced(at)
            (adjoint,) = torch.autograd.grad(out, at, y)
        return adjoint

    @property
    def psnr(self) -> float:
        """LR-PSNR of `hr` in dB."""
        return lr_psnr(self._norm / self._lr.numel())

    @property
    def finished(self) -> bool:
        """Whether the LR-PSNR is well above the promise, or the steps are used up."""
        return self.psnr >= _TARGET_DB or self._steps >= (
            _MAX_STEPS_WIDE if self._is_wide else _MAX_STEPS
        )

    def step(self) -> None:
        """One step of conjugate gradients."""
        self._steps += 1
        if self._steps % 20 == 0:
            self._restart()
        lifted = self._adjoint(self._direction)
        energy = float(lifted.double().square().sum())
        if energy == 0.0:
            return
        alpha = self._norm / energy
        self.hr = self.hr + alpha * lifted
        self._residual = self._residual - alpha * self._reduced(lifted)
        norm = float(self._residual.double().square().sum())
        self._direction = self._residual + (norm / self._norm) * self._direction
        self._norm = norm

    def result(self) -> tuple[Tensor, float]:
        """Projected image, and its LR-PSNR measured anew.

        Raises
        ------
        OptionError
            If the promised LR-PSNR was not reached.
        """
        self._restart()
        if self.psnr < FLOOR_DB:
            raise OptionError(
                f"Exact agreement with the input was asked for, but {self.psnr:.1f} dB "
                f"(LR-PSNR) were reached after {self._steps} steps; {FLOOR_DB:g} dB "
                f"are promised. {self._remedy()} {_LEAVE_OUT}."
            )
        return self.hr, self.psnr

    @property
    def _is_wide(self) -> bool:
        return self._degradation.sigma > 0.5 * self._scale

    def _remedy(self) -> str:
        if not self._is_wide:
            return "Lower the temperature."
        return (
            f"The degradation of the model's card ({self._degradation}) blurs more "
            "than the input's pixels resolve, so that its noise belongs to no HR image "
            "at all."
        )
