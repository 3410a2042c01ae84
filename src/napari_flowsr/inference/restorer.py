"""One image and what it becomes: the work of `inference.restore`, unit by unit."""

from __future__ import annotations

import numbers
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.normalise import check_collections
from napari_flowsr.data.degrade import downscale
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.bound import Bound, flow_on
from napari_flowsr.inference.changes import Normalise
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.editor import edit_unit
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.excess import NETWORK_RANGE
from napari_flowsr.inference.intensity import Intensities, Range, cast, survey
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.options import Options
from napari_flowsr.inference.reduced import check_reduces
from napari_flowsr.inference.restore_change import Clean, Probe, encoded, limited
from napari_flowsr.inference.source import Source, open_array, plane_view
from napari_flowsr.inference.units import Unit, Workload

if TYPE_CHECKING:
    from napari_flowsr.models.card import Model

__all__ = ["Asked", "Restored", "Restorer", "check_restores"]

Array = npt.NDArray[Any]

_STEPS = 1000  # of progress that a unit has
_PROBING = 1 / 3  # of a unit's time: an encode of an encode, another and a decode


@dataclass(frozen=True)
class Restored:
    """The last event.

    Parameters
    ----------
    image : ndarray
        Shape, data type and range of the degraded one.
    report : mapping
        JSON-able: ``noise`` (level that was found in each unit, in parts of the range
        that is 1 for the model; empty with a temperature), ``kept`` (part of the
        latents' variance that was kept, likewise), ``changed`` (root of the mean
        squared change, parts of the range), ``seconds``, ``tile``, ``halo``,
        ``attempts``, ``device``, ``filled_pixels``.
    """

    image: Array
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What was asked for, checked."""

    normalisation: tuple[str, ...]
    strength: float
    temperature: float | None
    options: Options

    @classmethod
    def of(
        cls, normalisation: Any, strength: Any, temperature: Any, options: Options
    ) -> Asked:
        strength = _number("strength", strength, "from 0 (as it is) to 1 (all)")
        if strength > 1:
            raise OptionError(
                f"strength is {strength:g}; it must be from 0 (as it is) to 1 (all)."
            )
        if temperature is not None:
            temperature = _number(
                "temperature",
                temperature,
                "from 0, the standard deviation of the latents in eq. (7), or None, "
                "which measures how much of them is noise",
            )
        kinds = check_collections(normalisation)
        return cls(kinds, strength, temperature, options)


def _number(name: str, value: Any, expected: str) -> float:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 <= value < float("inf"):
        raise OptionError(f"{name} is {value!r}; it must be a number {expected}.")
    return float(value)


def check_restores(model: Model) -> int:
    """Return the scale at which a model restores.

    Raises
    ------
    OptionError
        It is deterministic, makes its small images itself or in an unknown way, or
        has no whole scale.
    """
    card, flow = model.card, model.flow
    if flow.deterministic:
        raise OptionError(
            f"The model '{card.name}' ({card.family}) is deterministic: it has no "
            "latents that an image could be encoded to. Choose a model with a flow, "
            "such as micro-4x."
        )
    if hasattr(flow, "downscale"):
        raise OptionError(
            f"The model '{card.name}' ({card.family}) makes its small images by its "
            "own network, which puts the damage into them too. Choose a model that "
            "enlarges images, such as micro-4x."
        )
    check_reduces(model)
    whole = [int(s) for s in flow.scales if float(s).is_integer() and s > 1]
    if not whole:
        raise OptionError(
            f"The model '{card.name}' has the scales {flow.scales}; restoring needs a "
            "whole number above 1. Choose another model."
        )
    return whole[0]


class Restorer:
    """State of `restoring`: the image, and what it becomes."""

    def __init__(
        self, degraded: Any, model: Model, asked: Asked, axes: Any, device: Any
    ) -> None:
        self.model, self.asked = model, asked
        self.scale = check_restores(model)
        self.flow = flow_on(model.flow, resolve_device(device)[0])
        array = open_array(degraded, "degraded")
        shape = tuple(int(side) for side in array.shape)
        self.geometry = Geometry(parse_axes(axes, shape), shape, 1.0)
        source = Source(array, self.geometry)
        joint = self.flow.channels > 1
        nan, card = asked.options.nan, model.card
        found = survey(source, card.normalisation, joint=joint, nan=nan)
        self.work = Workload(found, self.flow.channels)
        self.out = self.work.new(source.dtype)
        self.noise: list[float] = []
        self.kept: list[float] = []
        self.squares = self.pixels = 0.0
        self.facts: dict[str, Any] = {"scale": self.scale, "attempts": 0}

    def events(self) -> Iterator[Progress | Restored]:
        """Work through the units."""
        started, count = time.perf_counter(), len(self.work)
        for unit in self.work:
            self._copy(unit)
            for step in self._unit(unit):
                done = _STEPS * step.done // max(1, step.total)
                now = _STEPS * unit.index + done
                yield Progress(now, _STEPS * count, step.message)
            yield Progress(_STEPS * (unit.index + 1), _STEPS * count, "done")
        report = {
            "noise": [round(level, 6) for level in self.noise],
            "kept": [round(share, 4) for share in self.kept],
            "changed": round((self.squares / max(1.0, self.pixels)) ** 0.5, 6),
            **self.facts,
            "device": str(self.flow.device),
            "filled_pixels": self.work.intensities.filled,
            "seconds": round(time.perf_counter() - started, 3),
        }
        yield Restored(self.out, report)

    def _copy(self, unit: Unit) -> None:
        """As it is, filled pixels and alpha included: what changes is written over."""
        view = plane_view(self.out, self.geometry, unit.plane)
        pixels = self.work.intensities.plane(unit.plane)
        for component in unit.components:
            view[:, :, component] = pixels[:, :, component]
        if self.work.alpha:
            view[:, :, 3] = pixels[:, :, 3]

    # --- one unit -----------------------------------------------------------------

    def _unit(self, unit: Unit) -> Iterator[Progress]:
        if self.work.constant(unit) or self.asked.strength == 0:
            return
        values = self.work.normalised(unit)
        shown = values.clamp(*NETWORK_RANGE)
        hr = torch.from_numpy(_padded(shown.numpy(), self._multiple))
        change: Clean | Normalise | None = self._equation_seven()
        before = 0.0
        if change is None:
            before = _PROBING
            change = yield from self._told_by_noise(shown, hr)
        if change is None:
            return
        coder = self._coder(hr)
        steps = edit_unit(coder, hr, FieldMap(1.0), change)
        edit = yield from _shifted(steps, before, 1 - before)
        self.facts |= {"tile": coder.setup.plan.tile, "halo": coder.setup.plan.halo}
        self.facts["attempts"] = max(self.facts["attempts"], edit.attempts)
        found = np.empty(hr.shape, np.float32)
        for patch in edit.patches:
            y0, y1, x0, x1 = patch.box
            found[:, y0:y1, x0:x1] = patch.values
        height, width = values.shape[-2:]
        new = torch.from_numpy(found)[:, :height, :width] - shown
        if isinstance(change, Clean):
            self.kept.append(change.kept)
            new = limited(new, change.levels)
        self._write(unit, values, new.numpy())

    def _equation_seven(self) -> Normalise | None:
        """What a temperature asks for."""
        asked = self.asked
        if asked.temperature is None:
            return None
        tau = FieldMap(asked.temperature)
        return Normalise(asked.normalisation, asked.options.seed, tau, asked.strength)

    def _told_by_noise(
        self, shown: Tensor, hr: Tensor
    ) -> Generator[Progress, None, Clean | None]:
        """What to do about the noise of a unit; None if none is found."""
        probe = Probe.of(shown, self.asked.options.seed)
        self.noise.append(probe.level)
        if not probe.level:
            self.kept.append(1.0)
            return None
        noisy = probe.applied(hr)
        moved = yield from _shifted(encoded(self._coder(noisy), noisy), 0, _PROBING)
        asked = self.asked
        return Clean(moved, probe.levels, asked.normalisation, asked.strength)

    @property
    def _multiple(self) -> int:
        return self.scale * self.flow.multiple_of

    def _coder(self, hr: Tensor) -> UnitCoder:
        """Of one unit ``(components, H, W)``, given its own reduction."""
        name = self.model.card.degradation.name
        lr = downscale(hr, float(self.scale), name).numpy()
        colours = len(lr)
        array = lr[0] if colours == 1 else np.moveaxis(lr, 0, -1)
        axes = "YX" if colours == 1 else "YXS"
        source = Source(array, Geometry(axes, array.shape, float(self.scale)))
        ranges = {(0, c): Range(0.0, 1.0) for c in range(colours)}
        bound = Bound(
            card=self.model.card,
            flow=self.flow,
            intensities=Intensities(source, ranges, {}),
            temperature=FieldMap(self.asked.temperature or 0.0),
            options=self.asked.options,
        )
        setup = bound.setup(1)
        (one,) = setup.workload
        return UnitCoder(setup, one)

    def _write(self, unit: Unit, values: Tensor, change: Array) -> None:
        """Write what became of a unit; what lies beyond the network's range stays."""
        view = plane_view(self.out, self.geometry, unit.plane)
        self.squares += float(np.square(change, dtype=np.float64).sum())
        self.pixels += change.size
        new = values.numpy() + change
        for i, component in enumerate(unit.components):
            span = self.work.intensities.range(unit.plane, component)
            view[:, :, component] = cast(span.to_intensity(new[i]), self.out.dtype)


def _padded(values: Array, multiple: int) -> Array:
    """Mirror ``(C, H, W)`` at the bottom and right to multiples."""
    width = [(0, 0), *((0, -side % multiple) for side in values.shape[-2:])]
    return np.pad(values, width, mode="symmetric")


def _shifted(steps: Generator[Progress, None, Any], start: float, share: float) -> Any:
    """Pass progress on as that of a part of the whole; return what the steps return."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        done = start + share * step.done / max(1, step.total)
        yield Progress(round(_STEPS * done), _STEPS, step.message)
