"""Names are unique over models, learned priors and built-in models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from napari_flowsr.errors import ModelNotFoundError, OptionError
from napari_flowsr.io import catalogue, importing
from napari_flowsr.io.checkpoint import read_header, save_model
from napari_flowsr.io.priors import import_prior, prior_header
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    path = tmp_path / "m.safetensors"
    save_model(path, flow, ModelCard("m", "compact", flow.scales, 1))
    return path


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    config = LearnedPriorConfig("patch", level_channels=(27,), dim=4, depth=1)
    state = {
        k.removeprefix("generator."): v
        for k, v in build_prior(config).state_dict().items()
    }
    torch.save({"prior_model": {"name": "unet", "sd": state}}, tmp_path / "p.pth")
    return tmp_path / "p.pth"


def test_a_name_is_given_once_over_all_kinds(model: Path, prior: Path) -> None:
    importing.import_file(model, "one")
    importing.import_file(prior, "two")
    for path, name in ((prior, "one"), (model, "two")):
        for overwrite in (False, True):
            with pytest.raises(OptionError, match="could not be told from it"):
                importing.import_file(path, name, overwrite=overwrite)
    with pytest.raises(OptionError, match="built-in"):
        import_prior(prior, "micro-2x", overwrite=True)
    assert importing.import_file(prior, "two", overwrite=True).kind == "prior"


def _same_name(home: Path, model: Path, prior: Path) -> tuple[Path, Path]:
    """A model and a prior of one name, as older versions let them be."""
    importing.import_file(model, "same")
    there = importing.import_file(prior, "other").path
    shutil.move(there, there.with_name("same.safetensors"))
    return home / "models" / "same.safetensors", there.with_name("same.safetensors")


def test_of_two_of_a_name_the_kind_tells_which(
    home: Path, model: Path, prior: Path
) -> None:
    of_model, of_prior = _same_name(home, model, prior)
    with pytest.raises(OptionError, match="a model and a learned prior"):
        catalogue.remove("same")
    with pytest.raises(OptionError, match="a model and a learned prior"):
        catalogue.state_licence("same", "MIT")
    assert catalogue.state_licence("same", "MIT", "prior").path == of_prior
    assert prior_header(of_prior)["licence"] == "MIT"
    header = read_header(of_model)
    assert header is not None
    assert header.card.licence == "not stated"
    assert catalogue.state_licence("same", "BSD", kind="model").path == of_model
    catalogue.remove("same", "prior")
    assert of_model.exists()
    assert not of_prior.exists()
    with pytest.raises(ModelNotFoundError, match="No learned prior 'same'"):
        catalogue.remove("same", "prior")
    with pytest.raises(OptionError, match="kind is 'file'"):
        catalogue.remove("same", "file")
    catalogue.remove("same")
    assert not of_model.exists()
