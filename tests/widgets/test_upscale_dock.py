"""The Upscale dock, driven as from a script, by clicks, and by napari itself."""

from __future__ import annotations

import gc
import random
import weakref

import dask.array as da
import numpy as np
import pytest
import torch
from docks import WAIT, Gate, edges, finish, prepare, run
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QLabel, QWidget

from napari_flowsr.errors import OptionError
from napari_flowsr.inference import run as inference_run
from napari_flowsr.inference.events import Progress
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model
from napari_flowsr.widgets import _run
from napari_flowsr.widgets._layers import PREVIEW
from napari_flowsr.widgets._preferences import Preferences
from napari_flowsr.widgets._viewer import camera_of, grid_of, layer_events
from napari_flowsr.widgets.parts.fields import find_data
from napari_flowsr.widgets.upscale_dock import UpscaleDock


@pytest.fixture
def gate(model, monkeypatch):
    """The first decode (the preview) is free, the others wait."""
    gate = Gate(model.flow, monkeypatch, free=1)
    yield gate
    gate.open()


@pytest.fixture
def viewer(image):
    viewer = ViewerModel()
    viewer.add_image(image, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, model):
    widget = prepare(UpscaleDock(viewer), model)
    qtbot.addWidget(widget)
    yield widget
    widget.cancel()
    finish(qtbot, widget)


def kinds(layers):
    return [layer.metadata[NAMESPACE]["kind"] for layer in layers]


def previews(viewer):
    return [layer for layer in viewer.layers if PREVIEW in layer.metadata]


# --- running ------------------------------------------------------------------


def test_a_run_gives_layers_at_the_right_place(qtbot, dock, viewer):
    worker = dock.run()
    assert dock.is_running
    assert not dock.bar.run.isEnabled()
    assert dock.bar.cancel.isEnabled()
    with qtbot.waitSignal(worker.finished, timeout=WAIT):
        pass
    finish(qtbot, dock)
    made = dock.outputs()
    assert kinds(made) == ["sample", "mean", "std"]
    assert made[0].data.shape == (2, 34, 40)
    assert made[0].data.dtype == np.uint8
    for layer in made:
        for a, b in zip(edges(viewer.layers["cells"]), edges(layer), strict=True):
            np.testing.assert_allclose(a, b)
        assert layer.metadata[NAMESPACE]["detail_inferred"] is True
    assert "3 layers in" in dock.bar.status.text()
    assert "on the CPU" in dock.bar.status.text()
    assert dock.bar.run.isEnabled()
    assert not dock.bar.cancel.isEnabled()
    assert dock.bar.progress.isHidden()


def test_a_click_on_run_runs(qtbot, dock):
    dock.bar.run.click()
    finish(qtbot, dock)
    assert len(dock.outputs()) == 3


def test_outputs_and_stack_are_chosen_by_boxes(qtbot, dock, viewer):
    dock.form.output.kinds["mean"].setChecked(False)
    dock.form.output.kinds["range"].setChecked(True)
    dock.form.output.stack.setChecked(False)
    assert dock.session.outputs == ("samples", "std", "range")
    made = run(qtbot, dock)
    assert kinds(made) == ["sample", "sample", "std", "quantile-range"]
    assert made[0].data.shape == (34, 40)


def test_a_region_of_numbers(qtbot, dock, viewer):
    dock.session.roi = (4, 6, 8, 10)
    assert dock.form.input.region.box.currentData() == (4, 6, 8, 10)
    viewer.add_labels(np.zeros((17, 20), int))  # the list of regions is made anew
    assert dock.session.roi == (4, 6, 8, 10)
    assert dock.form.input.region.box.currentData() == (4, 6, 8, 10)
    made = run(qtbot, dock)
    assert made[0].data.shape == (2, 16, 20)
    low, high = edges(made[1])
    source = viewer.layers["cells"]
    np.testing.assert_allclose(low, source.data_to_world((3.5, 5.5)))
    np.testing.assert_allclose(high, source.data_to_world((11.5, 15.5)))


def test_a_region_of_shapes_comes_and_goes_with_its_layer(qtbot, dock, viewer):
    shapes = viewer.add_shapes(
        [[[4, 6], [12, 16]]], scale=(0.5, 0.5), translate=(3, 4), name="here"
    )
    index = find_data(dock.form.input.region.box, shapes)
    assert dock.form.input.region.box.itemText(index) == "shape in here"
    dock.form.input.region.box.setCurrentIndex(index)
    assert dock.session.roi is shapes
    assert run(qtbot, dock)[0].data.shape == (2, 16, 20)
    viewer.layers.remove(shapes)
    assert dock.session.roi == "whole"


