"""Layers of the Edit dock: the one that is edited, its mask, and what is undone. No Qt.

The target that a person chose is never written to: the first edit makes a layer of the
dock's own from it, and all edits go there.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError
from napari_flowsr.io.edit_record import edit_record
from napari_flowsr.io.provenance import NAMESPACE, image_hash, jsonable
from napari_flowsr.widgets._edit_geometry import Pairing
from napari_flowsr.widgets._edit_session import is_edit_layer
from napari_flowsr.widgets._history import Change, History
from napari_flowsr.widgets._layers import Output
from napari_flowsr.widgets._stacks import STACK, VALUES, stack_axis, stack_value

__all__ = ["EditLayers", "make_mask"]

Array = npt.NDArray[Any]

_IDENTITY = "napari-flowsr-layer"
_MASK_NAME = "edit mask"
_COLOUR, _OTHERS = "#ffb000", "#00b4ff"

# Kept with the layers: a dock that is opened anew, or a second one, goes on with them.
_HISTORIES: weakref.WeakKeyDictionary[Any, History] = weakref.WeakKeyDictionary()
_SOURCES: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
_STEPS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def make_mask(viewer: Any, pairing: Pairing, brush_size: int) -> Any:
    """Empty Labels layer on the HR grid of the target, ready to be painted in."""
    from napari.utils import DirectLabelColormap

    grid = pairing.grid
    layer = viewer.add_labels(
        np.zeros(grid.shape, np.uint8),
        name=f"{_MASK_NAME} · {_short_name(pairing.target)}",
        opacity=0.4,
        # The colours of labels are dark ones, which grey images hide.
        colormap=DirectLabelColormap(
            color_dict={None: _OTHERS, 0: "transparent", 1: _COLOUR}
        ),
        **pairing.placed(),
    )
    viewer.layers.selection.active = layer
    layer.selected_label = 1
    layer.brush_size = brush_size
    layer.mode = "paint"
    return layer


def _short_name(target: Any) -> str:
    """Name of a target: of a result that has its given name, that of its source."""
    record = target.metadata.get(NAMESPACE)
    source = record.get("source_name") if isinstance(record, Mapping) else None
    own = bool(source) and target.name.startswith(f"{source} · ")
    return str(source) if own else str(target.name)


class EditLayers:
    """Layers that are edited, each with its history.

    Parameters
    ----------
    limit_bytes : int, optional
        Memory of a history.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit = {} if limit_bytes is None else {"limit_bytes": limit_bytes}

    def history(self, layer: Any) -> History:
        """Edits of a layer; an empty one for a layer that has none."""
        if layer not in _HISTORIES:
            _HISTORIES[layer] = History(**self._limit)
        return _HISTORIES[layer]

    @staticmethod
    def version(layer: Any) -> tuple[int, int]:
        """What becomes another one when a layer is edited or gets other data."""
        return _STEPS.get(layer, 0), id(layer.data)

    def source_of(self, layer: Any) -> Any:
        """Layer that an edited one was made from, if it is still there."""
        reference = _SOURCES.get(layer)
        return None if reference is None else reference()

    # --- the layer that is edited ---------------------------------------------------

    def make(
        self, viewer: Any, pairing: Pairing, array: Array, record: Mapping[str, Any]
    ) -> Any:
        """Layer of the dock's own with these pixels, where the target lies.

        Parameters
        ----------
        viewer : napari.components.ViewerModel
            To add it to.
        pairing : Pairing
            The target and its LR image.
        array : ndarray
            Pixels of the target, a copy.
        record : mapping
            Of the posterior of the edits.
        """
        target = pairing.target
        facts = _first_record(pairing, array, record)
        looks: dict[str, Any] = {"rgb": bool(target.rgb)}
        if not target.rgb:
            looks["colormap"], looks["gamma"] = target.colormap, target.gamma
            looks["contrast_limits"] = tuple(target.contrast_limits)
        layer = viewer.add_image(
            array,
            name=f"{_short_name(target)} · edited · {record['model']}",
            metadata={NAMESPACE: copy.deepcopy(facts)},
            interpolation2d=target.interpolation2d,
            **pairing.placed(),
            **looks,
        )
        # Below masks, above what it was made from.
        index = viewer.layers.index(target) + 1
        viewer.layers.move(viewer.layers.index(layer), index)
        own = str(layer.unique_id)
        source = target if pairing.image is None else pairing.image
        layer.metadata[_IDENTITY] = {"source": str(source.unique_id), "layer": own}
        _SOURCES[layer] = weakref.ref(target)
        return layer

    def add_opened(
        self,
        viewer: Any,
        array: Array,
        options: Mapping[str, Any],
        record: Mapping[str, Any],
        image: Any,
    ) -> Any:
        """Layer of the dock's own from a file; ``image`` is its LR layer, if any."""
        facts = {**copy.deepcopy(dict(record)), "kind": "edited", "tool": "edit"}
        layer = viewer.add_image(array, metadata={NAMESPACE: facts}, **options)
        own = str(layer.unique_id)
        source = own if image is None else str(image.unique_id)
        layer.metadata[_IDENTITY] = {"source": source, "layer": own}
        return layer

    def write(
        self, layer: Any, array: Array, label: str, facts: Mapping[str, Any], extra: Any
    ) -> bool:
        """Make an edit; whether any pixel differs.

        Parameters
        ----------
        layer : napari.layers.Image
            As `make` gives it.
        array : ndarray
            New pixels, all of them.
        label : str
            What was done.
        facts : mapping
            For the record, which lists all edits.
        extra : object
            Kept with the edit.
        """
        if not is_edit_layer(layer):
            raise OptionError(f"'{layer.name}' is not a layer of the Edit dock.")
        before = copy.deepcopy(layer.metadata[NAMESPACE])
        after = copy.deepcopy(before)
        known = {k: v for k, v in jsonable(dict(facts)).items() if before.get(k) != v}
        after.setdefault("edits", []).append({**known, "label": label})
        change = Change.between(
            layer.data,
            np.asarray(array).astype(layer.data.dtype, copy=False),
            label,
            extra=extra,
            record_before=before,
            record_after=after,
        )
        if change is None:
            return False
        change.redo_in(layer.data)
        self._refresh(layer, after)
        self.history(layer).push(change)
        return True

    def undo(self, layer: Any) -> Change | None:
        """Take the last edit of a layer back."""
        change = self.history(layer).undo()
        if change is not None:
            change.undo_in(layer.data)
            self._refresh(layer, change.record_before)
        return change

    def redo(self, layer: Any) -> Change | None:
        """Make the edit again that was taken back last."""
        change = self.history(layer).redo()
        if change is not None:
            change.redo_in(layer.data)
            self._refresh(layer, change.record_after)
        return change

    @staticmethod
    def _refresh(layer: Any, record: Mapping[str, Any] | None) -> None:
        _STEPS[layer] = _STEPS.get(layer, 0) + 1
        if record is not None:
            layer.metadata[NAMESPACE] = copy.deepcopy(dict(record))
        layer.refresh()

    # --- what lies beside it --------------------------------------------------------

    @staticmethod
    def add(viewer: Any, outputs: tuple[Output, ...]) -> list[Any]:
        """Add layers; those of the same kind that the dock made before are replaced.

        They are told by name and record: what a person renamed or made stays.
        """
        added = []
        for output in outputs:
            name = output.options.get("name")
            for old in [x for x in viewer.layers if x.name == name and _is_own(x)]:
                viewer.layers.remove(old)
            layer = viewer.add_image(output.data, **output.options)
            identity = layer.metadata.setdefault(_IDENTITY, {})
            identity["layer"] = str(layer.unique_id)
            added.append(layer)
        return added


def _first_record(
    pairing: Pairing, array: Array, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Record of a layer that was not edited yet, as its script needs it."""
    base = pairing.target.metadata.get(NAMESPACE)
    if pairing.image is None or not isinstance(base, Mapping) or "kind" not in base:
        return edit_record(record, [], hr_sha256=image_hash(array))
    base = dict(base)
    if pairing.drop:  # of a stack one image
        index, axis = int(record.get("target_sample", 0)), stack_axis(pairing.target)
        told = stack_value(pairing.target, index) if axis in ("t", "tau") else index
        base = {k: v for k, v in base.items() if k not in (STACK, VALUES)}
        base[axis or "sample"] = told
    return edit_record(base, [], posterior=record)


def _is_own(layer: Any) -> bool:
    identity = layer.metadata.get(_IDENTITY)
    record = layer.metadata.get(NAMESPACE)
    if not isinstance(identity, Mapping) or not isinstance(record, Mapping):
        return False
    same = identity.get("layer") == str(layer.unique_id)
    return same and record.get("tool") == "edit" and record.get("kind") != "edited"
