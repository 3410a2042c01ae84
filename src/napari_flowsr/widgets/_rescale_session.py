"""State behind the Rescale dock, evented and typed, without Qt."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from psygnal import SignalGroupDescriptor

from napari_flowsr.errors import FlowSRError, ModelNotFoundError, OptionError
from napari_flowsr.inference.rescale_usual import DEFAULT_MODEL, HOW_TO_GET_ONE
from napari_flowsr.inference.rescaled_facts import Rescaled
from napari_flowsr.io.collection import list_models
from napari_flowsr.models._registry import makes_small
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.widgets._checks import card_of, check_image_layer
from napari_flowsr.widgets._session import Session

__all__ = ["RESCALE_OUTPUTS", "RescaleSession", "are_latents", "can_rescale"]
__all__ += ["first_rescaling_model"]

RESCALE_OUTPUTS = ("small", "restored", "error")
"""What a run can add: the small image, the one brought back, and their difference."""
_DIRECTIONS = ("down", "up")
_DETAIL = ("sampled", "exact")
_BITS = ("auto", 8, 16, None)


def can_rescale(card: ModelCard) -> bool:
    """Whether the family of a card makes images small."""
    return makes_small(card.family)


def first_rescaling_model() -> str:
    """Name of a model that there is; of the usual one, if there is none."""
    names = [card.name for card in list_models() if can_rescale(card)]
    return names[0] if names and DEFAULT_MODEL not in names else DEFAULT_MODEL


@dataclass(eq=False)
class RescaleSession(Session):
    """What to make small or bring back, with what, and how.

    Parameters
    ----------
    direction : str
        ``"down"``: make the image small, and bring it back to see what that costs;
        ``"up"``: the image is a small one, bring it back.
    bits : "auto", 8, 16 or None
        Of the small image: those of the image, or float and not rounded.
    detail : str
        ``"sampled"``, as from the small image alone, or ``"exact"``, from the latents.
    latents : RescaledLatents, path or None
        Of a small image that is to be brought back exactly; the dock puts those of the
        last run here.
    outputs : tuple of str
        Some of `RESCALE_OUTPUTS`.
    """

    model: Any = DEFAULT_MODEL
    samples: int = 1
    outputs: tuple[str, ...] = RESCALE_OUTPUTS
    direction: str = "down"
    bits: int | str | None = "auto"
    detail: str = "sampled"
    latents: Any = None

    # Latents are tensors, which have no truth value when compared.
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor(
        equality_operators={"latents": operator.is_}
    )

    def _is_inferred_already(self) -> bool:
        # Bringing a small image back is what it is there for.
        return self.direction != "up" and super()._is_inferred_already()

    def _check_image(self) -> None:
        check_image_layer(self.image, "rescaled")
        data = self.image.data[0] if self.image.multiscale else self.image.data
        if np.dtype(data.dtype).kind == "b":
            raise OptionError(
                f"'{self.image.name}' is a mask (truth values), which has no grey "
                "levels to make small ones of. Choose an image; reduce a mask by "
                "taking every n-th pixel."
            )

    def _check_precision(self) -> None:
        if self.precision != "float32":
            raise OptionError(
                f"The precision is {self.precision!r}; images are rescaled in float32 "
                "alone, so that latents bring them back exactly."
            )

    def _check_model(self) -> None:
        if isinstance(self.model, Model):
            # Torch is there, for its network is.
            from napari_flowsr.inference.rescale_planes import check_rescales

            check_rescales(self.model)
            return
        try:
            super()._check_model()
        except FlowSRError as error:
            # None: the model that was in use has gone.
            if self.model not in (None, DEFAULT_MODEL):
                raise
            raise ModelNotFoundError(_how_to_get_one()) from error
        card = card_of(self.model)
        if card is not None and not can_rescale(card):
            raise OptionError(
                f"The model '{card.name}' ({card.family}) only enlarges images. Choose "
                "one of the family hcflow-rescale."
            )

    def _check_outputs(self) -> None:
        given = self.outputs
        listed = isinstance(given, tuple | list) and len(given) > 0
        if not listed or any(kind not in RESCALE_OUTPUTS for kind in given):
            raise OptionError(
                f"Outputs are {given!r}; choose one or more of "
                f"{', '.join(RESCALE_OUTPUTS)}."
            )

    def _check_direction(self) -> None:
        _one_of("direction", self.direction, _DIRECTIONS)

    def _check_bits(self) -> None:
        if isinstance(self.bits, bool) or self.bits not in _BITS:
            raise OptionError(
                f"bits is {self.bits!r}; choose 'auto', 8, 16, or None (not rounded)."
            )

    def _check_detail(self) -> None:
        _one_of("detail", self.detail, _DETAIL)

    def _check_latents(self) -> None:
        if self.detail != "exact" or self.direction != "up":
            return
        if self.latents is None:
            raise OptionError(
                "To bring a small image back exactly its latents are needed. Choose "
                "their file, or let the detail be sampled."
            )
        if isinstance(self.latents, str | Path):
            if not Path(self.latents).is_file():
                raise OptionError(f"There is no file '{self.latents}'. Choose another.")
        elif not are_latents(self.latents):
            raise OptionError(
                f"latents is of type {type(self.latents).__name__}; give a file, or "
                "those that rescale_down gave."
            )


def are_latents(value: Any) -> bool:
    """Whether it is what `rescale_down` gives."""
    return isinstance(getattr(value, "about", None), Rescaled)


def _how_to_get_one() -> str:
    names = [card.name for card in list_models() if can_rescale(card)]
    if names:
        return f"No rescaling model is chosen. Choose one: {', '.join(names)}."
    return f"{HOW_TO_GET_ONE}."


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}; choose from {', '.join(allowed)}.")
