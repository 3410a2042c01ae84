"""The Edit dock, driven as from a script and by its buttons."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_flowsr as flowsr
from docks import WAIT, Gate, finish
from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_session import is_edit_layer
from napari_flowsr.widgets.edit_dock import EditDock
from napari_flowsr.widgets.upscale_dock import UpscaleDock


@pytest.fixture(scope="module")
def cells():
    """Large enough for a mask whose reach is not everything."""
    y, x = np.mgrid[:40, :48]
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (120 + 60 * np.sin(y / 3) * np.cos(x / 4) + 3 * noise).astype(np.uint8)


@pytest.fixture
def hr(cells, model):
    return flowsr.posterior(cells, model, device="cpu", seed=5).sample(1)[0]


@pytest.fixture
def viewer(cells, hr):
    viewer = ViewerModel()
    viewer.add_image(cells, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    viewer.add_image(hr, name="fine", scale=(0.25, 0.25), translate=(2.875, 3.875))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, model):
    widget = EditDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.target = viewer.layers["fine"]
    widget.session.image = viewer.layers["cells"]
    yield widget
    widget.session.automatic = False
    widget.cancel()
    finish(qtbot, widget)
    widget.leave()


def run(qtbot, widget):
    widget.run()
    finish(qtbot, widget)
    return widget.session.target


def painted(dock, box=(slice(10, 16), slice(12, 20))):
    mask = dock.new_mask()
    mask.data[box] = 1
    mask.refresh()
    return mask


# --- editing --------------------------------------------------------------------


def test_a_mask_is_drawn_again_and_the_rest_stays(qtbot, dock, viewer, hr, cells):
    before = hr.copy()
    mask = painted(dock)
    edited = run(qtbot, dock)
    assert edited.name == "fine · edited · tiny"
    np.testing.assert_array_equal(viewer.layers["fine"].data, before)
    inside = mask.data > 0
    assert (edited.data[inside] != before[inside]).mean() > 0.5
    expected = dock.context()
    assert expected.target is edited
    post = flowsr.posterior(cells, dock.session.model, device="cpu")
    again = post.resample(before, inside, dock.session.seed)
    np.testing.assert_array_equal(edited.data, again)
    changed = np.argwhere(edited.data != before)
    assert (edited.data == before)[40:].all(), changed.max(0)


def test_the_edited_layer_lies_where_the_target_lies(qtbot, dock, viewer):
    painted(dock)
    edited, fine = run(qtbot, dock), viewer.layers["fine"]
    np.testing.assert_allclose(edited.scale, fine.scale)
    np.testing.assert_allclose(edited.translate, fine.translate)
    record = edited.metadata[NAMESPACE]
    assert (record["tool"], record["kind"]) == ("edit", "edited")
    assert record["source_name"] == "cells"
    assert record["target_name"] == "fine"
    assert [e["label"] for e in record["edits"]] == ["re-sampled, seed 0"]
    assert is_edit_layer(edited)
    # Below the mask, above what it came from; the brush stays in hand.
    names = [x.name for x in viewer.layers]
    assert names == ["cells", "fine", edited.name, "edit mask · fine"]
    assert viewer.layers.selection.active is viewer.layers[-1]


def test_further_edits_go_into_the_same_layer(qtbot, dock, viewer):
    painted(dock)
    first = run(qtbot, dock)
    once = first.data.copy()
    dock.form.page.dice.click()
    finish(qtbot, dock)
    assert dock.session.target is first
    assert dock.session.seed == 1
    assert (first.data != once).any()
    assert len(viewer.layers) == 4
    assert len(first.metadata[NAMESPACE]["edits"]) == 2


def test_undo_and_redo_take_edits_back_and_make_them_again(qtbot, dock, hr):
    painted(dock)
    edited = run(qtbot, dock)
    states = [hr.copy(), edited.data.copy()]
    for _ in range(2):
        dock.form.page.roll()
        finish(qtbot, dock)
        states.append(edited.data.copy())
    buttons = dock.form.history
    for state in states[-2::-1]:
        buttons.undo.click()
        np.testing.assert_array_equal(edited.data, state)
    assert edited.metadata[NAMESPACE]["edits"] == []
    assert not buttons.undo.isEnabled()
    for state in states[1:]:
        buttons.redo.click()
        np.testing.assert_array_equal(edited.data, state)
    assert not buttons.redo.isEnabled()
    assert len(edited.metadata[NAMESPACE]["edits"]) == 3
