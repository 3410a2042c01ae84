"""What belongs to a small image beyond its pixels, and the file it is kept in.

`Rescaled` is the record that brings a small image back to the size, the data type and
the intensities of the original; `RescaledLatents` are the latents with that record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import FlowSRError, OptionError, SizeError
from napari_flowsr.inference.intensity import Intensities, Range
from napari_flowsr.io.latents_file import (
    Kind,
    levels_of,
    spec_facts,
    spec_of,
    tensors_of,
)

__all__ = ["SUFFIX", "Rescaled", "RescaledLatents", "load_latents", "save_latents"]
__all__ += ["full_value", "ranges_of", "stored_dtype"]

SUFFIX = ".latents.safetensors"
"""End of the name of a file of latents, which lies beside the small image."""

_KIND = Kind(
    key="napari-flowsr-latents",
    version=1,
    what="latents of a small image",
    expected=f"Give the {SUFFIX} file that was written beside the small image, or "
    "leave the latents out: the detail is then sampled.",
    remedy="Copy it again, or leave the latents out: the detail is then sampled.",
)


@dataclass(frozen=True)
class Rescaled:
    """How a small image was made; JSON-able by `facts`.

    Parameters
    ----------
    axes : str
        A letter per axis, of the image and of the small one.
    shape, small_shape : tuple of int
        Of the image, which need not be a multiple of the scale, and of the small one.
    dtype : str
        Of the image.
    scale : int
        HR pixels per LR pixel.
    bits : int or None
        To which the small image was rounded; it then covers the whole range of an
        unsigned integer. Otherwise it has the intensities of the image.
    ranges : mapping
        ``"channel,component"`` to the intensities ``[low, high]`` that are 0 and 1 for
        the model, and whether that channel is constant.
    model, model_sha256 : str
        The model that made it.
    source_sha256, small_sha256 : str
        `io.content.image_hash` of both images.
    """

    axes: str
    shape: tuple[int, ...]
    small_shape: tuple[int, ...]
    dtype: str
    scale: int
    bits: int | None
    ranges: Mapping[str, tuple[float, float, bool]]
    model: str = ""
    model_sha256: str = ""
    source_sha256: str = ""
    small_sha256: str = ""

    def range(self, channel: int, component: int) -> Range:
        """Intensities of the image that are 0 and 1 for the model."""
        key = f"{channel},{component}"
        if key not in self.ranges:
            raise OptionError(
                f"The record of the small image has no intensities for channel "
                f"{channel}. Leave it out, or make the small image again."
            )
        return Range(*self.ranges[key])

    def small_range(self, channel: int, component: int) -> Range:
        """Values of the small image that are 0 and 1 for the model."""
        if self.bits is None:
            return self.range(channel, component)
        return Range(0.0, float(2**self.bits - 1))

    @property
    def small_dtype(self) -> np.dtype[Any]:
        """Data type of the small image."""
        return stored_dtype(self.bits, np.dtype(self.dtype))

    def facts(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Any) -> Rescaled:
        """Take `facts` back; they may come from anybody's file.

        Raises
        ------
        OptionError
            They are no such record.
        """
        try:
            ranges = {
                str(key): (float(low), float(high), bool(constant))
                for key, (low, high, constant) in facts["ranges"].items()
            }
            bits = facts["bits"]
            found = cls(
                axes=str(facts["axes"]),
                shape=tuple(int(side) for side in facts["shape"]),
                small_shape=tuple(int(side) for side in facts["small_shape"]),
                dtype=np.dtype(str(facts["dtype"])).name,
                scale=int(facts["scale"]),
                bits=None if bits is None else int(bits),
                ranges=ranges,
                **{name: str(facts.get(name, "")) for name in _NAMES},
            )
            found.check()
        except (
            TypeError, ValueError, KeyError, AttributeError, ArithmeticError,
        ) as error:  # fmt: skip
            raise OptionError(
                f"The record of how a small image was made is damaged ({error!r}). "
                "Leave it out, or make the small image again."
            ) from error
        return found

    def check(self) -> None:
        """Raise `ValueError` unless the entries fit to each other."""
        fits = {"Y", "X"} <= set(self.axes) and len(set(self.axes)) == len(self.axes)
        fits = fits and self.scale > 1 and self.bits in (None, 8, 16)
        sizes = zip(self.axes, self.shape, self.small_shape, strict=True)
        for axis, side, small in sizes:
            expected = -(-side // self.scale) if axis in "YX" else side
            fits = fits and side > 0 and small == expected
        numbers = [x for low, high, _ in self.ranges.values() for x in (low, high)]
        fits = fits and all(map(math.isfinite, numbers))
        fits = fits and all(low < high for low, high, _ in self.ranges.values())
        if not fits or np.dtype(self.dtype).kind not in "buif":
            raise ValueError("sizes, intensities or data type do not fit")


_NAMES = ("model", "model_sha256", "source_sha256", "small_sha256")


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


def ranges_of(found: Intensities) -> dict[str, tuple[float, float, bool]]:
    """Ranges as a `Rescaled` keeps them."""
    return {
        f"{channel},{component}": (r.low, r.high, r.constant)
        for (channel, component), r in found.ranges.items()
    }


def stored_dtype(bits: int | None, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Data type of the small version of an image of ``dtype``."""
    if bits is not None:
        return np.dtype(f"uint{bits}")
    return dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)


def full_value(dtype: np.dtype[Any]) -> float:
    """What is opaque in a data type."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


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
            f"Choose a name that ends in {SUFFIX}."
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