def test_regions_can_be_read_in_a_narrow_dock(qtbot, dock, viewer):
    region = dock.form.input.region
    assert region.note.isHidden()
    dock.session.roi = (150, 160, 1300, 1200)
    assert region.box.currentText() == "1300 × 1200 pixels"
    said = "1300 pixels high and 1200 wide, from y = 150, x = 160 of the image"
    assert region.note.text() == said
    assert not region.note.isHidden()
    name = "mitochondria_of_the_second_day"
    dock.session.roi = viewer.add_shapes([[[4, 6], [12, 16]]], name=name)
    assert name in region.note.text().replace("\u200b", "")
    dock.resize(300, 900)
    dock.show()
    for roi in (dock.session.roi, (150, 160, 1300, 1200)):
        dock.session.roi = roi
        text = region.box.fontMetrics().horizontalAdvance(region.box.currentText())
        assert text <= region.box.width() - 30  # of which the arrow takes its part


def test_a_region_outside_is_told_not_run(qtbot, dock, viewer):
    dock.session.roi = (100, 100, 5, 5)
    dock.bar.run.click()
    assert not dock.is_running
    assert "does not overlap" in dock.bar.status.text()
    assert "does not overlap" in notification_manager.records[-1].message


def test_a_rerun_replaces_and_keeps_the_look(qtbot, dock, viewer):
    first = run(qtbot, dock)
    first[0].opacity, first[2].visible = 0.5, True
    dock.session.seed = 8
    second = run(qtbot, dock)
    assert len(viewer.layers) == 4
    assert not set(first) & set(second)
    assert (second[0].opacity, second[1].visible, second[2].visible) == (
        0.5,
        False,
        True,
    )
    assert second[0].metadata[NAMESPACE]["seed"] == 8


def test_a_second_run_waits_and_does_not_mix(qtbot, dock, viewer, gate, image):
    dock.run()
    other = viewer.add_image(image[:8, :8], name="other")
    assert dock.session.image is other
    with pytest.raises(OptionError, match="'Upscale cells' is still running"):
        dock.run()
    gate.open()
    finish(qtbot, dock)
    assert dock.outputs() == []
    dock.session.image = viewer.layers["cells"]
    assert len(dock.outputs()) == 3
    assert dock.outputs()[0].data.shape == (2, 34, 40)


@pytest.mark.parametrize("kind", ["lazy", "multiscale", "colour", "stack"])
def test_images_of_other_kinds(qtbot, dock, viewer, image, kind):
    """Each of them has a trap in napari; see the tests of geometry and layers."""
    add = {
        "lazy": lambda: viewer.add_image(da.from_array(image, chunks=8)),
        "multiscale": lambda: viewer.add_image(
            [image, image[::2, ::2]], multiscale=True
        ),
        "colour": lambda: viewer.add_image(np.stack([image] * 3, -1), rgb=True),
        "stack": lambda: viewer.add_image(np.stack([image, image[::-1]])),
    }
    layer = add[kind]()
    made = run(qtbot, dock)
    ends = {"colour": (34, 40, 3), "stack": (2, 34, 40)}
    assert made[0].data.shape == (2, *ends.get(kind, (34, 40)))
    assert made[0].rgb is (kind == "colour")
    assert not made[2].rgb
    assert made[0].multiscale is False
    np.testing.assert_allclose(made[1].scale[-2:], np.asarray(layer.scale)[-2:] / 2)


# --- the end of a run ---------------------------------------------------------


def test_the_last_message_is_the_result(qtbot, dock, monkeypatch):
    """Moving the bar lets Qt work, in which the result and the end come in."""

    class Bar(_run._Bar):
        def update(self, n=1):
            super().update(n)
            qtbot.wait(300)

    monkeypatch.setattr(_run, "_Bar", Bar)
    genuine = inference_run.Run.events

    def late(self):
        events = list(genuine(self))
        yield Progress(1, 1, "consistency with the input")
        yield from (e for e in events if not isinstance(e, Progress))

    monkeypatch.setattr(inference_run.Run, "events", late)
    run(qtbot, dock)
    assert dock.bar.status.text().startswith("3 layers in")
    assert previews(dock.viewer) == []


