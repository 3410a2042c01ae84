"""A pixel size given in a dock: input and results keep lying on each other."""

from __future__ import annotations

import numpy as np
import pytest
from docks import edges, finish, prepare, run
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_flowsr.widgets._calibration import (
    calibrate,
    left_in_pixels,
    takes_pixel_size,
)
from napari_flowsr.widgets._geometry import output_geometry, whole_box
from napari_flowsr.widgets._viewer import camera_of
from napari_flowsr.widgets.upscale_dock import UpscaleDock

C, S = np.cos(0.6), np.sin(0.6)
TILTED = np.array([[C, 0, -S], [0, 1, 0], [S, 0, C]])

LAYERS = {
    "plain": ((9, 12), {}),
    "placed": ((9, 12), {"scale": (0.5, 0.25), "translate": (7, -3), "rotate": 20}),
    "affine": ((9, 12), {"affine": [[1.1, 0.2, 4], [-0.3, 0.9, -2], [0, 0, 1]]}),
    "tilted stack": (
        (4, 9, 12),
        {"scale": (3, 0.5, 0.5), "translate": (5, 1, 1), "rotate": TILTED},
    ),
}


def units(layer):
    return [str(unit) for unit in layer.units]


def assert_on_each_other(layer, other):
    for a, b in zip(edges(layer), edges(other), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-9)
    assert units(other)[-2:] == units(layer)[-2:]


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(("shape", "options"), LAYERS.values(), ids=LAYERS)
def test_the_input_lies_where_its_output_does(shape, options):
    layer = Image(np.zeros(shape), **options)
    fine = (*shape[:-2], 2 * shape[-2], 2 * shape[-1])
    placed = output_geometry(layer, whole_box(layer), fine, pixel_size_um=0.2)
    assert calibrate(layer, 0.2) == pytest.approx(0.2 / options.get("scale", [1])[-1])
    assert layer.scale[-1] == pytest.approx(0.2)
    assert units(layer)[-2:] == ["micrometer"] * 2
    assert_on_each_other(layer, Image(np.zeros(fine), **placed))


def test_a_size_can_be_corrected_but_not_that_of_the_file():
    layer = Image(np.zeros((4, 6)))
    assert takes_pixel_size(layer)
    calibrate(layer, 0.2)
    assert takes_pixel_size(layer)
    assert calibrate(layer, 0.2) == 1.0
    assert calibrate(layer, 0.3) == pytest.approx(1.5)
    np.testing.assert_allclose(layer.scale, 0.3)
    layer.units = ("nm", "nm")
    assert not takes_pixel_size(layer)
    assert not takes_pixel_size(Image(np.zeros((4, 6)), units=("um", "um")))


def test_what_is_not_in_the_units_of_the_input_is_left_alone():
    layer, mask = Image(np.zeros((4, 6))), Labels(np.zeros((2, 4, 6), int))
    measured = Image(np.zeros((4, 6)), units=("nm", "nm"), scale=(7, 7))
    other = Image(np.zeros((4, 6)))
    calibrate(layer, 0.2, [mask, measured])
    np.testing.assert_allclose(mask.scale, (1, 0.2, 0.2))
    np.testing.assert_allclose(measured.scale, 7)
    assert left_in_pixels([layer, mask, measured, other], layer) == [other]


# --- by a dock ----------------------------------------------------------------


@pytest.fixture
def viewer(image):
    viewer = ViewerModel()
    viewer.add_image(image, name="cells")
    return viewer


@pytest.fixture
def dock(qtbot, viewer, model):
    widget = prepare(UpscaleDock(viewer), model)
    qtbot.addWidget(widget)
    yield widget
    widget.cancel()
    finish(qtbot, widget)


def test_input_and_outputs_have_equal_extents(qtbot, dock, viewer):
    cells, camera = viewer.layers["cells"], camera_of(viewer)
    run(qtbot, dock)
    camera.center, camera.zoom = (8.0, 10.0), 3.0
    dock.session.pixel_size_um = 0.1
    made = run(qtbot, dock)
    for layer in made:
        assert_on_each_other(cells, layer)
    np.testing.assert_allclose(cells.scale, 0.1)
    # What was in view is in view.
    np.testing.assert_allclose(camera.center[-2:], (0.8, 1.0))
    assert camera.zoom == pytest.approx(30)
    assert "'cells' got pixels of 0.1 µm as well." in dock.bar.status.text()
    assert "The image itself gets it too" in dock.form.output.pixel_size.toolTip()
    # Again, and with another size: it is corrected everywhere.
    again = run(qtbot, dock)
    assert "as well" not in dock.bar.status.text()
    assert_on_each_other(cells, again[0])
    dock.session.pixel_size_um = 0.4
    assert dock.bar.run.isEnabled()
    for layer in run(qtbot, dock):
        assert_on_each_other(cells, layer)
    np.testing.assert_allclose(cells.scale, 0.4)


def test_the_preview_and_a_cancelled_run_change_nothing(qtbot, dock, viewer, slow):
    cells = viewer.layers["cells"]
    dock.session.pixel_size_um = 0.1
    dock.run()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    assert_on_each_other(cells, viewer.layers[-1])
    dock.cancel()
    slow.open()
    finish(qtbot, dock)
    assert units(cells) == ["pixel", "pixel"]
    np.testing.assert_allclose(cells.scale, 1)


@pytest.fixture
def slow(model, monkeypatch):
    from docks import Gate

    gate = Gate(model.flow, monkeypatch, free=1)
    yield gate
    gate.open()


def test_a_region_of_shapes_stays_on_the_image(qtbot, dock, viewer):
    viewer.add_labels(np.zeros((17, 20), int), name="mask")
    shapes = viewer.add_shapes([[[4, 6], [12, 16]]], name="here")
    dock.session.roi, dock.session.pixel_size_um = shapes, 0.1
    first = run(qtbot, dock)
    assert "Still in pixels: mask." in dock.bar.status.text()
    second = run(qtbot, dock)
    assert first[0].data.shape == second[0].data.shape == (2, 16, 20)
    for a, b in zip(edges(first[0]), edges(second[0]), strict=True):
        np.testing.assert_allclose(a, b)


def test_an_image_that_was_removed_is_left_alone(qtbot, dock, viewer, slow):
    cells = viewer.layers["cells"]
    dock.session.pixel_size_um = 0.1
    dock.run()
    qtbot.waitUntil(lambda: slow.calls == 2, timeout=60_000)
    viewer.layers.remove(cells)
    slow.open()
    finish(qtbot, dock)
    assert units(cells) == ["pixel", "pixel"]
    assert units(viewer.layers[-1]) == ["micrometer"] * 2


def test_the_field_shows_the_size_that_an_image_has(qtbot, dock, viewer, image):
    field = dock.form.output.pixel_size
    assert field.placeholderText() == "unknown"
    dock.session.pixel_size_um = 0.1
    run(qtbot, dock)
    dock.session.pixel_size_um = None
    assert field.placeholderText() == "the layer's own"
    viewer.add_image(image, name="measured", units=("nm", "nm"), scale=(250, 250))
    assert (field.text(), field.placeholderText()) == ("", "the layer's own")
    assert not field.isEnabled()
    dock.form.input.image.choose(viewer.layers["cells"])
    assert field.isEnabled()
    assert field.text() == "0.1"
    dock.restore_defaults()
    assert (field.text(), field.placeholderText()) == ("", "the layer's own")
