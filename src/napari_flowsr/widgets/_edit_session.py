"""State behind the Edit dock, evented and typed, without Qt."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.collection import find_model
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets._checks import check_image_layer, check_whole
from napari_flowsr.widgets._edit_geometry import Pairing
from napari_flowsr.widgets._session import Session

__all__ = ["EDIT", "EditSession", "is_edit_layer", "is_of_edit"]

EDIT = "edit"
"""Tool, as in the records of the dock's layers."""
_LARGEST_FEATHER = 256.0
_NO_TARGET = (
    "There is no target chosen: the high-resolution image to edit, such as a sample "
    "that Upscale made. Choose one."
)
_GONE = (
    "'{}' was edited in agreement with {}, which was removed or is not chosen: further "
    "edits would agree with the layer's own downscale instead. Choose that LR image, "
    "adding it again if it has gone, or edit a duplicate of the layer."
)
_OTHER = (
    "'{}' was edited with {} so far; with {}, edits before and after differ in what "
    "they agree with, and no script can remake the image."
)
_KEPT = ("image", "target", "mask", "page")  # what 'Restore defaults' leaves


def _is_other_model(card: ModelCard, record: Mapping[str, Any]) -> bool:
    """Whether a record names another model; the header of a file lacks its hash."""
    if card.sha256 and record.get("model_sha256"):
        return bool(card.sha256 != record["model_sha256"])
    return bool(record.get("model")) and card.name != record["model"]


def is_edit_layer(layer: Any) -> bool:
    """Whether the dock made this layer to be edited; a duplicate of one is not."""
    metadata = getattr(layer, "metadata", {})
    record, identity = metadata.get(NAMESPACE), metadata.get("napari-flowsr-layer")
    if not isinstance(record, Mapping) or not isinstance(identity, Mapping):
        return False
    edited = record.get("tool") == EDIT and record.get("kind") == "edited"
    return edited and identity.get("layer") == str(layer.unique_id)


def is_of_edit(layer: Any) -> bool:
    """Whether the dock made this layer, for whatever purpose."""
    record = layer.metadata.get(NAMESPACE)
    return isinstance(record, Mapping) and record.get("tool") == EDIT