@pytest.mark.parametrize(
    ("psnr", "doubtful"),
    [((55.0, 39.2), True), ((55.0, 40.0), False), ((None, None), False)],
)
def test_a_bad_agreement_with_the_input_is_a_warning(
    qtbot, dock, monkeypatch, psnr, doubtful
):
    genuine = inference_run.Run._report

    def report(self, *args):
        return {**genuine(self, *args), "lr_psnr": list(psnr)}

    monkeypatch.setattr(inference_run.Run, "_report", report)
    before = len(notification_manager.records)
    made = run(qtbot, dock)
    said = [str(n.message) for n in notification_manager.records[before:]]
    status = dock.bar.status
    for layer in made:
        record = layer.metadata[NAMESPACE]
        assert record["report"]["lr_psnr"] == list(psnr)
        assert ("warnings" in record) is doubtful
    if doubtful:
        words = "differ from it by 1.1 % of its range (39.2 dB"
        assert words in status.text()
        assert words in said[-1]
        assert words in made[2].metadata[NAMESPACE]["warnings"][0]
        assert "background" in status.styleSheet()
    else:
        assert said == []
        assert "agree with the input" in status.text()
        assert status.styleSheet() == ""


def test_the_measured_agreement_is_judged(qtbot, dock, viewer):
    """Samples of an untrained network have little to do with their input."""
    run(qtbot, dock)
    assert "do not agree well with the input" in dock.bar.status.text()
    dock.session.consistent = True
    run(qtbot, dock)
    assert "Samples agree with the input" in dock.bar.status.text()
    assert dock.bar.status.styleSheet() == ""
    dock.session.outputs = ("mean",)
    dock.session.consistent = False
    run(qtbot, dock)
    assert "is measured when samples are an output" in dock.bar.status.text()


# --- preview and cancel -------------------------------------------------------


def test_the_preview_comes_before_the_end_and_goes(qtbot, dock, viewer, gate):
    dock.run()
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    assert dock.is_running
    (preview,) = previews(viewer)
    assert "first of several" in preview.name
    assert NAMESPACE not in preview.metadata
    first = preview.data[0].copy()
    gate.open()
    finish(qtbot, dock)
    assert previews(viewer) == []
    np.testing.assert_array_equal(dock.outputs()[0].data[0], first)


@pytest.mark.parametrize("selected", ["labels", "two", "other image", "none"])
def test_preview_and_outputs_leave_selection_and_choice_alone(
    qtbot, dock, viewer, gate, image, selected
):
    cells = viewer.layers["cells"]
    labels = viewer.add_labels(np.zeros((17, 20), int))
    other = viewer.add_image(image, name="other")
    chosen = {
        "labels": {labels},
        "two": {cells, labels},
        "other image": {other},
        "none": set(),
    }[selected]
    viewer.layers.selection = chosen
    dock.form.input.image.choose(cells)  # although another one may be active
    dock.run()
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    assert dock.session.image is cells
    if chosen:
        assert set(viewer.layers.selection) == chosen
    gate.open()
    finish(qtbot, dock)
    assert dock.session.image is cells
    assert len(dock.outputs()) == 3
    if chosen:
        assert set(viewer.layers.selection) == chosen


def test_cancel_keeps_what_was_there(qtbot, dock, viewer, gate):
    gate.open()
    before = run(qtbot, dock)
    gate.calls = 0
    gate._open.clear()
    dock.session.seed = 9
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    dock.bar.cancel.click()
    assert dock.bar.status.text() == "cancelling …"
    gate.open()
    finish(qtbot, dock)
    assert gate.calls == 2  # the one at work was the last
    assert dock.outputs() == before
    assert previews(viewer) == []
    assert dock.bar.status.text() == "Cancelled. Nothing was changed."
    assert dock.bar.run.isEnabled()
    assert len(run(qtbot, dock)) == 3


def test_cancel_between_tiles(qtbot, dock, viewer, model, monkeypatch, image):
    gate = Gate(model.flow, monkeypatch, free=3)
    dock.session.tile = 4
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 4, timeout=WAIT)
    dock.cancel()
    gate.open()
    finish(qtbot, dock)
    assert gate.calls == 4
    assert dock.outputs() == []


# --- errors -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("a kernel failed"), "RuntimeError: a kernel failed"),
        (OptionError("Choose another."), "Choose another."),
    ],
    ids=["foreign", "own"],
)
def test_an_error_is_shown_and_the_dock_goes_on(
    qtbot, dock, viewer, model, monkeypatch, error, text
):
    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(model.flow, "decode", fail)
        dock.run()
        finish(qtbot, dock)
    assert dock.bar.status.text() == text
    assert notification_manager.records[-1].message == f"Upscale failed. {text}"
    assert dock.outputs() == []
    assert len(run(qtbot, dock)) == 3


def test_memory_that_does_not_suffice_is_explained(qtbot, dock, model, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.flow, "decode", fail)
    dock.run()
    finish(qtbot, dock)
    assert "Memory does not suffice" in dock.bar.status.text()


