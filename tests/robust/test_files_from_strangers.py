"""Files from anybody: no code runs, no path escapes, memory stays bounded.

Hypothesis mutates one valid file of each kind, as `benchmarks/fuzz_files.py` does for
as long as one likes; what is known to have been dangerous has a test of its own.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import pickle
import random
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_flowsr.errors import (
    CheckpointError,
    FlowSRError,
    ImageError,
    OptionError,
    TrainingError,
)
from napari_flowsr.inference.rescaled import Rescaled, load_latents
from napari_flowsr.io import ome_tiff
from napari_flowsr.io.checkpoint import read_model
from napari_flowsr.io.content import pack_array, unpack_array
from napari_flowsr.io.edit_record import pack_mask, unpack
from napari_flowsr.io.flowsr_file import load_edit
from napari_flowsr.io.images import open_image, read_image
from napari_flowsr.io.priors import read_prior
from napari_flowsr.io.provenance import provenance_script
from napari_flowsr.io.untrusted import check_depth, parse_json
from napari_flowsr.training.config import load_config

_FILE = Path(__file__).parents[2] / "benchmarks" / "fuzz_files.py"
_SPEC = importlib.util.spec_from_file_location("fuzz_files", _FILE)
fuzz = importlib.util.module_from_spec(_SPEC)
# Dataclasses look for their module there.
sys.modules["fuzz_files"] = fuzz
_SPEC.loader.exec_module(fuzz)

KINDS = {kind.name: kind for kind in fuzz.KINDS}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A valid file of each kind."""
    return {
        name: kind.make(tmp_path_factory.mktemp("kind")) for name, kind in KINDS.items()
    }


@pytest.fixture
def peak():
    """Tells how many KiB more than before were ever taken."""
    resource = pytest.importorskip("resource")

    def taken() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = taken()
    return lambda: taken() - before


# --- mutations ----------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32))
def test_a_mutated_file_is_read_or_refused(made, name, seed):
    kind, good = KINDS[name], made[name]
    target = good.with_name(f"mutated-{good.name}")
    fuzz.mutated(good, target, random.Random(seed))
    assert fuzz.outcome(kind, target, seconds=100) in ("read", "refused")


# --- models -------------------------------------------------------------------------


def _header(path: Path, header: dict[str, Any], tensors: bytes = b"\0" * 64) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [10**7, 10**6], "data_offsets": [0, 4 * 10**13]},
        {"shape": [10**7, 10**6], "data_offsets": [0, 64]},
        {"shape": [16], "data_offsets": [-64, 0]},
        {"shape": [2**62, 2**62], "data_offsets": [0, 64]},
        {"shape": [0, 2**63], "data_offsets": [0, 0]},
    ],
    ids=str,
)
@pytest.mark.parametrize("read", [read_model, read_prior, load_edit, load_latents])
def test_tensors_that_are_not_there(tmp_path, peak, entry, read):
    path = _header(tmp_path / "a.safetensors", {"a": {"dtype": "F32", **entry}})
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        read(path)
    assert peak() < 100_000


def test_tensors_that_overlap(tmp_path):
    entry = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    path = _header(tmp_path / "a.safetensors", {"a": entry, "b": entry})
    for read in (read_model, read_prior, load_edit, load_latents):
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read(path)


def test_a_header_of_10_tb(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 10**13) + b"{" + b" " * 100)
    for read in (read_model, read_prior, load_edit, load_latents):
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read(path)


@pytest.mark.parametrize("config", [{"blocks": 10**9}, {"steps": 10**9}], ids=str)
def test_a_network_of_any_number_of_layers(made, tmp_path, peak, config):
    """They take memory even where their weights take none."""
    with safe_open(made["model"], "pt") as file:
        about = json.loads(file.metadata()["napari-flowsr"])
    about["config"].update(config)
    save_file(load_file(made["model"]), tmp_path / "m.safetensors",
              {"napari-flowsr": json.dumps(about)})  # fmt: skip
    with pytest.raises(CheckpointError, match="more weights than the"):
        read_model(tmp_path / "m.safetensors")
    assert peak() < 100_000


