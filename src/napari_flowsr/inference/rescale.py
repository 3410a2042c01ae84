"""Making images smaller so that they can be brought back, plane by plane.

`down` is a generator that yields `Progress` and, last, `Made`; scripts, commands and
docks share it. An image is padded to multiples of the scale, and cropped when it is
brought back (`inference.rescale_up`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.data.degrade import downscale
from napari_flowsr.errors import (
    ModelNotFoundError,
    OptionError,
    UnstableDecodeError,
)
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.excess import NETWORK_RANGE
from napari_flowsr.inference.intensity import cast, survey
from napari_flowsr.inference.options import Options
from napari_flowsr.inference.rescale_planes import (
    PlaneWork,
    check_rescales,
    in_double,
    needs_double,
    rescaling_flow,
)
from napari_flowsr.inference.rescale_usual import DEFAULT_MODEL, HOW_TO_GET_ONE
from napari_flowsr.inference.rescaled import RescaledLatents
from napari_flowsr.inference.rescaled_facts import (
    Rescaled,
    full_value,
    ranges_of,
    stored_dtype,
)
from napari_flowsr.inference.source import Source, open_array, plane_view
from napari_flowsr.inference.units import Unit, Workload
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.content import image_hash
from napari_flowsr.models.card import Model

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Made", "down", "load_rescaling"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Made:
    """The last event of `down`."""

    small: Array
    latents: RescaledLatents
    report: Mapping[str, Any] = field(default_factory=dict)


def load_rescaling(
    model: str | Path | Model, device: str | torch.device = "auto"
) -> Model:
    """Load a model that makes images small.

    Raises
    ------
    ModelNotFoundError
        There is none of this name; says how to get one.
    OptionError
        It only enlarges.
    """
    if not isinstance(model, Model):
        try:
            model = load_model(model, device=str(device))
        except ModelNotFoundError as error:
            if str(model) != DEFAULT_MODEL:
                raise
            raise ModelNotFoundError(
                f"There is no model '{DEFAULT_MODEL}'. {HOW_TO_GET_ONE}, or give the "
                "path of its file."
            ) from error
    check_rescales(model)
    return model


def _small_shape(axes: str, shape: tuple[int, ...], scale: int) -> tuple[int, ...]:
    return tuple(
        -(-side // scale) if axis in "YX" else side
        for axis, side in zip(axes, shape, strict=True)
    )


def _padded(values: Array, scale: int) -> Array:
    """Mirror ``(..., H, W)`` at the bottom and right to multiples of the scale."""
    width = [(0, 0)] * (values.ndim - 2)
    width += [(0, -side % scale) for side in values.shape[-2:]]
    return np.pad(values, width, mode="symmetric")


def _checked_bits(bits: Any) -> int | None:
    if bits is None or (bits in (8, 16) and not isinstance(bits, bool)):
        return None if bits is None else int(bits)
    raise OptionError(
        f"bits is {bits!r}; give 8 or 16 for a small image of unsigned integers, or "
        "None for one that is not rounded."
    )


class _Maker:
    """State of `down`: the image, and what is made of it."""

    def __init__(
        self,
        image: Any,
        model: Model,
        bits: Any,
        axes: str | None,
        options: Options,
        device: Any,
    ) -> None:
        self.flow, self.model = rescaling_flow(model, device), model
        self.scale, bits = int(self.flow.scales[0]), _checked_bits(bits)
        self.tile = options.tile
        array = open_array(image)
        named = parse_axes(axes, array.shape)
        shape = tuple(int(side) for side in array.shape)
        source = Source(array, Geometry(named, shape, 1.0))
        joint = self.flow.channels > 1
        found = survey(source, model.card.normalisation, joint=joint, nan=options.nan)
        self.source, self.work = source, Workload(found, self.flow.channels)
        self.about = Rescaled(
            axes=named,
            shape=shape,
            small_shape=_small_shape(named, shape, self.scale),
            dtype=source.dtype.name,
            scale=self.scale,
            bits=bits,
            ranges=ranges_of(found),
            model=model.card.name,
            model_sha256=model.card.sha256,
        )
        self.geometry = Geometry(named, self.about.small_shape, 1.0)
        dtype = stored_dtype(bits, source.dtype)
        self.small: Array = np.zeros(self.about.small_shape, dtype)

    def _hr(self, unit: Unit) -> Tensor:
        values = _padded(self.work.normalised(unit).numpy(), self.scale)
        return self.work.network_input(torch.from_numpy(values))

    def events(self) -> Iterator[Progress | Made]:
        """Work through the units."""
        units = [unit for unit in self.work if not self.work.constant(unit)]
        shown = self._hr(units[0]).clamp(*NETWORK_RANGE) if units else None
        double = shown is not None and needs_double(self.flow, shown)
        flow = in_double(self.flow) if double else self.flow
        size = self.geometry.lr_size
        work, count = PlaneWork(flow, size, self.tile), len(self.work)
        kind = torch.float64 if double else torch.float32
        levels = [torch.zeros(count, *s, dtype=kind) for s in work.spec.shapes]
        remainder = torch.zeros(count, self.flow.channels, *size, dtype=torch.float64)
        excess = [(torch.zeros(0, dtype=torch.int64), torch.zeros(0))]
        for done, unit in enumerate(self.work):
            if self.work.constant(unit):
                self._write_constant(unit)
                yield Progress(1000 * (done + 1), 1000 * count, "constant channel")
                continue
            hr = self._hr(unit)
            shown = hr.clamp(*NETWORK_RANGE)
            raw = torch.zeros(self.flow.channels, *size, dtype=kind)
            own = [level[unit.index] for level in levels]
            for part in work.down(shown, raw, own):
                yield Progress(1000 * done + part, 1000 * count, "making it small")
            self._check(raw, own)
            beyond = hr - shown
            remainder[unit.index] = self._write(unit, raw, beyond)
            at = beyond.flatten().nonzero().flatten()
            excess.append((at + unit.index * hr.numel(), beyond.flatten()[at]))
        alpha = self._write_alpha() if self.work.alpha else None
        about = replace(
            self.about,
            source_sha256=image_hash(self.source.array),
            small_sha256=image_hash(self.small),
        )
        at, by = (torch.cat(parts) for parts in zip(*excess, strict=True))
        latents = RescaledLatents(
            tuple(levels),
            work.spec,
            about=about,
            remainder=remainder,
            excess=(at, by),
            alpha=alpha,
        )
        yield Made(self.small, latents, self._report(work, double))

    def _report(self, work: PlaneWork, double: bool) -> dict[str, Any]:
        return {
            "device": str(self.flow.device),
            "double": double,
            "tile": work.plan.tile,
            "tiles": len(work.plan),
            "halo": work.plan.halo,
            "filled_pixels": self.work.intensities.filled,
        }

    def _check(self, raw: Tensor, levels: list[Tensor]) -> None:
        if not all(bool(torch.isfinite(t).all()) for t in (raw, *levels)):
            raise UnstableDecodeError(
                f"The model '{self.model.card.name}' gave values that are not finite. "
                "Use another model, or remove extreme pixels from the image."
            )

    def _write(self, unit: Unit, raw: Tensor, beyond: Tensor) -> Tensor:
        """Write a plane ``(C, h, w)`` of the small image; return what that loses.

        Excess is averaged over the pixels that become one.
        """
        small = raw + F.avg_pool2d(beyond, self.scale)[0].to(raw)
        shown = self.work.reduced(small[None])[0].double().numpy()
        view = plane_view(self.small, self.geometry, unit.plane)
        channel, kept = self.geometry.channel(unit.plane), []
        for i, component in enumerate(unit.components):
            span = self.about.small_range(channel, component)
            stored = cast(span.to_intensity(shown[i]), self.small.dtype)
            view[:, :, component] = stored
            kept.append(torch.from_numpy(span.to_unit(stored)))
        # Added later to the same single-precision numbers: that gives `raw` exactly.
        return raw.double() - self.work.network_input(torch.stack(kept))[0].double()

    def _write_constant(self, unit: Unit) -> None:
        view = plane_view(self.small, self.geometry, unit.plane)
        channel, dtype = self.geometry.channel(unit.plane), self.source.dtype
        for component in unit.components:
            value = self.about.range(channel, component).low
            if self.about.bits is not None:
                info = np.iinfo(dtype) if dtype.kind in "ui" else None
                low = float(info.min) if info else 0.0
                high = float(info.max) if info else 1.0
                value = (value - low) / (high - low) * (2**self.about.bits - 1)
            view[:, :, component] = cast(np.asarray(value, float), self.small.dtype)

    def _write_alpha(self) -> Tensor:
        """Reduce the alpha component bicubically; return all of it."""
        kept, opaque = [], full_value(self.source.dtype)
        for plane in range(self.work.geometry.planes):
            alpha = self.source.plane(plane)[:, :, 3].astype(np.float64)
            kept.append(torch.from_numpy(alpha.astype(np.float32)))
            padded = torch.from_numpy(_padded(alpha, self.scale))
            reduced = downscale(padded, self.scale).numpy()
            reduced = np.clip(reduced, alpha.min(), alpha.max())
            if self.about.bits is not None:
                reduced = reduced / opaque * (2**self.about.bits - 1)
            view = plane_view(self.small, self.geometry, plane)
            view[:, :, 3] = cast(reduced, self.small.dtype)
        return torch.stack(kept)


def down(
    image: Any,
    model: Model,
    *,
    bits: int | None = None,
    axes: str | None = None,
    tile: Any = "auto",
    device: str | torch.device = "auto",
    nan: str = "raise",
) -> Iterator[Progress | Made]:
    """Make an image small; see `napari_flowsr.rescale_down`.

    What was asked for is checked at once, the work is done while iterating.
    """
    options = Options(tile=tile, nan=nan)
    return _Maker(image, model, bits, axes, options, device).events()
