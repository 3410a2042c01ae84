"""The state of the Train dock, its curves and its record: no Qt."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_flowsr.data.degradation import PAIRED, Degradation
from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.training.paths import state_path
from napari_flowsr.training.presets import preset
from napari_flowsr.widgets._train_curves import Curve, Curves
from napari_flowsr.widgets._train_record import Layer, Record, forget, interrupted
from napari_flowsr.widgets._train_session import TrainSession


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))


@pytest.fixture
def layer():
    return Image(np.zeros((99, 99)), name="cells")


# --- session ------------------------------------------------------------------


def test_a_session_with_an_image_can_be_trained(layer, tmp_path):
    session = TrainSession(layers=(layer,))
    assert session.problems() == {}
    config = session.config()
    assert config.minutes == 15
    assert config.name == "my-2x"
    assert session.output == tmp_path / "home" / "training" / "my-2x.safetensors"
    session.budget, session.steps = "steps", 70
    assert (session.config().minutes, session.config().steps) == (None, 70)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layers", (), "No image is chosen"),
        ("layers", (Labels(np.zeros((9, 9), int)),), "only Image layers"),
        ("source", "net", "choose one of layers, folder"),
        ("lr_folder", "/not/there", "does not exist"),
        ("held_out", "some", "choose one of"),
        ("preset", "compost", "'compost' is unknown"),
        ("preset", "compact-prior", "Choose that model under 'Start from'"),
        ("degradation", Degradation("gaussian"), "does not tell its width"),
        ("start_from", "macro-2x", "There is no model 'macro-2x'"),
        ("minutes", 0, "positive"),
        ("minutes", float("nan"), "positive"),
        ("name", "micro-2x", "built-in"),
        ("name", "a/b", "cannot be a model's name"),
        ("seed", -1, "whole number"),
        ("batch", 0, "at least 1"),
        ("learning_rate", -1.0, "positive"),
        ("device", "abacus", "abacus"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_field(layer, field, value, said):
    session = TrainSession(layers=(layer,))
    setattr(session, field, value)
    assert said in session.problems()[field]


def test_folders_are_asked_for_where_they_are_chosen(tmp_path):
    session = TrainSession(source="folder", held_out="folder")
    assert set(session.problems()) == {"folder", "validation_folder"}
    session.folder = session.validation_folder = str(tmp_path)
    assert session.problems() == {}
    session.lr_folder = str(tmp_path)
    assert session.config().degradation == Degradation(PAIRED)


def test_a_fine_tuning_tells_whose_weights_these_are(layer):
    session = TrainSession(layers=(layer,), start_from="micro-2x")
    assert session.config().licence == "the trainer's own, from micro-2x (BSD-3-Clause)"
    session.licence = "CC0-1.0"
    assert session.config().licence == "CC0-1.0"


def test_inferred_images_and_no_measure_are_warned_of(layer):
    session = TrainSession(layers=(layer,))
    assert session.warnings() == {}
    made = Image(np.zeros((9, 9)), metadata={NAMESPACE: {"tool": "upscale"}})
    session.layers, session.held_out = (layer, made), "none"
    assert set(session.warnings()) == {"layers", "held_out"}
    session.restore()
    assert session.held_out == "part"
    assert session.layers == (layer, made)


# --- curves -------------------------------------------------------------------


def test_long_curves_are_thinned_by_averages():
    curve = Curve()
    for step in range(1, 10_001):
        curve.add(step, float(step))
    assert len(curve.steps) <= 2001
    assert curve.every in (4, 8)
    np.testing.assert_allclose(curve.steps, curve.values)
    assert curve.steps[-1] > 9980
    curve.add(10_001, float("nan"))
    curve.cut(5000)
    assert curve.steps[-1] <= 5000


def test_gains_are_over_bicubic_at_the_same_step():
    curves = Curves()
    curves.add_figures(10, {"psnr_bicubic": 30.0, "psnr_mode": 31.5, "crps": 0.02})
    curves.add_figures(20, {"psnr_bicubic": 30.0})
    curves.add_loss("flow", 10, 1.0)
    gain = curves.gain("psnr_mode")
    assert (gain.steps, gain.values) == ([10], [1.5])
    assert curves.gain("psnr_predict").steps == []
    again = Curves.from_dict(curves.to_dict())
    assert again.to_dict() == curves.to_dict()


# --- record -------------------------------------------------------------------


def test_an_interrupted_run_is_found_again(tmp_path, layer):
    curves = Curves()
    curves.add_loss("flow", 3, 0.5)
    config = preset("compact-2x").with_(seed=4)
    record = Record(
        config,
        tmp_path / "own.safetensors",
        layers=(Layer("cells", "/data/cells.tif"), Layer("nuclei")),
        step=3,
        total=9,
        curves=curves,
    )
    state = state_path(record.output)
    state.parent.mkdir()
    state.write_bytes(b"")
    record.write()
    [found] = interrupted(tmp_path)
    assert found == record
    assert (found.name, found.config.seed) == ("own", 4)
    nuclei = Image(np.zeros((9, 9)), name="nuclei")
    assert found.layers_in([nuclei, layer]) == (layer, nuclei)
    with pytest.raises(OptionError, match=r"'cells' \(/data/cells.tif\)\. Open"):
        found.layers_in([nuclei])
    (state.parent / "run.json").write_text("{")
    assert interrupted(tmp_path) == []
    forget(found)
    assert not state.parent.exists()
    assert interrupted(tmp_path / "nowhere") == []


def test_a_run_without_a_state_is_not_offered(tmp_path):
    record = Record(preset("compact-2x"), tmp_path / "own.safetensors")
    state = state_path(record.output)
    state.parent.mkdir()
    state.write_bytes(b"")
    record.write()
    state.unlink()
    assert (state.parent / "run.json").is_file()
    assert interrupted(tmp_path) == []


def test_what_was_forgotten_meanwhile_is_not_noted(tmp_path):
    """The worker forgets a finished run while its last checkpoint is being noted."""
    record = Record(preset("compact-2x"), tmp_path / "own.safetensors")
    state = state_path(record.output)
    state.parent.mkdir()
    state.write_bytes(b"")
    forget(record)
    record.write()
    assert not state.parent.exists()