def test_one_number_is_no_tensor_of_10_tb(tmp_path, peak):
    huge = torch.zeros(1).as_strided((10**6, 10**6, 3, 3), (0, 0, 0, 0))
    torch.save({"conv_first.weight": huge}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="values are not in the file"):
        read_model(tmp_path / "m.pth")
    where = torch.zeros(1, 1, dtype=torch.int64)
    sparse = torch.sparse_coo_tensor(
        where, torch.ones(1), (10**12,), check_invariants=True
    )
    torch.save({"conv_first.weight": sparse}, tmp_path / "s.pth")
    with pytest.raises(CheckpointError, match=r"s\.pth"):
        read_model(tmp_path / "s.pth")
    assert peak() < 100_000


def _repacked(good: Path, path: Path, **members: bytes) -> Path:
    """An archive of torch, packed, with more members."""
    with (
        zipfile.ZipFile(good) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
        for name, data in members.items():
            new.writestr(name, data)
    return path


def test_a_bomb_in_an_archive(made, tmp_path, peak):
    """A packed member may become a thousand times as large."""
    path = _repacked(made["published model"], tmp_path / "m.pth", big=b"\0" * (1 << 28))
    assert path.stat().st_size < 1 << 20
    before = peak()
    with pytest.raises(CheckpointError, match="packed archive"):
        read_model(path)
    assert peak() - before < 100_000


def test_names_in_an_archive_lead_nowhere(made, tmp_path):
    path = tmp_path / "in" / "m.pth"
    path.parent.mkdir()
    with (
        zipfile.ZipFile(made["published model"]) as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("../escaped", b"x")
        new.writestr("/tmp/escaped-flowsr", b"x")
    with pytest.raises(CheckpointError, match="not in a subdirectory"):
        read_model(path)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert not Path("/tmp/escaped-flowsr").exists()


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/etc/x", "..", "x\0", "", "~", "a\\b"]
)
def test_names_of_models_are_no_paths(made, tmp_path, monkeypatch, name):
    from napari_flowsr.io.importing import import_file

    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    with pytest.raises(OptionError):
        import_file(made["model"], name)
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("x*"))


def test_an_import_does_not_write_through_a_link(made, tmp_path, monkeypatch):
    from napari_flowsr.io.collection import import_model

    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "home" / "models" / "m.safetensors").symlink_to(victim)
    import_model(made["model"], "m", overwrite=True)
    assert victim.read_bytes() == b"mine"


def test_a_priors_description_is_checked(made, tmp_path):
    with safe_open(made["prior"], "pt") as file:
        header = dict(file.metadata())
    for about in ("[", "[" * 10**5, "3", '{"a":' * 80 + "1" + "}" * 80):
        path = tmp_path / "lp.safetensors"
        save_file(load_file(made["prior"]), path, {**header, "about": about})
        with pytest.raises(CheckpointError, match=r"lp\.safetensors has a damaged"):
            read_prior(path)


# --- latents ------------------------------------------------------------------------


def _edited(good: Path, path: Path, change: Any) -> Path:
    with safe_open(good, "pt") as file:
        ((key, text),) = file.metadata().items()
    facts = json.loads(text)
    change(facts)
    save_file(load_file(good), path, {key: json.dumps(facts)})
    return path


