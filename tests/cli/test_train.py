"""`train`: stopping it, and starting from a model."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.io.collection import load_model
from napari_flowsr.io.images import write_image
from napari_flowsr.training.losses import LOSSES

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def arguments(tmp_path):
    """A command that trains for two short stages; the network is that of `home`."""
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 250, (30, 30)), np.ones((2, 2)))
    write_image(tmp_path / "hr.png", image.astype(np.uint8))
    model = "{'width': 8, 'blocks': 1, 'steps': 2, 'hidden': 6}"
    small = {"steps": 2, "batch": 2, "patch": 8}
    stages = [
        {"name": "encoder", "losses": {"predict_log_mse": 0.1}, **small},
        {"name": "flow", "losses": {"nll": 1.0}, **small},
    ]
    return (
        "train", tmp_path / "hr.png", "-o", tmp_path / "own.safetensors",
        "--device", "cpu", "--set", f"model={model}", "--set", f"stages={stages}",
    )  # fmt: skip


def test_ctrl_c_says_where_the_state_is_and_how_to_go_on(
    cli, arguments, tmp_path, monkeypatch
):
    loss, calls = LOSSES["predict_log_mse"], []

    def interrupted(*tensors):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return loss(*tensors)

    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, "predict_log_mse", interrupted)
        done = cli(*arguments)
    assert done.status == 130
    state = tmp_path / "own.training" / "state.pt"
    assert f"The state after step 1 is in {state}. The same command goes" in done.err
    assert state.exists()
    again = cli(*arguments)
    assert again.status == 0, again.err
    assert "going on from step 1" in again.out
    # Without a terminal there is no bar, but lines with the time left.
    assert "step 4/4, flow: loss" in again.out
    assert " left" in again.out


def test_ctrl_c_before_the_first_step_says_so(cli, arguments, monkeypatch):
    def interrupted(*tensors):
        raise KeyboardInterrupt

    monkeypatch.setitem(LOSSES, "predict_log_mse", interrupted)
    done = cli(*arguments)
    assert done.status == 130
    assert "before the first step; nothing was saved" in done.err


def test_a_model_is_fine_tuned_by_its_name(cli, arguments, tmp_path):
    done = cli(*arguments, "--start-from", "tiny-2x")
    assert done.status == 0, done.err
    card = load_model(tmp_path / "own.safetensors", device="cpu").card
    assert card.training["start_from"]["name"] == "tiny-2x"
    assert len(card.training["start_from"]["sha256"]) == 64
    other = tmp_path / "other.safetensors"
    done = cli(*arguments, "-o", other, "--start-from", "micro-2x")
    assert done.status == 2
    assert "there, 8 here)" in done.err
    assert not list(tmp_path.glob("other*"))


def test_images_that_are_left_out_are_named(cli, arguments, tmp_path):
    write_image(tmp_path / "b.png", np.eye(16, dtype=np.uint8))
    for number in range(11):
        write_image(tmp_path / f"c{number:02}.png", np.full((64, 64), 9, np.uint8))
    command, _, *others = arguments
    images, others = sorted(tmp_path.glob("*.png")), [*others, "--steps", 1]
    done = cli(command, *images, *others)
    assert done.status == 0, done.err
    assert "1 image, " in done.out
    assert "left out: b.png (16 x 16 px, at least " in done.out
    assert "left out: c08.png (constant within its percentile range)" in done.out
    assert "c09.png" not in done.out
    assert "left out: 2 more; --json names all" in done.out
    others += ["-o", tmp_path / "again.safetensors", "--validation", tmp_path / "*.png"]
    found = cli(command, *images, *others, "--json").json
    assert found["images"] == 1
    names = [one["name"] for one in found["left_out"]]
    assert names == [p.name for p in images[:-1]] + names[12:]
    assert found["left_out"][-1] == {
        "name": "c10.png",
        "reason": "constant within its percentile range (validation)",
    }


# --- recipe, images and model -------------------------------------------------


def test_presets_are_listed_with_what_they_are_for(cli):
    done = cli("train", "--list-presets")
    assert done.status == 0, done.err
    assert "compact-2x" in done.out
    assert "for a laptop" in done.out


def test_a_share_is_held_out_and_the_model_imported(cli, arguments, tmp_path):
    write_image(tmp_path / "hr.png", _noise(200, 64))
    done = cli(
        *arguments, "--validation", "30%", "--name", "nuclei", "--import", "--json",
        "--degradation", "gaussian:sigma=1,photons=500",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.json["imported"] == "nuclei"
    assert done.json["validation"][-1]["psnr_bicubic"] > 0
    assert done.json["complete"] is True
    card = load_model("nuclei", device="cpu").card
    assert card.degradation.parameters == {"sigma": 1.0, "photons": 500.0}
    # The name is taken now, which is said before anything is trained.
    again = cli(*arguments, "--name", "nuclei", "--import")
    assert again.status == 2
    assert "imported already" in again.err


def test_given_lr_images_are_cut_like_theirs(cli, arguments, tmp_path):
    hr = _noise(200, 64)
    write_image(tmp_path / "hr.png", hr)
    (tmp_path / "lr").mkdir()
    write_image(tmp_path / "lr" / "hr.png", hr[::2, ::2])
    done = cli(*arguments, "--lr", tmp_path / "lr", "--validation", "30%")
    assert done.status == 0, done.err
    card = load_model(tmp_path / "own.safetensors", device="cpu").card
    assert card.degradation.name == "paired"
    done = cli(*arguments, "--lr", tmp_path / "lr", "--degradation", "area")
    assert done.status == 2
    assert "there is nothing to make" in done.err


def test_an_interrupted_training_is_finished_as_it_is(
    cli, arguments, tmp_path, monkeypatch
):
    done = cli(*arguments, "--finish")
    assert done.status == 2
    assert "no state of an interrupted training" in done.err
    loss, calls = LOSSES["predict_log_mse"], []

    def interrupted(*tensors):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return loss(*tensors)

    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, "predict_log_mse", interrupted)
        assert "with --finish it writes" in cli(*arguments).err
    done = cli(*arguments, "--finish")
    assert done.status == 0, done.err
    assert "at step 1, before its end" in done.out
    assert load_model(tmp_path / "own.safetensors").card.training["steps"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "compact", "--scale", "7"), "'compact' has presets for 2, 3, 4"),
        (("--preset", "compost"), "'compost' is unknown"),
        (("--degradation", "gaussian"), "does not tell its width"),
        (("--validation", "100%"), "less than 1"),
        (("--start-from", "macro-2x"), "There is no model 'macro-2x'"),
    ],
)
def test_what_cannot_be_trained_is_said(cli, tmp_path, options, said):
    write_image(tmp_path / "hr.png", _noise(200, 64))
    done = cli(
        "train", tmp_path / "hr.png", "-o", tmp_path / "own.safetensors", *options
    )
    assert done.status == 2
    assert said in " ".join(done.err.split())


def _noise(height, width):
    rng = np.random.default_rng(0)
    return rng.integers(0, 250, (height, width)).astype(np.uint8)
