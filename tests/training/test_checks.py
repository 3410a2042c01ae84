"""What is wrong with a training shows before its first step; fine-tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tifffile
import torch

import napari_flowsr as flowsr
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.errors import (
    DeviceError,
    ExportError,
    FlowSRError,
    ModelNotFoundError,
    OptionError,
    TrainingError,
)
from napari_flowsr.io.checkpoint import file_sha256, read_model, save_model
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.compact import Compact
from napari_flowsr.training.config import Stage, load_config
from napari_flowsr.training.events import Step
from napari_flowsr.training.run import TrainingRun
from napari_flowsr.training.schedule import learning_rate
from napari_flowsr.training.trainer import train

OUT = "m.safetensors"


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"schedule": "linear"}, "schedule.*'linear'.*cosine"),
        ({"losses": {"l2": 1.0}}, "Unknown loss l2.*mode_l1"),
        ({"losses": {"nll": -1.0}}, "Weight of the loss nll"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup": -1}, "warmup"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"dequantisation_levels": 0.0}, "dequantisation_levels"),
        ({"hr_noise": -0.1}, "hr_noise"),
        ({"unusual": 1.1}, "unusual.*fraction"),
        ({"encoder_frozen_until": 1.5}, "encoder_frozen_until"),
        (
            {"losses": {"predict_l1": 1.0}, "encoder_frozen_until": 0.5},
            "nothing would learn",
        ),
    ],
)
def test_stages_are_checked_at_once(images, recipe, tmp_path, stage, said):
    good = recipe()
    bad = replace(good, stages=(good.stages[0], replace(good.stages[1], **stage)))
    with pytest.raises(TrainingError, match=said):
        train(images, bad, tmp_path / OUT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"scale": 2.5}}, "2.5.*whole number"),
        ({"model": {"scale": 1}}, "at least 2"),
        ({"model": {"scale": "big"}}, "'big'.*whole number"),
        ({"model": {"wide": 3}}, "wide"),
        ({"family": "srflaw"}, "srflow"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"degradation": "blur"}, "matlab-bicubic"),
        ({"percentiles": (99, 1)}, "rising"),
        ({"ema": 1.0}, "ema"),
        ({"seed": -1}, "seed"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"manifest": "none.csv", "group_by": "kind"}, "none.csv"),
        ({"start_from": "micro-3x"}, "micro-3x"),
    ],
)
def test_the_rest_is_checked_at_once(images, recipe, tmp_path, changes, said):
    with pytest.raises(FlowSRError, match=said):
        train(images, recipe(**changes), tmp_path / OUT)
    assert not list(tmp_path.iterdir())


def test_the_patch_fits_the_network(images, recipe, tmp_path):
    model = {"scale": 2, "levels": 2, "width": 4, "blocks": 1, "stacked_blocks": ()}
    odd = replace(recipe(stage={"patch": 5}), family="srflow", model=model)
    with pytest.raises(TrainingError, match=r"patch.*5.*multiple of 2"):
        train(images, odd, tmp_path / OUT)


def test_a_family_without_an_encoder_has_no_loss_of_it(
    images, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(Compact, "predict", ConditionalFlow.predict)
    with pytest.raises(TrainingError, match=r"predict_l1.*compact family has none"):
        train(images, recipe(), tmp_path / OUT)


def test_paths_are_checked_at_once(images, recipe, tmp_path):
    with pytest.raises(OptionError, match="safetensors"):
        train(images, recipe(), tmp_path / "m.pth")
    with pytest.raises(TrainingError, match="nowhere"):
        train(tmp_path / "nowhere", recipe(), tmp_path / OUT)
    with pytest.raises(TrainingError, match="nowhere"):
        train(images, recipe(), tmp_path / OUT, validation=tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="images were given"):
        train([], recipe(), tmp_path / OUT)
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file, not a folder"):
        train(images, recipe(), tmp_path / "file" / OUT)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ExportError, match="a folder of this name"):
        train(images, recipe(), tmp_path / "folder.safetensors")
    (tmp_path / "m.training").write_text("")
    with pytest.raises(ExportError, match=r"m\.training.*is a file, not a folder"):
        train(images, recipe(), tmp_path / OUT)


def test_several_processes_need_equal_parts(images, recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(TrainingError, match="multiple of the 4 processes"):
        train(images, recipe(), tmp_path / OUT)


def test_the_public_function_checks_at_once_too(images, tmp_path):
    with pytest.raises(DeviceError, match="abacus"):
        flowsr.train(
            images, preset="compact-2x", output=tmp_path / OUT, device="abacus"
        )
    with pytest.raises(OptionError, match="stepps"):
        flowsr.train(images, preset="compact-2x", output=tmp_path / OUT, stepps=3)


def test_the_callers_random_numbers_are_left_alone(images, recipe, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    events = train(images, recipe(), tmp_path / OUT)
    next(e for e in events if isinstance(e, Step))
    events.close()
    assert torch.equal(torch.rand(3), expected)


def test_validation_images_without_an_interior_are_refused(images, recipe, tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", tifffile.imread(images / "0.tif")[:5, :5])
    events = train(images, recipe(), tmp_path / OUT, validation=tmp_path / "v.tif")
    with pytest.raises(TrainingError, match="at least 8 pixels"):
        next(events)


def test_a_stage_shorter_than_its_warm_up_still_comes_down():
    stage = Stage("s", 50, {"nll": 1.0}, learning_rate=1.0, warmup=100)
    rates = [learning_rate(stage, t) for t in range(50)]
    assert rates[-1] < 0.01 < max(rates)


# --- fine-tuning --------------------------------------------------------------


@pytest.fixture
def origin(recipe, tmp_path: Path) -> Path:
    """A model file with weights of its own."""
    torch.manual_seed(3)
    flow = build("compact", recipe().model)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    path = tmp_path / "origin.safetensors"
    save_model(path, flow, ModelCard("first", "compact", (2.0,), 1))
    return path


def test_fine_tuning_begins_with_the_models_weights(
    images, recipe, origin, tmp_path, monkeypatch
):
    seen: list[dict[str, torch.Tensor]] = []
    set_up = TrainingRun.set_up

    def spy(self, stage, taken):
        seen.append({k: v.clone() for k, v in self.flow.state_dict().items()})
        set_up(self, stage, taken)

    monkeypatch.setattr(TrainingRun, "set_up", spy)
    out, digest = tmp_path / OUT, file_sha256(origin)
    config = recipe(start_from=str(origin))
    events = train(images, config, out)
    next(e for e in events if isinstance(e, Step))
    events.close()
    for key, value in read_model(origin).flow.state_dict().items():
        assert torch.equal(seen[0][key], value), key
    origin.unlink()  # from now on the state is enough
    list(train(images, config, out))
    training = read_model(out).card.training
    assert training["start_from"] == {"name": "first", "sha256": digest}
    assert training["config"]["start_from"] == origin.name


def test_fine_tuning_needs_the_same_network(images, recipe, origin, tmp_path):
    start = {"start_from": str(origin)}
    with pytest.raises(TrainingError, match=r"width \(4 there, 6 here\)"):
        train(images, recipe(model={"width": 6}, **start), tmp_path / OUT)
    other = replace(recipe(**start), family="srflow", model={"scale": 2, "blocks": 23})
    with pytest.raises(TrainingError, match=r"compact family.*srflow"):
        train(images, other, tmp_path / OUT)
    with pytest.raises(ModelNotFoundError, match="no model"):
        train(images, recipe(start_from="microscopy"), tmp_path / OUT)


def test_a_recipe_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "image.toml"
    path.write_bytes(b"II*\x00\xff\xfe\x80")
    with pytest.raises(TrainingError, match="no readable TOML"):
        load_config(path)
