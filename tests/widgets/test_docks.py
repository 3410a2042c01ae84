"""What a dock shows is what counts; what it leaves behind is as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from docks import WAIT, Gate, finish, prepare, run
from napari.components import ViewerModel
from qtpy.QtWidgets import QCheckBox, QLabel, QWidget

import napari_flowsr
from every_family import CASES
from napari_flowsr.core.device import resolve_device
from napari_flowsr.errors import DeviceError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.collection import import_model, remove_model
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Degradation, Model
from napari_flowsr.widgets import rescale_dock, upscale_dock
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets._preferences import Preferences
from napari_flowsr.widgets._viewer import grid_of
from napari_flowsr.widgets.parts.fields import find_data
from napari_flowsr.widgets.parts.run_bar import counted
from napari_flowsr.widgets.rescale_dock import RescaleDock
from napari_flowsr.widgets.upscale_dock import UpscaleDock

MANIFEST = Path(napari_flowsr.__file__).parent / "napari.yaml"
DEVICES = yaml.safe_load(MANIFEST.read_text())["contributions"]["configurations"][
    "inference"
]["properties"]["device"]["enum"]
HERE = {"auto", "cpu"}  # to be had on every machine


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


@pytest.fixture
def gate(model, monkeypatch):
    """The first decode (the preview) is free, the others wait."""
    gate = Gate(model.flow, monkeypatch, free=1)
    yield gate
    gate.open()


def usable(device):
    try:
        resolve_device(device)
    except DeviceError:
        return False
    return True


# --- devices ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [UpscaleDock, RescaleDock])
@pytest.mark.parametrize("device", DEVICES)
def test_every_preferred_device_is_shown_and_can_be_left(
    qtbot, viewer, model, monkeypatch, device, kind
):
    for module in (upscale_dock, rescale_dock):
        monkeypatch.setattr(
            module, "read_preferences", lambda: Preferences(device=device)
        )
    widget = kind(viewer)
    qtbot.addWidget(widget)
    fields = widget.form.advanced
    assert widget.session.device == device
    assert fields.device.currentData() == device
    # Where there is a problem it can be seen.
    assert fields.isExpanded() is not usable(device)
    assert ("device" in widget.session.problems()) is not usable(device)
    fields.device.setCurrentIndex(find_data(fields.device, "auto"))
    assert widget.session.device == "auto"
    assert "device" not in widget.session.problems()
    widget.session.device = device
    widget.form.restore_clicked.emit()
    assert widget.session.device == (device if usable(device) else "auto")
    assert fields.device.currentData() == widget.session.device
    text = widget.bar.status.text()
    assert ("'" + device + "' is not to be had here" in text) is not usable(device)


def test_devices_of_every_machine_are_preferences(dock):
    assert set(DEVICES) >= HERE
    assert all(find_data(dock.form.advanced.device, name) >= 0 for name in HERE)


def test_what_is_shown_already_can_be_chosen(dock):
    box = dock.form.advanced.device
    dock.session.device = "abacus"
    assert box.currentText() == "abacus"
    # As in a box that lags behind its session: choosing what it shows counts.
    box.blockSignals(True)
    box.setCurrentIndex(find_data(box, "cpu"))
    box.blockSignals(False)
    box.activated.emit(box.currentIndex())
    assert dock.session.device == "cpu"


def test_more_options_stay_folded_where_the_problem_was_seen(dock):
    fields = dock.form.advanced
    dock.session.pixel_size_um = -1
    assert not fields.isExpanded()  # it is elsewhere
    dock.session.noise = "pink"
    assert fields.isExpanded()
    fields.collapse(animate=False)
    dock.session.seed = 3
    assert not fields.isExpanded()


# --- models -------------------------------------------------------------------


def test_a_model_that_comes_and_goes_is_noticed_at_once(
    qtbot, dock, model, tmp_path, monkeypatch
):
    """Imported and removed elsewhere, as in the Models dock."""
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    path = tmp_path / "own.safetensors"
    save_model(path, model.flow, model.card.with_(name="own", sha256=""))
    box = dock.form.input.model.box
    assert box.findData("own") < 0
    import_model(path)
    changes.models.emit()
    assert box.findData("own") >= 0
    dock.session.model = "own"
    assert dock.bar.run.isEnabled()
    remove_model("own")
    changes.models.emit()
    assert not dock.bar.run.isEnabled()
    import_model(path)
    changes.models.emit()
    assert dock.bar.run.isEnabled()


# --- spreads ------------------------------------------------------------------


def test_a_spread_needs_more_than_one_sample(qtbot, dock, viewer):
    field = dock.form.sampling.samples
    field.setValue(1)
    assert not dock.bar.run.isEnabled()
    assert "One sample has no spread" in field.toolTip()
    assert "border" in field.styleSheet()
    dock.form.output.kinds["std"].setChecked(False)
    assert dock.bar.run.isEnabled()
    dock.form.output.kinds["range"].setChecked(True)
    assert "range need at least 2" in dock.bar.status.text()
    field.setValue(2)
    assert dock.bar.run.isEnabled()
    assert dock.bar.status.text() == ""


def test_one_preferred_sample_leaves_the_spread_out(qtbot, viewer, model, monkeypatch):
    monkeypatch.setattr(
        upscale_dock, "read_preferences", lambda: Preferences(samples=1)
    )
    widget = UpscaleDock(viewer)
    qtbot.addWidget(widget)
    assert widget.session.outputs == ("samples",)
    assert widget.session.problems() == {}


def test_the_preferred_precision_is_proposed_used_and_recorded(
    qtbot, viewer, model, image, monkeypatch
):
    monkeypatch.setattr(
        upscale_dock, "read_preferences", lambda: Preferences(precision="bfloat16")
    )
    widget = UpscaleDock(viewer)
    qtbot.addWidget(widget)
    session = widget.session
    assert widget.form.advanced.precision.currentText() == "bfloat16"
    session.model, session.device, session.samples = model, "cpu", 1
    session.outputs, session.precision = ("samples",), "float32"
    widget.form.restore_clicked.emit()
    assert session.precision == "bfloat16"
    session.model, session.device, session.samples = model, "cpu", 1
    session.outputs = ("samples",)
    [layer] = run(qtbot, widget)
    half = napari_flowsr.upscale(image, model, device="cpu", precision="bfloat16")
    np.testing.assert_array_equal(layer.data, half)
    assert layer.metadata[NAMESPACE]["precision"] == "bfloat16"
    session.precision = "half"
    assert "'bfloat16'" in widget.bar.status.text()
    assert not widget.bar.run.isEnabled()
    widget.leave()


def test_the_mode_is_warned_of_before_and_after(qtbot, dock):
    dock.session.temperature = 0.0
    status = dock.bar.status
    assert dock.bar.run.isEnabled()
    assert "At temperature 0 all samples are the same" in status.text()
    assert "background" in status.styleSheet()
    made = run(qtbot, dock)
    assert not made[2].data.any()
    assert "their spread is 0 everywhere" in status.text()
    warned = made[2].metadata[NAMESPACE]["warnings"]
    assert "no sign of certainty" in warned[-1]
    assert "background" in status.styleSheet()
    # The result is not lost by the next thing that is set.
    dock.session.seed = 4
    assert status.text().startswith("3 layers in")
    dock.session.outputs = ("samples",)
    dock.session.temperature = 0.5
    dock.session.temperature = 0.0
    assert dock.session.warnings() == {}


def test_the_temperature_of_the_card_counts(dock, model):
    cold = Model(model.card.with_(temperature=0.0), model.flow)
    dock.session.model, dock.session.temperature = "micro-2x", None
    assert dock.session.warnings() == {}
    dock.session.model = cold
    assert "temperature" in dock.session.warnings()


def test_a_deterministic_model_has_no_spread(qtbot, viewer):
    (case,) = next(c.values for c in CASES if str(c.id).startswith("rrdb"))
    widget = prepare(UpscaleDock(viewer), case.model(name="plain"))
    qtbot.addWidget(widget)
    widget.session.samples = 1
    problems = widget.session.problems()
    assert list(problems) == ["outputs"]
    assert "deterministic model 'plain' there is one image" in problems["outputs"]
    widget.session.outputs = ("samples", "mean")
    assert widget.session.problems() == {}


def test_one_layer_is_told_in_the_singular(qtbot, dock):
    dock.session.outputs = ("mean",)
    run(qtbot, dock)
    assert dock.bar.status.text().startswith("1 layer in")
    assert (counted(1, "block"), counted(2, "block")) == ("1 block", "2 blocks")


# --- what a run refuses ---------------------------------------------------------


def labels(widget):
    fields = widget.form.advanced
    texts = [x.text() for x in fields.findChildren(QLabel)]
    return {*texts, *(x.text() for x in fields.findChildren(QCheckBox))}


def test_remedies_are_named_as_in_the_dock(qtbot, dock, viewer, image, model):
    """A run speaks to scripts, shells and people who click."""
    broken = image.astype("float32")
    broken[3, 4] = np.nan
    viewer.add_image(broken, name="broken")
    run(qtbot, dock)
    assert "'NaN pixels' under More options" in dock.bar.status.text()
    assert "NaN pixels" in labels(dock)
    dock.session.image, dock.session.consistent = viewer.layers["cells"], True
    unknown = Degradation("by-a-lens")
    dock.session.model = Model(model.card.with_(degradation=unknown), model.flow)
    run(qtbot, dock)
    assert "'by-a-lens'" in dock.bar.status.text()
    assert "'agree exactly with input' under More options" in dock.bar.status.text()
    assert "agree exactly with input" in labels(dock)
    assert dock.form.advanced.text() == "More options"


# --- comparing, and leaving ----------------------------------------------------


@pytest.fixture
def held(qtbot, viewer, model):
    """A dock within a window, after a run."""
    window = QWidget()
    qtbot.addWidget(window)
    widget = prepare(UpscaleDock(viewer), model)
    widget.setParent(window)
    run(qtbot, widget)
    yield widget
    window.close()


@pytest.mark.parametrize("pressed", ["before", "beside", "both"])
def test_a_dock_that_goes_leaves_nothing_hidden(qtbot, viewer, held, pressed):
    made = held.outputs()
    seen = [layer.visible for layer in made]
    for name in ("before", "beside"):
        if pressed in (name, "both"):
            getattr(held.compare, name).click()
    assert grid_of(viewer).enabled is (pressed != "before")
    held.setParent(None)  # as napari closes a dock
    assert [layer.visible for layer in made] == seen
    assert not grid_of(viewer).enabled
    held.deleteLater()


def test_a_viewer_that_goes_is_left_alone(qtbot, make_napari_viewer, image, model):
    viewer = make_napari_viewer()
    viewer.add_image(image, name="cells")
    widget = prepare(UpscaleDock(viewer), model)
    viewer.window.add_dock_widget(widget)
    run(qtbot, widget)
    widget.compare.before.click()
    widget.compare.beside.click()
    with qtbot.captureExceptions() as caught:
        viewer.close()
    assert caught == []


# --- the image ----------------------------------------------------------------


def test_the_image_is_removed_during_the_run(qtbot, dock, viewer, gate):
    dock.run()
    qtbot.waitUntil(lambda: gate.calls == 2, timeout=WAIT)
    viewer.layers.remove("cells")
    gate.open()
    finish(qtbot, dock)
    assert len(viewer.layers) == 3
    assert dock.session.image is None
    assert dock.form.input.image.currentText() == ""
    assert dock.form.input.image.placeholderText() == "choose an image"
    assert "Choose or open one" in dock.bar.run.toolTip()


def test_another_image_is_taken_but_no_result(qtbot, dock, viewer, image):
    other = viewer.add_image(image, name="other")
    viewer.layers.selection.active = viewer.layers["cells"]
    run(qtbot, dock)
    viewer.layers.remove("cells")
    assert dock.session.image is other
    viewer.layers.remove(other)
    assert dock.session.image is None


def test_a_result_that_is_chosen_is_noticed(qtbot, dock, viewer):
    made = run(qtbot, dock)
    dock.form.input.image.choose(made[1])
    assert dock.session.image is made[1]
    assert dock.bar.run.isEnabled()
    assert "is itself a result" in dock.bar.status.text()
    assert "inferred already" in dock.bar.run.toolTip()
    dock.form.input.image.choose(viewer.layers["cells"])
    assert dock.bar.status.text() == ""


def test_bringing_a_small_image_back_is_no_matter_of_doubt(qtbot, viewer, image):
    widget = RescaleDock(viewer)
    qtbot.addWidget(widget)
    record = {"tool": "rescale", "kind": "small", "detail_inferred": False}
    small = viewer.add_image(image, name="small", metadata={NAMESPACE: record})
    widget.session.image, widget.session.direction = small, "up"
    assert widget.session.warnings() == {}
    record = {"kind": "mean", "detail_inferred": True}
    result = viewer.add_image(image, name="result", metadata={NAMESPACE: record})
    widget.session.image, widget.session.direction = result, "down"
    assert "image" in widget.session.warnings()


def test_a_visible_field_of_a_cut_is_refused(qtbot, dock, viewer, image):
    stack = viewer.add_image(np.stack([image] * 3), name="stack")
    dock.session.roi = "view"
    viewer.dims.order = (1, 0, 2)
    dock.bar.run.click()
    assert not dock.is_running
    assert "does not show Y and X of 'stack'" in dock.bar.status.text()
    viewer.dims.order = (0, 2, 1)  # turned, but whole
    dock.session.image = stack
    assert run(qtbot, dock)
