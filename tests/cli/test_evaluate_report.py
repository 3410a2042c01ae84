"""`evaluate` of several models, scales and learned priors, and its report."""

from __future__ import annotations

import math

import pytest
from skimage import data

from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.images import read_image, write_image
from napari_flowsr.io.priors import write_prior
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior

pytestmark = pytest.mark.usefixtures("home")
FEW = ("--device", "cpu", "-n", 2, "--temperatures", "0,1")


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Curves take a second to draw, and have tests of their own."""
    from napari_flowsr.report import page

    monkeypatch.setattr(page, "draw", lambda panel, number: f"<svg id='{number}'/>")


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "hr"
    source.mkdir()
    for i in range(3):
        part = data.cell()[250 + 20 * i : 274 + 20 * i, 300:324]
        write_image(source / f"{i}.png", part)
    return source


@pytest.fixture
def other(home):
    flow = build(
        "compact", {"scale": 4, "width": 6, "blocks": 1, "steps": 1, "hidden": 4}
    )
    card = ModelCard("tiny-4x", "compact", (4.0,), 1, licence="CC0-1.0")
    save_model(home / "models" / "tiny-4x.safetensors", flow, card)
    return "tiny-4x"


def test_a_report_of_two_models_holds_what_json_tells(cli, folder, other, tmp_path):
    report = tmp_path / "out.html"
    done = cli(
        "evaluate", "tiny-2x", other, folder, *FEW, "--report", report, "--json",
        "--images", 2, "--crop", 20, "--sweep", 3,
    )  # fmt: skip
    assert done.status == 0, done.err
    found = done.json
    assert found["report_file"] == str(report)
    assert [m["model"] for m in found["models"]] == ["tiny-2x", "tiny-4x"]
    text = report.read_text("utf-8")
    for model in found["models"]:
        numbers = model["report"]
        assert (numbers["crop"], numbers["sweep"], len(model["images"])) == (20, 3, 2)
        assert [at["temperature"] for at in numbers["temperatures"]] == [0, 1]
        for row in numbers["versions"].values():
            assert f"{row['psnr']:.2f}</td>" in text
        for row in numbers["images"]:
            assert row["hash"][:10] in text
        assert model["mean"]["psnr"]["mode"] == numbers["versions"]["mode"]["psnr"]
        assert model["model"] in text
        assert model["sha256"] in text
    assert "their central 20 × 20 pixels; at most 2 images" in text
    assert "LPIPS" in text
    assert list(tmp_path.glob(".*")) == []


def test_people_are_told_where_it_is(cli, folder, tmp_path):
    report = tmp_path / "out.html"
    done = cli(
        "evaluate", "-m", "tiny-2x", folder, *FEW, "--report", report, "--images", 1
    )
    assert done.status == 0, done.err
    for word in ("Lanczos", "Fine detail", "encoder alone", f"Report: {report}"):
        assert word in done.out


def test_quick_fills_in_what_is_not_given(cli, folder, tmp_path):
    report = tmp_path / "out.html"
    done = cli(
        "evaluate", "tiny-2x", folder, "--device", "cpu", "-n", 2, "--report", report,
        "--quick", "--sweep", 1, "--json", "--images", 1,
    )  # fmt: skip
    assert done.status == 0, done.err
    numbers = done.json["report"]
    assert (numbers["crop"], numbers["sweep"]) == (128, 1)
    assert [row["temperature"] for row in numbers["temperatures"]] == [
        0, 0.5, 0.8, 0.9, 1,
    ]  # fmt: skip
    assert all(math.isfinite(row["psnr"]) for row in numbers["temperatures"])


def test_models_without_a_report(cli, folder, other):
    done = cli(
        "evaluate", "tiny-2x", other, folder, "--device", "cpu", "-n", 1,
        "--images", 1,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "tiny-2x, 2×" in done.out
    assert "tiny-4x, 4×" in done.out
    assert "Lanczos" not in done.out
    lines = [line for line in done.out.splitlines() if "Diversity" in line]
    assert [line.split()[1] for line in lines] == ["-", "-"]  # of one sample
    done = cli(
        "evaluate", "-m", "tiny-2x", "-m", other, folder, "-n", 1, "--json",
        "--scale", 4, "--scale", 2, "--device", "cpu", "--images", 1,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert [m["scale"] for m in done.json["models"]] == [2, 4]
    assert "report" not in done.json["models"][0]


def test_a_learned_prior_is_measured_besides(cli, folder, other, tmp_path):
    flow = load_model("tiny-2x", device="cpu").flow
    levels = tuple(shape[0] for shape in flow.latent_spec((8, 8)).shapes)
    config = LearnedPriorConfig(
        kind="pyramid", level_channels=levels, dim=4, depth=2, channels=1, stride=2
    )
    prior = tmp_path / "own-prior.safetensors"
    write_prior(prior, build_prior(config), licence="CC0-1.0", about={})
    report = tmp_path / "out.html"
    done = cli(
        "evaluate", "tiny-2x", other, folder, *FEW, "--prior", f"tiny-2x={prior}",
        "--images", 1, "--report", report, "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    with_prior, without = (m["report"] for m in done.json["models"])
    assert math.isfinite(with_prior["versions"]["prior"]["psnr"])
    assert with_prior["prior_nonfinite"] == 0
    assert "prior" not in without["versions"]
    assert "Learned prior: own-prior" in report.read_text("utf-8")
    told = cli("evaluate", "tiny-2x", folder, "-n", 1, "--prior", prior, "--images", 1)
    assert "learned prior" in told.out


def test_given_lr_images(cli, folder, tmp_path):
    low, report = tmp_path / "lr", tmp_path / "out.html"
    low.mkdir()
    for file in folder.iterdir():
        write_image(low / file.name, read_image(file).data[::2, ::2])
    common = ("evaluate", "tiny-2x", folder, *FEW[:4], "--images", 1, "--json")
    given = cli(*common, "--lr", low)
    assert given.status == 0, given.err
    made = cli(*common)
    # Every second pixel is no reduction of the card.
    psnr = [done.json["mean"]["psnr"]["bicubic"] for done in (given, made)]
    assert psnr[0] < psnr[1] - 0.1
    told = cli(*common, "--lr", low, "--report", report, "--temperatures", 1)
    assert told.json["mean"] == given.json["mean"]
    assert "were given, and belong to the images" in report.read_text("utf-8")
    (low / "0.png").unlink()
    assert "No LR image belongs to" in cli(*common, "--lr", low).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperatures", "0,1"], "--temperatures is about the report"),
        (["--sweep", 2], "--sweep is about the report"),
        (["--pictures", 0], "--pictures is about the report"),
        (["--report", "out.pdf"], ".html"),
        (["--report", "none/../out.html", "--temperatures", "0,hot"], "0,hot"),
        (["--report", "out.html", "--temperatures", "0,-1"], "-1"),
        (["--scale", "2", "--scale", "8"], "Scale 8"),
        (["--prior", "none"], "no learned prior"),
        (["-m", "tiny-2x", "-m", "tiny-4x", "--prior", "none"], "2 models"),
        (["--prior", "a", "--prior", "b"], "Two learned priors"),
        (["-m", "tiny-2x", "-m", "tiny-4x", "--figure", "f.png"], "--figure draws one"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    cli, folder, other, arguments, said, monkeypatch, tmp_path
):
    from napari_flowsr.metrics import evaluate

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "evaluate_plane", None)  # not called
    names = [] if "-m" in arguments else ["tiny-2x"]
    done = cli("evaluate", *names, folder, *arguments, "--device", "cpu")
    assert done.status == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.glob("*.html")) == []


def test_ctrl_c_leaves_no_file(cli, folder, tmp_path, monkeypatch):
    from napari_flowsr.report import collect

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(collect, "take", interrupted)
    report = tmp_path / "out.html"
    report.write_text("old")
    done = cli("evaluate", "tiny-2x", folder, *FEW, "--report", report)
    assert done.status == 130
    assert report.read_text() == "old"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["home", "hr", "out.html"]
