"""The interface of every family: condition, latent spec, encode, decode.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, eqs. (1) and (2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from napari_flowsr.core.latents import Latents, LatentSpec
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.prior import GaussianPrior
from napari_flowsr.core.transforms.base import zero_per_image
from napari_flowsr.errors import OptionError, SizeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.condition import Condition

__all__ = ["ConditionalFlow", "Encoded"]


@dataclass(frozen=True)
class Encoded:
    """Result of `ConditionalFlow.encode`.

    Parameters
    ----------
    latents : Latents
        White latents.
    logdet : Tensor
        ``(B,)``; ``log p(hr | lr) = latents.log_prob() + logdet``, nats.
    lr : Tensor
        The LR image that these latents belong to: the given one, or for HCFlow the
        one that the flow itself assigns to ``hr``.
    """

    latents: Latents
    logdet: Tensor
    lr: Tensor


class ConditionalFlow(nn.Module, ABC):
    """An invertible map between HR images and white latents, given an LR image.

    Subclasses write four methods and state four facts. Randomness and temperature
    are not theirs: they arrive as latents.
    """

    family: ClassVar[str]
    config: Any
    """Frozen dataclass that rebuilds the network."""
    channels: int
    """Image channels, 1 or 3."""
    scales: tuple[float, ...]
    """Scale factors that the network can produce."""
    encodes_lr: bool = False
    """Whether `encode` finds the LR image itself, which is then part of the latent
    (HCFlow): an HR image has more values than its latents, by those of the LR image."""
    multiple_of: int
    """LR sides that the network takes are multiples of this."""
    receptive_field: int
    """LR pixels on each side of a pixel that `condition` and `decode` can see."""

    @abstractmethod
    def condition(self, lr: Tensor) -> Condition:
        """Encode ``lr (B, C, h, w)`` in ``[0, 1]`` once, for any number of samples."""

    @abstractmethod
    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """Sizes of the latents for an LR image of ``lr_size = (h, w)``."""

    @abstractmethod
    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr (B, C, H, W)`` in ``[0, 1]`` units to latents."""

    @abstractmethod
    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Map latents to ``(B, C, H, W)`` in ``[0, 1]`` units, never clamped.

        ``cond`` may have batch 1 for any batch of latents.
        """

    def predict(self, lr: Tensor) -> Tensor:
        """Deterministic prediction of the encoder alone, for its pre-training on L1."""
        raise OptionError(
            f"The {self.family} family has no deterministic prediction; train it with "
            "the losses 'nll' or 'l1' (decode at temperature 0)."
        )

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters behind `predict`, which a staged training freezes."""
        return []

    def make_latents(
        self, levels: Sequence[Tensor], cond: Condition, scale: float | None = None
    ) -> Latents:
        """Latents from plain tensors ``(B, C, H, W)``, finest first, sizes checked."""
        return Latents(tuple(levels), self.latent_spec(cond.lr_size, scale))

    def lr_log_prob(self, lr: Tensor, cond: Condition) -> Tensor:
        """Log-density of ``Encoded.lr`` given the LR image, ``(B,)``, part of `logdet`.

        Zero unless a family models the LR image.
        """
        return zero_per_image(lr)

    def log_prob(self, hr: Tensor, cond: Condition) -> Tensor:
        """Log-density of ``hr`` in ``[0, 1]`` units given the LR image, ``(B,)``, nats.

        SRFlow, eq. (1): no dequantisation noise and no quantisation constant.
        """
        encoded = self.encode(hr, cond)
        return encoded.latents.log_prob() + encoded.logdet

    def sample(
        self,
        cond: Condition,
        n: int = 1,
        *,
        temperature: float | Tensor = 1.0,
        seed: int = 0,
        scale: float | None = None,
    ) -> Tensor:
        """Draw ``n`` HR images ``(n, C, H, W)`` for an LR image of batch 1.

        Parameters
        ----------
        cond : Condition
            Of batch 1.
        n : int
            Samples; they are decoded as one batch.
        temperature : float or Tensor
            Standard deviation of the latents, or a map of it.
        seed : int
            Seed of the position-dependent noise.
        scale : float, optional
            For families of arbitrary scale.
        """
        if cond.lr.shape[0] != 1:
            raise SizeError(
                f"The LR batch is {cond.lr.shape[0]}; sampling takes one LR image. "
                "Loop over the batch."
            )
        spec = self.latent_spec(cond.lr_size, scale)
        prior = GaussianPrior(temperature)
        latents = prior.draw(self, cond, spec, NoiseField(seed), range(n))
        return self.decode(latents.to(cond.lr.device, cond.lr.dtype), cond)

    def check_lr(self, lr: Tensor) -> None:
        """Raise `SizeError` unless ``lr`` is ``(B, C, h, w)`` with fitting sides."""
        if lr.ndim != 4 or lr.shape[1] != self.channels:
            raise SizeError(
                f"LR tensor has shape {tuple(lr.shape)}; this model needs "
                f"(B, {self.channels}, h, w)."
            )
        if any(side < 1 or side % self.multiple_of for side in lr.shape[-2:]):
            raise SizeError(
                f"LR image is {lr.shape[-2]} x {lr.shape[-1]}; this model needs sides "
                f"that are multiples of {self.multiple_of}. Pad it, or use "
                "napari_flowsr.upscale, which pads and crops."
            )

    def check_hr(self, hr: Tensor, cond: Condition) -> None:
        """Raise `SizeError` unless ``hr`` fits the LR image behind ``cond``."""
        expected = self.latent_spec(cond.lr_size).hr_size
        if hr.ndim != 4 or hr.shape[1] != self.channels or hr.shape[-2:] != expected:
            raise SizeError(
                f"HR tensor has shape {tuple(hr.shape)}; for an LR image of "
                f"{cond.lr_size[0]} x {cond.lr_size[1]} this model needs "
                f"(B, {self.channels}, {expected[0]}, {expected[1]})."
            )

    def check_scale(self, scale: float | None) -> None:
        """Raise `OptionError` if a fixed-scale network is asked for another scale."""
        if scale is not None and scale not in self.scales:
            raise OptionError(
                f"Scale {scale:g} was asked for; this model has {self.scales}. Choose "
                "one of them, or another model."
            )

    @property
    def halo(self) -> int:
        """LR pixels around a tile that make it equal to the whole.

        The receptive field, unless a family says that less is enough in practice.
        """
        return self.receptive_field

    @property
    def parameter_count(self) -> int:
        """Number of learned numbers."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device
