"""Names of layers are followed, also where napari's list has no event for it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_flowsr.widgets._viewer import layer_events


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
