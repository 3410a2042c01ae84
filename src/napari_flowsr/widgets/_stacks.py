"""Layers that hold images along a first axis of their own: samples, steps, τ. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_flowsr.io.provenance import NAMESPACE

__all__ = ["STACK", "VALUES", "show_step", "shown_index", "stack_axis", "stack_value"]

STACK = "stack"
"""Key in the record of a layer: what its first axis counts, such as ``"tau"``."""
VALUES = "values"
"""Key in the record of a stack: the number that belongs to each of its images."""


def stack_axis(layer: Any) -> str:
    """What the first axis of a layer of this plugin counts; empty if it is no stack."""
    record = layer.metadata.get(NAMESPACE)
    if not isinstance(record, Mapping):
        return ""
    if named := record.get(STACK):
        return str(named)
    labelled = str(layer.axis_labels[0]) == "sample"
    return "sample" if labelled and record.get("kind") == "sample" else ""


def stack_value(layer: Any, index: int) -> float:
    """Number that belongs to an image of a stack: its own, or its position."""
    values = layer.metadata[NAMESPACE].get(VALUES)
    if isinstance(values, list) and index < len(values):
        return float(values[index])
    return index


def shown_index(viewer: Any, layer: Any) -> int:
    """Position of the viewer's slider along the first axis of a layer."""
    offset = max(viewer.dims.ndim - layer.ndim, 0)
    point = np.asarray(viewer.dims.point, float)[offset:]
    here = layer.world_to_data(point)[0]
    return int(np.clip(np.rint(here), 0, len(layer.data) - 1))


def show_step(viewer: Any, layer: Any, index: int) -> None:
    """Move the viewer's slider to an image of a stack."""
    offset = max(viewer.dims.ndim - layer.ndim, 0)
    at = layer.data_to_world((index, *[0] * (layer.ndim - 1)))[0]
    viewer.dims.set_point(offset, float(at))
