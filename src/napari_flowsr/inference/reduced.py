"""An HR image as its own source: the LR image that it reduces to, and sides that fit.

What edits and restores an HR image without an LR image sets x to the downscaled image
(SRFlow, sections 4.4 and 4.5). Sides that no LR image has are padded by mirroring at
the bottom and right, and results are cropped back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_flowsr.core.flow import scale_between as _real_scale
from napari_flowsr.core.places import hr_side, lr_side
from napari_flowsr.data.degradation import DEGRADATIONS, OWN_NETWORK
from napari_flowsr.data.degrade import downscale
from napari_flowsr.errors import AxesError, OptionError
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.intensity import cast
from napari_flowsr.inference.options import check_scale
from napari_flowsr.inference.source import Source, open_array, plane_view

if TYPE_CHECKING:
    from napari_flowsr.models.card import Model

__all__ = ["Reduced", "check_reduces", "reduced", "scale_between"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reduced:
    """An HR image whose sides fit, and the LR image that it reduces to.

    Parameters
    ----------
    hr, lr : ndarray
        ``hr`` in its own dtype. ``lr`` is a float and not rounded, unless the model
        takes integers by the range of their dtype; then it has the dtype of ``hr``.
    axes : str
        A letter per axis.
    scale : float
        HR pixels per LR pixel.
    shape : tuple of int
        Of the HR image as it was given.
    """

    hr: Array
    lr: Array
    axes: str
    scale: float
    shape: tuple[int, ...]

    def fitted(self, array: Any, name: str) -> Array:
        """Pad another array of the given HR image's shape alike."""
        found = np.asarray(open_array(array, name))
        if found.shape != self.shape:
            raise AxesError(
                f"{name} has shape {found.shape}; it must have the shape of hr, "
                f"{self.shape}. Paste what is to be inserted into a copy of hr."
            )
        return _padded(found, self.hr.shape)

    def fitted_map(self, values: Any) -> Array:
        """Pad a map ``(..., Y, X)`` of the given HR grid alike; others stay."""
        found = np.asarray(values)
        rows, columns = (self.axes.index(a) for a in "YX")
        if found.ndim < 2 or found.shape[-2:] != (
            self.shape[rows],
            self.shape[columns],
        ):
            return found
        size = self.hr.shape[rows], self.hr.shape[columns]
        return _padded(found, (*found.shape[:-2], *size))

    def cropped(self, array: Array) -> Array:
        """Cut the padding off a result."""
        return np.ascontiguousarray(array[tuple(map(slice, self.shape))])


def check_reduces(model: Model) -> None:
    """Raise `OptionError` unless the reduction that the model inverts is known."""
    degradation = model.card.degradation
    if degradation.name == OWN_NETWORK:
        raise OptionError(
            f"The model '{model.card.name}' ({model.card.family}) makes its small "
            "images by its own network and takes no others, so that it cannot edit or "
            "restore images. Choose a model of super-resolution, such as 'micro-2x'."
        )
    if not degradation.has_operator:
        raise OptionError(
            f"The card of the model '{model.card.name}' names the degradation "
            f"'{degradation}', whose operator is not known; known are "
            f"{', '.join(DEGRADATIONS)}. What an image reduces to for this model "
            "cannot be told, so that it cannot transfer or restore. Choose another "
            "model, such as 'micro-2x'."
        )


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    """Mirror at the ends, with the edge repeated, until the array has ``shape``."""
    if array.shape == shape:
        return array
    width = [(0, b - a) for a, b in zip(array.shape, shape, strict=True)]
    return np.pad(array, width, mode="symmetric")


def _sides(side: int, scale: float) -> tuple[int, int]:
    """LR side whose HR side is the next one from ``side`` on, and that HR side."""
    small = max(1, lr_side(side, scale))
    if hr_side(small, scale) < side:
        small += 1
    return small, hr_side(small, scale)


def reduced(
    hr: Any, model: Model, *, axes: str | None = None, scale: float | None = None
) -> Reduced:
    """Reduce an HR image by the degradation of a model's card.

    Parameters
    ----------
    hr : array-like
        At least 2-D, any integer, bool or real float dtype.
    model : Model
        Its card names the degradation.
    axes : str, optional
        As in `inference.axes.parse_axes`.
    scale : float, optional
        The model's first if not given.

    Raises
    ------
    OptionError
        The model has another degradation, or another scale.
    """
    check_reduces(model)
    array = np.asarray(open_array(hr, "hr"))
    named = parse_axes(axes, array.shape)
    factor = check_scale(scale, model.flow)
    small, large = list(array.shape), list(array.shape)
    for letter in "YX":
        axis = named.index(letter)
        small[axis], large[axis] = _sides(array.shape[axis], factor)
    padded = _padded(array, tuple(large))
    source = Source(padded, Geometry(named, tuple(large), 1.0))
    lr = np.empty(small, _lr_dtype(source.dtype, model))
    geometry = Geometry(named, tuple(small), 1.0)
    for plane in range(geometry.planes):
        pixels = np.moveaxis(source.plane(plane).astype(np.float64), -1, 0)
        hr_plane = torch.from_numpy(pixels.copy())
        found = downscale(hr_plane, factor, model.card.degradation).numpy()
        plane_view(lr, geometry, plane)[...] = cast(np.moveaxis(found, 0, -1), lr.dtype)
    return Reduced(padded, lr, named, factor, tuple(array.shape))


def _lr_dtype(dtype: np.dtype[Any], model: Model) -> np.dtype[Any]:
    whole = dtype.kind in "ui"
    if whole and model.card.normalisation.kind == "dtype":
        return dtype  # floats would be taken as 0 .. 1
    wide = dtype.itemsize == 8 or (whole and dtype.itemsize > 2)
    return np.dtype(np.float64 if wide else np.float32)


def scale_between(image: Any, hr: Any, model: Model, axes: str | None) -> float | None:
    """Scale of a model of several scales, or of any, from the shapes of two images.

    ``None`` for a model of one scale, and where the numbers of axes differ: that is
    refused afterwards, with both shapes.
    """
    flow = model.flow
    if len(flow.scales) == 1 and flow.scale_range is None:
        return None
    shape, larger = np.shape(image), np.shape(hr)
    named = parse_axes(axes, shape)
    if len(larger) != len(shape):
        return None
    plane = named.index("Y"), named.index("X")
    if flow.scale_range is not None:
        small, large = ((s[plane[0]], s[plane[1]]) for s in (shape, larger))
        return _real_scale(small, large)
    ratio = larger[plane[0]] / shape[plane[0]]
    return min(flow.scales, key=lambda scale: abs(scale - ratio))
