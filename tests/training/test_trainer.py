"""The trainer on tiny images: it learns, restarts exactly, and fails clearly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from every_family import CASES, Case
from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.checkpoint import read_model
from napari_flowsr.models._registry import config_dict
from napari_flowsr.training import run as run_module
from napari_flowsr.training.config import Stage, TrainConfig, load_config
from napari_flowsr.training.events import Checkpoint, Finished, Step, Validation
from napari_flowsr.training.presets import PRESETS, preset
from napari_flowsr.training.schedule import learning_rate
from napari_flowsr.training.trainer import train

TINY = {"scale": 2, "width": 8, "blocks": 1, "steps": 2, "hidden": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images with blobs of several sizes."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:64, :72]
    for number in range(4):
        image = np.zeros((64, 72))
        for y, x, r in rng.uniform((0, 0, 2), (64, 72, 7), (12, 3)):
            image += np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * r * r))
        tifffile.imwrite(path / f"{number}.tif", (1000 * image).astype(np.uint16))
    return path


def config(steps: int = 6, **changes: object) -> TrainConfig:
    """Two short stages."""
    common = {"batch": 4, "patch": 8, "warmup": 2}
    stages = (
        Stage("encoder", steps, {"predict_l1": 1.0}, **common),  # type: ignore[arg-type]
        Stage("flow", steps, {"nll": 1.0}, encoder_frozen_until=1.0, **common),  # type: ignore[arg-type]
    )
    base = TrainConfig(
        family="compact",
        model=TINY,
        stages=stages,
        ema=0.9,
        checkpoint_every=4,
        validate_every=5,
        device="cpu",
        name="tiny",
        licence="BSD-3-Clause",
    )
    return base.with_(**changes)


FIRST = [c for c in CASES if c.id.endswith("-0")]


@pytest.mark.parametrize("case", FIRST)
def test_every_family_can_be_trained(case: Case, folder: Path, tmp_path: Path) -> None:
    deterministic = case.model().flow.deterministic
    loss = "predict_l1" if deterministic else "nll"
    stage = Stage("only", 3, {loss: 1.0}, batch=2, patch=4, warmup=1)
    recipe = TrainConfig(
        family=case.family,
        model=config_dict(case.config),
        stages=(stage,),
        validate_every=3,
        checkpoint_every=10,
        device="cpu",
    )
    out = tmp_path / "m.safetensors"
    events = list(train(folder, recipe, out, validation=folder / "0.tif"))
    assert isinstance(events[-1], Finished)
    assert all(np.isfinite(e.loss) for e in events if isinstance(e, Step))
    (told,) = [e.metrics for e in events if isinstance(e, Validation)]
    assert all(np.isfinite(value) for value in told.values())
    rescales = hasattr(case.model().flow, "downscale")  # judged by what comes back
    assert ("bpd" in told) is not (deterministic or rescales)
    model = read_model(out)
    assert model.card.scale_range == model.flow.scale_range
    if deterministic:
        refused = recipe.with_(stages=(replace(stage, losses={"nll": 1.0}),))
        with pytest.raises(TrainingError, match="no likelihood"):
            train(folder, refused, tmp_path / "n.safetensors")


def test_a_stage_of_the_mode_alone_is_measured(folder: Path, tmp_path: Path) -> None:
    (case,) = next(c.values for c in FIRST if c.id == "linf-0")
    stage = Stage("mode", 2, {"mode_log_mse": 0.1}, batch=2, patch=4, warmup=1)
    recipe = TrainConfig("linf", config_dict(case.config), (stage,), device="cpu")
    events = train(
        folder / "0.tif",
        recipe,
        tmp_path / "m.safetensors",
        validation=folder / "1.tif",
    )
    (told,) = [e for e in events if isinstance(e, Validation)]
    assert {"psnr_bicubic", "psnr_mode"} <= set(told.metrics)
    assert told.pictures[0].mode is not None


def test_learns_and_writes_a_model_that_describes_itself(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tiny.safetensors"
    events = list(train(folder, config(80, validate_every=20), out, validation=folder))
    losses = [e.loss for e in events if isinstance(e, Step) and e.stage == "flow"]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.3
    told = [e.metrics for e in events if isinstance(e, Validation)]
    gains = [m["psnr_predict"] - m["psnr_bicubic"] for m in told]
    assert gains[-1] > max(gains[0], 0.1)  # dB over bicubic, on its training images
    assert isinstance(events[-1], Finished)
    model = read_model(out)
    assert model.card.name == "tiny"
    assert model.card.licence == "BSD-3-Clause"
    assert model.card.training["steps"] == 160
    assert model.card.training["config"]["stages"][1]["losses"] == {"nll": 1.0}
    json.dumps(dict(model.card.training))


def test_interrupted_run_goes_on_exactly(folder: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    list(train(folder, config(), whole))
    for stop_after in (1, 2):  # once in the first stage, once in the second
        seen = 0
        for event in train(folder, config(), parts):
            seen += isinstance(event, Checkpoint)
            if seen == stop_after:
                break
    list(train(folder, config(), parts))
    a, b = read_model(whole).flow.state_dict(), read_model(parts).flow.state_dict()
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def test_encoder_is_frozen_while_the_flow_learns(folder: Path, tmp_path: Path) -> None:
    frozen: list[torch.Tensor] = []
    run: list[run_module.TrainingRun] = []
    original = run_module.TrainingRun.set_up

    def spy(self: run_module.TrainingRun, stage: Stage, taken: int) -> None:
        run[:] = [self]
        if stage.name == "flow":
            frozen.extend(p.detach().clone() for p in self.flow.encoder_parameters())
        original(self, stage, taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.TrainingRun, "set_up", spy)
        list(train(folder, config(), tmp_path / "m.safetensors"))
    for before, after in zip(frozen, run[0].flow.encoder_parameters(), strict=True):
        assert torch.equal(before, after)


def test_non_finite_losses_are_skipped_then_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_MAX_SKIPPED", 2)
    monkeypatch.setattr(
        "napari_flowsr.training.losses.LOSSES",
        {"predict_l1": lambda p: p.flow.predict(p.lr).mean() * torch.nan},
    )
    steps: list[Step] = []
    one = config(stages=(Stage("encoder", 9, {"predict_l1": 1.0}, batch=2, patch=8),))
    events = train(folder, one, tmp_path / "m.safetensors")
    with pytest.raises(TrainingError, match="not finite in 3 steps"):
        steps.extend(e for e in events if isinstance(e, Step))
    assert [s.skipped for s in steps] == [True, True]
    assert not (tmp_path / "m.safetensors").exists()


def test_another_configuration_does_not_go_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    list(train(folder, config(), out))
    with pytest.raises(TrainingError, match="another configuration"):
        list(train(folder, config(seed=1), out))


@pytest.mark.parametrize("content", ["empty", "flat", "small"])
def test_unusable_images_are_refused(tmp_path: Path, content: str) -> None:
    if content == "flat":
        tifffile.imwrite(tmp_path / "a.tif", np.full((64, 64), 7, np.uint8))
    elif content == "small":
        tifffile.imwrite(tmp_path / "a.tif", np.eye(9, dtype=np.uint8))
    with pytest.raises(TrainingError, match="image"):
        list(train(tmp_path, config(), tmp_path / "m.safetensors"))


def test_schedules() -> None:
    stage = Stage("s", 100, {"nll": 1.0}, learning_rate=1.0, warmup=10)
    assert learning_rate(stage, 0) == pytest.approx(0.1)
    assert learning_rate(stage, 50) == pytest.approx(0.5)
    halved = replace(stage, schedule="steps", warmup=0)
    assert [learning_rate(halved, t) for t in (49, 50, 75, 90, 95)] == [
        1.0,
        0.5,
        0.25,
        0.125,
        0.0625,
    ]
    with pytest.raises(TrainingError, match="cosine"):
        learning_rate(replace(stage, schedule="linear"), 50)


def test_presets_are_valid_and_srflow_is_the_papers() -> None:
    for name in PRESETS:
        assert preset(name).with_().steps > 0
    flow = preset("srflow-8x").stages[1]
    assert (flow.steps, flow.batch, flow.patch * 8) == (200_000, 16, 160)
    assert flow.hr_noise * 255 == pytest.approx(4 / 3**0.5)
    with pytest.raises(OptionError, match="compact-2x"):
        preset("compact-5x")
    assert preset("hcflow++").stages[2].losses["perceptual"] == 0.05
    assert preset("adflow-8x").stages[1].losses == {"nll": 1.0, "adversarial": 0.1}


def test_configuration_errors_name_the_field(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="validate_evry"):
        config().with_(validate_evry=3)
    with pytest.raises(TrainingError, match="seed"):
        config().with_(seed="many")
    file = tmp_path / "c.toml"
    file.write_text('family = "compact"\nstages = [{ nam = "x" }]\n')
    with pytest.raises(TrainingError, match=r"stages\.0\.nam"):
        load_config(file)


def test_recipes_of_the_built_in_models_load() -> None:
    recipes = Path(__file__).parents[2] / "recipes"
    for file in recipes.glob("*.toml"):
        assert load_config(file).name == file.stem
