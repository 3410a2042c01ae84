"""State behind the Restore dock, evented and typed, without Qt."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from napari_flowsr.core.latent_sets import check_collections
from napari_flowsr.data.degradation import PAIRED
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.restore_usual import DEFAULT_MODEL, NORMALISATION
from napari_flowsr.models._registry import families, is_deterministic, makes_small
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.widgets._checks import card_of, check_image_layer
from napari_flowsr.widgets._session import Session

__all__ = ["RESTORE_OUTPUTS", "RestoreSession", "can_restore"]

RESTORE_OUTPUTS = ("restored", "removed")
"""What a run can add: the restored image, and what was taken away."""


def can_restore(card: ModelCard) -> bool:
    """Whether a model encodes images given a reduction that is known."""
    if card.degradation.name == PAIRED:
        return False
    if card.family not in families() or is_deterministic(card.family):
        return False
    return not makes_small(card.family)


@dataclass(eq=False)
class RestoreSession(Session):
    """What to restore, with what, and how.

    Parameters
    ----------
    normalisation : tuple of str
        Collections of latents, as `napari_flowsr.restore` takes them.
    strength : float
        From 0 (nothing) to 1.
    temperature : float or None
        Of equation (7); ``None``: what noise explains is taken away.
    outputs : tuple of str
        Some of `RESTORE_OUTPUTS`.
    """

    model: Any = DEFAULT_MODEL
    samples: int = 1
    outputs: tuple[str, ...] = RESTORE_OUTPUTS
    normalisation: tuple[str, ...] = NORMALISATION
    strength: float = 1.0

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def options(self) -> dict[str, Any]:
        """Keywords of `inference.restore.restoring`, but image, model and axes."""
        names = ("normalisation", "strength", "temperature", "seed", "tile", "device")
        return {name: getattr(self, name) for name in (*names, "nan", "precision")}

    def _is_mode(self) -> bool:
        return False  # no spread is shown

    def _check_image(self) -> None:
        check_image_layer(self.image, "restored")

    def _check_model(self) -> None:
        super()._check_model()
        if isinstance(self.model, Model):
            # Torch is there, for its network is.
            from napari_flowsr.inference.restorer import check_restores

            check_restores(self.model)
            return
        card = card_of(self.model)
        if card is not None and not can_restore(card):
            raise OptionError(
                f"The model '{card.name}' ({card.family}) cannot restore: that takes a "
                "flow that enlarges images. Choose another, such as micro-4x."
            )

    def _check_normalisation(self) -> None:
        check_collections(self.normalisation)

    def _check_strength(self) -> None:
        value = self.strength
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not 0 <= value <= 1:
            raise OptionError(
                f"The strength is {value!r}; it is from 0 (as it is) to 1 (all)."
            )

    def _check_outputs(self) -> None:
        given = self.outputs
        listed = isinstance(given, tuple | list) and len(given) > 0
        if not listed or any(kind not in RESTORE_OUTPUTS for kind in given):
            raise OptionError(
                f"Outputs are {given!r}; choose one or more of "
                f"{', '.join(RESTORE_OUTPUTS)}."
            )
