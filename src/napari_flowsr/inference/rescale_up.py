"""Bringing small images back: exactly with their latents, sampled without.

`up` is a generator that yields `Progress` and, last, `Restored`. With latents its way
is the inverse of `inference.rescale.down`; without, `Posterior` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import (
    AxesError,
    ImageError,
    OptionError,
    SizeError,
    UnstableDecodeError,
)
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.events import Finished, Progress
from napari_flowsr.inference.intensity import Intensities, Range, cast, survey
from napari_flowsr.inference.options import Options
from napari_flowsr.inference.posterior import Posterior
from napari_flowsr.inference.rescale_planes import PlaneWork, in_double, rescaling_flow
from napari_flowsr.inference.rescaled import RescaledLatents
from napari_flowsr.inference.rescaled_facts import (
    Rescaled,
    full_value,
    ranges_of,
    stored_dtype,
)
from napari_flowsr.inference.source import Source, open_array, plane_view
from napari_flowsr.inference.units import Unit, Workload
from napari_flowsr.io.content import image_hash
from napari_flowsr.models.card import Model, Normalisation

__all__ = ["Restored", "up"]

Array = npt.NDArray[Any]

# Small floats are taken as they are, from 0 to 1; a network may well leave that range,
# but not by this much.
_FAR = 4.0


@dataclass(frozen=True)
class Restored:
    """The last event of `up`."""

    image: Array
    about: Rescaled
    report: Mapping[str, Any] = field(default_factory=dict)


def _survey_small(lr: Any, axes: str, model: Model, scale: int) -> Rescaled:
    """Record of a small image that comes without one."""
    shape = tuple(int(side) for side in lr.shape)
    source = Source(lr, Geometry(axes, shape, 1.0))
    normalisation = model.card.normalisation
    joint = model.flow.channels > 1
    found = survey(source, Normalisation(), joint=joint, nan="raise")
    ranges = dict(found.ranges)
    if source.dtype.kind in "ui" or normalisation.kind == "dtype":
        span = _dtype_span(source.dtype, lr)
        ranges = {k: r if r.constant else span for k, r in ranges.items()}
    elif normalisation != Normalisation():
        ranges = dict(survey(source, normalisation, joint=joint, nan="raise").ranges)
    return Rescaled(
        axes=axes,
        shape=tuple(
            side * scale if a in "YX" else side
            for a, side in zip(axes, shape, strict=True)
        ),
        small_shape=shape,
        dtype=source.dtype.name,
        scale=scale,
        bits=None,
        ranges=ranges_of(replace(found, ranges=ranges)),
    )


def _dtype_span(dtype: np.dtype[Any], lr: Any) -> Range:
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        return Range(float(info.min), float(info.max))
    low, high = np.percentile(np.asarray(lr, np.float64), (0.1, 99.9))
    if low < -_FAR or high > 1.0 + _FAR:
        raise ImageError(
            f"The small image has floats from about {low:g} to {high:g}, but this "
            "model takes floats as they are, from 0 to 1. Say where they come from: "
            "like=latents.about, as rescale_down gave them; or convert it to the "
            "integer type of the original."
        )
    return Range(0.0, 1.0)


def _check_latents(latents: Any) -> None:
    if not isinstance(latents, Latents):
        raise OptionError(
            f"latents is of type {type(latents).__name__}; give those that "
            "rescale_down gave, or None to sample them."
        )


def _fits(about: Rescaled, lr: Any, axes: str | None, model: Model) -> Rescaled:
    """Check a record against what is to be brought back."""
    if tuple(lr.shape) != about.small_shape:
        raise SizeError(
            f"The small image has shape {tuple(lr.shape)}; its latents or record "
            f"belong to one of {about.small_shape}. Give the one that they were made "
            "with, or leave them out."
        )
    if axes is not None and parse_axes(axes, lr.shape) != about.axes:
        raise AxesError(
            f"axes is {axes!r}; the small image was made with {about.axes!r}. Leave "
            "axes out."
        )
    own = model.card.sha256
    if own and about.model_sha256 and own != about.model_sha256:
        raise OptionError(
            f"The small image was made by the model '{about.model}' (SHA-256 "
            f"{about.model_sha256[:12]}…); given is '{model.card.name}' "
            f"({own[:12]}…). Give the model that made it."
        )
    if about.scale != int(model.flow.scales[0]):
        raise OptionError(
            f"The small image was made by a model of scale {about.scale}; given is one "
            f"of {model.flow.scales[0]:g}. Give the model that made it."
        )
    wanted = stored_dtype(about.bits, np.dtype(np.float32))
    if about.bits is not None and lr.dtype.newbyteorder("=") != wanted:
        raise ImageError(
            f"The small image has the data type {lr.dtype}; it was made as {wanted}. "
            "Give it as it was made."
        )
    return about


def _check_pixels(about: Rescaled, lr: Any) -> None:
    """Latents give the image only with the very pixels that they were made with."""
    found = image_hash(lr)
    if about.small_sha256 and found != about.small_sha256:
        raise ImageError(
            f"The latents belong to other pixels (SHA-256 {about.small_sha256[:12]}…, "
            f"data type {about.small_dtype}) than those given ({found[:12]}…, "
            f"{lr.dtype}). Give the small image as it was made, not edited, converted "
            "or compressed; or leave the latents out, and the detail is sampled."
        )


class _Restorer:
    """State of `up`: the small image, its record, and the image that comes of it."""

    def __init__(
        self,
        lr: Any,
        model: Model,
        latents: Latents | None,
        like: Rescaled | None,
        axes: str | None,
        tile: Any,
        device: Any,
    ) -> None:
        self.model, self.flow = model, rescaling_flow(model, device)
        self.tile = tile
        array = open_array(lr, "lr")
        about = latents.about if isinstance(latents, RescaledLatents) else like
        if about is None:
            named = parse_axes(axes, array.shape)
            scale = int(self.flow.scales[0])
            self.about = _survey_small(array, named, model, scale)
        else:
            self.about = _fits(about, array, axes, model)
        if isinstance(latents, RescaledLatents):
            _check_pixels(latents.about, array)
        self.latents = latents
        self.geometry = Geometry(
            self.about.axes, self.about.small_shape, float(self.about.scale)
        )
        self.source = Source(array, self.geometry)
        self.out_geometry = Geometry(self.about.axes, self.about.shape, 1.0)
        self.out: Array = np.zeros(self.about.shape, np.dtype(self.about.dtype))
        self.unit_image = self._in_units()
        self.work = Workload(self.unit_image, self.flow.channels)

    def _in_units(self) -> Intensities:
        """The small image in network units, with alpha from 0 to 1."""
        values: Array = np.zeros(self.about.small_shape, np.float32)
        ranges: dict[tuple[int, int], Range] = {}
        opaque = full_value(self.source.dtype)
        for plane in range(self.geometry.planes):
            pixels = self.source.plane(plane)
            view = plane_view(values, self.geometry, plane)
            channel = self.geometry.channel(plane)
            for component in range(pixels.shape[2]):
                if component == 3:
                    view[:, :, 3] = pixels[:, :, 3] / opaque
                    continue
                span = self.about.small_range(channel, component)
                view[:, :, component] = span.to_unit(pixels[:, :, component])
                constant = self.about.range(channel, component).constant
                ranges[channel, component] = Range(0.0, 1.0, constant)
        if not np.isfinite(values).all():
            raise ImageError(
                "The small image has pixels that are NaN or infinite. Give it as it "
                "was made."
            )
        return Intensities(Source(values, self.geometry), ranges, {})

    # --- with latents -----------------------------------------------------------

    def exactly(self, latents: Latents) -> Iterator[Progress | Restored]:
        """Invert the way there."""
        double = latents.levels[0].dtype == torch.float64
        flow = in_double(self.flow) if double else self.flow
        size, count = self.geometry.lr_size, len(self.work)
        work = PlaneWork(flow, size, self.tile)
        if latents.spec.shapes != work.spec.shapes or latents.batch != count:
            raise SizeError(
                f"The latents have shapes {latents.spec.shapes} and batch "
                f"{latents.batch}; this small image needs {work.spec.shapes} and "
                f"{count}. Give the latents that were made with it."
            )
        kind = latents.levels[0].dtype if double else torch.float32
        for done, unit in enumerate(self.work):
            if self.work.constant(unit):
                self._write(unit, None)
                yield Progress(1000 * (done + 1), 1000 * count, "constant channel")
                continue
            lr = self.work.network_input(self.work.normalised(unit))
            if isinstance(latents, RescaledLatents):
                lr = lr.double() + latents.remainder[unit.index].double()
            lr = lr.to(kind)
            out = torch.zeros(self.flow.channels, *self.geometry.hr_size, dtype=kind)
            own = [level[unit.index] for level in latents.levels]
            for part in work.up(lr, own, out):
                yield Progress(1000 * done + part, 1000 * count, "bringing it back")
            if not bool(torch.isfinite(out).all()):
                raise UnstableDecodeError(
                    "Decoding the latents gave values that are not finite. Give the "
                    "latents and the small image as they were made."
                )
            if isinstance(latents, RescaledLatents):
                beyond = latents.excess_of(unit.index)
                out = out if beyond is None else out + beyond.to(out)
            self._write(unit, self.work.reduced(out[None])[0].double().numpy())
        self._write_alpha(getattr(latents, "alpha", None))
        report = {
            "device": str(flow.device),
            "double": double,
            "tile": work.plan.tile,
            "tiles": len(work.plan),
            "halo": work.plan.halo,
        }
        yield Restored(self.out, self.about, report)

    def _write(self, unit: Unit, values: Array | None) -> None:
        """Write ``(components, H, W)`` in network units, cropped; None: a constant."""
        height, width = self.out_geometry.lr_size
        view = plane_view(self.out, self.out_geometry, unit.plane)
        channel = self.geometry.channel(unit.plane)
        for i, component in enumerate(unit.components):
            span = self.about.range(channel, component)
            found: Array = np.full((height, width), span.low)
            if values is not None and not span.constant:
                found = span.to_intensity(values[i][:height, :width])
            view[:, :, component] = cast(found, self.out.dtype)

    def _write_alpha(self, alpha: Tensor | None, sample: Array | None = None) -> None:
        if not self.work.alpha:
            return
        height, width = self.out_geometry.lr_size
        for plane in range(self.geometry.planes):
            if alpha is not None:
                found = alpha[plane].double().numpy()
            else:
                large = sample
                if large is None:
                    large = self.work.new(np.float32)
                    self.work.write_alpha(large, plane)
                found = plane_view(large, self.geometry.upscaled, plane)[:, :, 3]
                found = found[:height, :width] * full_value(self.out.dtype)
            view = plane_view(self.out, self.out_geometry, plane)
            view[:, :, 3] = cast(found.astype(np.float64), self.out.dtype)

    # --- without ----------------------------------------------------------------

    def sampled(
        self, temperature: float | None, seed: int, device: Any
    ) -> Iterator[Progress | Restored]:
        """Sample the latents."""
        if temperature is None:
            temperature = self.model.card.temperature
        post = Posterior(
            self.model,
            self.unit_image,
            temperature=temperature,
            options=Options(seed=seed, tile=self.tile),
            device=device,
            progress=None,
        )
        return self._sampled(post)

    def _sampled(self, post: Posterior) -> Iterator[Progress | Restored]:
        for event in post.stream(1, ("samples",), (), preview=False):
            if isinstance(event, Progress):
                yield event
            elif isinstance(event, Finished) and event.result.samples is not None:
                large = event.result.samples[0]
                for unit in self.work:
                    view = plane_view(large, self.geometry.upscaled, unit.plane)
                    values = [view[:, :, c] for c in unit.components]
                    self._write(unit, np.stack(values))
                self._write_alpha(None, large)
                yield Restored(self.out, self.about, dict(event.result.report))


def up(
    lr: Any,
    model: Model,
    *,
    latents: Latents | None = None,
    like: Rescaled | None = None,
    temperature: float | None = None,
    seed: int = 0,
    axes: str | None = None,
    tile: Any = "auto",
    device: str | torch.device = "auto",
) -> Iterator[Progress | Restored]:
    """Bring a small image back; see `napari_flowsr.rescale_up`.

    What was asked for is checked at once, the work is done while iterating.
    """
    if latents is not None:
        _check_latents(latents)
        if temperature is not None:
            raise OptionError(
                f"Latents and the temperature {temperature!r} were both given; latents "
                "are not drawn, so they have no temperature. Give one of them."
            )
    options = Options(seed=seed, tile=tile)
    state = _Restorer(lr, model, latents, like, axes, options.tile, device)
    if latents is not None:
        return state.exactly(latents)
    return state.sampled(temperature, options.seed, device)
