"""Faults amid a run of each dock: nothing is lost, nothing stays, and it is said.

Files and commands are in tests/robust/test_faults.py; docs/robustness.md has the table.
"""

from __future__ import annotations

import gc
import threading
import weakref
from itertools import product

import numpy as np
import pytest
import torch
from docks import WAIT, finish, run
from napari.components import ViewerModel
from napari.utils import progress as napari_progress
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QWidget

from napari_flowsr.errors import OptionError
from napari_flowsr.inference import rescale, restore
from napari_flowsr.io import collection
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.compact import Compact
from napari_flowsr.models.hcflow_rescale import HCFlowRescale, HCFlowRescaleConfig
from napari_flowsr.widgets import _layers, _rescale, _upscale
from napari_flowsr.widgets.edit_dock import EditDock
from napari_flowsr.widgets.export_dock import ExportDock
from napari_flowsr.widgets.models_dock import ModelsDock
from napari_flowsr.widgets.rescale_dock import RescaleDock
from napari_flowsr.widgets.restore_dock import RestoreDock
from napari_flowsr.widgets.train_dock import TrainDock
from napari_flowsr.widgets.upscale_dock import UpscaleDock

RUNS = {
    "upscale": UpscaleDock,
    "edit": EditDock,
    "restore": RestoreDock,
    "rescale": RescaleDock,
}
DOCKS = {**RUNS, "train": TrainDock, "models": ModelsDock, "export": ExportDock}


