"""The flow step: actnorm, channel mixing, affine injector, conditional coupling.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 3.2 and Fig. 2; AdFlow
(Lugmayr et al., 2021), section 3.4 (fixed rotations instead of learned matrices).
"""

from __future__ import annotations

import math

from napari_flowsr.core.nets import PredictorNet
from napari_flowsr.core.scales import LogScale, sigmoid_scale
from napari_flowsr.core.transforms.actnorm import ActNorm
from napari_flowsr.core.transforms.affine import (
    AffineInjector,
    ConditionalAffineCoupling,
)
from napari_flowsr.core.transforms.base import Compose, Transform
from napari_flowsr.core.transforms.invconv import FixedRotation, InvertibleConv1x1

__all__ = ["conditional_step", "coupling_step", "transition_step"]


def transition_step(channels: int, *, rotation: bool = False) -> Compose:
    """Unconditional step after a squeeze: actnorm and channel mixing only."""
    mix: Transform = (FixedRotation if rotation else InvertibleConv1x1)(channels)
    return Compose((ActNorm(channels), mix))


def conditional_step(
    channels: int,
    condition_channels: int,
    *,
    hidden: int = 64,
    log_scale: LogScale = sigmoid_scale,
    injector_scale: LogScale | None = None,
    rotation: bool = False,
    injector_last: bool = False,
    bound: float = math.inf,
) -> Compose:
    """Conditional step on ``channels`` channels, given ``condition_channels`` of ``u``.

    Parameters
    ----------
    channels, condition_channels : int
        Channels of the activation and of the encoded LR image.
    hidden : int
        Width of the two predictor nets.
    log_scale : callable
        Scale form of injector and coupling, one of `core.scales`.
    injector_scale : callable, optional
        Another scale form for the injector (AdFlow).
    rotation : bool
        Fixed random rotation (AdFlow) instead of a learned matrix (SRFlow).
    injector_last : bool
        Encode through the coupling first, then the injector (AdFlow, section 3.4).
    bound : float
        Magnitude that the coupling's net sees its activation limited to.
    """
    kept, moved = channels // 2, channels - channels // 2
    mix: Transform = (FixedRotation if rotation else InvertibleConv1x1)(channels)
    conditional: tuple[Transform, Transform] = (
        AffineInjector(
            PredictorNet(condition_channels, 2 * channels, hidden),
            injector_scale or log_scale,
        ),
        ConditionalAffineCoupling(
            PredictorNet(kept + condition_channels, 2 * moved, hidden, bound),
            log_scale,
        ),
    )
    if injector_last:
        conditional = conditional[::-1]
    return Compose((ActNorm(channels), mix, *conditional))


def coupling_step(
    channels: int,
    condition_channels: int = 0,
    *,
    hidden: int = 64,
    log_scale: LogScale = sigmoid_scale,
) -> Compose:
    """Step without an injector: actnorm, channel mixing, coupling.

    That of HCFlow, section 3.3; with ``condition_channels`` 0 the coupling is
    unconditional, that of Glow.
    """
    kept, moved = channels // 2, channels - channels // 2
    net = PredictorNet(kept + condition_channels, 2 * moved, hidden)
    coupling = ConditionalAffineCoupling(net, log_scale)
    return Compose((ActNorm(channels), InvertibleConv1x1(channels), coupling))