def _bomb() -> str:
    """2 GiB of zeros, packed: an array of as many bytes."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (1 << 31,)}
    )
    packer = zlib.compressobj(9)
    data = packer.compress(head.getvalue())
    data += b"".join(packer.compress(bytes(1 << 24)) for _ in range(1 << 7))
    return base64.b64encode(data + packer.flush()).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.update(format=float("inf")),
        lambda f: f["record"].update(temperature={"data": "x"}),
        lambda f: f["record"].update(temperature={"data": "eJw="}),
        lambda f: f["layer"].update(dtype="O"),
        lambda f: f["layer"].update(dtype="evil"),
        lambda f: f["image"].update(shape=[-1, -42]),
        lambda f: f["record"].update(deep=json.loads("[" * 99 + "]" * 99)),
        lambda f: f["spec"].update(lr_size=[float("inf"), 1]),
    ],
)
def test_entries_of_an_edited_image_are_checked(made, tmp_path, change):
    path = _edited(made["edited image"], tmp_path / "e.flowsr", change)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_edit(path)


def test_a_bomb_in_an_edited_image(made, tmp_path, peak):
    bomb = {"encoding": "npy.zlib.base64", "shape": [6, 7], "data": _bomb()}
    assert len(bomb["data"]) < 1 << 22
    path = _edited(
        made["edited image"],
        tmp_path / "e.flowsr",
        lambda f: f["record"].update(temperature=bomb),
    )
    before = peak()
    with pytest.raises(CheckpointError, match="a packed array of uint8 takes 2 GiB"):
        load_edit(path)
    assert peak() - before < 100_000


def test_packed_arrays_are_what_they_say():
    array = np.arange(12.0).reshape(3, 4)
    packed = pack_array(array)
    np.testing.assert_array_equal(unpack_array(packed), array)
    with pytest.raises(ValueError, match="takes"):
        unpack_array(packed, 90)
    raw = zlib.decompress(base64.b64decode(packed["data"]))
    for spoilt in (raw[:-1], raw + b"x", b"\x93NUMPY\x01\0\x05\0{[(((", raw[:20], b""):
        text = base64.b64encode(zlib.compress(spoilt)).decode()
        with pytest.raises(ValueError, match="packed"):
            unpack_array({**packed, "data": text})
    objects = io.BytesIO()
    np.save(objects, np.array([{}]), allow_pickle=True)
    text = base64.b64encode(zlib.compress(objects.getvalue())).decode()
    with pytest.raises(ValueError, match="a packed array of object"):
        unpack_array({**packed, "data": text})


def test_masks_are_what_they_say():
    packed = pack_mask(np.eye(4, dtype=bool))
    np.testing.assert_array_equal(unpack(packed), np.eye(4))
    with pytest.raises(ValueError, match="mask is too large"):
        unpack({**packed, "shape": [10**7, 10**7]})
    longer = base64.b64encode(zlib.compress(bytes(1 << 20))).decode()
    with pytest.raises(ValueError, match="packed bytes are not the"):
        unpack({**packed, "data": longer})


def test_json_of_any_depth_and_width():
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for text in ("[" * 10**6, "[" * 65 + "]" * 65, "[" + "[]," * (10**6) + "1]", "{"):
        with pytest.raises(ValueError, match=r"values|Expecting"):
            parse_json(text)
    check_depth([[{"a": (1, "text")}]])


@pytest.mark.parametrize("value", [float("inf"), 1e400, "x", None, [], {"a": 1}, -1])
@pytest.mark.parametrize("key", ["bits", "scale", "shape", "ranges", "dtype", "axes"])
def test_records_of_small_images_are_checked(made, key, value):
    facts = read_image(made["PNG"]).metadata["napari-flowsr"]["rescaled"]
    if key == "bits" and value is None:
        return
    with pytest.raises(OptionError, match="is damaged"):
        Rescaled.of({**facts, key: value})


def test_a_record_without_an_end_has_no_script(made):
    record = read_image(made["PNG"]).metadata["napari-flowsr"]
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(OptionError, match="is damaged"):
        provenance_script({**record, "bits": deep})


# --- recipes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 5000, "a = 1\n" + "#" * (1 << 20), "\0", "a = " + "9" * 9999],
    ids=["deep", "huge", "binary", "long"],
)
def test_recipes_that_are_none(tmp_path, text):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match="no readable TOML file"):
        load_config(path)


def test_a_recipe_larger_than_memory_is_not_read(tmp_path, peak):
    path = tmp_path / "r.toml"
    with path.open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(TrainingError, match="larger than 1024 KiB"):
        load_config(path)
    assert peak() < 100_000


# --- images -------------------------------------------------------------------------


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), *chunks, (b"IDAT", b""), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


def test_png_of_any_size(tmp_path, peak):
    path = tmp_path / "a.png"
    path.write_bytes(_png(2**31 - 1, 2**31 - 1))
    with pytest.raises(ImageError, match="do not fit into its size"):
        read_image(path)
    packed = zlib.compress(bytes(20001 * 20000), 9)  # 400 million pixels in 400 KiB
    path.write_bytes(_png(20000, 20000, (b"IDAT", packed)))
    before = peak()
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(path)
    assert peak() - before < 200_000


@pytest.mark.parametrize(
    "chunk",
    [
        (b"pHYs", b""),
        (b"IHDR", b"\0"),
        (b"iTXt", b"napari-flowsr\0\0\0\0\0{"),
        (b"iTXt", b"napari-flowsr\0\0\0\0\0\xff"),
        (b"iTXt", b"napari-flowsr\0\0\0\0\0" + b"[" * 10**5),
    ],
    ids=str,
)
def test_png_with_other_chunks(tmp_path, chunk):
    path = tmp_path / "a.png"
    path.write_bytes(_png(4, 4, chunk))
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(path)


def _with_tag(good: Path, path: Path, code: int, value: int) -> Path:
    """A TIFF with another number in a tag of its first page."""
    with tifffile.TiffFile(good) as tif:
        tag = tif.pages[0].tags[code]
        at, kind = tag.valueoffset, {3: "<H", 4: "<I"}[int(tag.dtype)]
    data = bytearray(good.read_bytes())
    data[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("code", [256, 257])
@pytest.mark.parametrize("packed", [True, False])
def test_tiff_of_any_size(made, tmp_path, peak, code, packed):
    good = tmp_path / "good.tif"
    compression = "zlib" if packed else None
    tifffile.imwrite(good, np.ones((70000, 1), np.uint8), compression=compression)
    good = _with_tag(good, tmp_path / "a.tif", 256, 2**31)
    path = _with_tag(good, tmp_path / "a.tif", code, 2**31)
    with pytest.raises(ImageError, match=r"a\.tif"):
        read_image(path)
    assert peak() < 100_000


@pytest.mark.parametrize("read", [read_image, open_image])
def test_tiff_without_a_row_of_countless_columns(tmp_path, read):
    """Found by fuzzing: its parts were listed, one for each column."""
    path = tmp_path / "a.tif"
    tags = struct.pack("<HHII", 256, 4, 1, 2**31) + struct.pack("<HHII", 278, 4, 1, 5)
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 2) + tags + bytes(4))
    with pytest.raises(ImageError, match=r"a\.tif.*no pixels"):
        read(path)


def test_tiff_whose_pages_go_round(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((4, 5), np.uint8), metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].offset
        at = offset + 2 + 12 * len(tif.pages[0].tags)
    data = bytearray(path.read_bytes())
    data[at : at + 4] = struct.pack("<I", offset)
    path.write_bytes(data)
    with pytest.raises(ImageError, match="as an earlier"):
        read_image(path)


def test_tiff_with_a_bomb_for_a_strip(tmp_path, peak, monkeypatch):
    """A strip of 64 pixels that unpacks to 256 MiB."""
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (600, 600), np.uint8)
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=600)
    bomb = zlib.compress(bytes(1 << 28), 9)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        at, room = page.dataoffsets[0], page.databytecounts[0]
    assert len(bomb) <= room
    data = bytearray(path.read_bytes())
    data[at : at + room] = bomb.ljust(room, b"\0")
    path.write_bytes(data)
    monkeypatch.setattr("napari_flowsr.io.ome_tiff.room", lambda: 1 << 28)
    before = peak()
    with pytest.raises(ImageError, match="packed bytes are not the 360000"):
        read_image(path)
    assert peak() - before < 100_000


def _zarr(folder: Path, path: Any = "0", **array: Any) -> Path:
    """An OME-Zarr image of version 0.5, of nothing but metadata."""
    group = folder / "a.ome.zarr"
    (group / "0").mkdir(parents=True)
    axes = [{"name": "y"}, {"name": "x"}]
    ome = {"multiscales": [{"axes": axes, "datasets": [{"path": path}]}]}
    facts = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (group / "zarr.json").write_text(json.dumps(facts))
    chunk = array.pop("chunk", [4, 4])
    facts = {
        "zarr_format": 3, "node_type": "array", "shape": [4, 4], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 0,
        "codecs": [{"name": "bytes"}], "attributes": {}, **array,
    }  # fmt: skip
    (group / "0" / "zarr.json").write_text(json.dumps(facts))
    return group


@pytest.mark.parametrize("read", [read_image, open_image])
@pytest.mark.parametrize(
    "array",
    [
        {"shape": [10**7, 10**6], "chunk": [10**7, 10**6]},
        {"shape": [10**8, 10**8], "chunk": [1, 1]},
        {"shape": [2**62, 2**62], "chunk": [2**62, 2**62]},
        {"shape": [0, 10**12], "chunk": [1, 1]},
        {"shape": [4], "chunk": [4]},
        {"path": "../other.zarr"},
        {"path": "/etc"},
        {"path": ""},
        {"path": 5},
        {"codecs": [{"name": "numcodecs.pickle"}]},
        {"data_type": "string"},
    ],
    ids=str,
)
def test_zarr_that_is_no_image(tmp_path, peak, array, read):
    pytest.importorskip("zarr").create_array(
        str(tmp_path / "other.zarr"), shape=(4, 4), dtype="u1"
    )
    group = _zarr(tmp_path, **array)
    with pytest.raises(ImageError, match=r"a\.ome\.zarr"):
        read(group)
    assert peak() < 100_000


class _Code:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("first", [[], [{"id": "vlen-utf8"}], [{"id": "zlib"}]])
def test_zarr_does_not_unpickle(tmp_path, monkeypatch, first):
    """Even where the registry of codecs would: it did, until its version 0.16."""
    pytest.importorskip("zarr")
    pickles = importlib.import_module("numcodecs.pickles")
    if hasattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE"):
        monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    group = tmp_path / "a.ome.zarr"
    (group / "0").mkdir(parents=True)
    multiscale = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    (group / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))
    facts = {
        "zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": "|O",
        "compressor": None, "filters": [*first, {"id": "pickle"}], "fill_value": 0,
        "order": "C",
    }  # fmt: skip
    (group / "0" / ".zarray").write_text(json.dumps(facts))
    (group / "0" / "0.0").write_bytes(pickle.dumps(_Code(tmp_path / "ran")))
    for read in (read_image, open_image):
        with pytest.raises(ImageError, match=r"a\.ome\.zarr"):
            np.asarray(read(group).data)
    assert not (tmp_path / "ran").exists()


def test_damage_that_is_met_later_names_the_file(made, tmp_path):
    """Pixels that are read when they are used."""
    group = tmp_path / "a.ome.zarr"
    fuzz.shutil.copytree(made["OME-Zarr"], group)
    lazy = open_image(group).data
    for file in group.rglob("c/**/*"):
        if file.is_file():
            file.write_bytes(b"no chunk")
    with pytest.raises(ImageError, match=r"Pixels of '.*a\.ome\.zarr'.*copy it again"):
        np.asarray(lazy)


@pytest.mark.parametrize(
    "content", [b"PK\3\4", b"", b"\x93NUMPY\1\0\x10\0{(((((", b"x"]
)
def test_npy_that_is_none(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.npy"):
        read_image(path)


def test_npy_of_any_size_or_an_archive(tmp_path, peak):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        facts = {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**6)}
        np.lib.format.write_array_header_1_0(file, facts)
    with pytest.raises(ImageError, match=r"a\.npy"):
        read_image(path)
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))
    with pytest.raises(ImageError, match="archive of arrays"):
        read_image(path)
    assert peak() < 100_000


def test_every_refusal_is_one_of_ours():
    for error in (CheckpointError, ImageError, OptionError, TrainingError):
        assert issubclass(error, FlowSRError)


def test_a_packed_tiff_whose_last_strip_is_shorter_is_read(tmp_path, monkeypatch):
    image = np.arange(70 * 50, dtype=np.uint16).reshape(70, 50)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, compression="zlib", rowsperstrip=16)
    monkeypatch.setattr(ome_tiff, "room", lambda: 200_000)
    np.testing.assert_array_equal(read_image(path).data, image)
