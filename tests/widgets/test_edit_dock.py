"""The Edit dock, driven as from a script and by its buttons."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from docks import WAIT, Gate, finish
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model
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


def test_keys_act_on_the_edited_layer(qtbot, dock, hr):
    mask = painted(dock)
    edited = run(qtbot, dock)
    once = edited.data.copy()
    press(edited, "Ctrl+Z")
    np.testing.assert_array_equal(edited.data, hr)
    press(edited, "Ctrl+Shift+Z")
    np.testing.assert_array_equal(edited.data, once)
    press(mask, dock.key)
    finish(qtbot, dock)
    assert dock.session.seed == 1
    assert (edited.data != once).any()
    # On the mask Ctrl+Z stays napari's own, which undoes strokes.
    assert not {"Ctrl+Z", "Ctrl+Shift+Z"} & {str(k) for k in mask.keymap}
    dock.leave()
    assert not edited.keymap
    assert not mask.keymap


def press(layer, key):
    """What napari calls for a key while the layer is active."""
    (action,) = (f for k, f in layer.keymap.items() if str(k) == key)
    action(layer)


def test_the_dice_key_is_used_by_nothing_else(dock):
    from napari.settings import get_settings

    shortcuts = get_settings().shortcuts.shortcuts
    assert dock.key not in {str(k) for keys in shortcuts.values() for k in keys}
    assert f"key {dock.key}" in dock.form.page.dice.toolTip()


def test_a_key_that_a_person_took_stays_theirs(qtbot, dock):
    mask = dock.new_mask()
    taken = []
    dock._keys.release(mask)
    mask.bind_key(dock.key, lambda layer: taken.append(layer))
    dock.session.mask = None
    dock.session.mask = mask
    press(mask, dock.key)
    assert taken == [mask]
    dock.leave()
    assert len(mask.keymap) == 1


def test_of_a_stack_the_shown_sample_is_edited(qtbot, dock, viewer, cells, model):
    samples = flowsr.posterior(cells, model, device="cpu").sample(3)
    stack = viewer.add_image(
        samples,
        name="stack",
        scale=(1, 0.25, 0.25),
        translate=(0, 2.875, 3.875),
        axis_labels=("sample", "y", "x"),
    )
    dock.session.target = stack
    viewer.dims.set_point(0, 2)
    mask = painted(dock)
    assert mask.data.shape == samples.shape[1:]
    edited = run(qtbot, dock)
    assert edited.data.shape == samples.shape[1:]
    np.testing.assert_array_equal(edited.data[40:], samples[2][40:])
    np.testing.assert_allclose(edited.translate, (2.875, 3.875))
    assert edited.metadata[NAMESPACE]["target_sample"] == 2
    assert stack in viewer.layers


def test_without_lr_image_the_target_is_reduced_once(qtbot, dock, viewer, hr):
    dock.session.image = None
    painted(dock)
    edited = run(qtbot, dock)
    assert edited.metadata[NAMESPACE]["lr"] == "downscale"
    small = dock._kept.reduced_of(edited)
    assert small.shape == (40, 48)
    dock.form.page.roll()
    finish(qtbot, dock)
    # The LR image is that of the target as it was, not of what an edit made of it.
    assert dock._kept.reduced_of(edited) is small
    np.testing.assert_array_equal(edited.data[40:], hr[40:])


def test_results_of_upscale_bring_their_image_and_model(qtbot, viewer, model):
    upscale = UpscaleDock(viewer)
    qtbot.addWidget(upscale)
    upscale.session.model, upscale.session.device = model, "cpu"
    upscale.session.samples, upscale.session.image = 2, viewer.layers["cells"]
    upscale.session.roi = (4, 8, 30, 36)
    upscale.run()
    finish(qtbot, upscale)
    stack = upscale.outputs()[0]
    widget = EditDock(viewer)
    qtbot.addWidget(widget)
    widget.session.model, widget.session.device = model, "cpu"
    widget.session.target = None
    widget.session.target = stack
    assert widget.session.image is viewer.layers["cells"]
    assert not widget.session.problems()
    mask = painted(widget)
    edited = run(qtbot, widget)
    assert edited.data.shape == (60, 72)
    assert edited.metadata[NAMESPACE]["roi"] == [[4, 34], [8, 44]]
    # With the seed of the sample, and yet not its content.
    assert widget.session.seed == 0
    assert (edited.data != stack.data[0]).any()
    np.testing.assert_array_equal(edited.data[45:], stack.data[0][45:])
    np.testing.assert_allclose(mask.translate, stack.translate[1:])
    widget.leave()
    upscale.leave()


def remake_of(layer):
    """What the script of a layer defines."""
    namespace = {"__name__": "script"}
    exec(flowsr.provenance_script(layer.metadata), namespace)
    return namespace["remake"]


def test_an_edited_image_is_remade_by_its_script(qtbot, dock, cells, hr):
    dock.session.model = "micro-2x"
    dock.session.feather, dock.session.temperature = 2.0, 0.7
    painted(dock)
    run(qtbot, dock)
    dock.session.temperature = 0.4
    dock.form.page.roll()
    finish(qtbot, dock)
    edited = dock.session.target
    np.testing.assert_array_equal(remake_of(edited)(cells, hr), edited.data)
    dock.undo()
    np.testing.assert_array_equal(remake_of(edited)(cells, hr), edited.data)


def test_an_edited_sample_is_remade_from_the_lr_image(qtbot, dock, viewer, cells):
    upscale = UpscaleDock(viewer)
    qtbot.addWidget(upscale)
    upscale.session.samples, upscale.session.image = 2, viewer.layers["cells"]
    upscale.session.device, upscale.session.temperature = "cpu", 0.9
    upscale.run()
    finish(qtbot, upscale)
    dock.session.target = upscale.outputs()[0]
    assert dock.session.model == "micro-2x"
    viewer.dims.set_point(0, 1)
    painted(dock)
    edited = run(qtbot, dock)
    assert edited.metadata[NAMESPACE]["base"]["sample"] == 1
    np.testing.assert_array_equal(remake_of(edited)(cells), edited.data)
    upscale.leave()


def test_of_a_series_the_painted_plane_changes(qtbot, viewer, dock):
    rng = np.random.default_rng(2)
    lr = rng.integers(0, 255, (3, 20, 24)).astype(np.uint8)
    hr = np.kron(lr, np.ones((1, 2, 2), np.uint8))
    dock.session.image = viewer.add_image(lr, name="series")
    dock.session.target = viewer.add_image(hr, name="fine series")
    mask = painted(dock, (1, slice(5, 12), slice(5, 12)))
    assert mask.data.shape == hr.shape
    edited = run(qtbot, dock)
    assert [(a != b).any() for a, b in zip(edited.data, hr, strict=True)] == [
        False,
        True,
        False,
    ]


def test_colour_and_a_shape_as_mask(qtbot, viewer, dock):
    rng = np.random.default_rng(2)
    lr = rng.integers(0, 255, (40, 48, 3)).astype(np.uint8)
    hr = np.kron(lr, np.ones((2, 2, 1), np.uint8))
    dock.session.image = viewer.add_image(lr, name="photo", rgb=True)
    target = viewer.add_image(
        hr, name="large", rgb=True, scale=(0.5, 0.5), translate=(-0.25, -0.25)
    )
    dock.session.target = target
    # In the world's coordinates, in which an LR pixel has the side 1.
    box = [[3, 4], [3, 9], [7, 9], [7, 4]]
    dock.session.mask = viewer.add_shapes([box], shape_type="rectangle")
    edited = run(qtbot, dock)
    assert edited.rgb
    changed = (edited.data != hr).any(-1)
    assert changed[7:14, 9:18].mean() > 0.9
    np.testing.assert_array_equal(edited.data[60:], hr[60:])


# --- bad input ------------------------------------------------------------------


def test_bad_masks_are_told_and_harm_nothing(qtbot, dock, viewer, hr):
    mask = dock.new_mask()
    with pytest.raises(OptionError, match="is empty"):
        dock.run()
    mask.data[3:6, 3:6] = 1
    mask.translate = (500, 500)
    with pytest.raises(OptionError, match="does not cover any pixel"):
        dock.run()
    mask.translate = viewer.layers["fine"].translate
    mask.units = ("um", "um")
    with pytest.raises(OptionError, match=r"'fine' is in pixel and .* in micrometer"):
        dock.run()
    deep = viewer.add_labels(np.ones((3, 80, 96), np.uint8), name="deep")
    dock.session.mask = deep
    with pytest.raises(OptionError, match="3 axes, shape"):
        dock.run()
    dock.form.page.dice.click()
    assert "3 axes, shape" in dock.bar.status.text()
    dock.session.mask = None
    with pytest.raises(OptionError, match="There is no mask"):
        dock.run()
    np.testing.assert_array_equal(viewer.layers["fine"].data, hr)
    assert [x.name for x in viewer.layers if is_edit_layer(x)] == []
    assert deep.data.all()


def test_a_failed_run_leaves_the_layers_alone(qtbot, dock, viewer, hr, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(dock.session.model.flow, "decode", broken)
    painted(dock)
    dock.run()
    finish(qtbot, dock)
    assert "no such luck" in dock.bar.status.text()
    np.testing.assert_array_equal(viewer.layers["fine"].data, hr)
    assert dock.session.target is viewer.layers["fine"]


def test_cancel_changes_nothing(qtbot, dock, viewer, hr, monkeypatch):
    painted(dock)
    gate = Gate(dock.session.model.flow, monkeypatch)
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=WAIT)
    dock.bar.cancel.click()
    gate.open()
    finish(qtbot, dock)
    assert dock.bar.status.text() == "Cancelled. Nothing was changed."
    assert dock.session.target is viewer.layers["fine"]
    np.testing.assert_array_equal(viewer.layers["fine"].data, hr)


# --- after each stroke --------------------------------------------------------------


@pytest.fixture
def automatic(dock):
    dock.session.automatic = True
    return dock


def stroke(qtbot, dock, mask, at):
    before = len(dock.layers.history(dock.session.target))
    mask.paint(at, 1)
    qtbot.waitUntil(
        lambda: (
            not dock.is_running
            and len(dock.layers.history(dock.session.target)) != before
        ),
        timeout=WAIT,
    )


def test_painting_draws_again_and_undo_takes_both_back(qtbot, automatic, hr):
    dock = automatic
    dock.session.brush_size = 6
    mask = dock.new_mask()
    stroke(qtbot, dock, mask, (12, 16))
    edited = dock.session.target
    assert is_edit_layer(edited)
    first = edited.data.copy()
    assert (first != hr).any()
    stroke(qtbot, dock, mask, (60, 70))
    second = edited.data.copy()
    assert (second[50:] != first[50:]).any()
    for state in (first, hr):
        mask.undo()
        qtbot.waitUntil(lambda s=state: (edited.data == s).all(), timeout=WAIT)
    assert not dock.is_running
    for state in (first, second):
        mask.redo()
        qtbot.waitUntil(lambda s=state: (edited.data == s).all(), timeout=WAIT)
    assert dock.layers.history(edited).labels == ("re-sampled, seed 0",) * 2


def test_a_stroke_cancels_the_run_before_it(qtbot, automatic, monkeypatch):
    dock = automatic
    mask = dock.new_mask()
    gate = Gate(dock.session.model.flow, monkeypatch)
    mask.paint((12, 16), 1)
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=WAIT)
    job = dock._tenure.job
    mask.paint((60, 70), 1)
    qtbot.waitUntil(lambda: job.is_cancelled, timeout=WAIT)
    gate.open()
    qtbot.waitUntil(
        lambda: is_edit_layer(dock.session.target) and not dock.is_running,
        timeout=WAIT,
    )
    edited = dock.session.target
    assert len(dock.layers.history(edited)) == 1
    fine = dock.viewer.layers["fine"].data
    assert (edited.data != fine)[8:16].any()
    assert (edited.data != fine)[56:64].any()


def test_a_moved_slider_is_no_stroke(qtbot, automatic):
    dock = automatic
    mask = painted(dock)
    qtbot.waitUntil(
        lambda: is_edit_layer(dock.session.target) and not dock.is_running,
        timeout=WAIT,
    )
    mask.refresh()
    qtbot.wait(300)
    assert not dock.is_running
    assert len(dock.layers.history(dock.session.target)) == 1


def test_the_brush_is_kept(qtbot, dock):
    mask = dock.new_mask()
    assert mask.mode == "paint"
    assert mask.brush_size == dock.session.brush_size
    mask.brush_size = 31
    assert dock.session.brush_size == 31
    assert dock.new_mask().brush_size == 31


# --- temperature ----------------------------------------------------------------


@pytest.fixture
def page(dock):
    dock.session.page = "Temperature"
    return dock.form.page


def test_each_painted_label_has_its_temperature(
    qtbot, dock, viewer, page, cells, model
):
    labels = np.zeros((40, 48), np.uint8)  # on the LR grid
    labels[:, :16], labels[:, 32:] = 1, 2
    regions = viewer.add_labels(
        labels, name="regions", scale=(0.5, 0.5), translate=(3, 4)
    )
    page.labels.choose(regions)
    page.set_temperature(1, 0.0)
    page.set_temperature(2, 0.5)
    page.default.setValue(1.0)
    edited = run(qtbot, dock)
    taus = np.repeat([0.0, 1.0, 0.5], 32)[None].repeat(80, 0)
    post = flowsr.posterior(cells, model, device="cpu", temperature=taus)
    np.testing.assert_array_equal(edited.data, post.sample(1)[0])
    entry = edited.metadata[NAMESPACE]["edits"][0]
    assert entry["temperatures"] == {"1": 0.0, "2": 0.5}
    page.table.item(0, 1).setText("warm")
    assert "'warm'" in dock.bar.run.toolTip()


def test_a_map_inside_the_mask_only(qtbot, dock, viewer, page, cells, model, hr):
    taus = np.full((80, 96), 0.25, np.float32)
    layer = viewer.add_image(
        taus, name="taus", scale=(0.25, 0.25), translate=(2.875, 3.875)
    )
    page.way.setCurrentIndex(1)
    page.map_layer.choose(layer)
    page.where.setCurrentIndex(1)
    assert "There is no mask" in dock.bar.run.toolTip()
    mask = painted(dock)
    edited = run(qtbot, dock)
    post = flowsr.posterior(cells, model, device="cpu")
    expected = post.resample(hr, mask.data > 0, 0, 0.25)
    np.testing.assert_array_equal(edited.data, expected)


def test_by_uncertainty(qtbot, dock, page, cells, model):
    page.way.setCurrentIndex(2)
    page.samples.setValue(3)
    edited = run(qtbot, dock)
    assert "by uncertainty" in dock.bar.status.text()
    std = flowsr.posterior(cells, model, device="cpu").std(3)
    from napari_flowsr.inference.temperature_maps import temperature_by_uncertainty

    taus = temperature_by_uncertainty(std, low=0.9, high=0.4)
    post = flowsr.posterior(cells, model, device="cpu", temperature=taus)
    np.testing.assert_array_equal(edited.data, post.sample(1)[0])
    assert edited.metadata[NAMESPACE]["edits"][0]["n"] == 3


# --- the end ----------------------------------------------------------------------


def test_a_closed_dock_lets_go(qtbot, dock, viewer):
    mask = painted(dock)
    dock.session.automatic = True
    dock.leave()
    mask.paint((40, 40), 1)
    qtbot.wait(300)
    assert not dock.is_running
    assert not mask.mouse_drag_callbacks or all(
        "StrokeWatch" not in repr(f) for f in mask.mouse_drag_callbacks
    )
    with pytest.raises(OptionError, match="closed"):
        dock.run()
    with pytest.raises(OptionError, match="closed"):
        dock.new_mask()


def test_of_a_strip_the_step_that_is_shown_is_edited(qtbot, dock, viewer, hr):
    """With an LR image and without one."""
    steps = np.stack([hr, hr[::-1], hr[:, ::-1]])
    place = {"scale": (1, 0.25, 0.25), "translate": (0, 2.875, 3.875)}
    record = {"kind": "interpolation", "stack": "t", "values": [0, 0.5, 1], "n": 2}
    for image in (dock.session.image, None):
        strip = viewer.add_image(
            steps, axis_labels=("t", "y", "x"), **place,
            metadata={NAMESPACE: dict(record)},
        )  # fmt: skip
        dock.session.target, dock.session.image = strip, image
        viewer.dims.set_point(0, 1)
        mask = painted(dock)
        assert mask.ndim == 2
        edited = run(qtbot, dock)
        np.testing.assert_array_equal(edited.data[60:], steps[1][60:])
        assert (edited.data != steps[1])[mask.data > 0].mean() > 0.5
        facts = edited.metadata[NAMESPACE]
        assert "stack" not in facts
        assert (facts.get("t"), "sample" in facts) == (
            (0.5, False) if image else (None, False)
        )


def test_shapes_are_drawn_again_once_they_are_done(qtbot, dock, viewer):
    place = {"scale": (0.25, 0.25), "translate": (2.875, 3.875)}
    shapes = dock.session.mask = viewer.add_shapes(ndim=2, **place)
    dock.session.automatic = True
    box = np.array([[10, 12], [10, 20], [16, 20], [16, 12]])
    shapes.add_rectangles(box)
    qtbot.waitUntil(
        lambda: is_edit_layer(dock.session.target) and not dock.is_running, timeout=WAIT
    )
    edited = dock.session.target
    history, first = dock.layers.history(edited), edited.data.copy()
    shapes.edge_color = "red"  # no other region
    shapes.refresh()
    qtbot.wait(300)
    assert len(history) == 1
    shapes.data = [box + 30]
    qtbot.waitUntil(lambda: len(history) == 2 and not dock.is_running, timeout=WAIT)
    assert (edited.data[40:46, 42:50] != first[40:46, 42:50]).mean() > 0.5
    shapes.selected_data = {0}
    shapes.remove_selected()
    qtbot.wait(300)
    assert len(history) == 2


# --- undo amid a run, and after the dock was closed -------------------------------


def test_undo_amid_a_run_cancels_it(qtbot, dock, hr, monkeypatch):
    painted(dock)
    edited = run(qtbot, dock)
    gate = Gate(dock.session.model.flow, monkeypatch)
    dock.session.seed = 7
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=WAIT)
    job = dock._tenure.job
    dock.form.history.undo.click()
    assert job.is_cancelled
    np.testing.assert_array_equal(edited.data, hr)
    gate.open()
    finish(qtbot, dock)
    said = dock.bar.status.text()
    assert said == "Undone: re-sampled, seed 0. The run was cancelled."
    np.testing.assert_array_equal(edited.data, hr)
    assert edited.metadata[NAMESPACE]["edits"] == []
    assert dock.layers.history(edited).undone_labels == ("re-sampled, seed 0",)


def test_a_result_of_other_pixels_is_dropped(qtbot, dock, viewer, hr, monkeypatch):
    painted(dock)
    edited = run(qtbot, dock)
    other = EditDock(viewer)
    qtbot.addWidget(other)
    other.session.target = edited
    gate = Gate(dock.session.model.flow, monkeypatch)
    dock.session.seed = 7
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=WAIT)
    other.undo()  # by another dock, which does not have the run
    gate.open()
    finish(qtbot, dock)
    assert "was changed while the edit was computed" in dock.bar.status.text()
    np.testing.assert_array_equal(edited.data, hr)
    assert edited.metadata[NAMESPACE]["edits"] == []
    other.leave()


def test_a_dock_that_is_opened_anew_undoes(qtbot, dock, viewer, hr):
    painted(dock)
    edited = run(qtbot, dock)
    dock.leave()
    later = EditDock(viewer)
    qtbot.addWidget(later)
    later.session.target = edited
    later.form.history.undo.click()
    np.testing.assert_array_equal(edited.data, hr)
    assert later.layers.source_of(edited) is viewer.layers["fine"]
    later.leave()


def test_a_reduction_outlives_the_dock(qtbot, dock, viewer):
    dock.session.image = None
    painted(dock)
    edited = run(qtbot, dock)
    small = dock._kept.reduced_of(edited)
    dock.leave()
    later = EditDock(viewer)
    qtbot.addWidget(later)
    # Not that of what the edits made of it.
    assert later._kept.reduced_of(edited) is small
    later.leave()


# --- the LR image of an edited layer ----------------------------------------------


def test_a_removed_lr_image_is_no_silent_downscale(
    qtbot, dock, viewer, cells, tmp_path
):
    painted(dock)
    edited = run(qtbot, dock)
    kept = edited.data.copy()
    viewer.layers.remove("cells")
    assert dock.session.image is None
    assert "with the LR image 'cells', which was removed" in dock.bar.run.toolTip()
    with pytest.raises(OptionError, match="layer's own downscale"):
        dock.run()
    with pytest.raises(OptionError, match="layer's own downscale"):
        dock.files.save(tmp_path / "a")
    np.testing.assert_array_equal(edited.data, kept)
    place = {"scale": (0.5, 0.5), "translate": (3, 4)}
    dock.session.image = viewer.add_image(cells, name="cells", **place)
    assert not dock.session.problems()
    assert not dock.session.warnings()
    dock.session.seed = 4
    run(qtbot, dock)
    # The same pixels: nothing that differs is noted.
    assert "source_sha256" not in edited.metadata[NAMESPACE]["edits"][1]


def test_another_lr_image_is_warned_of_and_noted(qtbot, dock, viewer, cells):
    painted(dock)
    edited = run(qtbot, dock)
    flowsr.provenance_script(edited.metadata)
    place = {"scale": (0.5, 0.5), "translate": (3, 4)}
    dock.session.image = viewer.add_image(cells // 2, name="dark", **place)
    assert "the LR image 'cells' so far; with 'dark'" in dock.bar.run.toolTip()
    dock.session.seed = 4
    run(qtbot, dock)
    first, second = edited.metadata[NAMESPACE]["edits"]
    assert "source_sha256" not in first
    assert second["source_name"] == "dark"
    with pytest.raises(OptionError, match=r"edit 2: .* another low-resolution image"):
        flowsr.provenance_script(edited.metadata)
    dock.undo()
    flowsr.provenance_script(edited.metadata)


def test_another_model_is_warned_of_and_noted(qtbot, dock, model):
    painted(dock)
    edited = run(qtbot, dock)
    card = dataclasses.replace(model.card, sha256="1" * 64, name="other")
    dock.session.model = Model(card, model.flow)
    assert dock.session.target is edited
    warning = dock.session.warnings()
    if edited.metadata[NAMESPACE]["model_sha256"]:
        assert "the model 'tiny' so far; with 'other'" in warning["model"]
    dock.session.seed = 4
    run(qtbot, dock)
    assert edited.metadata[NAMESPACE]["edits"][1]["model"] == "other"
    with pytest.raises(OptionError, match=r"edit 2: .* another model"):
        flowsr.provenance_script(edited.metadata)


def test_another_precision_is_warned_of_and_noted(qtbot, dock):
    painted(dock)
    edited = run(qtbot, dock)
    assert not dock.session.warnings()
    dock.session.precision = "bfloat16"
    assert "the precision float32 so far; with bfloat16" in dock.bar.run.toolTip()
    dock.session.seed = 4
    run(qtbot, dock)
    assert edited.metadata[NAMESPACE]["edits"][1]["precision"] == "bfloat16"
    with pytest.raises(OptionError, match=r"edit 2: .* another precision"):
        flowsr.provenance_script(edited.metadata)
    dock.undo()
    dock.session.precision = "float32"
    assert not dock.session.warnings()
    flowsr.provenance_script(edited.metadata)


def test_the_precision_of_the_first_edit_is_the_one_to_keep(qtbot, dock):
    dock.session.precision = "bfloat16"
    painted(dock)
    run(qtbot, dock)
    assert not dock.session.warnings()
    dock.session.precision = "float32"
    assert "precision bfloat16 so far; with float32" in dock.bar.run.toolTip()


# --- the mask and what the dock did ------------------------------------------------


def test_the_masks_undo_after_the_docks_makes_no_edit(qtbot, automatic, hr):
    dock = automatic
    dock.session.brush_size = 6
    mask = dock.new_mask()
    stroke(qtbot, dock, mask, (12, 16))
    edited = dock.session.target
    first = edited.data.copy()
    stroke(qtbot, dock, mask, (60, 70))
    second, runs, history = edited.data.copy(), [], dock.layers.history(edited)
    dock.run = lambda: runs.append(1)
    dock.undo()
    np.testing.assert_array_equal(edited.data, first)
    dock.undo()
    for _ in range(2):
        mask.undo()
        qtbot.wait(300)
        np.testing.assert_array_equal(edited.data, hr)
    assert not mask.data.any()
    for state in (first, second):
        mask.redo()
        qtbot.waitUntil(lambda s=state: (edited.data == s).all(), timeout=WAIT)
    mask.undo()
    qtbot.waitUntil(lambda: (edited.data == first).all(), timeout=WAIT)
    dock.redo()
    mask.redo()
    qtbot.wait(300)
    np.testing.assert_array_equal(edited.data, second)
    assert not runs
    assert len(history) == 2


def test_a_mask_that_is_left_is_let_go(qtbot, dock):
    old = dock.new_mask()
    new = dock.new_mask()
    assert not old.keymap
    assert len(new.keymap) == 1
    new.brush_size = 9
    old.brush_size = 33
    assert dock.session.brush_size == 9
    dock.session.mask = None
    assert not new.keymap
    dock.session.mask = old
    old.brush_size = 21
    assert dock.session.brush_size == 21


def test_a_target_chosen_meanwhile_stays(qtbot, dock, viewer, hr, monkeypatch):
    painted(dock)
    other = viewer.add_image(
        hr, name="other", scale=(0.25, 0.25), translate=(2.875, 3.875)
    )
    gate = Gate(dock.session.model.flow, monkeypatch)
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=WAIT)
    dock.session.target = other
    gate.open()
    finish(qtbot, dock)
    assert dock.session.target is other
    (edited,) = (x for x in viewer.layers if is_edit_layer(x))
    assert (edited.data != hr).any()


def test_a_removed_shape_is_a_stroke(qtbot, dock, viewer):
    place = {"scale": (0.25, 0.25), "translate": (2.875, 3.875)}
    box = np.array([[10, 12], [10, 20], [16, 20], [16, 12]])
    shapes = viewer.add_shapes([box, box + 30], ndim=2, **place)
    dock.session.mask, dock.session.automatic = shapes, True
    shapes.selected_data = {1}
    shapes.remove_selected()
    qtbot.waitUntil(
        lambda: is_edit_layer(dock.session.target) and not dock.is_running, timeout=WAIT
    )