def rescaler() -> Model:
    torch.manual_seed(5)
    flow = HCFlowRescale(
        HCFlowRescaleConfig(
            scale=4, channels=1, width=4, blocks=(1, 1), growth=2, steps=(2,),
            conditional_steps=(1,), hidden=3, conditional_hidden=4,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.005)
    card = ModelCard("tiny-rescale", flow.family, flow.scales, 1, temperature=0.05)
    return Model(card, flow.eval().requires_grad_(False))


@pytest.fixture(params=RUNS)
def tool(request) -> str:
    return request.param


@pytest.fixture
def viewer():
    y, x = np.mgrid[:40, :48]
    noise = np.random.default_rng(0).normal(size=y.shape)
    cells = (120 + 60 * np.sin(y / 3) * np.cos(x / 4) + 3 * noise).astype(np.uint8)
    viewer = ViewerModel()
    viewer.add_image(cells, name="cells")
    fine = np.kron(cells, np.ones((2, 2), np.uint8))
    at = {"scale": (0.5, 0.5), "translate": (-0.25, -0.25)}
    viewer.add_image(fine, name="fine", **at)
    mask = np.zeros(fine.shape, np.uint8)
    mask[20:30, 20:32] = 1
    viewer.add_labels(mask, name="mask", **at)
    return viewer


@pytest.fixture
def path(tool, tmp_path, model):
    """The model as a file: its loading is a part of the run."""
    made = rescaler() if tool == "rescale" else model
    save_model(tmp_path / "own.safetensors", made.flow, made.card.with_(sha256=""))
    return tmp_path / "own.safetensors"


@pytest.fixture
def dock(qtbot, tool, viewer, path):
    widget = ready(RUNS[tool](viewer), viewer, path)
    qtbot.addWidget(widget)
    yield widget
    widget.cancel()
    finish(qtbot, widget)
    widget.leave()


def ready(widget, viewer, model):
    session = widget.session
    session.model, session.device, session.tile = model, "cpu", 8
    if isinstance(widget, EditDock):
        session.target, session.mask = viewer.layers["fine"], viewer.layers["mask"]
    session.image = viewer.layers["cells"]
    if isinstance(widget, UpscaleDock):
        session.samples = 2
    return widget


class Held:
    """Stands in a function: says that it is called, and waits there to be let go."""

    def __init__(self, monkeypatch, owner, name, at=0):
        self._own, self._at, self.calls = getattr(owner, name), at, 0
        self.reached, self._go = threading.Event(), threading.Event()
        held = self

        def call(*args, **kwargs):
            held.calls += 1
            if held.calls == held._at + 1:
                held.reached.set()
                held._go.wait(60)
            return held._own(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    def let_go(self):
        self._go.set()


def network(tool) -> tuple[type, str]:
    """What computes the pixels, as class and name of a method."""
    return HCFlowRescale if tool == "rescale" else Compact, "decode"


def state(viewer):
    """All layers and their pixels."""
    return [(x, np.array(x.data)) for x in viewer.layers]


def assert_as(viewer, before, but=()):
    assert [x for x in viewer.layers if x.name not in but] == [
        x for x, _ in before if x.name not in but
    ]
    for layer, data in before:
        if layer.name not in but:
            np.testing.assert_array_equal(layer.data, data)


def assert_at_rest(qtbot, widget):
    """The dock can be used, and no thread or bar of a run is left."""
    qtbot.waitUntil(
        lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=WAIT
    )
    assert not napari_progress._all_instances
    assert not widget.is_running
    assert widget.bar.progress.isHidden()
    assert not widget.bar.cancel.isEnabled()
    assert widget.bar.run.isEnabled(), widget.bar.run.toolTip()


def results(qtbot, widget):
    """Pixels of a run that nothing disturbs, by name of the layer."""
    run(qtbot, widget)
    assert widget.outputs()
    return {x.name: np.array(x.data) for x in widget.outputs()}


def begin(qtbot, widget, held):
    widget.run()
    qtbot.waitUntil(held.reached.is_set, timeout=WAIT)


# --- memory, numbers ----------------------------------------------------------


# Ten small pixels are no more than one tile of Rescale: see test_rescale.py.
@pytest.mark.parametrize("tool", ["upscale", "edit", "restore"], indirect=True)
def test_memory_that_lacks_once_is_made_up_for(qtbot, dock, tool, monkeypatch):
    """By smaller tiles, as long as nobody gave a size."""
    dock.session.tile = "auto"
    expected = results(qtbot, dock)
    if tool == "edit":
        dock.undo()
    owner, name = network(tool)
    own, calls = getattr(owner, name), []

    def fail(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(*args, **kwargs)

    monkeypatch.setattr(owner, name, fail)
    found = results(qtbot, dock)
    assert len(calls) > 1
    assert "emory" not in dock.bar.status.text()
    assert list(found) == list(expected)
    for key, data in expected.items():
        np.testing.assert_allclose(found[key], data, atol=1, err_msg=key)
    assert_at_rest(qtbot, dock)


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "emory"),
        (RuntimeError("a kernel failed"), "RuntimeError: a kernel failed"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
    ids=["memory", "runtime", "disk"],
)
def test_what_always_fails_is_said_and_changes_nothing(
    qtbot, dock, viewer, tool, monkeypatch, failing, said
):
    before = state(viewer)
    with monkeypatch.context() as patch:

        def fail(*args, **kwargs):
            raise failing

        patch.setattr(*network(tool), fail)
        dock.run()
        finish(qtbot, dock)
    assert said in dock.bar.status.text()
    assert_as(viewer, before)
    assert_at_rest(qtbot, dock)
    assert results(qtbot, dock)


def test_values_that_are_not_finite_make_no_layer(
    qtbot, dock, viewer, tool, monkeypatch
):
    before = state(viewer)
    owner, name = network(tool)
    own = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *a, **k: own(*a, **k) * torch.nan)
        dock.run()
        finish(qtbot, dock)
    assert "finite" in dock.bar.status.text() or "unstable" in dock.bar.status.text()
    assert_as(viewer, before)
    assert_at_rest(qtbot, dock)


# --- cancelling ---------------------------------------------------------------

STAGES = {
    "loading": lambda tool: (
        rescale if tool == "rescale" else collection,
        "load_model",
    ),
    "encoding": lambda tool: (
        network(tool)[0],
        {"upscale": "condition", "rescale": "downscale"}.get(tool, "encode"),
    ),
    "decoding": network,
    "combining": lambda tool: {
        "upscale": (_upscale, "make_outputs"),
        "restore": (restore, "restored_record"),
        "rescale": (_rescale, "output_geometry"),
    }[tool],
}


# What an edit combines, it does while it decodes.
RUN_STAGES = [x for x in product(RUNS, STAGES) if x != ("edit", "combining")]


@pytest.mark.parametrize(("tool", "stage"), RUN_STAGES, indirect=["tool"])
def test_cancel_at_every_stage(qtbot, dock, viewer, tool, monkeypatch, stage):
    before = state(viewer)
    with monkeypatch.context() as patch:
        held = Held(patch, *STAGES[stage](tool))
        begin(qtbot, dock, held)
        dock.bar.cancel.click()
        held.let_go()
        finish(qtbot, dock)
    assert dock.bar.status.text() == "Cancelled. Nothing was changed."
    assert_as(viewer, before)
    assert_at_rest(qtbot, dock)
    assert results(qtbot, dock)


def test_cancel_while_layers_are_added_comes_too_late(qtbot, dock, viewer, monkeypatch):
    """Whole results or none: a click that comes among them leaves all of them."""
    expected = list(results(qtbot, dock))
    own = _layers.add_outputs

    def add(*args, **kwargs):
        dock.cancel()
        return own(*args, **kwargs)

    for module in ("upscale_dock", "restore_dock", "rescale_dock"):
        monkeypatch.setattr(f"napari_flowsr.widgets.{module}.add_outputs", add)
    assert list(results(qtbot, dock)) == expected
    assert "Cancelled" not in dock.bar.status.text()
    assert_at_rest(qtbot, dock)


# --- files and layers that change meanwhile ------------------------------------


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_model_file_that_goes_amid_a_run(
    qtbot, dock, tool, path, monkeypatch, how, make_tiny
):
    expected = results(qtbot, dock)
    if tool == "edit":
        dock.undo()
        dock._kept.clear()  # else the model is kept from the first run
    with monkeypatch.context() as patch:
        held = Held(patch, *network(tool))
        begin(qtbot, dock, held)
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(b"no model any more")
        held.let_go()
        finish(qtbot, dock)
    found = {x.name: np.array(x.data) for x in dock.outputs()}
    for key, data in expected.items():
        np.testing.assert_array_equal(found[key], data, err_msg=key)
    # The next run says so, and harms nothing.
    if tool == "edit":
        return
    try:
        dock.run()
    except OptionError as error:
        assert "own.safetensors" in str(error)  # noqa: PT017  raised or shown
    else:
        finish(qtbot, dock)
        assert "own.safetensors" in dock.bar.status.text()
    assert {x.name for x in dock.outputs()} == set(expected)


CHANGES = {
    "in place": lambda viewer, layer: layer.data.__setitem__(slice(20, None), 0),
    "replaced": lambda viewer, layer: setattr(layer, "data", 255 - layer.data),
    "of another shape": lambda viewer, layer: setattr(layer, "data", layer.data[:30]),
    "removed": lambda viewer, layer: viewer.layers.remove(layer),
}


@pytest.mark.parametrize("how", CHANGES)
def test_an_image_that_changes_amid_a_run(qtbot, dock, viewer, tool, monkeypatch, how):
    """A result is of the image as it was, and an edit that would undo work none."""
    expected = results(qtbot, dock)
    if tool == "edit":
        dock.undo()
        edited = dock.session.target
        before = np.array(edited.data)
    with monkeypatch.context() as patch:
        held = Held(patch, *network(tool))
        begin(qtbot, dock, held)
        CHANGES[how](viewer, viewer.layers["cells"])
        held.let_go()
        finish(qtbot, dock)
    said = dock.bar.status.text()
    if tool == "edit" and how != "removed":
        assert "'cells' was changed while the edit was computed" in said
        np.testing.assert_array_equal(edited.data, before)
        return
    found = [x for x in viewer.layers if x.name in expected]
    assert len(found) == len(expected)
    for layer in found:
        np.testing.assert_array_equal(layer.data, expected[layer.name])
    told = "'cells' was changed meanwhile: this is of the image as it was." in said
    assert told == (how != "removed" and tool != "edit")


def test_pixels_that_a_person_changed_amid_an_edit_stay(
    qtbot, viewer, model, monkeypatch
):
    dock = ready(EditDock(viewer), viewer, model)
    qtbot.addWidget(dock)
    run(qtbot, dock)
    edited = dock.session.target
    held = Held(monkeypatch, *network("edit"))
    dock.session.seed = 9
    begin(qtbot, dock, held)
    edited.data[:4] = 7
    mine = np.array(edited.data)
    held.let_go()
    finish(qtbot, dock)
    np.testing.assert_array_equal(edited.data, mine)
    assert "was changed while the edit was computed" in dock.bar.status.text()
    dock.leave()


# --- two docks, and the end -----------------------------------------------------


def test_two_docks_at_once(qtbot, dock, viewer, tool, monkeypatch, make_tiny):
    other_viewer = ViewerModel()
    for layer in viewer.layers[:2]:
        other_viewer.add_image(layer.data, name=layer.name)
    other = ready(UpscaleDock(other_viewer), other_viewer, make_tiny())
    qtbot.addWidget(other)
    with monkeypatch.context() as patch:
        held = Held(patch, *network(tool))
        begin(qtbot, dock, held)
        before = state(other_viewer)
        with pytest.raises(OptionError, match=f"'{dock.title} .*' is still running"):
            other.run()
        held.let_go()
        finish(qtbot, dock)
    assert dock.outputs()
    assert_as(other_viewer, before)
    assert_at_rest(qtbot, dock)
    assert_at_rest(qtbot, other)
    assert results(qtbot, other)
    other.leave()


@pytest.mark.parametrize("stage", ["loading", "decoding"])
def test_a_dock_that_is_closed_amid_a_run(
    qtbot, tool, viewer, path, monkeypatch, stage
):
    parent = QWidget()
    qtbot.addWidget(parent)
    widget = ready(RUNS[tool](viewer), viewer, path)
    widget.setParent(parent)
    before = state(viewer)
    held = Held(monkeypatch, *STAGES[stage](tool))
    begin(qtbot, widget, held)
    widget.setParent(None)  # as napari does
    held.let_go()
    finish(qtbot, widget)
    assert_as(viewer, before)
    qtbot.waitUntil(
        lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=WAIT
    )
    assert not napari_progress._all_instances
    with pytest.raises(OptionError, match="was closed"):
        widget.run()


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_that_is_closed_is_let_go_with_all_its_parts(qtbot, viewer, name):
    """Buttons, and the events of its state, must not keep it alive."""
    parent = QWidget()
    qtbot.addWidget(parent)
    widget = DOCKS[name]() if name == "models" else DOCKS[name](viewer)
    widget.setParent(parent)
    parts = {"dock": widget, "form": getattr(widget, "form", None)}
    parts["session"] = getattr(widget, "session", None)
    gone = {k: weakref.ref(v) for k, v in parts.items() if v is not None}
    widget.setParent(None)
    del widget, parts

    def left():
        gc.collect()
        return [key for key, reference in gone.items() if reference() is not None]

    qtbot.waitUntil(lambda: not left(), timeout=5_000)
