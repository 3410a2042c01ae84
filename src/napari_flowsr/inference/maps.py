"""Maps over the field of view: temperatures and masks, on the LR or the HR grid."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.core.latents import LatentSpec
    from napari_flowsr.inference.axes import Geometry

__all__ = ["FieldMap", "parse_mask", "parse_temperature"]


@dataclass(frozen=True)
class FieldMap:
    """One number, or a value for each position.

    Parameters
    ----------
    values : ndarray or float
        A number, or ``(*loop shape, rows, columns)`` (broadcast).
    loop_shape : tuple of int
        Lengths of the looped axes.
    is_hr : bool
        Whether a map is on the HR grid; else it is on the LR grid.
    """

    values: npt.NDArray[np.float32] | float
    loop_shape: tuple[int, ...] = ()
    is_hr: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 everywhere."""
        return not np.any(self.values)

    def plane(self, plane: int) -> npt.NDArray[np.float32] | float:
        """Number, or ``(rows, columns)`` of one plane."""
        if isinstance(self.values, float):
            return self.values
        index = np.unravel_index(plane, self.loop_shape) if self.loop_shape else ()
        found: npt.NDArray[np.float32] = self.values[index]
        return found

    def window(
        self, plane: int, spec: LatentSpec, factor: float = 1.0
    ) -> float | Tensor:
        """Number, or ``(rows, columns)`` for a placed spec, times ``factor``.

        A map is cut to the spec's window, or on the HR grid to its HR box. Beyond the
        edge of the map (in the padding) its last value goes on.
        """
        values = self.plane(plane)
        if isinstance(values, float):
            return values * factor
        if spec.place is None:
            raise TypeError("A map is cut for a placed spec.")
        w = spec.place.window
        y0, y1, x0, x1 = (
            spec.hr_box if self.is_hr else (w.y, w.y + w.height, w.x, w.x + w.width)
        )
        rows, columns = np.arange(y0, y1), np.arange(x0, x1)
        rows = np.minimum(rows, values.shape[0] - 1)
        columns = np.minimum(columns, values.shape[1] - 1)
        return torch.from_numpy(values[rows[:, None], columns] * np.float32(factor))


def _broadcast(values: npt.NDArray[Any], geometry: Geometry, name: str) -> FieldMap:
    grids = {geometry.lr_size: False, geometry.hr_size: True}
    if values.ndim < 2 or values.shape[-2:] not in grids:
        raise OptionError(
            f"The {name} map has shape {values.shape}; its last two axes must be "
            f"(Y, X) on the LR grid {geometry.lr_size} or on the HR grid "
            f"{geometry.hr_size}."
        )
    full = (*geometry.loop_shape, *values.shape[-2:])
    try:
        spread = np.broadcast_to(values, full)
    except ValueError as error:
        raise OptionError(
            f"The {name} map has shape {values.shape}, which does not broadcast to "
            f"{full} (the axes that are looped over, then Y and X)."
        ) from error
    return FieldMap(spread, geometry.loop_shape, grids[values.shape[-2:]])


def parse_temperature(value: Any, geometry: Geometry) -> FieldMap:
    """Check a temperature: a number from 0, or a map of such numbers.

    Raises
    ------
    OptionError
        Negative, not finite, not numeric, or of a shape that does not fit.
    """
    if isinstance(value, bool | str) or value is None:
        raise OptionError(f"temperature is {value!r}; it must be a number from 0.")
    if isinstance(value, numbers.Real):
        values: npt.NDArray[Any] = np.asarray(float(value))
    else:
        try:
            values = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"temperature of type {type(value).__name__} is not numeric; give a "
                "number from 0, or a map."
            ) from error
    if not (np.isfinite(values).all() and (values >= 0).all()):
        given = f"{float(values):g}" if values.ndim == 0 else "a map with such values"
        raise OptionError(
            "temperature is a standard deviation and must not be negative, NaN or "
            f"infinite; given was {given}. 0 gives the mode, 1 the model's own spread."
        )
    if values.ndim == 0:
        return FieldMap(float(values))
    return _broadcast(values, geometry, "temperature")


def parse_mask(value: Any, geometry: Geometry) -> FieldMap:
    """Check a mask: bool, or float from 0 (keep) to 1 (replace).

    Raises
    ------
    OptionError
        Values outside 0 .. 1, or a shape that does not fit.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "buif":
        raise OptionError(
            f"mask has dtype {given.dtype}; it must be bool, or float from 0 to 1."
        )
    values = given.astype(np.float32)
    if not ((values >= 0) & (values <= 1)).all():
        raise OptionError(
            f"mask has values from {values.min():g} to {values.max():g}; they must be "
            "from 0 (keep) to 1 (replace). A label image becomes one by labels == k."
        )
    return _broadcast(values, geometry, "mask")