def test_nan_is_refused_or_filled(qtbot, dock, viewer, image):
    broken = image.astype("float32")
    broken[3, 4] = np.nan
    viewer.add_image(broken, name="broken")
    dock.run()
    finish(qtbot, dock)
    assert "NaN" in dock.bar.status.text()
    dock.session.nan = "fill"
    assert dock.form.advanced.nan.currentData() == "fill"
    assert len(run(qtbot, dock)) == 3
    assert (
        "1 pixel without a value was filled" in notification_manager.records[-1].message
    )


# --- fields -------------------------------------------------------------------


def test_a_bad_field_is_marked_and_run_disabled_with_the_reason(dock):
    tip = dock.form.output.pixel_size.toolTip()
    dock.form.output.pixel_size.setText("small")
    dock.form.output.pixel_size.editingFinished.emit()
    reason = dock.session.problems()["pixel_size_um"]
    assert not dock.bar.run.isEnabled()
    assert dock.bar.run.toolTip() == reason
    assert dock.form.output.pixel_size.toolTip() == reason
    assert "border" in dock.form.output.pixel_size.styleSheet()
    assert dock.bar.status.text() == reason
    with pytest.raises(OptionError, match="pixel size"):
        dock.run()
    dock.form.output.pixel_size.setText("0,25")
    dock.form.output.pixel_size.editingFinished.emit()
    assert dock.session.pixel_size_um == 0.25
    assert dock.bar.run.isEnabled()
    assert dock.form.output.pixel_size.styleSheet() == ""
    assert dock.form.output.pixel_size.toolTip() == tip
    assert dock.bar.status.text() == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", 0),
        ("samples", "many"),
        ("seed", 2**40 + 0.5),
        ("temperature", "hot"),
        ("model", "no-such-model"),
        ("roi", "half"),
        ("device", "abacus"),
        ("tile", -1),
        ("outputs", ()),
        ("scale", 3),
    ],
)
def test_bad_values_of_a_script_are_marked_not_raised(dock, field, value):
    setattr(dock.session, field, value)
    assert getattr(dock.session, field) == value
    assert not dock.bar.run.isEnabled()
    assert dock.bar.run.toolTip() == dock.session.problems()[field]
    dock.restore_defaults()
    assert field == "model" or field not in dock.session.problems()


def test_a_seed_that_the_field_cannot_show_still_counts(dock):
    dock.session.seed = 2**40
    assert dock.session.seed == 2**40
    assert dock.bar.run.isEnabled()


@pytest.mark.parametrize("kind", ["labels", "points"])
def test_a_layer_that_is_no_image_is_marked_not_raised(dock, viewer, kind):
    layer = viewer.add_labels(np.zeros((4, 4), int)) if kind == "labels" else None
    layer = layer or viewer.add_points(np.zeros((1, 2)))
    dock.session.image = layer
    assert not dock.bar.run.isEnabled()
    assert f"is a {kind} layer" in dock.bar.run.toolTip()
    assert not dock.form.output.pixel_size.isEnabled()


def test_no_image_at_all(qtbot, model):
    viewer = ViewerModel()
    widget = prepare(UpscaleDock(viewer), model)
    qtbot.addWidget(widget)
    assert widget.session.image is None
    assert "There is no image" in widget.bar.run.toolTip()
    layer = viewer.add_image(np.zeros((8, 8), "uint8"))
    assert widget.session.image is layer
    assert widget.bar.run.isEnabled()
    viewer.layers.clear()
    assert widget.session.image is None
    assert not widget.bar.run.isEnabled()


def test_scripts_move_the_fields_and_fields_the_session(dock, model):
    session, form = dock.session, dock.form
    session.temperature = 0.7
    assert form.sampling.temperature.value() == pytest.approx(0.7)
    form.sampling.temperature.setValue(0.35)
    assert session.temperature == 0.35
    session.samples, session.seed = 6, 17
    assert (form.sampling.samples.value(), form.sampling.seed.value()) == (6, 17)
    form.sampling.samples.setValue(3)
    form.sampling.seed.setValue(4)
    assert (session.samples, session.seed) == (3, 4)
    session.outputs = ("std",)
    assert [k for k, box in form.output.kinds.items() if box.isChecked()] == ["std"]
    assert not form.output.stack.isEnabled()
    session.noise, session.consistent, session.tile = "shared", True, 64
    assert form.advanced.noise.currentData() == "shared"
    assert form.advanced.consistent.isChecked()
    assert form.advanced.tile.value() == 64
    form.advanced.tile.setValue(0)
    assert session.tile == "auto"
    session.precision = "bfloat16"
    assert form.advanced.precision.currentData() == "bfloat16"
    form.advanced.precision.setCurrentIndex(0)
    assert session.precision == "float32"
    session.device = "auto"
    assert form.advanced.device.currentData() == "auto"
    assert form.advanced.reason.text()
    session.pixel_size_um = 0.13
    assert form.output.pixel_size.text() == "0.13"
    session.scale = 2.0
    assert form.advanced.scale.currentData() == 2.0
    session.temperature = 1.9
    assert form.sampling.temperature.value() == pytest.approx(1.9)


