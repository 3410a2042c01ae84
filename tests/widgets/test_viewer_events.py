"""What releases of napari moved or lack: names of layers, the canvas, world units."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_flowsr.widgets._viewer import canvas_size, is_in_world_units, layer_events


class _Old:
    """A layer list without ``renamed``."""

    def __init__(self, layers) -> None:
        kept = ("inserted", "removed", "reordered", "connect", "disconnect")
        self.events = SimpleNamespace(**{k: getattr(layers.events, k) for k in kept})


@pytest.mark.parametrize("old", [False, True])
def test_each_change_of_the_layers_is_told(old) -> None:
    viewer = ViewerModel()
    layers = _Old(viewer.layers) if old else viewer.layers
    told: list[str] = []

    def note(event) -> None:
        told.append(event.type)

    events = layer_events(SimpleNamespace(layers=layers))
    for event in events:
        event.connect(note)
    viewer.add_image(np.zeros((4, 4)), name="a")
    viewer.add_image(np.zeros((4, 4)), name="b")
    assert told.count("inserted") == 2
    told.clear()
    viewer.layers[0].name = "c"
    assert told == ["renamed"]
    viewer.layers[0].opacity = 0.5
    assert told == ["renamed"]
    viewer.layers.reverse()
    viewer.layers.pop()
    assert {"reordered", "removed"} <= set(told)
    # Asked again it is the same, so that what was connected can be disconnected.
    assert layer_events(SimpleNamespace(layers=layers))[-1] is events[-1]
    for event in events:
        event.disconnect(note)
    told.clear()
    viewer.layers[0].name = "d"
    assert told == []


def test_the_size_of_the_canvas_is_told() -> None:
    new = SimpleNamespace(canvas=SimpleNamespace(size=(300, 400)))
    assert canvas_size(new) == (300, 400)
    assert canvas_size(SimpleNamespace(_canvas_size=(300, 400))) == (300, 400)
    assert canvas_size(ViewerModel()) == (800, 600)


def test_units_count_where_the_viewer_converts_them() -> None:
    viewer = ViewerModel()
    here = viewer.add_image(np.zeros((4, 4)), units=("um", "um"))
    there = viewer.add_image(np.zeros((4, 4)), units=("nm", "nm"))
    converts = hasattr(viewer.layers.extent, "units")
    in_units = [is_in_world_units(viewer, layer) for layer in (here, there)]
    assert sorted(in_units) == ([False, True] if converts else [True, True])
    old = SimpleNamespace(layers=SimpleNamespace(extent=SimpleNamespace()))
    assert is_in_world_units(old, here)
    nothing = SimpleNamespace(units=None)
    assert not is_in_world_units(
        SimpleNamespace(layers=SimpleNamespace(extent=nothing)), here
    )
