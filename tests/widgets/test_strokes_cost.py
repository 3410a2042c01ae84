"""Watching a mask reads it only when it may have changed."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_flowsr.widgets import _strokes
from napari_flowsr.widgets._strokes import StrokeWatch


@pytest.fixture
def sums(monkeypatch):
    """Checksums that were taken."""
    made, real = [], _strokes.checksum
    monkeypatch.setattr(
        _strokes, "checksum", lambda mask: made.append(real(mask)) or made[-1]
    )
    return made


@pytest.fixture
def watch(qtbot):
    owner = QObject()
    watch = StrokeWatch(owner)
    yield watch
    watch.watch(None)
    del owner


def test_a_changed_view_is_not_summed(qtbot, watch, sums):
    mask, told = Labels(np.zeros((3, 16, 16), np.uint8)), []
    watch.painted.connect(lambda now: told.append("painted"))
    watch.stepped.connect(lambda now: told.append("stepped"))
    watch.watch(mask)
    mask.refresh()
    qtbot.wait(250)
    assert len(sums) == 1  # when it began
    mask.paint((1, 8, 8), 1)
    qtbot.waitUntil(lambda: told == ["painted"])
    mask.undo()
    qtbot.waitUntil(lambda: told == ["painted", "stepped"])
    mask.redo()
    qtbot.waitUntil(lambda: told == ["painted", "stepped", "stepped"])
    summed = len(sums)
    mask.refresh()
    qtbot.wait(250)
    assert len(sums) == summed


def test_a_lazy_mask_is_not_computed(qtbot, watch):
    read = []

    def plane(block_info=None):
        read.append(block_info[None]["chunk-location"][0])
        return np.zeros((1, 8, 8), np.uint8)

    planes = da.map_blocks(plane, chunks=((1,) * 6, 8, 8), dtype=np.uint8)
    mask = Labels(planes)
    read.clear()
    watch.watch(mask)
    mask.refresh()
    qtbot.wait(250)
    assert len(set(read)) <= 1
