"""Headers of model files that are malformed, or say what cannot be."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io import catalogue, collection, importing
from napari_flowsr.io import header as header_module
from napari_flowsr.io.checkpoint import read_header, read_model, save_model
from napari_flowsr.io.header import describe_anew
from napari_flowsr.models._registry import build, example_configs, families
from napari_flowsr.models.card import ModelCard, Normalisation


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    save_model(
        tmp_path / "m.safetensors", flow, ModelCard("m", "compact", flow.scales, 1)
    )
    return tmp_path / "m.safetensors"


def _with_header(path: Path, text: str, tensors: bytes = b"\0" * 8) -> None:
    data = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(data)) + data + tensors)


def _edit(path: Path, card: dict[str, Any] | None = None, **changes: Any) -> None:
    """Change the description in the header; tensors stay."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["napari-flowsr"])
    about["config"].update(changes.pop("config", {}))
    about["card"].update(card or {})
    about.update(changes)
    header["__metadata__"]["napari-flowsr"] = json.dumps(about)
    _with_header(path, json.dumps(header), data[8 + length :])


_ENTRY = '{"a":{"dtype":"F32","shape":[1],"data_offsets":%s}}'
_MALFORMED = [
    *(_ENTRY % offsets for offsets in ("5", "[0]", '["0","4"]', "[4,0]", "[-1,2]")),
    '{"a":5}',
    '{"__metadata__":"abc"}',
    '{"__metadata__":[1,2]}',
    '{"__metadata__":{"napari-flowsr":5}}',
    '{"__metadata__":{"licence":["x"]}}',
    '{"a":' + "[" * 200000,
]


@pytest.mark.parametrize("text", _MALFORMED, ids=lambda text: text[:60])
def test_a_malformed_header_is_named(text: str, home: Path, tmp_path: Path) -> None:
    _with_header(tmp_path / "bad.safetensors", text)
    for read in (
        read_header,
        read_model,
        importing.inspect_file,
        importing.import_file,
    ):
        with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
            read(tmp_path / "bad.safetensors")
    _with_header(home / "models" / "bad.safetensors", text)
    assert "micro-2x" in [entry.name for entry in catalogue.entries()]


@pytest.mark.parametrize("value", ['["x"]', "5", "null", '{"a":"b"}'])
def test_a_prior_with_odd_metadata_is_listed_as_one_of_unknown_licence(
    home: Path, value: str
) -> None:
    text = f'{{"__metadata__":{{"licence":{value},"label":"l"}}}}'
    _with_header(home / "priors" / "odd.safetensors", text)
    (entry,) = (e for e in catalogue.entries() if e.name == "odd")
    assert not entry.licence_is_stated


def test_a_card_that_was_changed_is_read_anew(path: Path) -> None:
    """Also where size, time and number of the file are those of before."""
    header = read_header(path)
    assert header is not None
    for licence in ("MIT", "BSD"):
        before = path.stat()
        describe_anew(path, header.card.with_(licence=licence))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        found = read_header(path)
        assert found is not None
        assert found.card.licence == licence


def test_a_file_that_goes_amid_a_change_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = header_module.read_metadata

    def read_and_lose(file: Path) -> Any:
        found = real(file)
        file.unlink()
        return found

    monkeypatch.setattr(header_module, "read_metadata", read_and_lose)
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        header_module.write_metadata(path, {"a": "b"})


def test_whatever_one_file_raises_the_others_are_listed(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    importing.import_file(path, "odd")

    def failing(file: Path) -> Any:
        if file.stem == "odd":
            raise ZeroDivisionError("unforeseen")
        return read_header(file)

    monkeypatch.setattr(collection, "read_header", failing)
    assert "micro-2x" in [card.name for card in collection.list_models()]
    assert "odd is left out: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("config", [{"width": 400000}, {"hidden": 10**30}], ids=str)
def test_a_huge_network_is_refused_before_it_takes_memory(
    path: Path, config: dict[str, Any]
) -> None:
    _edit(path, config=config)
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        read_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000


@pytest.mark.parametrize("error", [RuntimeError("no memory"), MemoryError()], ids=repr)
def test_a_network_that_cannot_be_built_is_named(
    path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("napari_flowsr.io.checkpoint.build", failing)
    with pytest.raises(CheckpointError, match="cannot be built"):
        read_model(path)


@pytest.mark.parametrize("family", families())
def test_all_families_are_read_as_they_were_written(
    tmp_path: Path, family: str
) -> None:
    """They can be built without memory, which is how their files are checked."""
    for number, config in enumerate(example_configs(family)):
        flow = build(family, config).eval()
        card = ModelCard("m", family, flow.scales, flow.channels)
        save_model(tmp_path / f"{number}.safetensors", flow, card)
        again = read_model(tmp_path / f"{number}.safetensors").flow.state_dict()
        assert all(again[k].equal(v) for k, v in flow.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": -1}, "format is -1"),
        ({"format": 0.5}, "format is 0.5"),
        ({"format": "1"}, "damaged description"),
        ({"card": {"family": "srflow"}}, "family is 'srflow', the network's 'compact'"),
        ({"card": {"channels": 7}}, "channels 7, the network has 1"),
        ({"card": {"channels": 0}}, "channels is 0"),
        ({"card": {"scales": []}}, "scales are "),
        ({"card": {"scales": [2.0, 3.0]}}, "the scale 3, which the network does not"),
        ({"card": {"scale_range": [1.0, 8.0]}}, "the scale 8, which"),
        ({"card": {"scale_range": [8.0, 1.0]}}, "scale_range is 8 to 1"),
        ({"card": {"temperature": -1}}, "temperature is -1"),
        ({"card": {"normalisation": {"kind": "foo"}}}, "Normalisation is 'foo'"),
        ({"card": {"normalisation": {"low": 90, "high": 10}}}, "from 90.0 to 10.0"),
    ],
    ids=str,
)
def test_cards_that_contradict_themselves_or_the_network(
    path: Path, changes: dict[str, Any], said: str
) -> None:
    _edit(path, **changes)
    with pytest.raises(CheckpointError, match=said):
        read_model(path)


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(OptionError, match=r"Normalisation is 'foo'.*give 'percentile'"):
        Normalisation("foo")
