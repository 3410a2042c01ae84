"""Checks of single values of a session. No Qt."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_flowsr.errors import OptionError
from napari_flowsr.io.collection import find_model
from napari_flowsr.io.header import read_header
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import ModelCard

__all__ = ["PARTIAL", "card_of", "check_image_layer", "check_scale", "check_whole"]
__all__ += ["is_box"]

PARTIAL = "partial"
"""Key in the record of a layer: true where parts of it are not computed."""


def check_scale(scale: float, card: ModelCard) -> None:
    """Raise `OptionError` for a scale that the card of a model does not name."""
    if card.scale_range is not None:
        low, high = card.scale_range
        fits, has = low <= scale <= high, f"any from {low:g} to {high:g}"
    else:
        fits = scale in card.scales
        has = " and ".join(f"{one:g}" for one in card.scales)
    if not fits:
        raise OptionError(
            f"Scale {scale:g} was asked for; the model '{card.name}' has {has}. Choose "
            "another scale, or another model."
        )


def is_box(roi: tuple[Any, ...]) -> bool:
    whole = all(isinstance(v, numbers.Integral) for v in roi)
    return whole and min(roi[2:]) > 0


def check_whole(what: str, value: Any, least: int | None) -> None:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise OptionError(f"{what} is {value!r}; give a whole number{bound}.")


def card_of(model: str | Path) -> ModelCard | None:
    """Card in the header of a file of ours; other files have none."""
    header = read_header(find_model(model))
    return None if header is None else header.card


def check_image_layer(layer: Any, deed: str = "upscaled") -> None:
    """Raise `OptionError` unless ``layer`` is an Image layer of real numbers."""
    if layer is None:
        raise OptionError(
            "There is no image chosen. Choose or open one, or use File > Open Sample."
        )
    kind = getattr(layer, "_type_string", type(layer).__name__)
    if kind != "image":
        raise OptionError(
            f"'{getattr(layer, 'name', layer)}' is a {kind} layer; only Image layers "
            f"can be {deed}. Choose an image."
        )
    record = getattr(layer, "metadata", {}).get(NAMESPACE)
    if isinstance(record, Mapping) and record.get(PARTIAL):
        raise OptionError(
            f"'{layer.name}' is computed only where it was looked at; the rest is its "
            f"enlarged input and cannot be {deed}. Choose another image, or compute "
            "the whole: clear 'only what is in view' in the Upscale dock."
        )
    data = layer.data[0] if layer.multiscale else layer.data
    if np.dtype(data.dtype).kind not in "biuf":
        raise OptionError(
            f"'{layer.name}' holds {data.dtype} values; real numbers are needed. "
            "Convert it, for example to its magnitude."
        )
    if layer.ndim < 2:
        raise OptionError(f"'{layer.name}' has one axis; an image has at least two.")
