"""Scale and pixel size in the Upscale dock: what cannot be used is marked."""

from __future__ import annotations

import pytest
from docks import prepare
from napari.components import ViewerModel

from napari_flowsr.widgets.upscale_dock import UpscaleDock


@pytest.fixture
def viewer(image):
    viewer = ViewerModel()
    viewer.add_image(image, name="cells", scale=(0.5, 0.5), units=("um", "um"))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, any_scale):
    widget = prepare(UpscaleDock(viewer), any_scale)
    qtbot.addWidget(widget)
    yield widget
    widget.leave()


@pytest.mark.parametrize(
    ("text", "reason"), [("abc", "'abc'"), ("0.5", "1 to 32"), ("50", "1 to 32")]
)
def test_typed_text_that_is_no_scale_is_marked(dock, make_tiny, text, reason):
    box = dock.form.advanced.scale
    box.setEditText(text)
    box.changed.emit()
    assert box.currentText() == text
    assert reason in box.toolTip()
    assert "border" in box.styleSheet()
    assert not dock.bar.run.isEnabled()
    assert reason in dock.bar.run.toolTip()
    # Another number, or another model, sets it right.
    box.setEditText("3,5")
    box.changed.emit()
    assert dock.session.scale == 3.5
    assert dock.bar.run.isEnabled()
    box.setEditText(text)
    box.changed.emit()
    dock.session.model = make_tiny()
    assert dock.session.scale is None
    assert dock.bar.run.isEnabled()
