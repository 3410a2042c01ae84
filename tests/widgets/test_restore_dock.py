"""The Restore dock, driven as from a script and by clicks."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._restore import said
from napari_flowsr.widgets._restore_session import RestoreSession, can_restore
from napari_flowsr.widgets.restore_dock import RestoreDock

WAIT = 60_000  # ms; the machine may be busy


@pytest.fixture
def noisy() -> np.ndarray:
    """37 × 30 pixels, 12 bits, with noise of about 4 % of the range."""
    y, x = np.mgrid[:37, :30]
    clean = 2000 + 1500 * np.sin(y / 6) * np.cos(x / 8)
    noise = np.random.default_rng(0).normal(0, 120, clean.shape)
    return (clean + noise).astype(np.uint16)


@pytest.fixture
def viewer(noisy):
    viewer = ViewerModel()
    viewer.add_image(noisy, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, make_tiny):
    widget = RestoreDock(viewer)
    widget.session.model = make_tiny()
    widget.session.device = "cpu"
    qtbot.addWidget(widget)
    yield widget
    widget.leave()
    finish(qtbot, widget)


def finish(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.is_running, timeout=WAIT)


def run(qtbot, widget):
    widget.run()
    finish(qtbot, widget)
    return widget.outputs()


def record(layer):
    return layer.metadata[NAMESPACE]


# --- a run --------------------------------------------------------------------


def test_a_run_gives_the_restored_image_and_what_was_removed(
    qtbot, dock, viewer, noisy
):
    restored, removed = run(qtbot, dock)
    cells = viewer.layers["cells"]
    expected = flowsr.restore(noisy, dock.session.model, device="cpu")
    np.testing.assert_array_equal(restored.data, expected)
    assert not np.array_equal(expected, noisy)
    np.testing.assert_allclose(removed.data, noisy.astype(float) - expected)
    assert restored.name == "cells · restored · tiny"
    assert removed.name == "cells · removed · tiny"
    for layer in (restored, removed):
        np.testing.assert_allclose(layer.scale, cells.scale)
        np.testing.assert_allclose(layer.translate, cells.translate)
        assert record(layer)["tool"] == "restore"
        assert record(layer)["source_name"] == "cells"
    assert restored.contrast_limits == cells.contrast_limits
    low, high = removed.contrast_limits
    assert low == -high < 0
    assert removed.colormap.name == "coolwarm"
    assert restored.visible
    assert not removed.visible
    text = dock.bar.status.text()
    assert "% of the range was found" in text
    assert "2 layers in" in text


def test_the_controls_do_what_the_function_does(qtbot, dock, noisy):
    model = dock.session.model
    dock.form.statistics.models_own.setChecked(False)
    assert dock.session.temperature == 0.5
    dock.form.statistics.temperature.setValue(0.7)
    dock.form.strength.setValue(0.6)
    dock.form.statistics.seed.setValue(5)
    dock.form.advanced.precision.setCurrentIndex(1)
    choice = dock.form.normalisation
    choice.setCurrentIndex(choice.findText("global: all alike"))
    [restored, _] = run(qtbot, dock)
    expected = flowsr.restore(
        noisy, model, normalisation="global", strength=0.6, temperature=0.7, seed=5,
        device="cpu", precision="bfloat16",
    )  # fmt: skip
    np.testing.assert_array_equal(restored.data, expected)
    assert record(restored)["temperature"] == 0.7
    assert record(restored)["precision"] == "bfloat16"
    assert "Pixels changed by" in dock.bar.status.text()
    dock.form.advanced.restore.click()
    assert dock.session.temperature is None
    assert dock.session.strength == 1
    assert dock.session.normalisation == ("spatial", "local")
    assert choice.currentText() == "spatial and local"
    assert not dock.form.statistics.temperature.isEnabled()


def test_a_script_moves_the_controls(dock):
    dock.session.strength = 0.25
    dock.session.normalisation = ("local",)
    dock.session.temperature = 1.1
    assert dock.form.strength.value() == pytest.approx(0.25)
    assert dock.form.normalisation.currentText() == "local: by position"
    assert dock.form.statistics.temperature.value() == pytest.approx(1.1)
    assert dock.form.statistics.temperature.isEnabled()
    assert not dock.form.statistics.models_own.isChecked()
    dock.session.normalisation = ("local", "global")
    assert dock.form.normalisation.currentText() == "local, global"


def test_a_rerun_replaces_its_own_layers_alone(qtbot, dock, viewer):
    first = run(qtbot, dock)
    dock.form.input.follow.setChecked(False)
    own = viewer.add_image(first[0].data, name=first[0].name)
    dock.form.output.kinds["removed"].setChecked(False)
    [second] = run(qtbot, dock)
    assert own in viewer.layers
    assert not set(first) & set(viewer.layers)
    assert record(second)["kind"] == "restored"


def test_an_image_without_noise_is_said_to_be_as_it_was(qtbot, dock, viewer):
    y, x = np.mgrid[:40, :40]
    smooth = viewer.add_image((y + x).astype(np.uint8), name="smooth")
    dock.session.image = smooth
    restored, removed = run(qtbot, dock)
    np.testing.assert_array_equal(restored.data, smooth.data)
    assert not removed.data.any()
    assert "No noise was found" in dock.bar.status.text()


def test_a_region_of_a_colour_image_can_be_made_again(
    qtbot, viewer, make_tiny, tmp_path
):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 34, 3)).astype(np.uint8)
    photo = viewer.add_image(pixels, rgb=True, name="photo", scale=(0.1, 0.1))
    made = make_tiny(channels=3)
    path = tmp_path / "mine.safetensors"
    save_model(path, made.flow, made.card.with_(sha256=""))
    widget = RestoreDock(viewer)
    qtbot.addWidget(widget)
    widget.session.image, widget.session.model = photo, path
    widget.session.device = "cpu"
    widget.session.roi = (4, 8, 17, 18)
    restored, removed = run(qtbot, widget)
    assert restored.rgb
    assert restored.data.shape == (17, 18, 3)
    assert removed.data.shape == (17, 18)
    np.testing.assert_allclose(restored.data_to_world((0, 0)), (0.4, 0.8))
    for layer in (restored, removed):
        names: dict = {"__name__": "script"}
        exec(flowsr.provenance_script(layer.metadata), names)
        found = names["remake"](pixels, path, device="cpu")
        np.testing.assert_array_equal(found, layer.data)
    widget.leave()


def test_cancelling_leaves_the_viewer_alone(qtbot, dock, viewer):
    before = list(viewer.layers)
    dock.run()
    dock.cancel()
    finish(qtbot, dock)
    assert list(viewer.layers) == before or len(dock.outputs()) == 2


# --- what is refused ----------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("strength", 1.5, "from 0 .as it is. to 1"),
        ("strength", None, "strength is None"),
        ("temperature", -1, "Temperature is -1"),
        ("normalisation", ("odd",), "give one or more of"),
        ("outputs", (), "choose one or more of restored, removed"),
        ("model", "rrdb-none", "rrdb-none"),
    ],
    ids=str,
)
def test_bad_fields_are_named(dock, field, value, reason):
    setattr(dock.session, field, value)
    assert list(dock.session.problems()) == [field]
    assert not dock.bar.run.isEnabled()
    with pytest.raises((OptionError, flowsr.errors.FlowSRError), match=reason):
        dock.run()


def test_models_without_a_flow_are_neither_offered_nor_taken(dock, make_tiny):
    card = make_tiny().card
    assert can_restore(card)
    for family in ("rrdb", "hcflow-rescale", "nonsense"):
        assert not can_restore(card.with_(family=family))
    offered = [
        dock.form.input.model.box.itemText(i)
        for i in range(dock.form.input.model.box.count())
    ]
    assert {"micro-2x", "micro-4x"} <= set(offered)
    assert RestoreSession().model == "micro-4x"


def test_what_was_found_is_said():
    facts = {"changed": 0.0312, "noise": [0.05, 0.0501]}
    assert said(facts, 1.0) == (
        "Noise of 5 % of the range was found. Pixels changed by 3.1 % of the range "
        "(RMS)."
    )
    assert "5 to 8 %" in said(facts | {"noise": [0.05, 0.08, 0.0]}, 1.0)
    assert "as it was" in said(facts, 0.0)
    assert said(facts | {"noise": []}, 1.0).startswith("Pixels changed")


def test_in_the_menus_of_napari(qtbot, make_napari_viewer, noisy, make_tiny):
    viewer = make_napari_viewer()
    viewer.add_image(noisy, name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Restore")
    widget.session.model = make_tiny()
    widget.session.device = "cpu"
    assert len(run(qtbot, widget)) == 2
    widget.leave()
