"""Adversary, learned priors, rescaling: they learn, restart exactly, go in parallel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import run_in_process
import torch
from safetensors.torch import load_file, save_file

from napari_flowsr.errors import TrainingError
from napari_flowsr.io.collection import load_model
from napari_flowsr.training.adversary import Adversary, adversary_loss, fooling_loss
from napari_flowsr.training.config import Stage, TrainConfig
from napari_flowsr.training.control import Control
from napari_flowsr.training.events import (
    Checkpoint,
    Finished,
    Paused,
    Started,
    Step,
    Validation,
)
from napari_flowsr.training.paths import state_path
from napari_flowsr.training.perceptual import Features, read_features
from napari_flowsr.training.trainer import train

Recipe = Callable[..., TrainConfig]
COMMON: dict[str, Any] = {"batch": 4, "patch": 8, "warmup": 1}
RESCALE = {
    "scale": 2,
    "channels": 1,
    "width": 4,
    "blocks": (1, 1),
    "growth": 2,
    "steps": (2,),
    "conditional_steps": (1,),
    "hidden": 2,
    "conditional_hidden": 4,
}
PRIOR = {"kind": "patch", "dim": 4, "generator": "edsr", "blocks": 1, "stride": 1}


def stage(steps: int = 4, **losses: float) -> Stage:
    return Stage("only", steps, losses, **COMMON)


@pytest.fixture(scope="module")
def flow(
    images: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained compact model, with a latent of 4 channels."""
    out = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    list(train(images, recipe(stage={"batch": 2, "patch": 8}), out))
    return out


@pytest.fixture
def prior(recipe: Recipe, flow: Path) -> TrainConfig:
    losses = {"image_log_mse": 0.1, "image_detail": 0.1, "latent_l1": 0.1}
    losses |= {"image_lr_log_mse": 0.1}
    base = recipe(stages=(stage(**losses, adversarial=0.1),), start_from=str(flow))
    return replace(base, family="learned-prior", model=PRIOR)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(state_path(path), weights_only=True)
    return {**load_file(path), **state["adversary"]["network"]}


def gradients(path: Path) -> list[torch.Tensor]:
    """Averages that Adam keeps, of the network and of the adversary."""
    state = torch.load(state_path(path), weights_only=True)
    kept = [state["optimiser"], state.get("adversary", {}).get("optimiser")]
    return [
        moments["exp_avg"]
        for optimiser in kept
        if optimiser
        for moments in optimiser["state"].values()
    ]


def slow(config: TrainConfig) -> TrainConfig:
    """Where gradients vanish Adam goes by their sign; small steps keep that small."""
    (only,) = config.stages
    rates = {"learning_rate": 1e-5, "adversary_learning_rate": 1e-5}
    return config.with_(stages=(replace(only, **rates),))


def test_a_run_with_an_adversary_restarts_exactly(
    images: Path, recipe: Recipe, prior: TrainConfig, tmp_path: Path
) -> None:
    sharp = recipe(stages=(stage(nll=1.0, adversarial=0.1),))
    for name, config in (("sharp", sharp), ("prior", prior)):
        config = config.with_(checkpoint_every=2)
        whole, parts = (
            tmp_path / f"{name}.safetensors",
            tmp_path / f"{name}2.safetensors",
        )
        list(train(images, config, whole))
        events = train(images, config, parts)
        assert any(isinstance(event, Checkpoint) for event in events)  # stops there
        events.close()
        first = next(iter(train(images, config, parts)))
        assert isinstance(first, Started)
        assert first.step == 2
        list(train(images, config, parts))
        a, b = tensors(whole), tensors(parts)
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert torch.equal(value, b[key]), (name, key)


