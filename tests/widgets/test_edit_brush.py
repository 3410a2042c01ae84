"""The brush of the Edit dock is kept for the next one, and the next session."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest

from napari_flowsr.widgets.edit_dock import EditDock


@pytest.fixture
def new_dock(qtbot, plugin_settings, npe2pm, model):
    npe2pm.register(PluginManifest.from_file(files("napari_flowsr") / "napari.yaml"))
    made = []

    def make():
        viewer = ViewerModel()
        viewer.add_image(np.zeros((34, 40), np.uint8), name="fine")
        dock = EditDock(viewer)
        qtbot.addWidget(dock)
        dock.session.model, dock.session.device = model, "cpu"
        made.append((viewer, dock))  # a dock holds its viewer weakly
        return dock

    yield make
    for _, dock in made:
        dock.leave()


def test_brush_and_feather_are_kept(new_dock):
    first = new_dock()
    assert (first.session.brush_size, first.session.feather) == (12, 0)
    first.new_mask().brush_size = 31  # by napari's own slider
    first.form.marking.feather.setValue(2.5)
    first.leave()
    second = new_dock()
    assert (second.session.brush_size, second.session.feather) == (31, 2.5)
    assert second.form.marking.feather.value() == 2.5
    assert second.new_mask().brush_size == 31
    from napari.settings import get_plugin_settings

    saved = get_plugin_settings("napari-flowsr").config_path.read_text()
    assert "brush_size: 31" in saved
    second.restore_defaults()
    assert (second.session.brush_size, second.session.feather) == (12, 0)
    assert new_dock().session.brush_size == 12


def test_what_cannot_be_used_is_not_kept(new_dock):
    first = new_dock()
    first.session.brush_size, first.session.feather = 0, -3.0
    fresh = new_dock().session
    assert (fresh.brush_size, fresh.feather) == (12, 0)