@dataclass(eq=False)
class EditSession(Session):
    """What to edit, where, and how.

    Parameters
    ----------
    image : napari.layers.Image or None
        LR image that the target has to agree with; ``None``: the downscale of the
        target as it was before it was edited.
    target : napari.layers.Image or None
        HR image to edit.
    mask : napari.layers.Labels, Shapes or None
        Where.
    page : str
        Title of the page whose tool is used.
    feather : float
        HR pixels over which an edit fades out around the mask.
    automatic : bool
        Re-sample after each stroke of the brush.
    brush_size : int
        Of masks that the dock makes.
    """

    samples: int = 8
    outputs: tuple[str, ...] = ("edited",)
    target: Any = None
    mask: Any = None
    page: str = ""
    feather: float = 0.0
    automatic: bool = False
    brush_size: int = 12

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def restore(self, defaults: Mapping[str, Any] | None = None) -> None:
        """Set all but layers and page back to the defaults given, or the built-in."""
        given = dict(defaults or {})
        for field in fields(self):
            if field.name not in _KEPT:
                setattr(self, field.name, given.get(field.name, field.default))

    def pairing(self) -> Pairing:
        """How the target lies to the LR image.

        Raises
        ------
        FlowSRError
            It is no HR image of that, at a scale of the model.
        """
        if self.target is not None:
            check_image_layer(self.target, "edited")
        elif self.image is None:
            raise OptionError(_NO_TARGET)
        if self.image is not None:
            check_image_layer(self.image)
        return Pairing.of(self.target, self.image, self.scales(), self.roi)

    def scales(self) -> tuple[float, ...]:
        """Factors that are possible; of an any-scale model the one that fits."""
        if self.scale is not None:
            return (float(self.scale),)
        card = self._card()
        if card is None:
            return ()
        if card.scale_range is None:
            return tuple(float(s) for s in card.scales)
        alone = self.image is None or self.target is None
        fits = None if alone else Pairing.ratio(self.target, self.image)
        low, high = card.scale_range
        if fits is not None and low <= fits <= high:
            return (fits,)
        return tuple(float(s) for s in card.scales)

    # --- validation ---------------------------------------------------------------

    def warnings(self) -> dict[str, str]:
        """That an edited layer gets edits with another image, model or precision.

        Not that the target is inferred: that is what the dock is for.
        """
        found: dict[str, str] = {}
        if not is_edit_layer(self.target):
            return found
        record, card = self.target.metadata[NAMESPACE], self._card()
        if self._is_other_image(record):
            found["image"] = _OTHER.format(
                self.target.name, _lr_of(record), f"'{self.image.name}'"
            )
        if card is not None and _is_other_model(card, record):
            used, now = f"the model '{record.get('model')}'", f"'{card.name}'"
            found["model"] = _OTHER.format(self.target.name, used, now)
        precision = record.get("precision", "float32")
        if precision != self.precision:
            used, now = f"the precision {precision}", str(self.precision)
            found["precision"] = _OTHER.format(self.target.name, used, now)
        return found

    def _is_other_image(self, record: Mapping[str, Any]) -> bool:
        """Whether an LR image is chosen with which the target was not edited so far."""
        if self.image is None:
            return False
        if record.get("lr") == "downscale":
            return True
        source = self.target.metadata["napari-flowsr-layer"].get("source")
        same = str(self.image.unique_id) == source
        # Also one that was loaded again.
        return not same and self.image.name != record.get("source_name")

    def _check_image(self) -> None:
        if self.image is not None:
            check_image_layer(self.image)
        elif is_edit_layer(self.target):
            record = self.target.metadata[NAMESPACE]
            if record.get("lr") != "downscale":
                raise OptionError(_GONE.format(self.target.name, _lr_of(record)))

    def _check_target(self) -> None:
        if self.target is None:
            raise OptionError(_NO_TARGET)
        check_image_layer(self.target, "edited")
        if self.problems_of("image", "model", "scale"):
            return  # these are told
        self.pairing()

    def _check_mask(self) -> None:
        kind = getattr(self.mask, "_type_string", None)
        if self.mask is not None and kind not in ("labels", "shapes"):
            raise OptionError(
                f"The mask is {self.mask!r}; choose a Labels or Shapes layer, or press "
                "'New mask'."
            )

    def _check_samples(self) -> None:
        check_whole("The number of samples", self.samples, 1)

    def _check_outputs(self) -> None:
        if self.outputs != ("edited",):
            raise OptionError(
                f"Outputs are {self.outputs!r}; the Edit dock gives ('edited',) and "
                "what its pages add."
            )

    def _check_feather(self) -> None:
        value = self.feather
        real = isinstance(value, numbers.Real) and math.isfinite(value)
        if not real or not 0 <= value <= _LARGEST_FEATHER:
            raise OptionError(
                f"The feather is {value!r}; it is a width in HR pixels from 0 to "
                f"{_LARGEST_FEATHER:g}."
            )

    def _check_brush_size(self) -> None:
        check_whole("The brush size", self.brush_size, 1)

    # --- taking over what a result tells --------------------------------------------

    def take_over(self, layers: Iterable[Any]) -> None:
        """Image, model and scale as the record of the target tells."""
        record = getattr(self.target, "metadata", {}).get(NAMESPACE)
        if not isinstance(record, Mapping):
            return
        image = _source_of(self.target, record, layers)
        if record.get("lr") == "downscale":
            self.image = None  # the source is what was edited, and no LR image
        elif image is not None:
            self.image = image
        self._take_model(record)

    def _take_model(self, record: Mapping[str, Any]) -> None:
        card, name = self._card(), record.get("model")
        if record.get("tool") == "rescale" or not isinstance(name, str):
            return
        if card is None or card.sha256 != record.get("model_sha256"):
            try:
                find_model(name)
            except (FlowSRError, OSError):
                return  # it is gone, or was a file elsewhere: the user chooses
            self.model = name
        card, scale = self._card(), record.get("scale")
        own = card is not None and card.scales and scale == card.scales[0]
        if isinstance(scale, numbers.Real) and not own:
            self.scale = float(scale)
        else:
            self.scale = None


def _lr_of(record: Mapping[str, Any]) -> str:
    """How to call the LR image of edits."""
    if record.get("lr") == "downscale":
        return "its own downscale"
    return f"the LR image '{record.get('source_name') or 'unknown'}'"


def _source_of(target: Any, record: Mapping[str, Any], layers: Iterable[Any]) -> Any:
    """LR layer that a result came from: by identity, or else by its name."""
    identity = target.metadata.get("napari-flowsr-layer")
    others = [x for x in layers if x is not target and x._type_string == "image"]
    if isinstance(identity, Mapping):
        for layer in others:
            if str(layer.unique_id) == identity.get("source"):
                return layer
    named = [x for x in others if x.name == record.get("source_name")]
    return named[0] if named and NAMESPACE not in named[0].metadata else None
