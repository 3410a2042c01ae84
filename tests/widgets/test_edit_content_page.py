"""The page "Content" of the Edit dock."""

from __future__ import annotations

import numpy as np
import pytest
from docks import finish
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.errors import FlowSRError
from napari_flowsr.io.provenance import NAMESPACE, provenance_script
from napari_flowsr.widgets._masks import Grid
from napari_flowsr.widgets._pasting import painted, pasted, plane_of, source_on
from napari_flowsr.widgets._viewer import camera_of, grid_of
from napari_flowsr.widgets.edit_dock import EditDock
from napari_flowsr.widgets.parts.edit_content_page import MASKED, PAINT, WHOLE

PLACED = {"scale": (0.25, 0.25), "translate": (2.875, 3.875)}


@pytest.fixture(scope="module")
def cells():
    y, x = np.mgrid[:40, :48]
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (120 + 60 * np.sin(y / 3) * np.cos(x / 4) + 3 * noise).astype(np.uint8)


@pytest.fixture
def patch():
    return np.random.default_rng(4).integers(0, 4000, (12, 16)).astype(np.uint16)


@pytest.fixture
def dock(qtbot, cells, model, patch):
    viewer = ViewerModel()
    viewer.add_image(cells, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    hr = flowsr.posterior(cells, model, device="cpu", seed=5).sample(1)[0]
    viewer.add_image(hr, name="fine", **PLACED)
    # Twice as fine as the target, over its rows 20 to 26 and columns 40 to 48.
    viewer.add_image(
        patch, name="other", scale=(0.125, 0.125), translate=(7.8125, 13.8125)
    )
    widget = EditDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.target = viewer.layers["fine"]
    widget.session.image = viewer.layers["cells"]
    widget.session.page = "Content"
    page = widget.form.page
    page.source.choose(viewer.layers["other"])
    yield widget
    widget.cancel()
    finish(qtbot, widget)
    widget.leave()


def run(qtbot, dock):
    dock.run()
    finish(qtbot, dock)
    return dock.session.target


def test_a_layer_is_pasted_where_it_lies_and_harmonised(qtbot, dock):
    layers, page = dock.viewer.layers, dock.form.page
    page.region.setCurrentText(WHOLE)
    before = layers["fine"].data.copy()
    edited = run(qtbot, dock)
    paste = layers["fine · pasted"]
    found = np.argwhere(paste.data != before)
    assert found.min(0).tolist() == [20, 40]
    assert found.max(0).tolist() == [25, 47]
    assert (edited.data != before).any()
    assert (edited.data != paste.data).any()
    np.testing.assert_array_equal(edited.data[60:], before[60:])
    np.testing.assert_array_equal(layers["fine"].data, before)
    np.testing.assert_allclose(paste.scale, layers["fine"].scale)
    np.testing.assert_allclose(paste.translate, layers["fine"].translate)
    record = paste.metadata[NAMESPACE]
    assert (record["tool"], record["kind"]) == ("edit", "pasted")


def test_the_paste_is_shown_beside_the_result_until_the_button_is_pressed(qtbot, dock):
    viewer, beside = dock.viewer, dock.compare.beside
    camera = camera_of(viewer)
    dock.form.page.region.setCurrentText(WHOLE)
    dock.new_mask()
    viewer.layers["cells"].visible = False
    camera.center, camera.zoom = (0.0, 9.0, 11.0), 33.0
    pastes = ("fine · pasted", "fine · edited · tiny · pasted")
    for offset, paste in enumerate(pastes):
        dock.form.page.rows_off.setValue(offset)
        edited = run(qtbot, dock)
        shown = {x.name for x in viewer.layers if x.visible}
        assert shown == {edited.name, paste}
        assert beside.isChecked()
        assert grid_of(viewer).enabled
    beside.click()
    assert not grid_of(viewer).enabled
    hidden = {x.name for x in viewer.layers if not x.visible}
    assert hidden == {"cells", *pastes}
    assert camera.center == (0.0, 9.0, 11.0)
    assert camera.zoom == 33.0


def test_agreement_before_and_after_is_said(qtbot, dock):
    dock.form.page.region.setCurrentText(WHOLE)
    edited = run(qtbot, dock)
    (edit,) = edited.metadata[NAMESPACE]["edits"]
    assert edit["operation"] == "transfer"
    said = f"{edit['lr_psnr_before']:.1f} → {edit['lr_psnr']:.1f} dB"
    assert said in edit["label"]
    assert said in dock.bar.status.text()


def test_without_an_lr_image_the_target_is_reduced_once(qtbot, dock):
    page, session = dock.form.page, dock.session
    page.region.setCurrentText(WHOLE)
    session.image = None
    first = run(qtbot, dock)
    once = first.data.copy()
    assert session.image is None
    session.seed = 3
    assert run(qtbot, dock) is first
    assert (first.data != once).any()
    edits = first.metadata[NAMESPACE]["edits"]
    assert all(e["lr_psnr"] > e["lr_psnr_before"] for e in edits[:1])
    assert len(edits) == 2


def test_an_edit_is_undone_and_its_paste_replaced(qtbot, dock):
    page = dock.form.page
    page.region.setCurrentText(WHOLE)
    edited = run(qtbot, dock)
    once = edited.data.copy()
    dock.undo()
    np.testing.assert_array_equal(edited.data, dock.viewer.layers["fine"].data)
    page.rows_off.setValue(8)
    run(qtbot, dock)
    assert (edited.data != once).any()
    assert [x.name for x in dock.viewer.layers].count("fine · pasted") == 1


def test_only_the_mask_is_pasted(qtbot, dock):
    mask = dock.new_mask()
    mask.data[22:24, 42:46] = 1
    mask.refresh()
    dock.form.page.region.setCurrentText(MASKED)
    before = dock.viewer.layers["fine"].data.copy()
    run(qtbot, dock)
    found = np.argwhere(dock.viewer.layers["fine · pasted"].data != before)
    assert (found.min(0) >= (22, 42)).all()
    assert (found.max(0) <= (23, 45)).all()


def test_painting_on_the_target(qtbot, dock):
    page, target = dock.form.page, dock.session.target
    page.way.setCurrentText(PAINT)
    assert "New paint layer" in dock._validate()["paint"]
    layer = page.add_paint_layer()
    assert layer.mode == "paint"
    np.testing.assert_allclose(layer.scale, target.scale)
    page.levels[1].setValue(200)
    layer.data[30:36, 50:56] = 2
    edited = run(qtbot, dock)
    paste = dock.viewer.layers["fine · pasted"]
    assert (paste.data[30:36, 50:56] == 200).all()
    assert (edited.data != target.data).any()


def test_intensities_are_proposed_from_the_target(dock):
    page, target = dock.form.page, dock.session.target
    page.way.setCurrentText(PAINT)
    found = list(page.intensities().values())
    assert found == sorted(found)
    assert target.data.min() <= found[0] < found[-1] <= target.data.max()
    page.levels[0].setValue(-5)
    page.way.setCurrentIndex(0)
    page.way.setCurrentText(PAINT)
    assert page.intensities()[1] == -5  # what a person typed stays


def test_moving_selects_the_source_and_its_transform_mode(dock):
    viewer, page = dock.viewer, dock.form.page
    page.mover.click()
    assert viewer.layers.selection.active is viewer.layers["other"]
    assert viewer.layers["other"].mode == "transform"


def test_what_keeps_from_running_is_said(dock):
    page, layers = dock.form.page, dock.viewer.layers
    page.region.setCurrentText(MASKED)
    assert "New mask" in dock._validate()["mask"]
    page.source.choose(None)
    assert "source" in dock._validate()
    page.source.choose(layers["fine"])
    assert "target itself" in dock._validate()["source"]
    page.source.choose(layers["other"])
    page.region.setCurrentText(WHOLE)
    assert dock._validate() == {}
    dock.session.prior = "learned"
    assert dock._validate()


def test_bad_places_and_masks_are_said_and_nothing_changes(dock):
    page, layers = dock.form.page, dock.viewer.layers
    names = [x.name for x in layers]
    page.region.setCurrentText(WHOLE)
    page.columns_off.setValue(5000)
    with pytest.raises(FlowSRError, match="does not cover any pixel"):
        dock.run()
    page.columns_off.setValue(0)
    mask = dock.new_mask()
    page.region.setCurrentText(MASKED)
    with pytest.raises(FlowSRError, match="is empty"):
        dock.run()
    mask.data[60:70, 2:9] = 1
    with pytest.raises(FlowSRError, match="lies in the mask"):
        dock.run()
    layers.remove(mask)
    page.region.setCurrentText(WHOLE)
    layers["other"].units = ("second", "second")
    with pytest.raises(FlowSRError, match="second"):
        dock.run()
    page.way.setCurrentText(PAINT)
    paint = page.add_paint_layer()
    with pytest.raises(FlowSRError, match="Nothing is painted"):
        dock.run()
    paint.data[3, 3] = 77
    with pytest.raises(FlowSRError, match="Label 77 has no intensity"):
        dock.run()
    layers.remove(paint)
    assert [x.name for x in layers] == names
    assert not dock.is_running


def test_a_script_makes_the_edit_again(qtbot, dock, cells, monkeypatch):
    layers = dock.viewer.layers
    dock.form.page.region.setCurrentText(WHOLE)
    hr = layers["fine"].data.copy()
    edited = run(qtbot, dock)
    namespace = {"__name__": "script"}
    exec(provenance_script(edited.metadata), namespace)
    monkeypatch.setattr("napari_flowsr.load_model", lambda *a, **k: dock.session.model)
    again = namespace["remake"](cells, hr, device="cpu")
    np.testing.assert_array_equal(again, edited.data)


# --- what it reads ------------------------------------------------------------------


def _grid(shape, **placed):
    return Grid.of(ViewerModel().add_image(np.zeros(shape), **placed))


def test_pixels_of_an_equal_grid_are_taken_as_they_are():
    layer = ViewerModel().add_image(np.random.default_rng(0).random((9, 11)))
    values, covered = source_on(_grid((9, 11)), layer, plane_of(layer, None))
    np.testing.assert_allclose(values, layer.data, atol=1e-12)
    assert covered.all()
    values, covered = source_on(
        _grid((9, 11)), layer, layer.data, flip=(True, False), offset=(2, -3)
    )
    np.testing.assert_allclose(values[2:, :8], layer.data[::-1][:7, 3:], atol=1e-12)
    assert covered.sum() == 7 * 8


def test_finer_sources_are_antialiased_and_turned_ones_found():
    stripes = np.tile(np.array([0.0, 100.0]), (40, 20))
    layer = ViewerModel().add_image(stripes, scale=(0.25, 0.25))
    values, _ = source_on(_grid((10, 10)), layer, stripes)
    assert np.abs(values[3:7, 3:7] - 50).max() < 12
    ramp = np.arange(64.0).reshape(8, 8)
    layer = ViewerModel().add_image(ramp, rotate=90, translate=(7, 0))
    values, covered = source_on(_grid((8, 8)), layer, ramp)
    assert covered.all()
    spun = [np.rot90(ramp, k) for k in (1, 3)]
    assert min(np.abs(values - s).max() for s in spun) < 1e-9


def test_of_a_stack_the_shown_plane_is_taken():
    viewer = ViewerModel()
    layer = viewer.add_image(np.arange(5 * 4 * 4).reshape(5, 4, 4))
    viewer.dims.set_point(0, 3)
    np.testing.assert_array_equal(plane_of(layer, viewer.dims), layer.data[3])


def test_pasting_into_stacks_and_colour():
    inside = np.zeros((2, 6, 6), bool)
    inside[1, 2:4, 2:4] = True
    hr = np.full((2, 6, 6), 9, np.uint8)
    out = pasted(hr, np.full((6, 6), 300.0), inside, False, match=False)
    assert (out[inside] == 255).all()
    assert (out[~inside] == 9).all()
    colour = np.full((6, 6, 4), 9, np.uint8)
    out = pasted(colour, np.full((6, 6, 3), 5.0), inside[1], True, match=False)
    assert (out[2:4, 2:4, :3] == 5).all()
    assert (out[..., 3] == 9).all()
    labels = inside[1] * 2
    out, marked = painted(colour, labels, {1: 0.0, 2: 77.0}, True)
    assert (out[marked][:, :3] == 77).all()
    assert (out[..., 3] == 9).all()
