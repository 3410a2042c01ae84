"""A training that is stopped, or fails, keeps its state and goes on exactly."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
import torch

from napari_flowsr.errors import TrainingError
from napari_flowsr.io.checkpoint import read_model
from napari_flowsr.training.events import Checkpoint, Finished, Step
from napari_flowsr.training.losses import LOSSES
from napari_flowsr.training.paths import state_path
from napari_flowsr.training.state import read_step
from napari_flowsr.training.trainer import train

OUT = "m.safetensors"


@pytest.fixture(scope="module")
def whole(images, recipe, tmp_path_factory) -> dict[str, torch.Tensor]:
    """Weights of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / OUT
    list(train(images, recipe(), out))
    return weights(out)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_model(path).flow.state_dict()


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def run_until(events, step: int) -> None:
    """Iterate to the `Step` of that number, then stop as a caller would."""
    with contextlib.closing(events):
        next(e for e in events if isinstance(e, Step) and e.step == step)


def failing_at(monkeypatch, name: str, call: int, error: BaseException) -> None:
    """Make a loss raise when it is computed for the ``call``-th time."""
    loss, calls = LOSSES[name], []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise error
        return loss(*arguments)

    monkeypatch.setitem(LOSSES, name, failing)


def test_stopping_anywhere_loses_nothing(images, recipe, whole, tmp_path):
    out = tmp_path / OUT
    # In a stage, at the last step of a stage (before its checkpoint), in the second.
    for step in (2, 3, 5):
        run_until(train(images, recipe(), out), step)
        assert read_step(state_path(out)) == step
        assert not out.exists()
    events = list(train(images, recipe(), out))
    assert [e.step for e in events if isinstance(e, Step)] == [6]
    assert_same(whole, weights(out))


def test_ctrl_c_while_computing_keeps_the_steps_before(
    images, recipe, whole, tmp_path, monkeypatch
):
    out = tmp_path / OUT
    with monkeypatch.context() as patch:
        failing_at(patch, "nll", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            list(train(images, recipe(), out))
    assert read_step(state_path(out)) == 4
    list(train(images, recipe(), out))
    assert_same(whole, weights(out))


def test_ctrl_c_amid_an_update_waits_for_its_end(
    images, recipe, whole, tmp_path, monkeypatch
):
    out = tmp_path / OUT
    update, calls = torch.optim.Adam.step, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(train(images, recipe(), out))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert read_step(state_path(out)) == 2
    list(train(images, recipe(), out))
    assert_same(whole, weights(out))


def test_half_an_update_is_never_saved(images, recipe, tmp_path, monkeypatch):
    out = tmp_path / OUT
    run_until(train(images, recipe(), out), 1)

    def half(self, *arguments):
        with torch.no_grad():
            self.param_groups[0]["params"][0].zero_()
        raise MemoryError

    monkeypatch.setattr(torch.optim.Adam, "step", half)
    with pytest.raises(TrainingError, match="after step 1 is kept"):
        list(train(images, recipe(), out))
    assert read_step(state_path(out)) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "numpy"],
)
def test_exhausted_memory_names_the_remedy_and_keeps_the_state(
    images, recipe, tmp_path, monkeypatch, error
):
    out = tmp_path / OUT
    failing_at(monkeypatch, "predict_l1", 2, error)
    with pytest.raises(TrainingError, match=r"batch of 2 patches.*step 1.*smaller"):
        list(train(images, recipe(), out))
    assert read_step(state_path(out)) == 1


def test_other_errors_stay_what_they_are(images, recipe, tmp_path, monkeypatch):
    failing_at(monkeypatch, "predict_l1", 2, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        list(train(images, recipe(), tmp_path / OUT))


def test_losses_that_are_not_finite_leave_the_last_good_checkpoint(
    images, recipe, tmp_path, monkeypatch
):
    out, good = tmp_path / OUT, LOSSES["predict_l1"]
    run_until(train(images, recipe(), out), 1)
    before = state_path(out).read_bytes()
    monkeypatch.setitem(LOSSES, "predict_l1", lambda *a: good(*a) * torch.nan)
    events = train(images, recipe(checkpoint_every=1), out)
    with contextlib.closing(events):
        assert next(e for e in events if isinstance(e, Step)).skipped
        following = next(events)
        assert isinstance(following, Step)  # and no Checkpoint
    assert state_path(out).read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_full_disk_keeps_the_former_checkpoint(images, recipe, tmp_path):
    import resource

    out = tmp_path / OUT
    run_until(train(images, recipe(), out), 2)
    file = state_path(out)
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    events = train(images, recipe(), out)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(TrainingError, match="after step 2 is kept") as caught:
            list(events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in str(caught.value)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    assert any(isinstance(e, Finished) for e in train(images, recipe(), out))


def test_the_model_can_be_written_later(images, recipe, tmp_path, monkeypatch):
    from napari_flowsr.errors import ExportError
    from napari_flowsr.training import product

    out = tmp_path / OUT

    def full(*arguments, **options):
        raise ExportError("Could not write it. The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(product, "save_model", full)
        with pytest.raises(TrainingError, match=r"disk is full.*step 6 is kept"):
            list(train(images, recipe(), out))
    events = list(train(images, recipe(), out))
    assert not any(isinstance(e, Step | Checkpoint) for e in events)
    assert out.exists()


def test_a_damaged_checkpoint_is_said_to_be_one(images, recipe, tmp_path):
    out = tmp_path / OUT
    run_until(train(images, recipe(), out), 1)
    file = state_path(out)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"cannot be read.*start afresh"):
        list(train(images, recipe(), out))


def test_other_images_do_not_go_on(images, recipe, tmp_path):
    out = tmp_path / OUT
    run_until(train(images, recipe(), out), 1)
    with pytest.raises(TrainingError, match="other images"):
        list(train(images / "0.tif", recipe(), out))


def test_a_checkpoint_without_younger_fields_goes_on(images, recipe, tmp_path):
    out = tmp_path / OUT
    run_until(train(images, recipe(), out), 1)
    file = state_path(out)
    state = torch.load(file, weights_only=True)
    del state["config"]["start_from"], state["images"], state["origin"]
    del state["config"]["stages"][0]["hr_noise"]
    torch.save(state, file)
    run_until(train(images, recipe(), out), 2)
