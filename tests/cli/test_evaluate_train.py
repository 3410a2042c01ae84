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


def test_an_unknown_model_is_called_that(cli, folder, tmp_path):
    """It used to be called an image that was not found."""
    done = cli("evaluate", "tiny-3x", folder)
    assert done.status == 2
    assert "neither a model nor an image" in done.err
    assert "tiny-2x" in done.err
    done = cli("evaluate", "-m", "tiny-3x", folder)
    assert done.status == 2
    assert "tiny-3x" in done.err
    done = cli("evaluate", tmp_path / "none.safetensors", folder)
    assert done.status == 2
    assert "none.safetensors" in done.err


def test_images_that_cannot_be_used_end_with_one_line(cli, tmp_path):
    """Broken files used to end in a traceback."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "broken.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n1234")
    np.save(tmp_path / "complex.npy", np.ones((40, 40), complex))
    np.save(tmp_path / "nan.npy", np.full((40, 40), np.nan))
    np.save(tmp_path / "flat.npy", np.ones((40, 40)))
    for name, said in (
        ("empty", "No image"),
        ("broken.tif", "damaged"),
        ("broken.png", "broken.png"),
        ("complex.npy", "complex128"),
        ("nan.npy", "NaN"),
        ("flat.npy", "constant"),
    ):
        done = cli("evaluate", "tiny-2x", tmp_path / name, "--device", "cpu")
        assert done.status == 2, name
        assert said in done.err
        assert name in done.err
        assert done.err.count("\n") == 1


def test_bad_options_are_refused_before_the_work(cli, folder, tmp_path, monkeypatch):
    from napari_flowsr.metrics import evaluate

    monkeypatch.setattr(evaluate, "evaluate_plane", None)  # not called
    done = cli("evaluate", "tiny-2x", folder, "--scale", 3, "--device", "cpu")
    assert done.status == 2
    assert "Scale 3" in done.err
    done = cli("evaluate", "tiny-2x", folder, "--figure", tmp_path / "f.xyz")
    assert done.status == 2
    assert "f.xyz" in done.err


def test_what_is_no_number_is_a_dash_and_null(cli, folder):
    arguments = ("evaluate", "tiny-2x", folder, "-n", 1, "--device", "cpu")
    done = cli(*arguments)
    assert done.status == 0, done.err
    line = next(row for row in done.out.splitlines() if "Coverage of 90" in row)
    assert line.split("intervals")[1].split()[0] == "-"
    assert "take more" in line
    done = cli(*arguments, "--json")
    assert done.json["mean"]["coverage_90"] is None
    assert done.json["images"][0]["coverage_50"] is None
    assert done.json["counts"]["coverage_90"] == 0
    many = cli("evaluate", "tiny-2x", folder / "0.png", "-n", 8, "--device", "cpu")
    assert "cannot show less than 0.55" in many.out


def test_unstable_and_left_out_images_are_told(cli, folder, tmp_path, monkeypatch):
    from napari_flowsr.errors import UnstableDecodeError
    from napari_flowsr.metrics import evaluate

    whole = evaluate.evaluate_plane

    def unstable(plane, *args, **kwargs):
        if plane.name == "1.png":
            raise UnstableDecodeError("It exploded.")
        return whole(plane, *args, **kwargs)

    monkeypatch.setattr(evaluate, "evaluate_plane", unstable)
    write_image(folder / "2.png", np.zeros((40, 40), np.uint8))
    arguments = ("evaluate", "tiny-2x", folder, "-n", 2, "--device", "cpu")
    done = cli(*arguments)
    assert done.status == 0, done.err
    assert "mean over 1 image," in done.out
    line = next(row for row in done.out.splitlines() if "exploded decodes" in row)
    assert "0.5000" in line
    assert any("1.png" in row for row in done.out.splitlines() if "Unstable" in row)
    assert any("2.png" in row for row in done.out.splitlines() if "Left out" in row)
    picture = tmp_path / "f.png"
    alone = cli("evaluate", "tiny-2x", folder / "1.png", "--json", "--figure", picture)
    assert alone.status == 0, alone.err
    assert alone.json["unstable"] == ["1.png"]
    assert alone.json["mean"]["psnr"]["mode"] is None
    assert not picture.exists()
    assert "No figure" in alone.err


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
