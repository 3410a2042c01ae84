"""Units of work: the tensors that the network sees, and where their results go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.data.degrade import upscale_bicubic
from napari_flowsr.inference.intensity import Intensities, Range, cast
from napari_flowsr.inference.source import plane_view
from napari_flowsr.inference.store import new_array

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Unit", "Workload"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Unit:
    """What goes through the network at once: a plane, or one component of it.

    Parameters
    ----------
    index : int
        Position in the workload.
    plane : int
        Plane of the image, counted in C order of the looped axes.
    components : tuple of int
        Colour components that it consists of.
    """

    index: int
    plane: int
    components: tuple[int, ...]


class Workload:
    """Units of one image for a model of 1 or 3 channels.

    Parameters
    ----------
    intensities : Intensities
        The image and its ranges.
    channels : int
        Of the model.
    """

    def __init__(self, intensities: Intensities, channels: int) -> None:
        self.intensities = intensities
        self.channels = channels
        self.geometry = intensities.source.geometry
        colours = min(self.geometry.components, 3)
        groups = [tuple(range(colours))] if channels > 1 else None
        self._groups = groups or [(c,) for c in range(colours)]
        self.alpha = self.geometry.components == 4

    def __len__(self) -> int:
        return self.geometry.planes * len(self._groups)

    def __iter__(self) -> Iterator[Unit]:
        index = 0
        for plane in range(self.geometry.planes):
            for components in self._groups:
                yield Unit(index, plane, components)
                index += 1

    def ranges(self, unit: Unit) -> list[Range]:
        """Range of each component of a unit."""
        return [self.intensities.range(unit.plane, c) for c in unit.components]

    def constant(self, unit: Unit) -> bool:
        """Whether the channel behind a unit is constant, in every component."""
        return all(r.constant for r in self.ranges(unit))

    def normalised(
        self, unit: Unit, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Tensor:
        """LR pixels ``(components, h, w)`` of a box, float32, network units."""
        pixels = self.intensities.window(unit.plane, rows, columns)
        return self.normalised_of(pixels, unit)

    def normalised_of(self, pixels: Array, unit: Unit) -> Tensor:
        """``(components, h, w)`` of given pixels ``(h, w, S)``, of LR or HR."""
        parts = [
            r.to_unit(pixels[:, :, c])
            for r, c in zip(self.ranges(unit), unit.components, strict=True)
        ]
        return torch.from_numpy(np.stack(parts))

    def network_input(self, values: Tensor) -> Tensor:
        """``(1, channels, ...)``: a single component is replicated for an RGB model."""
        return values[None].expand(1, self.channels, -1, -1).contiguous()

    def reduced(self, values: Tensor) -> Tensor:
        """Undo `network_input`: the average over replicas, ``(B, components, ...)``."""
        if values.shape[1] == len(self._groups[0]):
            return values
        return values.mean(1, keepdim=True)

    # --- writing --------------------------------------------------------------

    def new(self, dtype: np.dtype[Any] | type, *leading: int) -> Array:
        """Array of ``(*leading, *output shape)``, without content, maybe in a file."""
        return new_array((*leading, *self.geometry.output_shape), dtype)

    def write(
        self, out: Array, unit: Unit, origin: tuple[int, int], values: Array
    ) -> None:
        """Write network values ``(components, h, w)`` at an HR position."""
        self.fill(self._box(out, unit, origin, values.shape[-2:]), unit, values)

    def fill(self, pixels: Array, unit: Unit, values: Array) -> None:
        """Write network values ``(components, h, w)`` into pixels ``(h, w, S)``."""
        for i, component in enumerate(unit.components):
            found = self.intensities.range(unit.plane, component)
            pixels[:, :, component] = cast(found.to_intensity(values[i]), pixels.dtype)

    def write_spread(
        self, out: Array, unit: Unit, origin: tuple[int, int], values: Array
    ) -> None:
        """Write standard deviations, which scale with the range but do not shift."""
        view = self._box(out, unit, origin, values.shape[-2:])
        for i, component in enumerate(unit.components):
            found = self.intensities.range(unit.plane, component)
            view[:, :, component] = values[i] * (found.high - found.low)

    def _box(
        self, out: Array, unit: Unit, origin: tuple[int, int], size: tuple[int, ...]
    ) -> Array:
        view = plane_view(out, self.geometry.upscaled, unit.plane)
        rows = slice(origin[0], origin[0] + size[0])
        return view[rows, origin[1] : origin[1] + size[1]]

    def fill_constant(self, out: Array, unit: Unit, *, spread: bool = False) -> None:
        """Write the constant of a constant channel, exactly; a spread of 0."""
        view = self._box(out, unit, (0, 0), self.geometry.hr_size)
        if spread:
            view[:, :, list(unit.components)] = 0
        else:
            self.fill_with_constant(view, unit)

    def fill_with_constant(self, pixels: Array, unit: Unit) -> None:
        """Write the constant of a constant channel into pixels ``(h, w, S)``."""
        source = self.intensities.plane(unit.plane)
        for component in unit.components:
            # The pixel itself, for a 64-bit integer does not survive a float.
            pixels[:, :, component] = source[0, 0, component]

    def write_alpha(self, out: Array, plane: int) -> None:
        """Write the enlarged alpha component."""
        view = plane_view(out, self.geometry.upscaled, plane)
        view[:, :, 3] = self.enlarged_alpha(plane, out.dtype)

    def enlarged_alpha(self, plane: int, dtype: np.dtype[Any]) -> Array:
        """Alpha component, enlarged bicubically; it is no matter of the model."""
        alpha = self.intensities.plane(plane)[:, :, 3]
        enlarged = upscale_bicubic(
            torch.from_numpy(alpha.astype(np.float64)), self.geometry.scale
        )
        low, high = float(alpha.min()), float(alpha.max())
        values = np.clip(enlarged.numpy(), low, high)  # no ringing beyond opaque
        return cast(values, dtype)
