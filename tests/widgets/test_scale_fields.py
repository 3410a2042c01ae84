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


def test_the_pixel_size_of_the_result_needs_square_pixels(dock, viewer, image):
    target = dock.form.advanced.scales.target
    assert target.isEnabled()
    target.setValue(0.2)
    assert dock.session.scale == pytest.approx(2.5)
    viewer.add_image(image, name="flat", scale=(0.5, 0.25), units=("um", "um"))
    dock.session.image = viewer.layers["flat"]
    assert not target.isEnabled()
    for said in ("0.5 x 0.25 µm", "needs square ones", "Give the scale instead"):
        assert said in target.toolTip()
    assert target.value() == 0.0
    target.setValue(0.1)  # as a script could
    assert dock.session.scale == pytest.approx(2.5)
    # Of other units, but square.
    viewer.add_image(image, name="nm", scale=(0.5, 500), units=("um", "nm"))
    dock.session.image = viewer.layers["nm"]
    assert target.isEnabled()
    assert "instead of a scale" in target.toolTip()
