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
    return (
        "train", tmp_path / "hr.png", "-o", tmp_path / "own.safetensors", "--steps", 2,
        "--device", "cpu", "--set", f"model={model}",
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
