"""What commands say of licences, learned priors and names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.models._registry import build, example_configs
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior

pytestmark = pytest.mark.usefixtures("home")


def _saved(folder: Path, name: str, family: str, config: object) -> Path:
    flow = build(family, config)
    path = folder / f"{name}.safetensors"
    save_model(path, flow, ModelCard(name, family, flow.scales, flow.channels))
    return path


@pytest.fixture
def linf(home: Path) -> Path:
    """Imported as ``linf``; no licence is stated."""
    torch.manual_seed(0)
    config = {
        "channels": 1, "patch": 3, "width": 4, "blocks": 1, "hidden": 8,
        "mlp_layers": 1, "flow_layers": 2,
    }  # fmt: skip
    return _saved(home / "models", "linf", "linf", config)


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    config = LearnedPriorConfig(
        "patch", level_channels=(9,), dim=4, depth=1, channels=1
    )
    state = {
        k.removeprefix("generator."): v
        for k, v in build_prior(config).state_dict().items()
    }
    torch.save({"prior_model": {"name": "unet", "sd": state}}, tmp_path / "lp.pth")
    return tmp_path / "lp.pth"


def test_the_command_that_is_told_after_an_import_works(
    cli, linf, prior, picture, tmp_path
):
    done = cli("models", "import", prior)
    assert done.status == 0, done.err
    told = re.search(r"napari-flowsr (upscale IMAGE .*)", done.out)
    assert told is not None
    words = {"IMAGE": f"{picture}", "MODEL": "linf"}
    command = [words.get(word, word) for word in shlex.split(told[1])]
    command.insert(2, f"{tmp_path / 'out.ome.tif'}")
    done = cli(*command, "--device", "cpu", "-n", 2)
    assert done.status == 0, done.err
    assert "'lp' makes one prediction: all samples are the same" in done.err


def test_priors_are_in_the_list_and_are_not_exported(cli, prior, tmp_path):
    assert cli("models", "import", prior).status == 0
    listed = {e["name"]: e for e in cli("models", "list", "--json").json}
    assert listed["lp"]["kind"] == "prior"
    assert listed["lp"]["built_in"] is False
    assert {listed[n]["kind"] for n in ("tiny-2x", "micro-2x")} == {"model"}
    done = cli("models", "export", "lp", tmp_path / "lp.safetensors")
    assert done.status == 2
    assert "'lp' is a learned prior" in done.err
    assert "not exported" in done.err
    assert cli("models", "remove", "lp", "--kind", "prior").status == 0


def test_rescale_and_evaluate_warn_where_no_licence_is_stated(
    cli, home, linf, picture, tmp_path
):
    said = "Warning: No licence is stated for the weights of"
    config = example_configs("hcflow-rescale")[0]
    _saved(home / "models", "small", "hcflow-rescale", config)
    done = cli("rescale", "down", picture, "--model", "small", "--device", "cpu")
    assert f"{said} 'small'" in done.err, done.err
    options = ("-n", 2, "--scale", 2, "--device", "cpu", "--crop", 16)
    done = cli("evaluate", "linf", picture, *options)
    assert f"{said} 'linf'" in done.err, done.err
    assert said not in cli("evaluate", "tiny-2x", picture, "-n", 2, "--crop", 16).err


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("https://example.org/a/tiny-2x.safetensors?x=1", (), "imported already"),
        ("hub:owner/name/tiny-2x.safetensors@main", (), "imported already"),
        (
            "https://example.org/x.pth",
            ("--name", "micro-2x", "--overwrite"),
            "built-in",
        ),
        ("https://example.org/x.pth", ("--name", "a/b"), "cannot be a model's name"),
    ],
    ids=str,
)
def test_a_name_is_checked_before_the_download(
    cli, monkeypatch, address, options, said
):
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("nothing should be fetched")

    monkeypatch.setattr("napari_flowsr.io.download.download", fetched)
    done = cli("models", "import", address, "--sha256", "0" * 64, *options)
    assert done.status == 2
    assert said in done.err
