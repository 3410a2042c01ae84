"""Listing, inspecting, importing and removing, as command line and dock do it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_flowsr.errors import CheckpointError, ModelNotFoundError, OptionError
from napari_flowsr.io import catalogue, importing
from napari_flowsr.io.checkpoint import read_header, save_model
from napari_flowsr.io.priors import read_prior
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior
from napari_flowsr.models.rrdb import RRDBConfig, RRDBNet


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing here may use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def rrdb_file(folder: Path, name: str = "RRDB_DF2K_4X.pth") -> Path:
    """An encoder alone, as published."""
    net = RRDBNet(RRDBConfig(scale=2, width=4, blocks=1, growth=2))
    state = {k.removeprefix("encoder."): v for k, v in net.state_dict().items()}
    torch.save(state, folder / name)
    return folder / name


def own_file(folder: Path, licence: str = "BSD-3-Clause") -> Path:
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    card = ModelCard("own", "compact", flow.scales, 1, licence=licence)
    save_model(folder / "own.safetensors", flow, card)
    return folder / "own.safetensors"


def prior_file(folder: Path) -> Path:
    """A learned prior of LINF-LP, wrapped as published."""
    config = LearnedPriorConfig("patch", level_channels=(27,), dim=4, depth=1)
    state = {
        k.removeprefix("generator."): v
        for k, v in build_prior(config).state_dict().items()
    }
    torch.save({"prior_model": {"name": "unet", "sd": state}}, folder / "rrdb-LP.pth")
    return folder / "rrdb-LP.pth"


def test_a_published_file_is_kept_with_its_card(tmp_path: Path, home: Path) -> None:
    entry = importing.import_file(rrdb_file(tmp_path))
    assert entry.card is not None
    assert (entry.name, entry.kind, entry.is_built_in) == (
        "RRDB_DF2K_4X",
        "model",
        False,
    )
    assert entry.path == home / "models" / "RRDB_DF2K_4X.safetensors"
    assert "CC BY-NC-SA 4.0" in entry.licence
    card = entry.card
    assert card.inferred["blocks"] == 1
    assert card.source["file"] == "RRDB_DF2K_4X.pth"
    assert len(card.source["sha256"]) == 64
    [notice] = catalogue.notices(card)
    assert "deterministic" in notice
    listed = {e.name: e for e in catalogue.entries()}
    assert listed["RRDB_DF2K_4X"] == entry
    assert listed["micro-2x"].is_built_in


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("SR_DF2K_X4_HCFlow++.pth", "SR_DF2K_X4_HCFlow++"),
        ("my model (1).safetensors", "my_model_1_"),
        (".hidden.pth", "hidden"),
        ("…", "model"),
        ("a" * 90, "a" * 64),
    ],
)
def test_names_are_made_of_file_names(name: str, proposed: str, tmp_path: Path) -> None:
    assert catalogue.proposed_name(name) == proposed
    if name.endswith(".pth") and not name.startswith("."):
        assert importing.import_file(rrdb_file(tmp_path, name)).name == proposed


def test_a_given_licence_stands(tmp_path: Path) -> None:
    path = own_file(tmp_path, licence="not stated")
    assert importing.known_licence(path) == "not stated"
    entry = importing.import_file(path, "first")
    assert not entry.licence_is_stated
    assert "Ask their authors" in catalogue.notices(entry.card)[0]
    entry = importing.import_file(path, "second", licence="  CC BY\n4.0 ")
    assert entry.licence == "CC BY 4.0"
    assert catalogue.notices(entry.card) == ()
    with pytest.raises(OptionError, match="characters"):
        importing.import_file(path, "third", licence="x" * 1000)


def test_a_licence_can_be_stated_later(tmp_path: Path) -> None:
    path = own_file(tmp_path, licence="not stated")
    before = importing.import_file(path, "own")
    weights = load_file(before.path)
    after = catalogue.state_licence("own", "MIT")
    kept = load_file(after.path)
    assert weights.keys() == kept.keys()
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
    assert after.licence == "MIT"
    header = read_header(after.path)
    assert header is not None
    assert header.card.licence == "MIT"
    old, new = before.card, after.card
    assert old.with_(sha256="", licence="") == new.with_(sha256="", licence="")
    for name, licence in (("micro-2x", "MIT"), ("own", "  ")):
        with pytest.raises(OptionError, match="imported model"):
            catalogue.state_licence(name, licence)
    with pytest.raises(ModelNotFoundError, match="imported"):
        catalogue.state_licence("nobody", "MIT")


def test_learned_priors_are_listed_described_and_removed(tmp_path: Path) -> None:
    path = prior_file(tmp_path)
    assert importing.holds_prior(path)
    entry = importing.import_file(path)
    assert (entry.name, entry.kind) == ("rrdb-LP", "prior")
    assert entry.card is None
    assert "LINF-LP" in entry.label
    assert not entry.licence_is_stated
    found = importing.inspect_file("rrdb-LP")
    assert found["kind"] == "prior"
    assert found["inferred"]["depth"] == 1
    assert found["notices"]
    assert catalogue.state_licence("rrdb-LP", "CC0-1.0").licence == "CC0-1.0"
    assert read_prior(entry.path).licence == "CC0-1.0"
    with pytest.raises(OptionError, match="assumption of window"):
        importing.import_file(path, "again", assume={"window": 8})
    catalogue.remove("rrdb-LP")
    assert not entry.path.exists()


def test_models_are_removed_and_built_in_ones_stay(tmp_path: Path) -> None:
    entry = importing.import_file(own_file(tmp_path))
    catalogue.remove("own")
    assert not entry.path.exists()
    with pytest.raises(OptionError, match="built in"):
        catalogue.remove("micro-2x")
    with pytest.raises(ModelNotFoundError):
        catalogue.remove("own")


def test_inspection_tells_all(tmp_path: Path) -> None:
    path = rrdb_file(tmp_path)
    state = torch.load(path)
    torch.save({k: v.half() for k, v in state.items()}, path)
    found = importing.inspect_file(path)
    assert found["kind"] == "model"
    assert found["deterministic"] is True
    assert set(found["storage"]) == {"float16"}
    assert found["card"]["inferred"]["width"] == 4
    assert found["card"]["assumed"]
    assert found["card"]["parameters"] == sum(found["storage"].values())
    assert found["card"]["name"] == "RRDB_DF2K_4X"
    assert any("deterministic" in notice for notice in found["notices"])
    assert importing.inspect_file("micro-2x")["card"]["name"] == "micro-2x"
    assert importing.inspect_file("micro-2x")["notices"] == []


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "unknown.pth")
    for check in (
        importing.holds_prior,
        importing.known_licence,
        importing.inspect_file,
        importing.import_file,
    ):
        with pytest.raises(CheckpointError, match="unknown network"):
            check(tmp_path / "unknown.pth")
    with pytest.raises(ModelNotFoundError, match="Check the path"):
        importing.import_file(tmp_path / "absent.pth")
    with pytest.raises(ModelNotFoundError):
        importing.inspect_file("absent")


def test_a_prior_without_licence_is_named_among_the_notices() -> None:
    card = ModelCard("m", "compact", (2.0,), 1, licence="MIT")
    card = card.with_(prior={"name": "lp", "licence": "not stated"})
    licence, single = catalogue.notices(card)
    assert "No licence is stated for the weights of 'lp'" in licence
    assert "'lp' makes one prediction: all samples are the same" in single
