"""Condition: what the LR image contributes, computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from napari_flowsr.core.places import Place, Window
from napari_flowsr.errors import SizeError

__all__ = ["Condition"]


@dataclass(frozen=True)
class Condition:
    """The LR image and its encoding, reused by every sample and re-sample.

    Parameters
    ----------
    lr : Tensor
        ``(B, C, h, w)`` in ``[0, 1]`` units (values outside are allowed).
    features : tuple of Tensor
        The family's encoding; its meaning is the family's own.
    place : Place, optional
        Where ``lr`` lies in its whole image, if it is a crop; see `at`.
    """

    lr: Tensor
    features: tuple[Tensor, ...]
    place: Place | None = None
    memo: dict[Hashable, tuple[Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What a family derived from the features for one size of the result; filled by
    `ConditionalFlow.prepare` or by the first decode."""

    @property
    def lr_size(self) -> tuple[int, int]:
        """``(h, w)``."""
        return int(self.lr.shape[-2]), int(self.lr.shape[-1])

    @property
    def nbytes(self) -> int:
        """Memory of all tensors held."""
        derived = (t for tensors in self.memo.values() for t in tensors)
        return sum(t.nbytes for t in (self.lr, *self.features, *derived))

    def at(self, place: Place) -> Condition:
        """Say where ``lr`` lies in its whole image; a copy with an empty memo."""
        window = place.window
        if (window.height, window.width) != self.lr_size:
            raise SizeError(
                f"The place is a window of {window.height} x {window.width} LR pixels; "
                f"this condition is of {self.lr_size[0]} x {self.lr_size[1]}. Give the "
                "window that the LR image was cut from."
            )
        return replace(self, place=place)

    def crop(self, window: Window) -> Condition:
        """The part of a placed condition whose features are at LR resolution.

        Parameters
        ----------
        window : Window
            Absolute, inside the place's.
        """
        place = self.place
        if place is None or any(
            f.shape[-2:] != self.lr.shape[-2:] for f in self.features
        ):
            raise SizeError(
                "Only a placed condition with features of the size of the LR image can "
                "be cropped. Compute the condition of the crop instead."
            )
        y, x = window.y - place.window.y, window.x - place.window.x
        rows, columns = slice(y, y + window.height), slice(x, x + window.width)
        lr, *features = (
            t[..., rows, columns].contiguous(memory_format=torch.channels_last)
            for t in (self.lr, *self.features)
        )
        found = Condition(lr, tuple(features))
        return found.at(Place(window, place.whole, place.scale))