def with_temperature(model, temperature, name="other"):
    return Model(model.card.with_(temperature=temperature, name=name), model.flow)


def test_the_temperature_is_the_models_unless_another_was_chosen(qtbot, dock, model):
    field, own = dock.form.sampling.temperature, dock.form.sampling.models_own
    assert dock.session.temperature is None
    assert field.value() == pytest.approx(1.0)
    assert (own.isChecked(), own.text()) == (True, "the model's (1)")
    dock.session.model = cool = with_temperature(model, 0.6)
    assert field.value() == pytest.approx(0.6)
    assert own.text() == "the model's (0.6)"
    assert dock.session.temperature is None
    made = run(qtbot, dock)
    assert made[0].metadata[NAMESPACE]["temperature"] == 0.6
    field.setValue(0.9)
    assert not own.isChecked()
    dock.session.model = model
    assert (dock.session.temperature, field.value()) == (0.9, pytest.approx(0.9))
    dock.session.model = cool
    own.setChecked(True)
    assert dock.session.temperature is None
    assert field.value() == pytest.approx(0.6)
    own.setChecked(False)
    assert dock.session.temperature == 0.6


def test_the_temperature_of_a_file_is_read_from_its_header(dock, model, tmp_path):
    cool = with_temperature(model, 0.7)
    save_model(tmp_path / "cool.safetensors", cool.flow, cool.card)
    dock.session.model = str(tmp_path / "cool.safetensors")
    assert dock.form.sampling.temperature.value() == pytest.approx(0.7)
    dock.session.model = tmp_path / "cool.safetensors"
    assert dock.form.sampling.models_own.text() == "the model's (0.7)"


def test_a_model_without_a_card_tells_its_temperature_later(dock):
    dock.session.scale = 2.0
    dock.session.model = "published.pth"
    assert dock.form.sampling.models_own.text() == "the model's, told later"
    assert dock.session.scale == 2.0


@pytest.mark.parametrize(
    ("source", "temperature", "shown"),
    [("the model's", None, 0.6), ("the value below", 0.8, 0.8)],
)
def test_the_preferred_temperature(
    qtbot, viewer, model, monkeypatch, source, temperature, shown
):
    wanted = Preferences(temperature_from=source, temperature=0.8)
    monkeypatch.setattr(
        "napari_flowsr.widgets.upscale_dock.read_preferences", lambda: wanted
    )
    widget = prepare(UpscaleDock(viewer), with_temperature(model, 0.6))
    qtbot.addWidget(widget)
    assert widget.session.temperature == temperature
    assert widget.form.sampling.temperature.value() == pytest.approx(shown)


def test_a_loaded_model_is_an_item_of_the_list(dock, make_tiny):
    other = make_tiny(4, name="other")
    dock.session.model = other
    assert dock.form.input.model.box.currentText() == "other"
    assert dock.form.input.model.value is other
    scales = [
        dock.form.advanced.scale.itemData(i)
        for i in range(dock.form.advanced.scale.count())
    ]
    assert scales == [None, 4.0]
    assert "4×" in dock.form.input.model.card.text()
    dock.form.input.model.box.setCurrentText("tiny")
    assert dock.session.model.card.name == "tiny"


def test_the_dice(dock, monkeypatch):
    monkeypatch.setattr(random, "randrange", lambda *limits: 4711)
    dock.form.sampling.dice.click()
    assert (dock.session.seed, dock.form.sampling.seed.value()) == (4711, 4711)


def test_restore_defaults_takes_the_preferences(dock, viewer, monkeypatch):
    wanted = Preferences(
        device="cpu",
        tile=32,
        samples=6,
        temperature_from="the value below",
        temperature=0.8,
    )
    monkeypatch.setattr(
        "napari_flowsr.widgets.upscale_dock.read_preferences", lambda: wanted
    )
    dock.session.seed, dock.session.roi = 5, (0, 0, 4, 4)
    dock.form.restore_clicked.emit()
    assert dock.session.image is viewer.layers["cells"]
    assert (dock.session.samples, dock.form.sampling.samples.value()) == (6, 6)
    assert (dock.session.tile, dock.form.advanced.tile.value()) == (32, 32)
    assert dock.form.sampling.temperature.value() == pytest.approx(0.8)
    assert (dock.session.seed, dock.session.roi) == (0, "whole")
    assert dock.form.input.region.box.currentData() == "whole"


