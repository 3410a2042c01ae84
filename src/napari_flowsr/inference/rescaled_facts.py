"""How a small image was made: the record that brings it back, without its latents.

It has the size, the data type and the intensities of the original. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.errors import OptionError
from napari_flowsr.inference.intensity import Range

if TYPE_CHECKING:
    from napari_flowsr.inference.intensity import Intensities

__all__ = ["Rescaled", "full_value", "ranges_of", "stored_dtype"]


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
