"""`evaluate` and `train`."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from skimage import data

from napari_flowsr.io.collection import load_model
from napari_flowsr.io.images import write_image

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "hr"
    source.mkdir()
    for i, start in enumerate((0, 120)):
        part = data.cell()[start + 250 : start + 346, 300:396]
        write_image(source / f"{i}.png", part)
    return source


def test_evaluate_prints_the_figures_next_to_bicubic(cli, folder):
    done = cli("evaluate", "tiny-2x", folder, "-n", 3, "--device", "cpu")
    assert done.status == 0, done.err
    for word in (
        "bicubic",
        "PSNR",
        "SSIM",
        "LR-PSNR",
        "CRPS",
        "Bits per dim",
        "Diversity",
    ):
        assert word in done.out


def test_evaluate_gives_json_and_draws(cli, folder, tmp_path):
    picture = tmp_path / "f.png"
    done = cli(
        "evaluate", folder / "*.png", "-m", "tiny-2x", "-n", 3, "--device", "cpu",
        "--json", "--figure", picture,
    )  # fmt: skip
    assert done.status == 0, done.err
    found = done.json
    assert found["model"] == "tiny-2x"
    assert [row["name"] for row in found["images"]] == ["0.png", "1.png"]
    mean = found["mean"]
    assert set(mean["psnr"]) == {"bicubic", "mode", "sample", "mean"}
    assert {"crps", "mae_mode", "diversity", "bpd", "coverage_50", "nonfinite"} <= set(
        mean
    )
    each = [row["psnr"]["bicubic"] for row in found["images"]]
    assert mean["psnr"]["bicubic"] == pytest.approx(np.mean(each))
    assert imread(picture).shape[1] > 1000


def test_evaluate_says_what_is_wrong(cli, tmp_path):
    done = cli("evaluate", "tiny-2x", tmp_path / "none")
    assert done.status == 2
    assert "No image" in done.err
    done = cli("evaluate", "tiny-2x")
    assert done.status == 2
    assert "No images" in done.err
    done = cli("evaluate", "tiny-3x", tmp_path, "--model", "tiny-2x")
    assert done.status == 2
    assert "tiny-3x" in done.err


def test_train_makes_a_model_that_can_be_used(cli, folder, tmp_path):
    out = tmp_path / "own.safetensors"
    done = cli(
        "train", folder, "-o", out, "--steps", 2, "--device", "cpu",
        "--set", "model={'width': 8, 'blocks': 1, 'steps': 1, 'hidden': 4}",
        "--set", "name=own",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert str(out) in done.out
    assert load_model(out, device="cpu").card.family == "compact"


def test_an_interrupted_training_goes_on(cli, folder, tmp_path, monkeypatch):
    from napari_flowsr.training import trainer

    out = tmp_path / "own.safetensors"
    arguments = (
        "train", folder, "-o", out, "--steps", 3, "--device", "cpu", "--json",
        "--set", "model={'width': 8, 'blocks': 1, 'steps': 1, 'hidden': 4}",
        "--set", "checkpoint_every=1",
    )  # fmt: skip
    whole = trainer.train

    def stopped(*args, **kwargs):
        for event in whole(*args, **kwargs):
            yield event
            if type(event).__name__ == "Checkpoint" and event.step == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "train", stopped)
    assert cli(*arguments).status == 130
    assert not out.exists()
    monkeypatch.setattr(trainer, "train", whole)
    done = cli(*arguments)
    assert done.status == 0, done.err
    assert done.json["first_step"] == 2
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "x.pth"], ".safetensors"),
        (["-o", "x.safetensors", "--preset", "huge"], "huge"),
        (["-o", "x.safetensors", "--set", "seed"], "NAME=VALUE"),
        (["-o", "x.safetensors", "--set", "sead=1"], "sead"),
        (["-o", "x.safetensors", "--set", "seed='a'"], "seed"),
        (
            ["-o", "x.safetensors", "--preset", "compact-2x", "--config", "c.toml"],
            "both",
        ),
        (["-o", "x.safetensors", "--config", "none.toml"], "none.toml"),
    ],
)
def test_train_says_what_is_wrong(cli, folder, arguments, said):
    done = cli("train", folder, *arguments)
    assert done.status == 2
    assert said in done.err
    assert done.err.count("\n") == 1