def test_a_pixel_size_only_for_images_in_pixels(qtbot, dock, viewer, image):
    dock.session.pixel_size_um = 0.2
    made = run(qtbot, dock)
    assert [str(unit) for unit in made[1].units] == ["micrometer", "micrometer"]
    np.testing.assert_allclose(made[1].scale, 0.1)
    dock.form.output.pixel_size.setText("0.3")
    dock.form.output.pixel_size.editingFinished.emit()
    viewer.add_image(image, name="measured", units=("um", "um"))
    assert dock.session.pixel_size_um is None
    assert dock.form.output.pixel_size.text() == ""
    assert not dock.form.output.pixel_size.isEnabled()
    assert "has a unit already" in dock.form.output.pixel_size.toolTip()
    assert dock.form.output.pixel_size.placeholderText() == "the layer's own"
    dock.session.pixel_size_um = 0.2
    assert "has the unit micrometer" in dock.bar.run.toolTip()
    # Chosen in the list, not by a script
    dock.form.input.image.choose(viewer.layers["cells"])
    assert dock.form.output.pixel_size.isEnabled()
    dock.form.input.image.choose(viewer.layers["measured"])
    assert dock.form.output.pixel_size.text() == ""


def test_it_says_that_detail_is_inferred_and_is_narrow(dock, viewer):
    viewer.add_image(np.zeros((4, 4)), name="a very long name of an image " * 6)
    viewer.add_shapes(name="a very long name of a layer of shapes " * 6)
    texts = " ".join(label.text() for label in dock.findChildren(QLabel))
    assert "inferred, not measured" in texts
    assert dock.minimumSizeHint().width() <= 320
    inner = dock.form.minimumSizeHint().width()
    assert inner <= 320
    dock.form.advanced.expand(animate=False)
    assert dock.form.minimumSizeHint().width() <= 320


# --- following ----------------------------------------------------------------


def test_it_follows_the_active_image_and_nothing_else(qtbot, dock, viewer, image):
    cells = viewer.layers["cells"]
    assert dock.session.image is cells
    other = viewer.add_image(image, name="other")
    assert dock.session.image is other
    viewer.layers.selection.active = cells
    assert dock.session.image is cells
    labels = viewer.add_labels(np.zeros((17, 20), int))
    labels.paint((5, 5), 1)
    assert dock.session.image is cells
    viewer.layers.selection = {other, labels}
    assert viewer.layers.selection.active is None
    assert dock.session.image is cells
    viewer.layers.selection = set()
    assert dock.session.image is cells
    made = run(qtbot, dock)
    viewer.layers.selection.active = made[1]
    assert dock.session.image is cells
    # A result may be upscaled again if it is chosen in the list.
    dock.form.input.image.choose(made[1])
    assert dock.session.image is made[1]


def test_following_can_be_switched_off(dock, viewer, image):
    dock.form.input.follow.setChecked(False)
    viewer.add_image(image, name="other")
    assert dock.session.image is viewer.layers["cells"]
    dock.form.input.follow.setChecked(True)
    viewer.layers.selection = {viewer.layers["cells"]}
    viewer.layers.selection = {viewer.layers["other"]}
    assert dock.session.image is viewer.layers["other"]


def test_the_list_follows_names_and_order(dock, viewer, image):
    cells = viewer.layers["cells"]
    viewer.add_image(image, name="other")
    viewer.layers.selection.active = cells
    cells.name = "nuclei"
    viewer.layers.reverse()
    box = dock.form.input.image
    names = [box.itemText(i) for i in range(box.count())]
    assert sorted(names) == ["nuclei", "other"]
    assert box.currentText() == "nuclei"
    viewer.layers.remove(cells)
    assert dock.session.image is viewer.layers["other"]


def test_previews_cannot_be_chosen(dock, viewer, image):
    viewer.add_image(image, name="preview", metadata={PREVIEW: True})
    assert dock.session.image is viewer.layers["cells"]
    assert dock.form.input.image.count() == 1


def test_the_image_is_renamed_during_the_run(qtbot, dock, viewer, gate):
    gate.open()
    run(qtbot, dock)
    gate._open.clear()
    gate.calls = 0
    cells = viewer.layers["cells"]
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    cells.name = "nuclei"
    gate.open()
    finish(qtbot, dock)
    assert len(viewer.layers) == 4
    assert len(dock.outputs()) == 3
    assert dock.outputs()[0].metadata[NAMESPACE]["source_name"] == "cells"


