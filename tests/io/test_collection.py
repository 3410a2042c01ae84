"""The collection: built-in, imported and any file by its path."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from napari_flowsr.errors import ModelNotFoundError, OptionError
from napari_flowsr.io import collection
from napari_flowsr.io.checkpoint import read_header, save_model
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard


def _saved(path: Path, name: str) -> Path:
    torch.manual_seed(0)
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(
        path, flow, ModelCard(name=name, family="compact", scales=(2.0,), channels=1)
    )
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection of one built-in model, ``micro-2x``; an empty user folder."""
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(collection, "builtin_folder", lambda: tmp_path / "weights")
    _saved(tmp_path / "weights" / "micro-2x.safetensors", "micro-2x")
    return tmp_path


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path))
    assert collection.user_folder() == tmp_path / "models"
    monkeypatch.delenv("NAPARI_FLOWSR_HOME")
    assert collection.user_folder().name == "models"
    assert "napari-flowsr" in str(collection.user_folder())
    assert collection.builtin_folder().parent.name == "napari_flowsr"


def test_import_list_load_export_remove(shelf: Path) -> None:
    source = _saved(shelf / "elsewhere" / "nuclei.safetensors", "another name")
    card = collection.import_model(source)
    assert card.name == "nuclei"
    assert [c.name for c in collection.list_models()] == ["micro-2x", "nuclei"]
    assert all(len(c.sha256) == 64 for c in collection.list_models())
    model = collection.load_model("nuclei", device="cpu")
    assert model.card.name == "nuclei"
    assert model.card.sha256 == card.sha256
    by_path = collection.load_model(source, device="cpu")
    assert by_path.card.name == "another name"
    exported = collection.export_model("nuclei", shelf)
    assert exported == shelf / "nuclei.safetensors"
    assert read_header(exported) is not None
    collection.remove_model("nuclei")
    assert [c.name for c in collection.list_models()] == ["micro-2x"]


def test_names_cannot_be_taken_twice(shelf: Path) -> None:
    source = _saved(shelf / "mine.safetensors", "mine")
    collection.import_model(source)
    with pytest.raises(OptionError, match="imported already"):
        collection.import_model(source)
    collection.import_model(source, overwrite=True)
    with pytest.raises(OptionError, match="built-in"):
        collection.import_model(source, "micro-2x", overwrite=True)
    for name in ("", "../up", "a/b", "-x", "x" * 65):
        with pytest.raises(OptionError, match="cannot be a model's name"):
            collection.import_model(source, name)


def test_a_built_in_name_cannot_be_shadowed(shelf: Path) -> None:
    _saved(collection.user_folder() / "micro-2x.safetensors", "intruder")
    assert collection.find_model("micro-2x").parent == collection.builtin_folder()
    assert len(collection.list_models()) == 1


def test_removing_what_is_not_there(shelf: Path) -> None:
    with pytest.raises(OptionError, match="built in"):
        collection.remove_model("micro-2x")
    with pytest.raises(ModelNotFoundError, match="imported are none"):
        collection.remove_model("gone")
    with pytest.raises(ModelNotFoundError, match="imported are none"):
        collection.remove_model("../weights/micro-2x")


def test_unknown_names_suggest_close_ones(shelf: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'micro-2x'"):
        collection.load_model("mirco2x")
    with pytest.raises(ModelNotFoundError, match="Did you mean 'micro-2x'"):
        collection.load_model("2X")
    with pytest.raises(ModelNotFoundError, match="Did you mean 'micro-2x'"):
        collection.load_model("micro_2x.safetensors")
    _saved(collection.user_folder() / "Nuclei.safetensors", "nuclei")
    with pytest.raises(ModelNotFoundError, match="Did you mean 'Nuclei'"):
        collection.load_model("nuclei")
    with pytest.raises(ModelNotFoundError, match="is a folder, not a model"):
        collection.load_model(shelf)
    with pytest.raises(ModelNotFoundError, match="Known are micro-2x"):
        collection.load_model("zzz")
    with pytest.raises(ModelNotFoundError, match=r"no model file .*gone\.pth"):
        collection.load_model("gone.pth")


def test_a_damaged_import_does_not_hide_the_others(
    shelf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = collection.user_folder() / "broken.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0{not json at all}")
    with caplog.at_level(logging.WARNING):
        assert [c.name for c in collection.list_models()] == ["micro-2x"]
    assert "broken is left out" in caplog.text
