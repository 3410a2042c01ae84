"""Pinned samples: copies of what is shown, which no later run replaces. No Qt."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._layers import detached
from napari_flowsr.widgets._stacks import (
    STACK,
    VALUES,
    shown_index,
    stack_axis,
    stack_value,
)

__all__ = ["pin", "pinned"]

_PINNED = "pinned"  # key in the record of a pinned layer: its number
_LOOKS = ("opacity", "blending", "gamma", "interpolation2d")


def pinned(viewer: Any) -> list[Any]:
    """Pinned layers, in the order in which they were pinned."""
    found = []
    for layer in viewer.layers:
        record = layer.metadata.get(NAMESPACE)
        if isinstance(record, Mapping) and record.get(_PINNED):
            found.append(layer)
    return sorted(found, key=_number)


def _number(layer: Any) -> int:
    return int(layer.metadata[NAMESPACE][_PINNED])


def pin(viewer: Any, layer: Any) -> Any:
    """Copy what is shown of a layer into a layer of its own; return that.

    Of a stack (of samples, of temperatures, …) that is the image at the position of
    its slider. The record says which one it was.

    Raises
    ------
    OptionError
        The layer is multiscale.
    """
    if layer.multiscale:
        raise OptionError(
            f"'{layer.name}' is a multiscale image; pin one of ordinary resolution."
        )
    number = 1 + max(map(_number, pinned(viewer)), default=0)
    record = copy.deepcopy(dict(layer.metadata.get(NAMESPACE, {})))
    axis = stack_axis(layer)
    options = _geometry(layer, 1 if axis else 0)
    data, said = layer.data, layer.name
    if axis:
        index = shown_index(viewer, layer)
        value = stack_value(layer, index)
        data, said = data[index], f"{axis} {value:g} of {layer.name}"
        record = {k: v for k, v in record.items() if k not in (STACK, VALUES)}
        record[axis] = value
        if record.get("kind") == "sweep":
            # One of them is the sample at that temperature.
            record |= {"kind": "sample", "temperature": value}
    record |= {_PINNED: number, "pinned_from": layer.name}
    options["name"] = f"pin {number} · {said}"
    options["metadata"] = detached(layer, record)
    return viewer.add_image(np.array(data), **options, **_looks(layer))


def _looks(layer: Any) -> dict[str, Any]:
    looks = {name: getattr(layer, name) for name in _LOOKS}
    if layer.rgb:
        looks.pop("gamma")
        return looks | {"rgb": True}
    limits = tuple(layer.contrast_limits)
    return looks | {
        "rgb": False,
        "colormap": layer.colormap,
        "contrast_limits": limits,
    }


def _geometry(layer: Any, drop: int) -> dict[str, Any]:
    """Keywords that put an array where the layer lies, without its first axes."""
    affine = np.asarray(layer.affine.affine_matrix, float)
    return {
        "scale": np.asarray(layer.scale, float)[drop:],
        "translate": np.asarray(layer.translate, float)[drop:],
        "rotate": np.asarray(layer.rotate, float)[drop:, drop:],
        "shear": _shear(layer)[drop:, drop:],
        "affine": affine[drop:, drop:],
        "units": tuple(str(unit) for unit in layer.units[drop:]),
        "axis_labels": tuple(layer.axis_labels[drop:]),
    }


def _shear(layer: Any) -> npt.NDArray[np.float64]:
    """Shear as a matrix: napari tells it as the values above the diagonal."""
    values = np.asarray(layer.shear, float)
    if values.ndim == 1:
        matrix = np.eye(layer.ndim)
        matrix[np.triu_indices(layer.ndim, 1)] = values
        return matrix
    return values