def test_the_image_is_removed_during_the_run(qtbot, dock, viewer, gate):
    """What was computed is shown all the same."""
    cells = viewer.layers["cells"]
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    viewer.layers.remove(cells)
    gate.open()
    finish(qtbot, dock)
    assert previews(viewer) == []
    assert [layer.metadata[NAMESPACE]["source_name"] for layer in viewer.layers] == [
        "cells"
    ] * 3


# --- comparing ----------------------------------------------------------------


def test_show_input_hides_the_results_for_a_while(qtbot, dock, viewer):
    made = run(qtbot, dock)
    cells = viewer.layers["cells"]
    cells.visible = False
    made[2].visible = True
    dock.compare.before.click()
    assert [layer.visible for layer in made] == [False, False, False]
    assert cells.visible
    assert dock.compare.before.text() == "Show results"
    dock.compare.before.click()
    assert [layer.visible for layer in made] == [True, False, True]
    assert cells.visible is False
    # A rerun shows its results.
    dock.compare.before.click()
    dock.session.seed = 3
    again = run(qtbot, dock)
    assert [layer.visible for layer in again] == [True, False, True]
    assert not dock.compare.before.isChecked()


def test_side_by_side(dock, viewer):
    dock.compare.beside.click()
    assert grid_of(viewer).enabled
    dock.compare.beside.click()
    assert not grid_of(viewer).enabled


def test_side_by_side_looks_at_the_results(qtbot, dock, viewer):
    dock.session.roi = (4, 6, 8, 10)
    made = run(qtbot, dock)
    camera = camera_of(viewer)
    camera.center, camera.zoom = (3.0, 5.0), 7.0
    dock.compare.beside.click()
    centre = np.mean(edges(made[1]), axis=0)
    np.testing.assert_allclose(camera.center[-2:], centre, atol=0.51)
    zoomed = camera.zoom
    viewer.reset_view()
    assert zoomed > 1.5 * camera.zoom  # the whole is twice as large
    dock.compare.beside.click()
    np.testing.assert_allclose(camera.center[-2:], (3, 5))
    assert camera.zoom == pytest.approx(7)


# --- the end of the dock and of the viewer ------------------------------------


def test_a_dock_that_is_taken_out_stops_and_follows_no_more(qtbot, viewer, model, gate):
    """As napari does it: the widget loses its parent, and is not closed."""
    parent = QWidget()
    qtbot.addWidget(parent)
    before = [len(e.callbacks) for e in _emitters(viewer)]
    widget = prepare(UpscaleDock(viewer), model)
    widget.setParent(parent)
    assert [len(e.callbacks) for e in _emitters(viewer)] != before
    widget.run()
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    widget.setParent(None)
    assert previews(viewer) == []
    gate.open()
    finish(qtbot, widget)
    assert [layer.name for layer in viewer.layers] == ["cells"]
    assert gate.calls == 2
    assert [len(e.callbacks) for e in _emitters(viewer)] == before
    with pytest.raises(OptionError, match="was closed"):
        widget.run()
    widget.deleteLater()


def _emitters(viewer):
    return [*layer_events(viewer), viewer.layers.selection.events.active]


def test_a_dock_that_is_forgotten_during_its_run(qtbot, viewer, model, gate):
    widget = prepare(UpscaleDock(viewer), model)
    worker = widget.run()
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    gone = weakref.ref(widget)
    del widget
    with qtbot.waitSignal(worker.finished, timeout=WAIT):
        gc.collect()
        gate.open()

    def collected():
        gc.collect()
        return gone() is None

    qtbot.waitUntil(collected, timeout=WAIT)
    assert previews(viewer) == []


def test_the_dock_holds_neither_viewer_nor_layers(qtbot, image, model):
    viewer = ViewerModel()
    # Named: to find a name napari looks into this function, and holds what it sees.
    viewer.add_image(image, name="cells")
    widget = prepare(UpscaleDock(viewer), model)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    layer = weakref.ref(viewer.layers[-1])
    gone = weakref.ref(viewer)
    viewer.layers.clear()
    del viewer

    def collected():
        # No assertion: its traceback would hold them.
        gc.collect()
        return gone() is None and layer() is None

    qtbot.waitUntil(collected, timeout=WAIT)
    assert widget.outputs() == []


# --- in napari ----------------------------------------------------------------


