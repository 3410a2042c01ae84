"""Latents that belong to a small image, and the file they are kept in.

`RescaledLatents` are the latents with the record that brings the small image back
(`inference.rescaled_facts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import FlowSRError, OptionError, SizeError
from napari_flowsr.inference.rescaled_facts import Rescaled
from napari_flowsr.io.latents_file import (
    Kind,
    levels_of,
    spec_facts,
    spec_of,
    tensors_of,
)
from napari_flowsr.io.suffixes import LATENTS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rescaled", "RescaledLatents", "load_latents", "save_latents"]

_KIND = Kind(
    key="napari-flowsr-latents",
    version=1,
    what="latents of a small image",
    expected=f"Give the {LATENTS} file that was written beside the small image, or "
    "leave the latents out: the detail is then sampled.",
    remedy="Copy it again, or leave the latents out: the detail is then sampled.",
)


@dataclass(frozen=True, kw_only=True)
class RescaledLatents(Latents):
    """Latents that turn a small image into exactly what it was made from.

    Parameters
    ----------
    levels, spec
        As `Latents`; a batch entry per plane, and per colour component for a
        one-channel model, in C order.
    about : Rescaled
        The record.
    remainder : Tensor
        ``(B, C, h, w)``, float64, network units: what rounding, clipping and averaging
        over the channels took from the small image.
    excess : tuple of Tensor
        What the network was not shown (`inference.excess`), for few pixels have any:
        their positions in ``(B, C, H, W)`` in C order, and its values, network units.
    alpha : Tensor or None
        ``(planes, H, W)``, for RGBA images; the model knows nothing of it.
    """

    about: Rescaled
    remainder: Tensor
    excess: tuple[Tensor, Tensor]
    alpha: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> RescaledLatents:
        """Apply ``function`` to each level; the record and the remainder stay."""
        return replace(self, levels=tuple(function(t) for t in self.levels))

    def __getitem__(self, index: slice) -> Latents:
        """Latents of some planes, without the record, which is of all of them."""
        return Latents(tuple(t[index] for t in self.levels), self.spec)

    def __post_init__(self) -> None:
        super().__post_init__()
        (h, w), (height, width) = self.spec.lr_size, self.spec.hr_size
        at, by = self.excess
        count, channels = self.remainder.shape[:2]
        planes = () if self.alpha is None else self.alpha.shape[1:]
        own = tuple(self.about.shape[self.about.axes.index(a)] for a in "YX")
        if (
            self.remainder.shape != (self.batch, channels, h, w)
            or at.shape != by.shape
            or at.dtype != torch.int64
            or (len(at) and not 0 <= int(at.min()) <= int(at.max()))
            or (len(at) and int(at.max()) >= count * channels * height * width)
            or tuple(planes) not in ((), own)
        ):
            raise SizeError(
                f"What belongs to latents of {count} small planes of {h} x {w} has "
                "other sizes. Use them as rescale_down gave them."
            )

    def excess_of(self, index: int) -> Tensor | None:
        """Excess ``(C, H, W)`` of a batch entry; None if there is none."""
        shape = (self.remainder.shape[1], *self.spec.hr_size)
        at, by = self.excess
        at = at - index * math.prod(shape)
        own = (at >= 0) & (at < math.prod(shape))
        if not bool(own.any()):
            return None
        out = torch.zeros(math.prod(shape), dtype=by.dtype)
        out[at[own]] = by[own]
        return out.view(shape)

    @property
    def nbytes(self) -> int:
        """Size in memory, about that of the file."""
        tensors = [*self.levels, self.remainder, *self.excess]
        tensors += [] if self.alpha is None else [self.alpha]
        return sum(t.numel() * t.element_size() for t in tensors)


# --- files --------------------------------------------------------------------


def save_latents(
    path: str | Path, latents: RescaledLatents, *, overwrite: bool = True
) -> Path:
    """Write latents with their record, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``.
    latents : RescaledLatents
        As `rescale_down` gives them.
    overwrite : bool
        Replace an existing file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OptionError(
            f"Latents are written as .safetensors; '{path.name}' was asked for. "
            f"Choose a name that ends in {LATENTS}."
        )
    if not isinstance(latents, RescaledLatents):
        raise OptionError(
            "These latents have no record of the image that they belong to. Save "
            "those that rescale_down gave."
        )
    tensors = tensors_of(latents.levels)
    tensors["remainder"] = latents.remainder
    tensors["excess.at"], tensors["excess.by"] = latents.excess
    if latents.alpha is not None:
        tensors["alpha"] = latents.alpha
    about = {"about": latents.about.facts(), **spec_facts(latents.spec)}
    _KIND.write(path, tensors, about, overwrite=overwrite)
    return path


def load_latents(path: str | Path) -> RescaledLatents:
    """Read what `save_latents` wrote; nothing in it is executed.

    Raises
    ------
    CheckpointError
        Another kind of file, or a damaged one.
    """
    if not isinstance(path, str | PathLike):
        raise OptionError(f"path is {path!r}; give the path of a file of latents.")
    path = Path(path)
    about, tensors = _KIND.read(path)
    try:
        spec = spec_of(about)
        return RescaledLatents(
            levels_of(tensors, spec),
            spec,
            about=Rescaled.of(about["about"]),
            remainder=tensors["remainder"],
            excess=(tensors["excess.at"], tensors["excess.by"]),
            alpha=tensors.get("alpha"),
        )
    except (
        ValueError, KeyError, TypeError, IndexError, ArithmeticError, RuntimeError,
        FlowSRError,
    ) as error:  # fmt: skip
        raise _KIND.damaged(path, error) from error
