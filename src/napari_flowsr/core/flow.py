"""The interface of every family: condition, latent spec, encode, decode.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, eqs. (1) and (2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from napari_flowsr.core.latents import Latents, LatentSpec, Place
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.preparing import Preparing
from napari_flowsr.core.prior import GaussianPrior
from napari_flowsr.core.transforms.base import zero_per_image
from napari_flowsr.errors import OptionError, SizeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.prior import LatentModule

__all__ = ["ConditionalFlow", "Encoded", "scale_between"]


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


def scale_between(lr_size: tuple[int, int], hr_size: tuple[int, int]) -> float:
    """Scale for which ``round(side * scale)`` turns one size into the other.

    Several are possible; the one with the fewest decimals is taken.
    """
    pairs = list(zip(lr_size, hr_size, strict=True))
    low = max((hr - 0.5) / lr for lr, hr in pairs)
    high = min((hr + 0.5) / lr for lr, hr in pairs)
    middle = 0.5 * (low + high)
    for candidate in (*(round(middle, digits) for digits in range(6)), middle):
        if all(round(lr * candidate) == hr for lr, hr in pairs):
            return candidate
    raise SizeError(
        f"HR image is {hr_size[0]} x {hr_size[1]}, the LR image {lr_size[0]} x "
        f"{lr_size[1]}; a model of any scale needs one scale for both sides, and none "
        "gives these sizes. Crop the HR image."
    )


class ConditionalFlow(Preparing, ABC):
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
    """Scale factors that the network can produce; the first is the default. With a
    `scale_range` they are suggestions."""
    scale_range: tuple[float, float] | None = None
    """Least and largest scale of a network that takes any real one between."""
    needs_whole: bool = False
    """Whether the network takes no crops: a value may depend on any LR pixel."""
    deterministic: ClassVar[bool] = False
    """Whether there is one prediction and no flow: no latents, no density, and samples
    that are all the same."""
    encodes_lr: bool = False
    """Whether `encode` finds the LR image itself, which is then part of the latent
    (HCFlow): an HR image has more values than its latents, by those of the LR image."""
    multiple_of: int
    """LR sides that the network takes are multiples of this."""
    receptive_field: int
    """LR pixels on each side of a pixel that `condition` and `decode` can see."""
    exact_halo_up_to: ClassVar[int] = 128
    """Receptive fields up to this get an exact halo, LR pixels."""
    practical_halo: ClassVar[int] = 32
    """Halo of networks that see further, LR pixels, where it was not measured."""
    seams: Mapping[float, tuple[int, float | None]] = MappingProxyType({})
    """By scale, for networks that see further: the halo that `inference.seam` found to
    be enough, and the largest difference that it makes, as a part of the range;
    ``None`` where it could not be measured."""

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

    def window_spec(self, place: Place, scale: float | None = None) -> LatentSpec:
        """Sizes and positions of the latents for a crop of an LR image.

        ``noise.draw(spec)`` then gives the noise of these cells, and decoding gives the
        HR pixels ``spec.hr_box`` of the whole image, on the condition
        ``flow.condition(crop).at(place)``. They equal those of the whole image at
        `halo` LR pixels or more from the sides of the window that are not sides of the
        image, if the window begins at multiples of `alignment`.

        Parameters
        ----------
        place : Place
            The window, and the whole image that it is cut from.
        scale : float, optional
            As in `latent_spec`, if it is not in ``place``.
        """
        w = place.window
        scale = place.scale if scale is None else scale
        spec = self.latent_spec((w.height, w.width), scale)
        levels = tuple(replace(x, start=x.origin(w)) for x in spec.levels)
        rate = spec.hr_size[0] // w.height
        start = (w.y * rate, w.x * rate)
        return replace(spec, levels=levels, place=place, hr_start=start)

    def spec_of(self, cond: Condition, scale: float | None = None) -> LatentSpec:
        """Spec of the LR image or crop behind ``cond``."""
        if cond.place is not None:
            return self.window_spec(cond.place, scale)
        return self.latent_spec(cond.lr_size, scale)

    def spec_for(self, hr: Tensor, cond: Condition) -> LatentSpec:
        """Spec of the latents of ``hr``; `SizeError` unless it fits ``cond``.

        For a network of any scale the size of the whole HR image tells the scale; for
        a crop the place behind ``cond`` has to.
        """
        scale = None
        if self.scale_range is not None and cond.place is None and hr.ndim == 4:
            size = (int(hr.shape[-2]), int(hr.shape[-1]))
            scale = scale_between(cond.lr_size, size)
        elif self.scale_range is not None and cond.place is not None:
            scale = self._scale_of_crop(cond.place)
        spec = self.spec_of(cond, scale)
        expected = spec.hr_size
        if hr.ndim != 4 or hr.shape[1] != self.channels or hr.shape[-2:] != expected:
            raise SizeError(
                f"HR tensor has shape {tuple(hr.shape)}; for an LR image of "
                f"{cond.lr_size[0]} x {cond.lr_size[1]} this model needs "
                f"(B, {self.channels}, {expected[0]}, {expected[1]})."
            )
        return spec

    @staticmethod
    def _scale_of_crop(place: Place) -> float:
        if place.scale is None:
            raise OptionError(
                "A crop is to be encoded at an unknown scale: the size of a crop does "
                "not tell it. Give it: Place(window, whole, scale)."
            )
        return place.scale

    def make_latents(
        self, levels: Sequence[Tensor], cond: Condition, scale: float | None = None
    ) -> Latents:
        """Latents from plain tensors ``(B, C, H, W)``, finest first, sizes checked."""
        return Latents(tuple(levels), self.spec_of(cond, scale))

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

    def log_prob_per_value(self, hr: Tensor, cond: Condition) -> Tensor:
        """Mean log-density of a value of ``hr``, ``(B,)``, nats: what training raises.

        A family may leave out values that are unlike those inside of an image.
        """
        return self.log_prob(hr, cond) / hr[0].numel()

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
        spec = self.spec_of(cond, scale)
        prior = GaussianPrior(temperature)
        latents = prior.draw(self, cond, spec, NoiseField(seed), range(n))
        return self.decode(latents.to(cond.lr.device, cond.lr.dtype), cond)

    @property
    def latent_module(self) -> LatentModule | None:
        """The learned prior that `attach_prior` was given."""
        module: LatentModule | None = self.__dict__.get("_latent_module")
        return module

    def attach_prior(self, module: LatentModule) -> None:
        """Use ``module`` as learned prior; `OptionError` unless the latents fit.

        It is no part of the flow: neither its parameters nor its state.
        """
        module.check_fits(self)
        # Assigned in the ordinary way it would become a submodule.
        self.__dict__["_latent_module"] = module.eval()

    def learned_prior(self, cond: Condition, scale: float | None = None) -> Latents:
        """Latents that the attached learned prior predicts for a whole LR image.

        Deterministic; there is no temperature. Decode them as they are.
        """
        module = self.latent_module
        if module is None:
            raise OptionError(
                "This model has no learned prior. Load one with it: "
                "load_model(path, prior=...); or draw latents from the Gaussian."
            )
        if cond.place is not None and not cond.place.is_whole:
            raise OptionError(
                f"A learned prior was asked for {cond.place.window}, a crop; it is a "
                "function of the whole LR image. Predict it there, and crop the "
                "latents: Latents.crop."
            )
        module.to(cond.lr.device, cond.lr.dtype)
        return module.predict(module.initial(self, cond, scale), cond.lr)

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
        self.spec_for(hr, cond)

    def check_scale(self, scale: float | None) -> None:
        """Raise `OptionError` for a scale that the network does not have."""
        if scale is None:
            return
        if self.scale_range is not None:
            low, high = self.scale_range
            if not low <= scale <= high:
                raise OptionError(
                    f"Scale {scale:g} was asked for; this model has any from {low:g} "
                    f"to {high:g}. Choose one of them."
                )
        elif scale not in self.scales:
            raise OptionError(
                f"Scale {scale:g} was asked for; this model has "
                f"{' and '.join(f'{s:g}' for s in self.scales)}. Choose another scale, "
                "or another model."
            )

    @property
    def alignment(self) -> int:
        """Windows of an image begin at multiples of this many LR pixels."""
        return self.multiple_of

    @property
    def halo(self) -> int:
        """LR pixels around a tile: the receptive field, or less where that is huge.

        With the receptive field, tiles equal the whole. Full-sized networks see
        hundreds of LR pixels, nearly all of it through residual branches whose
        influence has decayed long before; there tiles differ from the whole by little,
        not by nothing. How little is measured before a plane is divided.
        """
        if self.receptive_field <= self.exact_halo_up_to:
            return self.receptive_field
        return self.practical_halo

    def halo_at(self, scale: float) -> int:
        """`halo`, or what was measured at a scale."""
        found = self.seams.get(scale)
        return self.halo if found is None else found[0]

    @property
    def latent_reach(self) -> int:
        """LR pixels around a latent beyond which decoding does not see it.

        Where a family does not say so, the `halo`, which also counts what is seen of
        the LR image.
        """
        return self.halo

    @property
    def condition_reach(self) -> int | None:
        """LR pixels around a place that its part of the condition depends on.

        ``None`` unless a family says that its conditions can be cropped
        (`Condition.crop`).
        """
        return None

    @property
    def parameter_count(self) -> int:
        """Number of learned numbers."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device