@pytest.fixture
def plugged(make_napari_viewer, image, model):
    viewer = make_napari_viewer()
    viewer.add_image(image, name="cells", scale=(0.5, 0.5))
    dock, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Upscale")
    return viewer, dock, prepare(widget, model)


def test_in_napari(qtbot, plugged):
    viewer, _, widget = plugged
    assert isinstance(widget, UpscaleDock)
    for name in (
        *("image", "model", "samples", "temperature", "seed", "scale", "prior"),
        *("roi", "tile", "device", "outputs"),
    ):
        assert hasattr(widget.session, name)
    assert widget.session.image is viewer.layers["cells"]
    worker = widget.run()
    with qtbot.waitSignal(worker.finished, timeout=WAIT):
        pass
    finish(qtbot, widget)
    assert kinds(widget.outputs()) == ["sample", "mean", "std"]
    assert widget.outputs()[0].axis_labels[0] == "sample"
    if hasattr(viewer, "scene"):  # before napari 0.9 sliders take no labels of layers
        assert viewer.dims.axis_labels[0] == "sample"
    widget.session.roi = "view"
    assert run(qtbot, widget)[0].data.shape[0] == 2
    # The viewer's own duplicate stays, and grid and input are one click away.
    widget.compare.before.click()
    widget.compare.beside.click()
    widget.compare.beside.click()
    assert viewer.layers["cells"].visible


def test_the_dock_is_closed_during_the_run(qtbot, plugged, gate):
    viewer, dock, widget = plugged
    worker = widget.run()
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    dock.destroyOnClose()  # the dock's own button
    gate.open()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=WAIT)
    finish(qtbot, widget)
    assert [layer.name for layer in viewer.layers] == ["cells"]
    viewer.add_image(np.zeros((4, 4)))  # nobody is there to follow
    assert widget.session.image is viewer.layers["cells"]


def test_the_viewer_is_closed_during_the_run(qtbot, plugged, gate):
    viewer, _, widget = plugged
    worker = widget.run()
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    job = widget._tenure.job
    viewer.close()
    gate.open()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=WAIT)
    qtbot.waitUntil(lambda: not job.is_running, timeout=WAIT)
    assert gate.calls == 2


def test_any_scale_by_number_and_by_the_pixel_size(qtbot, viewer, any_scale):
    viewer.layers["cells"].units = ("um", "um")
    widget = prepare(UpscaleDock(viewer), any_scale)
    qtbot.addWidget(widget)
    fields = widget.form.advanced.scales
    assert fields.scale.isEditable()
    fields.scale.setEditText("3.3")
    fields.scale.changed.emit()
    assert widget.session.scale == 3.3
    assert fields.target.value() == pytest.approx(0.5 / 3.3, abs=1e-4)
    fields.target.setValue(0.2)
    assert widget.session.scale == pytest.approx(2.5)
    assert fields.scale.value() == pytest.approx(2.5)
    fields.target.setValue(0)
    assert widget.session.scale is None
    widget.session.scale = 40.0
    assert "1 to 32" in widget.session.problems()["scale"]
    widget.session.scale = 3.3
    made = run(qtbot, widget)
    (height, width), (h, w) = made[0].data.shape[-2:], viewer.layers["cells"].data.shape
    assert (height, width) == (round(h * 3.3), round(w * 3.3))
    expected = [0.5 * h / height, 0.5 * w / width]
    np.testing.assert_allclose(made[0].scale[-2:], expected)


def test_a_model_of_fixed_scale_takes_no_other(qtbot, viewer, model):
    widget = prepare(UpscaleDock(viewer), model)
    qtbot.addWidget(widget)
    fields = widget.form.advanced.scales
    assert not fields.scale.isEditable()
    assert not fields.target.isVisibleTo(widget)


def test_a_learned_prior_by_the_dock(qtbot, viewer, with_prior, model):
    widget = prepare(UpscaleDock(viewer), with_prior)
    qtbot.addWidget(widget)
    box = widget.form.advanced.prior
    box.setCurrentIndex(box.findText("learned (one prediction)"))
    assert widget.session.prior == "learned"
    assert "one image and no spread" in widget.session.problems()["outputs"]
    widget.session.outputs = ("samples", "mean")
    assert not widget.session.problems()
    made = run(qtbot, widget)
    record = made[0].metadata["napari-flowsr"]
    assert record["prior"] == "learned"
    assert record["prior_name"] == "tiny-lp"
    assert (made[0].data[0] == made[0].data[1:]).all()
    widget.session.model = model
    # In the words of the dock.
    problem = widget.session.problems()["prior"]
    for name in ("'Learned prior'", "'Prior'", "under More options"):
        assert name in problem
