"""One image and what it becomes: the work of `inference.restore`, unit by unit."""

from __future__ import annotations

import numbers
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.allocator import freed_memory_kept
from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.normalise import check_collections
from napari_flowsr.core.precision import check_precision
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.bound import flow_on
from napari_flowsr.inference.changes import Normalise
from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.excess import NETWORK_RANGE
from napari_flowsr.inference.intensity import cast, survey
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.noise_level import noise_level
from napari_flowsr.inference.options import Options
from napari_flowsr.inference.reduced import check_reduces
from napari_flowsr.inference.restore_change import together
from napari_flowsr.inference.restore_unit import STEPS, Restoration, UnitRestorer
from napari_flowsr.inference.source import Source, open_array, plane_view
from napari_flowsr.inference.units import Unit, Workload

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.models.card import Model

__all__ = ["Asked", "Restored", "Restorer", "check_restores"]

Array = npt.NDArray[Any]


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
        latents' variance that was kept, likewise), ``reduction_cleaned`` (whether the
        reduction had noise that was taken out first, likewise), ``changed`` (root of
        the mean squared change, parts of the range), ``seconds``, ``tile``, ``halo``,
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
        there = resolve_device(device)[0]
        check_precision(asked.options.precision, there)
        self.flow = flow_on(model.flow, there)
        self.restorer = UnitRestorer(
            model.card, self.flow, self.scale, asked.normalisation, asked.options
        )
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
        self.cleaned: list[bool] = []
        self.squares = self.pixels = 0.0
        self.facts: dict[str, Any] = {"scale": self.scale, "attempts": 0}

    def events(self) -> Iterator[Progress | Restored]:
        """Work through the units."""
        with freed_memory_kept():
            yield from self._events()

    def _events(self) -> Iterator[Progress | Restored]:
        started, count = time.perf_counter(), len(self.work)
        for unit in self.work:
            self._copy(unit)
            for step in self._unit(unit):
                done = STEPS * step.done // max(1, step.total)
                now = STEPS * unit.index + done
                yield Progress(now, STEPS * count, step.message)
            yield Progress(STEPS * (unit.index + 1), STEPS * count, "done")
        report = {
            "noise": [round(level, 6) for level in self.noise],
            "kept": [round(share, 4) for share in self.kept],
            "reduction_cleaned": self.cleaned,
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
        if self.asked.temperature is None:
            found = yield from self._told_by_noise(shown)
        else:
            found = yield from self.restorer.changed(shown, self._equation_seven())
        if found is None:
            return
        self.facts |= {"tile": found.tile, "halo": found.halo}
        self.facts["attempts"] = max(self.facts["attempts"], found.attempts)
        self._write(unit, values, found.change.numpy())

    def _equation_seven(self) -> Normalise:
        """What a temperature asks for."""
        asked = self.asked
        tau = FieldMap(asked.temperature or 0.0)
        return Normalise(asked.normalisation, asked.options.seed, tau, asked.strength)

    def _told_by_noise(
        self, shown: Tensor
    ) -> Generator[Progress, None, Restoration | None]:
        """Take out the noise of a unit; None if none is found."""
        levels = tuple(noise_level(plane) for plane in shown)
        self.noise.append(together(levels))
        found: Restoration | None = None
        if any(levels):
            strength = self.asked.strength
            found = yield from self.restorer.cleaned(shown, levels, strength)
        self.kept.append(1.0 if found is None else found.kept)
        self.cleaned.append(found is not None and found.reduction_cleaned)
        return found

    def _write(self, unit: Unit, values: Tensor, change: Array) -> None:
        """Write what became of a unit; what lies beyond the network's range stays."""
        view = plane_view(self.out, self.geometry, unit.plane)
        self.squares += float(np.square(change, dtype=np.float64).sum())
        self.pixels += change.size
        new = values.numpy() + change
        for i, component in enumerate(unit.components):
            span = self.work.intensities.range(unit.plane, component)
            view[:, :, component] = cast(span.to_intensity(new[i]), self.out.dtype)
