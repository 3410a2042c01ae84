"""White latents for a flow whose own base density is a Laplace distribution.

References
----------
Normalizing Flow as a Flexible Fidelity Objective for Photo-Realistic Super-resolution
(AdFlow; Lugmayr et al., 2021), arXiv:2111.03649, section 3.1 and eq. (5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_flowsr.core.transforms.base import Transform, sum_per_image

__all__ = ["LaplaceToNormal"]

_LN2 = math.log(2.0)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# Below this, probabilities are measured from the centre; above it, from the tail.
_CENTRE = 1.0
# From the start that is taken, four reach 1e-16; the last one carries the gradient.
_NEWTON_STEPS = 5


def _laplace_of_normal(t: Tensor) -> Tensor:
    """Laplace quantile of the normal probability of ``t >= 0``."""
    centre = -torch.log1p(-torch.erf(t.clamp(max=_CENTRE) / math.sqrt(2.0)))
    tail = -torch.special.log_ndtr(-t.clamp(min=_CENTRE)) - _LN2
    return torch.where(t <= _CENTRE, centre, tail)


def _newton(t: Tensor, a: Tensor) -> Tensor:
    """One step to the root of ``ln Phi(-t) = -a - ln 2``; ``t`` is a constant."""
    log_tail = torch.special.log_ndtr(-t)
    hazard = torch.exp(-0.5 * t.square() - _HALF_LOG_2PI - log_tail)
    out: Tensor = t + (log_tail + a + _LN2) / hazard
    return out


def _normal_of_laplace(a: Tensor) -> Tensor:
    """Normal quantile of the Laplace probability of ``a >= 0``."""
    near, far = a.clamp(max=_CENTRE), a.clamp(min=_CENTRE)
    centre = math.sqrt(2.0) * torch.erfinv(-torch.expm1(-near))
    with torch.no_grad():
        t = torch.sqrt(2.0 * far)
        for _ in range(_NEWTON_STEPS - 1):
            t = _newton(t, far)
    # ln Phi is concave: from the right, Newton's steps stay there and converge.
    return torch.where(a <= _CENTRE, centre, _newton(t, far))


class LaplaceToNormal(Transform):
    r"""Standard Laplace values to standard normal ones, each by itself.

    :math:`e = \Phi^{-1}(F(v))` with :math:`F` the distribution function of
    :math:`p(v) = e^{-|v|} / 2` and :math:`\Phi` that of the normal distribution, so
    that :math:`\log N(e) + \log |de / dv| = -|v| - \ln 2`: a flow with a Laplace
    base, in the terms of one with white latents.

    Both directions work with logarithms of tail probabilities: a float32 probability
    would be 1 beyond 5.3 standard deviations, and 0 beyond 13 on the other side.

    Notes
    -----
    A temperature multiplies ``e``, not ``v``. At 1 and at 0 (the mode, which is the
    median) there is no difference; in between, tails shrink faster than the Laplace
    distribution of that scale would: ``|v|`` grows as ``tau^2 |e|^2 / 2`` there.
    """

    def forward(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, sign = _folded(x)
        e = _normal_of_laplace(a)
        logdet = sum_per_image(0.5 * e.square() - a) + x[0].numel() * (
            _HALF_LOG_2PI - _LN2
        )
        return (e * sign).to(x), logdet.to(x.device)

    def inverse(self, z: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        e, sign = _folded(z)
        a = _laplace_of_normal(e)
        logdet = sum_per_image(a - 0.5 * e.square()) + z[0].numel() * (
            _LN2 - _HALF_LOG_2PI
        )
        return (a * sign).to(z), logdet.to(z.device)


def _folded(x: Tensor) -> tuple[Tensor, Tensor]:
    """``|x|`` and the sign of ``x``, in float32 or better."""
    # Apple's GPUs have neither erfinv in all versions nor log_ndtr.
    x = x.cpu() if x.device.type == "mps" else x
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    # 0 counts as positive: with torch.sign it would have no gradient.
    sign = torch.where(x < 0, -1.0, 1.0).to(x)
    return x * sign, sign
