"""Session: the state behind the Upscale dock, evented and typed, without Qt.

Everything that the dock shows can be set from a script: ``session.temperature = 0.7``
moves the slider. Values are kept as given; `Session.problems` says which of them cannot
be used, and why, so that a dock can mark the field instead of losing the input.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.inference.agreement import NO_SPREAD
from napari_flowsr.inference.options import Options, check_tileable
from napari_flowsr.io.collection import find_model
from napari_flowsr.io.prior_files import find_prior
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models._registry import is_deterministic
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.widgets._calibration import takes_pixel_size
from napari_flowsr.widgets._checks import (
    card_of,
    check_image_layer,
    check_scale,
    check_whole,
    is_box,
)
from napari_flowsr.widgets._devices import check_device
from napari_flowsr.widgets._geometry import pixel_um

__all__ = ["MAX_TEMPERATURE", "OUTPUT_KINDS", "Session"]

OUTPUT_KINDS = ("samples", "mean", "std", "range")
"""What a run can add: samples, their mean, standard deviation, and 5-95 % range."""
_SPREADS = ("std", "range")
MAX_TEMPERATURE = 2.0
"""Beyond it nothing but noise comes."""


@dataclass(eq=False)
class Session:
    """What to upscale, with what, and how.

    Parameters
    ----------
    image : napari.layers.Image or None
        The input layer.
    model : str or Model
        Name of a built-in or imported model, a path, or a loaded model.
    samples : int
        Number of samples.
    temperature : float or None
        Standard deviation of the latents; ``None`` takes the card's.
    seed : int
        Of the noise.
    scale : float or None
        Factor; ``None`` takes the model's.
    prior, noise, consistent, nan, device, tile, precision
        As `napari_flowsr.posterior`.
    prior_model : str, Path or None
        Learned prior to load with the model, for ``prior="learned"``; ``None`` takes
        the one that a loaded model has.
    roi : str, tuple or napari.layers.Shapes
        ``"whole"``, ``"view"`` (visible field), a Shapes layer, or
        ``(y, x, height, width)`` in pixels of the input.
    outputs : tuple of str
        Some of `OUTPUT_KINDS`.
    stack : bool
        Samples as one layer with a sample slider instead of a layer each.
    lazy : bool
        One layer with sample 0, computed only where it is looked at; ``samples``,
        ``outputs`` and ``stack`` do not count then.
    pixel_size_um : float or None
        Edge of an input pixel in µm, for inputs whose unit is the pixel. With its
        results the input gets it too, so that all keep lying on each other.
    """

    image: Any = None
    model: Any = "micro-2x"
    samples: int = 4
    temperature: float | None = None
    seed: int = 0
    scale: float | None = None
    prior: str = "gaussian"
    prior_model: str | Path | None = None
    roi: Any = "whole"
    tile: int | str | None = "auto"
    device: str = "auto"
    outputs: tuple[str, ...] = OUTPUT_KINDS[:3]
    stack: bool = True
    noise: str = "per-plane"
    consistent: bool = False
    nan: str = "raise"
    precision: str = "float32"
    pixel_size_um: float | None = None
    lazy: bool = False

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def restore(self, defaults: Mapping[str, Any] | None = None) -> None:
        """Set everything but the image back to the defaults given, or the built-in."""
        given = dict(defaults or {})
        for field in fields(self):
            if field.name != "image":
                setattr(self, field.name, given.get(field.name, field.default))

    def options(self) -> dict[str, Any]:
        """Keywords of `posterior`, without image, model and axes."""
        names = ["temperature", "seed", "scale", "prior", "noise", "consistent"]
        names += ["tile", "device", "nan", "precision"]
        return {name: getattr(self, name) for name in names}

    @property
    def input_um(self) -> float | None:
        """Edge of a pixel of the input in µm, if it is known."""
        if self.image is None or "image" in self.problems_of("image"):
            return None
        if self.pixel_size_um and takes_pixel_size(self.image):
            return self.pixel_size_um
        return pixel_um(self.image)

    def why_no_target(self) -> str:
        """Why no pixel size can be asked of the result; empty if one can."""
        width = self.input_um
        if width is None:
            return "The pixel size of the input is not known."
        # An image in pixels gets square ones; others may have a height of their own.
        height = pixel_um(self.image, width, "Y")
        if height is None or not math.isclose(height, width, rel_tol=1e-3):
            shown = "?" if height is None else f"{height:g}"
            return (
                f"The input's pixels are {shown} x {width:g} µm; a pixel size of the "
                "result needs square ones. Give the scale instead."
            )
        return ""

    # --- validation ---------------------------------------------------------------

    def problems(self) -> dict[str, str]:
        """Field name to the reason why its value cannot be used; empty if all can."""
        return self.problems_of(*(field.name for field in fields(self)))

    def problems_of(self, *names: str) -> dict[str, str]:
        """As `problems`, of some fields."""
        found = {}
        for name in names:
            check = getattr(self, f"_check_{name}", None)
            try:
                if check is not None:
                    check()
            except FlowSRError as error:
                found[name] = str(error)
        return found

    def warnings(self) -> dict[str, str]:
        """Field name to what is to be known of its value, which can be used."""
        found = {}
        if self._is_inferred_already():
            found["image"] = (
                f"'{self.image.name}' is itself a result: its fine detail is inferred "
                "already, and would be taken for measured."
            )
        if self._wants_spread() and not self._single() and self._is_mode():
            found["temperature"] = NO_SPREAD
        return found

    def _is_inferred_already(self) -> bool:
        record = getattr(self.image, "metadata", {}).get(NAMESPACE)
        return isinstance(record, Mapping) and bool(record.get("detail_inferred", True))

    def _is_mode(self) -> bool:
        value = self.temperature
        if value is None:
            card = self._card()
            value = None if card is None else card.temperature
        return isinstance(value, numbers.Real) and value == 0

    def _wants_spread(self) -> bool:
        listed = isinstance(self.outputs, tuple | list) and not self.lazy
        return listed and any(kind in self.outputs for kind in _SPREADS)

    def _card(self) -> ModelCard | None:
        """Card of the model; None if only reading the whole file can tell it."""
        if isinstance(self.model, Model):
            return self.model.card
        if not isinstance(self.model, str | Path):
            return None
        try:
            return card_of(self.model)
        except (FlowSRError, OSError):
            return None  # the problem of the model

    def _single(self) -> str:
        """Why all samples are the same whatever the temperature; empty if they differ.

        Of a published file only reading the whole of it tells; then the run does.
        """
        if self.prior == "learned":
            return "With the learned prior"
        card = self._card()
        if card is not None and is_deterministic(card.family):
            return f"With the deterministic model '{card.name}'"
        return ""

    def _check_image(self) -> None:
        check_image_layer(self.image)

    def _check_model(self) -> None:
        if isinstance(self.model, str | Path):
            find_model(self.model)
        elif not isinstance(self.model, Model):
            raise OptionError(
                f"The model is {self.model!r}; give a model's name, the path of its "
                "file, or a loaded model."
            )

    def _check_samples(self) -> None:
        check_whole("The number of samples", self.samples, 1)
        if self.samples < 2 and self._wants_spread() and not self._single():
            raise OptionError(
                "One sample has no spread: uncertainty and range need at least 2 "
                "samples, better 8. Raise the samples, or leave these outputs out."
            )

    def _check_temperature(self) -> None:
        value = self.temperature
        if value is None:
            return
        if not isinstance(value, numbers.Real) or not 0 <= value <= MAX_TEMPERATURE:
            raise OptionError(
                f"Temperature is {value!r}; it is a standard deviation from 0 (the "
                f"mode) to {MAX_TEMPERATURE:g}; 1 is what the model learned."
            )

    def _check_seed(self) -> None:
        check_whole("The seed", self.seed, 0)

    def _check_scale(self) -> None:
        if self.scale is None:
            return
        if not isinstance(self.scale, numbers.Real):
            raise OptionError(
                f"Scale is {self.scale!r}; give a number, or leave it to the model."
            )
        card = self._card()
        if isinstance(self.model, Model):
            self.model.flow.check_scale(float(self.scale))
        elif card is not None:
            # Of other files only reading the whole tells; then the run checks it.
            check_scale(float(self.scale), card)

    def _check_prior(self) -> None:
        Options(prior=self.prior)
        if self.prior != "learned" or self.prior_model is not None:
            return
        loaded = isinstance(self.model, Model)
        if not loaded or self.model.flow.latent_module is None:
            raise OptionError(
                "The learned prior is asked for, but none is chosen. Choose one that "
                "was imported as 'Learned prior', or 'Gaussian' as 'Prior' (both are "
                "under More options)."
            )

    def _check_prior_model(self) -> None:
        if self.prior == "learned" and self.prior_model is not None:
            find_prior(self.prior_model)

    def _check_noise(self) -> None:
        Options(noise=self.noise)

    def _check_nan(self) -> None:
        Options(nan=self.nan)

    def _check_precision(self) -> None:
        Options(precision=self.precision)

    def _check_tile(self) -> None:
        if self.tile is not None and self.tile != "auto":
            check_whole("The tile's side in input pixels", self.tile, 1)

    def _check_outputs(self) -> None:
        given = self.outputs
        listed = isinstance(given, tuple | list) and len(given) > 0
        if not listed or any(kind not in OUTPUT_KINDS for kind in given):
            raise OptionError(
                f"Outputs are {given!r}; choose one or more of "
                f"{', '.join(OUTPUT_KINDS)}."
            )
        if self._wants_spread() and (why := self._single()):
            raise OptionError(
                f"{why} there is one image and no spread, which is no sign of "
                "certainty. Leave out uncertainty and range."
            )

    def _check_lazy(self) -> None:
        if self.lazy:
            check_tileable(consistent=bool(self.consistent), prior=self.prior)

    def _check_device(self) -> None:
        check_device(self.device)

    def _check_pixel_size_um(self) -> None:
        size = self.pixel_size_um
        if size is None:
            return
        if not isinstance(size, numbers.Real) or not 0 < size < math.inf:
            raise OptionError(
                f"The pixel size is {size!r}; it is the edge of a pixel in µm, finite "
                "and above 0."
            )
        known = "image" not in self.problems_of("image")
        if known and not takes_pixel_size(self.image):
            raise OptionError(
                f"'{self.image.name}' has the unit {self.image.units[-1]}; a pixel "
                "size in µm can only be given for an image in pixels. Clear it."
            )

    def _check_roi(self) -> None:
        roi = self.roi
        known = isinstance(roi, str) and roi in ("whole", "view")
        boxed = isinstance(roi, tuple) and len(roi) == 4 and is_box(roi)
        if not (known or boxed or type(roi).__name__ == "Shapes"):
            raise OptionError(
                f"The region is {roi!r}; choose 'whole', 'view', a Shapes layer, or "
                "(y, x, height, width) in whole pixels of the image."
            )