def test_several_processes_are_one_process_with_all_patches(
    images: Path,
    recipe: Recipe,
    prior: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The encoder is freed amid the stage: its gradients are exchanged from then on.
    freed = replace(stage(nll=1.0), encoder_frozen_until=0.5)
    recipes = {
        "nll": slow(recipe(stages=(freed,))),
        "sharp": slow(recipe(stages=(stage(3, nll=1.0, adversarial=0.1),))),
        "prior": slow(prior),
    }
    (tmp_path / "images").symlink_to(images)
    losses = {}
    for name, config in recipes.items():
        events = list(train(images, config, tmp_path / f"{name}.safetensors"))
        losses[name] = [event.loss for event in events if isinstance(event, Step)]
        (tmp_path / f"{name}.json").write_text(json.dumps(config.to_dict()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = run_in_process.__file__
    command = [sys.executable, script, str(tmp_path), *recipes]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    for key, value in (common | {"RANK": "0"}).items():
        monkeypatch.setenv(key, value)
    other = subprocess.Popen(
        command,
        env={**os.environ, "RANK": "1", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        run_in_process.run(tmp_path, list(recipes))
        said = other.communicate(timeout=run_in_process.PATIENCE.seconds)[1]
    finally:
        other.kill()
        other.wait()
    assert other.returncode == 0, said
    for name in recipes:
        first, second = (
            json.loads((tmp_path / f"{name}.{rank}.json").read_text()) for rank in "01"
        )
        assert first["weights"] == second["weights"], name
        assert first["losses"] == second["losses"], name
        assert first["losses"] == pytest.approx(losses[name], rel=1e-3), name
        paths = [tmp_path / f"{name}{two}.safetensors" for two in ("", ".two")]
        one, two = (torch.cat([g.flatten() for g in gradients(path)]) for path in paths)
        assert float((one - two).norm()) < 1e-2 * float(one.norm()), name


def test_an_adversary_learns_to_tell_and_a_maker_to_fool_it() -> None:
    torch.manual_seed(0)
    adversary = Adversary(1, 8)
    real, fake = torch.rand(4, 1, 20, 24), torch.rand(4, 1, 20, 24) * 0.5
    fake.requires_grad_()
    optimiser = torch.optim.Adam(adversary.parameters(), lr=1e-3)
    with torch.no_grad():
        first = float(adversary_loss(adversary, real, fake))
    for _ in range(20):
        optimiser.zero_grad()
        loss = adversary_loss(adversary, real, fake.detach())
        loss.backward()
        optimiser.step()
    assert first == pytest.approx(np.log(2), abs=0.05)
    assert loss.item() < 0.5 * first
    assert fooling_loss(adversary, real, fake).item() > 2 * first
    (slope,) = torch.autograd.grad(fooling_loss(adversary, real, fake), fake)
    moved = fake - 0.05 * slope.sign()
    assert fooling_loss(adversary, real, moved) < fooling_loss(adversary, real, fake)
    # Of an image it says the same, whatever others are in the batch.
    alone = adversary(real[:1])
    torch.testing.assert_close(adversary(real)[:1], alone)


def test_a_prior_is_written_and_taken_by_its_flow(
    images: Path, prior: TrainConfig, flow: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lp.safetensors"
    events = list(train(images, prior, out, validation=images / "0.tif"))
    (told,) = [e for e in events if isinstance(e, Validation)]
    assert {"psnr_prior", "psnr_mode", "psnr_sample"} <= set(told.metrics)
    (picture,) = told.pictures
    assert picture.mode is not None
    assert picture.mode.shape == picture.hr.shape
    model = load_model(flow, prior=out)
    assert model.card.prior["about"]["flow"]["name"] == "tiny"
    cond = model.flow.condition(torch.rand(1, 1, 7, 9))
    latents = model.flow.learned_prior(cond)
    assert float(latents.levels[0].std()) > 0
    with pytest.raises(TrainingError, match="start_from"):
        train(images, prior.with_(start_from=""), out)
    with pytest.raises(TrainingError, match="percentiles"):
        train(images, prior.with_(percentiles=(1.0, 99.0)), out)
    with pytest.raises(TrainingError, match="nll"):
        train(images, prior.with_(stages=(stage(nll=1.0),)), out)


def test_a_rescaling_network_learns_its_three_terms(
    images: Path, tmp_path: Path
) -> None:
    losses = {"rescale_hr": 1.0, "rescale_guide": 1.0, "rescale_latent": 1e-3}
    config = TrainConfig(
        "hcflow-rescale",
        RESCALE,
        (replace(stage(40, **losses), learning_rate=1e-2, batch=2),),
        device="cpu",
        validate_every=100,
    )
    out = tmp_path / "r.safetensors"
    events = list(train(images, config, out, validation=images))
    steps = [e for e in events if isinstance(e, Step)]
    for name, factor in (("rescale_guide", 0.5), ("rescale_latent", 0.8)):
        terms = [step.terms[name] for step in steps]
        assert np.mean(terms[-10:]) < factor * np.mean(terms[:5]), name
    (told,) = [e for e in events if isinstance(e, Validation)]
    assert {"psnr_bicubic", "psnr_mode", "lr_psnr"} == set(told.metrics)
    # The small image is the network's own, in 8 bits; what comes back is shown.
    small, back = told.pictures[0].lr, told.pictures[0].mode
    np.testing.assert_allclose(small * 255, np.round(small * 255), atol=1e-3)
    assert back is not None
    assert back.shape == told.pictures[0].hr.shape
    compact = replace(config, family="compact", model={"scale": 2})
    with pytest.raises(TrainingError, match="make small images"):
        train(images, compact, tmp_path / "c.safetensors")


def test_perceptual_loss_needs_weights_and_is_never_left_out_silently(
    images: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    config = recipe(stages=(stage(2, nll=1.0, perceptual=0.1),))
    with pytest.raises(TrainingError, match=r"vgg19-dcbb9e9d\.pth"):
        train(images, config, out)
    left_out = config.with_(loss_weights={"perceptual": 0})
    (step, _) = [e for e in train(images, left_out, out) if isinstance(e, Step)]
    assert set(step.terms) == {"nll"}
    other = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(1)}, other)
    with pytest.raises(TrainingError, match="VGG19"):
        train(images, config.with_(perceptual_weights=str(other)), out)


def test_perceptual_features_are_those_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "vgg19.pth"
    own = Features()
    torch.save({**own.state_dict(), "classifier.0.weight": torch.zeros(2)}, file)
    found = read_features(str(file))
    assert [n for n, _ in found.named_parameters()][-1] == "features.34.bias"
    grey = torch.rand(1, 1, 16, 20)
    assert found(grey).shape == (1, 512, 1, 1)
    torch.testing.assert_close(found(grey), own(grey.expand(-1, 3, -1, -1)))
    changed = (grey + 0.1).requires_grad_()
    found.distance(changed, grey).backward()
    assert changed.grad is not None
    assert float(changed.grad.abs().sum()) > 0


def test_a_run_can_be_paused_and_finished_early(
    images: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out, control = tmp_path / "m.safetensors", Control()
    kinds = []
    for event in train(images, recipe(), out, control=control):
        kinds.append(type(event))
        if isinstance(event, Step) and event.step == 1:
            control.pause()
        if isinstance(event, Paused):
            assert state_path(out).exists()
            control.resume()
        if isinstance(event, Step) and event.step == 2:
            control.finish()
    assert Paused in kinds
    assert isinstance(event, Finished)
    assert (event.step, event.complete) == (2, False)
    card = load_model(out).card
    assert card.training["steps"] == 2
    assert card.training["steps_of_whole_recipe"] == 6
    last = list(train(images, recipe(), out))[-1]
    assert isinstance(last, Finished)
    assert (last.step, last.complete) == (6, True)


def test_a_time_budget_becomes_steps_once(
    images: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    config = recipe(minutes=0.01)
    events = train(images, config, out)
    first = next(event for event in events if isinstance(event, Started))
    assert first.total == sum(steps for _, steps in first.stages)
    next(e for e in events if isinstance(e, Step) and e.step == 1)
    events.close()
    again = next(iter(train(images, config, out)))
    assert isinstance(again, Started)
    assert (again.step, again.stages) == (1, first.stages)
    with pytest.raises(TrainingError, match="minutes"):
        train(images, recipe(minutes=0), out)
