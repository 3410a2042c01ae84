"""The Train dock: a tiny network is really trained, and what goes wrong is said."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

from napari_flowsr.errors import OptionError
from napari_flowsr.io.catalogue import remove
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.collection import list_models, load_model
from napari_flowsr.io.priors import prior_names
from napari_flowsr.training import trainer
from napari_flowsr.training.config import Stage, TrainConfig
from napari_flowsr.training.losses import LOSSES
from napari_flowsr.training.paths import state_path
from napari_flowsr.training.presets import PRESETS
from napari_flowsr.widgets import _train_job, _train_request
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets.parts.train_picture import LABELS
from napari_flowsr.widgets.train_dock import TrainDock
from napari_flowsr.widgets.upscale_dock import UpscaleDock

WAIT = 120_000  # ms; the machine may be busy, and torch imports much at first


def tiny():
    """Two short stages of a tiny network."""
    common = {"batch": 2, "patch": 8, "warmup": 0, "learning_rate": 1e-3}
    return TrainConfig(
        family="compact",
        model={"scale": 2, "width": 4, "blocks": 1, "steps": 1, "hidden": 4},
        stages=(
            Stage("encoder", 4, {"predict_log_mse": 0.1}, **common),
            Stage("flow", 4, {"nll": 1.0}, encoder_frozen_until=1.0, **common),
        ),
        validate_every=4,
        checkpoint_every=2,
    )


class Gate:
    """Stands before a loss: counts steps, and lets through when told to."""

    def __init__(self, monkeypatch, name="predict_log_mse", free=2):
        self.calls, self.free = 0, free
        self._loss, self._open = LOSSES[name], threading.Event()
        monkeypatch.setitem(LOSSES, name, self)

    def __call__(self, *tensors):
        self.calls += 1
        if self.calls > self.free:
            self._open.wait(20)
        return self._loss(*tensors)

    def open(self):
        self._open.set()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(PRESETS, "tiny", tiny)
    monkeypatch.setattr(_train_job, "_current", None)
    monkeypatch.setattr(_train_request, "_INTERVAL", 0.0)  # each step is told
    return tmp_path / "home"


@pytest.fixture
def viewer():
    rng = np.random.default_rng(0)
    viewer = ViewerModel()
    viewer.add_image(rng.integers(0, 999, (300, 96)).astype(np.uint16), name="cells")
    return viewer


@pytest.fixture
def make(qtbot, viewer):
    """Docks that are left in the end, and no training that outlives the test."""
    made = []

    def dock():
        widget = TrainDock(viewer)
        qtbot.addWidget(widget)
        widget.session.preset = "tiny"
        widget.session.budget, widget.session.steps = "steps", 8
        widget.session.device, widget.session.name = "cpu", "own"
        made.append(widget)
        return widget

    yield dock
    training = _train_job.current()
    if training is not None and training.is_running:
        training.interrupt()
        qtbot.waitUntil(lambda: not training.is_running, timeout=WAIT)
    for widget in made:
        widget.leave()


@pytest.fixture
def dock(make):
    return make()


def finish(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.is_running, timeout=WAIT)
    return dock.training


def at_gate(qtbot, gate):
    """Wait until the training stands before a step."""
    qtbot.waitUntil(lambda: gate.calls > gate.free, timeout=WAIT)


# --- a run --------------------------------------------------------------------


def test_the_finished_model_is_in_all_docks_with_its_card(qtbot, dock, viewer, home):
    upscale = UpscaleDock(viewer)
    qtbot.addWidget(upscale)
    assert dock.session.layers == (viewer.layers["cells"],)
    dock.session.domain = "noise"
    dock.run()
    training = finish(qtbot, dock)
    assert training.state == "kept", training.words
    assert dock.bar.status.text() == "'own' is complete, and in all docks' lists."
    [card] = [card for card in list_models() if card.name == "own"]
    assert (card.family, card.scales, card.domain) == ("compact", (2.0,), "noise")
    assert card.training["steps"] == 8
    assert card.licence_is_stated
    assert load_model("own", device="cpu").flow.parameter_count == card.parameters
    assert upscale.form.input.model.box.findText("own") >= 0
    assert dock.form.recipe.start_from.findText("own") >= 0
    upscale.leave()
    # Nothing is left that would be taken for interrupted; the next name is proposed.
    assert not list((home / "training").iterdir())
    assert dock.session.name != "own"


def test_a_trained_prior_is_in_the_lists_of_other_docks(
    qtbot, dock, viewer, home, make_tiny, monkeypatch
):
    stage = Stage("prior", 2, {"latent_l1": 1.0}, batch=2, patch=8, warmup=0)
    sizes = {"kind": "patch", "dim": 4, "generator": "edsr", "blocks": 1, "stride": 1}
    config = TrainConfig("learned-prior", sizes, (stage,), device="cpu")
    monkeypatch.setitem(PRESETS, "tiny", lambda: config)
    model = make_tiny(name="flow")
    (home / "models").mkdir(parents=True)
    save_model(home / "models" / "flow.safetensors", model.flow, model.card)
    upscale = UpscaleDock(viewer)
    qtbot.addWidget(upscale)
    upscale.session.prior = "learned"
    box = upscale.form.advanced.prior_model
    before = box.count()
    dock.session.start_from = "flow"
    dock.session.preset, dock.session.steps = "tiny", 2
    dock.session.name = "lp"
    dock.run()
    training = finish(qtbot, dock)
    assert training.state == "kept", training.words
    assert training.entry.kind == "prior"
    assert prior_names().count("lp") == 1
    assert box.findText("lp") >= 0
    remove("lp")
    changes.models.emit()
    assert (box.findText("lp"), box.count()) == (-1, before)
    upscale.leave()


def test_measuring_the_pace_is_told(qtbot, dock, monkeypatch):
    words = []
    dock.session.budget, dock.session.minutes = "minutes", 0.001
    dock.run()
    dock.training.changed.connect(lambda: words.append(dock.training.words))
    assert finish(qtbot, dock).state == "kept"
    assert any("how fast this computer is: flow, 2 of 2" in text for text in words)


def test_a_model_to_start_from_that_has_gone_stays_in_sight(dock, home, make_tiny):
    model = make_tiny(name="flow")
    (home / "models").mkdir(parents=True)
    save_model(home / "models" / "flow.safetensors", model.flow, model.card)
    changes.models.emit()
    dock.session.start_from = "flow"
    remove("flow")
    changes.models.emit()
    assert dock.form.recipe.start_from.currentText() == "flow"
    assert "flow" in dock.bar.status.text()
    dock.form.recipe.start_from.setCurrentIndex(0)
    assert dock.session.start_from == ""
    assert dock.bar.run.isEnabled()


def test_curves_and_pictures_are_shown(qtbot, dock):
    dock.run()
    training = finish(qtbot, dock)
    assert list(training.curves.loss) == ["encoder", "flow"]
    assert len(training.curves.loss["flow"].steps) == 4
    assert training.curves.gain("psnr_predict").steps
    assert training.curves.figures["crps"].values[-1] > 0
    plots = dock.plots
    assert plots.stage.currentText() == "flow"
    assert [line.name for line in plots.psnr.lines] == [
        "predicted mean",
        "temperature 0",
    ]
    assert "dB over bicubic" in plots.words.text()
    shown = [label.partition(",")[0] for label, *_ in dock.picture.panels.images]
    assert shown == list(LABELS.values())
    dock.resize(300, 800)
    assert dock.tabs.currentIndex() == 1


def test_several_layers_of_all_kinds_are_trained_on(qtbot, dock, viewer, monkeypatch):
    seen = []
    real = trainer.train

    def train(source, *args, validation, **options):
        seen.extend([*source, *validation])
        return real(source, *args, validation=validation, **options)

    monkeypatch.setattr(trainer, "train", train)
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 255, (90, 300, 3)).astype(np.uint8)
    viewer.add_image(rgb, name="colour", rgb=True)
    pyramid = [rng.random((256, 128)), rng.random((128, 64))]
    viewer.add_image(pyramid, name="pyramid", multiscale=True)
    viewer.add_image(rng.random((2, 3, 200, 64)), name="stack")
    dock.session.layers = tuple(viewer.layers)
    assert dock.form.data.words.text().startswith("The last 25 % of the longer side of")
    dock.run()
    assert finish(qtbot, dock).state == "kept"
    shapes = {one.name: (one.data.shape, one.axes) for one in seen}
    assert shapes["colour"] == ((90, 225, 3), "YXS")
    assert shapes["colour, held out"] == ((90, 75, 3), "YXS")
    assert shapes["pyramid"] == ((192, 128), "YX")
    assert shapes["stack"][0] == (2, 3, 150, 64)


# --- while it goes on ---------------------------------------------------------


def test_a_training_survives_the_dock(qtbot, make, viewer, monkeypatch):
    gate = Gate(monkeypatch)
    first = make()
    first.run()
    at_gate(qtbot, gate)
    first.leave()
    second = make()
    assert second.is_running
    assert second.training is first.training
    assert second.tabs.currentIndex() == 1
    assert second.bar.pause.isVisibleTo(second)
    second.session.name = "other"
    with pytest.raises(OptionError, match="'own' is still being trained, and only one"):
        second.run()
    gate.open()
    assert finish(qtbot, second).state == "kept"


def test_a_training_is_seen_in_the_docks_of_all_viewers(qtbot, make, monkeypatch):
    gate = Gate(monkeypatch)
    first, second = make(), make()
    first.run()
    at_gate(qtbot, gate)
    assert second.training is first.training
    assert second.bar.pause.isVisibleTo(second)
    second.keep()
    gate.open()
    assert finish(qtbot, first).state == "kept"
    assert second.bar.status.text() == first.bar.status.text()


def test_pause_and_resume(qtbot, dock, monkeypatch):
    gate = Gate(monkeypatch, free=2)
    dock.run()
    at_gate(qtbot, gate)
    dock.pause_or_resume()
    assert dock.training.state == "pausing"
    gate.open()
    qtbot.waitUntil(lambda: dock.training.state == "paused", timeout=WAIT)
    calls = gate.calls
    assert dock.bar.pause.text() == "Resume"
    qtbot.wait(50)
    assert gate.calls == calls
    dock.pause_or_resume()
    assert finish(qtbot, dock).state == "kept"


def test_stop_and_keep_gives_the_model_as_it_is(qtbot, dock, monkeypatch):
    gate = Gate(monkeypatch)
    dock.run()
    at_gate(qtbot, gate)
    dock.keep()
    gate.open()
    training = finish(qtbot, dock)
    assert training.state == "kept"
    assert "'own' is kept as it was" in training.words
    assert load_model("own", device="cpu").card.training["steps"] < 8


def test_discard_asks_and_leaves_nothing(qtbot, dock, home, monkeypatch):
    gate = Gate(monkeypatch)
    asked = []
    monkeypatch.setattr(dock, "_confirmed", lambda text: bool(asked.append(text)))
    dock.run()
    at_gate(qtbot, gate)
    dock.discard()
    assert "delete what it learned" in asked[0]
    assert dock.training.state == "running"
    dock.discard(confirm=False)
    gate.open()
    assert finish(qtbot, dock).state == "discarded"
    assert not list((home / "training").glob("*"))
    assert dock.box.record is None
    assert "own" not in [card.name for card in list_models()]


# --- another day --------------------------------------------------------------


@pytest.fixture
def interrupted(qtbot, make, monkeypatch):
    """A dock that offers a training that was interrupted after two steps."""
    with monkeypatch.context() as patch:
        gate = Gate(patch)
        first = make()
        first.run()
        at_gate(qtbot, gate)
        first.training.interrupt()
        gate.open()
        assert finish(qtbot, first).state == "stopped"
        first.leave()
    monkeypatch.setattr(_train_job, "_current", None)  # napari was closed
    return make()


def test_an_interrupted_training_is_taken_up(qtbot, interrupted):
    dock = interrupted
    assert "'own' was interrupted after step" in dock.box.words.text()
    dock.session.name = "own"
    with pytest.raises(OptionError, match="Resume or discard that one"):
        dock.run()
    dock.resume_interrupted()
    training = finish(qtbot, dock)
    assert training.state == "kept", training.words
    # The curves go on where they were.
    assert training.curves.loss["encoder"].steps == [1, 2, 3, 4]
    assert dock.box.record is None


def test_a_missing_layer_is_asked_for(interrupted, viewer):
    viewer.layers.clear()
    with pytest.raises(OptionError, match=r"'cells'\. Open them again"):
        interrupted.resume_interrupted()
    interrupted._guarded(interrupted.resume_interrupted)
    assert "not in the viewer" in interrupted.bar.status.text()


def test_an_interrupted_training_is_kept_as_it_is(qtbot, interrupted):
    interrupted.keep_interrupted()
    assert finish(qtbot, interrupted).state == "kept"
    assert load_model("own", device="cpu").card.training["steps"] in (2, 3)


def test_an_interrupted_training_is_discarded(interrupted):
    state = state_path(interrupted.box.record.output)
    interrupted.discard_interrupted(confirm=False)
    assert not state.exists()
    assert interrupted.box.record is None


# --- what goes wrong ----------------------------------------------------------


def failing(error):
    def loss(*tensors):
        raise error

    return loss


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": np.zeros((300, 96))}, "constant"),
        ({"data": np.zeros((40, 30))}, "too little to be held out"),
        ({"data": np.ones((300, 96)), "held_out": "none"}, "constant"),
        ({"batch": 10**9}, "Out of memory"),
        ({"loss": torch.OutOfMemoryError("no")}, "Out of memory on cpu"),
    ],
    ids=["flat", "small", "flat-whole", "batch", "memory"],
)
def test_errors_are_said_in_the_dock(qtbot, dock, viewer, monkeypatch, change, said):
    if "data" in change:
        viewer.layers["cells"].data = change["data"]
    dock.session.held_out = change.get("held_out", "part")
    if "batch" in change:
        # Nothing of this size is really asked for.
        error = MemoryError(f"batch of {change['batch']}")
        monkeypatch.setitem(LOSSES, "predict_log_mse", failing(error))
    if "loss" in change:
        monkeypatch.setitem(LOSSES, "predict_log_mse", failing(change["loss"]))
    dock.run()
    assert finish(qtbot, dock).state == "failed"
    assert said in dock.bar.status.text()
    assert dock.bar.run.isVisibleTo(dock)
    dock.session.name = "own-2"
    assert dock.bar.run.isEnabled()  # another try


def test_a_loss_that_is_not_finite_keeps_the_state(qtbot, dock, monkeypatch):
    real, calls = LOSSES["predict_log_mse"], []

    def loss(*tensors):
        calls.append(1)
        return real(*tensors) * (float("nan") if len(calls) > 20 else 1.0)

    monkeypatch.setitem(LOSSES, "predict_log_mse", loss)
    dock.session.steps = 400
    dock.run()
    assert finish(qtbot, dock).state == "failed"
    assert "not finite" in dock.bar.status.text()
    assert dock.box.record.name == "own"


def test_without_torch_the_dock_says_so_and_is_ready(qtbot, dock, monkeypatch):
    """As with a library of it that cannot be loaded."""

    def events(self, control):
        raise ImportError("DLL load failed while importing _C")

    monkeypatch.setattr(_train_request.Request, "events", events)
    for module in ("inference.memory", "training.state"):
        monkeypatch.setitem(sys.modules, f"napari_flowsr.{module}", None)
    dock.run()
    assert finish(qtbot, dock).state == "failed"
    assert "DLL load failed" in dock.bar.status.text()
    dock.session.name = "own-2"
    assert dock.bar.run.isEnabled()


def test_a_folder_that_cannot_be_written_is_said(qtbot, dock, tmp_path):
    (tmp_path / "file").write_text("")
    dock.session.checkpoints = str(tmp_path / "file" / "below")
    dock.run()
    assert finish(qtbot, dock).state == "failed"
    assert "Part of the path is a file" in dock.bar.status.text()


def test_a_name_that_was_taken_meanwhile_loses_nothing(
    qtbot, dock, home, monkeypatch, make_tiny
):
    gate = Gate(monkeypatch)
    dock.run()
    at_gate(qtbot, gate)
    model = make_tiny(name="own")
    (home / "models").mkdir(parents=True, exist_ok=True)
    save_model(home / "models" / "own.safetensors", model.flow, model.card)
    gate.open()
    assert finish(qtbot, dock).state == "failed"
    assert "imported already" in dock.bar.status.text()
    assert (home / "training" / "own.safetensors").is_file()


def test_run_says_what_is_missing(dock, viewer):
    dock.form.data.layers.check([])
    assert not dock.bar.run.isEnabled()
    assert "No image is chosen" in dock.bar.status.text()
    with pytest.raises(OptionError, match="No image is chosen"):
        dock.run()
    dock.leave()
    with pytest.raises(OptionError, match="was closed"):
        dock.run()
