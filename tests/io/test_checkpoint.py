"""Model files: ours and official ones, whole, damaged and malicious."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.errors import (
    CheckpointError,
    ExportError,
    FlowSRError,
    ModelNotFoundError,
    OptionError,
)
from napari_flowsr.io import atomic
from napari_flowsr.io.checkpoint import (
    file_sha256,
    read_header,
    read_model,
    save_model,
)
from napari_flowsr.io.foreign import ASSUME, read_state
from napari_flowsr.io.importing import holds_prior
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import Degradation, ModelCard, Normalisation

CARD = ModelCard(
    name="tiny",
    family="compact",
    scales=(2.0,),
    channels=1,
    domain="tests",
    licence="BSD-3-Clause",
    metrics={"psnr": 31.5, "n": 3},
    training={"images": ["a", "b"]},
    degradation=Degradation("gaussian", {"sigma": 1.5}),
    normalisation=Normalisation("percentile", 1.0, 99.0),
)


@pytest.fixture
def flow() -> ConditionalFlow:
    torch.manual_seed(2)
    return build("compact", {"width": 4, "blocks": 1, "steps": 2, "hidden": 4}).eval()


@pytest.fixture
def path(flow: ConditionalFlow, tmp_path: Path) -> Path:
    target = tmp_path / "tiny.safetensors"
    save_model(target, flow, CARD)
    return target


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# --- ours ---------------------------------------------------------------------


def test_card_and_configuration_come_back(path: Path, flow: ConditionalFlow) -> None:
    header = read_header(path)
    assert header is not None
    assert header.family == "compact"
    assert header.card == CARD
    assert header.config["width"] == 4
    model = read_model(path)
    assert model.card.sha256 == file_sha256(path)
    assert model.card.with_(sha256="", parameters=0) == CARD
    assert model.card.parameters == flow.parameter_count
    assert model.flow.config == flow.config
    own = flow.state_dict()
    assert all(torch.equal(t, own[k]) for k, t in model.flow.state_dict().items())


def test_half_precision_storage_is_smaller_and_close(
    flow: ConditionalFlow, path: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    save_model(half, flow, CARD, dtype=torch.float16)
    tensors = load_file(half)
    assert {t.dtype for t in tensors.values()} == {torch.float16, torch.bool}
    model = read_model(half)
    assert {p.dtype for p in model.flow.parameters()} == {torch.float32}
    # The invertible map stays one, whatever the storage did to its matrices.
    lr = torch.rand(1, 1, 6, 6)
    cond = model.flow.condition(lr)
    hr = model.flow.sample(cond)
    again = model.flow.decode(model.flow.encode(hr, cond).latents, cond)
    assert float((again - hr).detach().abs().max()) < 1e-5
    mode = [m.flow.sample(m.flow.condition(lr), temperature=0.0)
            for m in (model, read_model(path))]  # fmt: skip
    assert float((mode[0] - mode[1]).detach().abs().max()) < 1e-2


def test_numbers_that_cannot_be_stored_are_refused(
    flow: ConditionalFlow, tmp_path: Path
) -> None:
    target = tmp_path / "m.safetensors"
    with torch.no_grad():
        next(flow.parameters()).view(-1)[0] = 1e6
    with pytest.raises(CheckpointError, match="not finite in float16"):
        save_model(target, flow, CARD, dtype=torch.float16)
    with torch.no_grad():
        next(flow.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite in float32"):
        save_model(target, flow, CARD)
    assert _names(tmp_path) == set()


def test_a_failed_write_leaves_the_old_file(
    path: Path, flow: ConditionalFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left on device"):
        save_model(path, flow, CARD.with_(name="new"))
    assert path.read_bytes() == before
    assert _names(path.parent) == {path.name}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def write(target: Path, *, interrupt: bool) -> None:
        with atomic.atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            if interrupt:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.bin", interrupt=True)
    assert _names(tmp_path) == set()
    with pytest.raises(ExportError, match="Could not write"):
        write(tmp_path / "no" / "out.bin", interrupt=False)


def test_only_safetensors_are_written(flow: ConditionalFlow, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.safetensors"):
        save_model(tmp_path / "m.pth", flow, CARD)


# --- damaged ------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.5, 0.999])
def test_truncated_files_are_refused(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"truncated|neither|damaged"):
        read_model(path)


def _edited(path: Path, **changes: object) -> None:
    """Rewrite the description in the header, tensors as they are."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["napari-flowsr"])
    about.update(changes)
    header["__metadata__"]["napari-flowsr"] = json.dumps(about)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2.*Update napari-flowsr"),
        ({"family": "unheard"}, "the network's 'unheard'"),
        ({"config": {"colour": 1}}, "cannot build.*'colour'"),
        ({"config": {"width": 5}}, "does not fit.*of another shape"),
        ({"config": {"steps": 3}}, r"does not fit.*missing: flow\.transforms\.2"),
        ({"config": {"steps": 1}}, "does not fit.*not known"),
        ({"card": {"name": 3}}, "damaged description"),
        ({"card": None}, "damaged description"),
    ],
    ids=str,
)
def test_descriptions_that_do_not_fit(path: Path, changes: dict, message: str) -> None:
    if isinstance(changes.get("config"), dict):
        header = read_header(path)
        changes = {"config": {**header.config, **changes["config"]}}
    _edited(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_model(path)


def test_noise_never_escapes_as_a_foreign_exception(path: Path, tmp_path: Path) -> None:
    """Random damage gives our error or a model, nothing else."""
    rng = random.Random(1)
    pth = tmp_path / "m.pth"
    torch.save({"flowUpsamplerNet.layers.1.actnorm.bias": torch.ones(1, 3, 1, 1)}, pth)
    legacy = tmp_path / "legacy.pth"
    torch.save({"a": torch.ones(3)}, legacy, _use_new_zipfile_serialization=False)
    refused = 0
    for source in (path, pth, legacy):
        good = source.read_bytes()
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                bad[rng.randrange(min(len(bad), 1500))] = rng.randrange(256)
            damaged = tmp_path / "damaged"
            damaged.write_bytes(bytes(bad[: rng.randint(1, len(bad))]))
            try:
                read_model(damaged)
            except FlowSRError:
                refused += 1
    assert refused > 120


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no model file .*gone\.pth"):
        read_model(tmp_path / "gone.pth")


# --- code -----------------------------------------------------------------------


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy torch", "nested"])
def test_code_in_a_pickle_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    content: object = _Malicious(trace)
    if kind == "nested":
        content = {"flowUpsamplerNet.layers.1.conv.weight": torch.ones(1), "x": content}
    path = tmp_path / "evil.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy torch")
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        read_model(path)
    assert not trace.exists()
    # The same file does run code when it is simply unpickled.
    loader = pickle.loads if kind == "pickle" else None
    if loader is not None:
        loader(path.read_bytes())
        assert trace.exists()


def test_other_archives_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "pictures.pth"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="neither"):
        read_model(archive)


# --- official files -----------------------------------------------------------


def test_unknown_assumptions_are_listed(path: Path) -> None:
    with pytest.raises(OptionError, match="'quanta'") as caught:
        read_model(path, assume={"quanta": 1})
    assert all(key in str(caught.value) for key in ASSUME)
    with pytest.raises(OptionError, match="states all its hyper-parameters"):
        read_model(path, assume={"quant": 255})


def test_assumptions_of_another_family_are_refused(tmp_path: Path) -> None:
    save_file(
        {"flowUpsamplerNet.layers.1.actnorm.bias": torch.zeros(1)},
        tmp_path / "s.safetensors",
    )
    with pytest.raises(OptionError, match="assume takes stacked_blocks"):
        read_model(tmp_path / "s.safetensors", assume={"window": 8})


KINDS = {
    "learned prior of SRFlow-LP": (
        "input_proj0.conv1.weight",
        "give this one as prior=",
    ),
}


@pytest.mark.parametrize("label", KINDS)
def test_other_published_files_are_known_by_name(label: str, tmp_path: Path) -> None:
    key, message = KINDS[label]
    path = tmp_path / "published.pth"
    torch.save({f"module.{key}": torch.ones(2, 3)}, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_model(path)
    assert label in str(caught.value)
    assert holds_prior(path)


def test_wrapped_files_are_unwrapped(tmp_path: Path) -> None:
    path = tmp_path / "wrapped.pth"
    inner = {"imnet.last._weight": torch.ones(2, 2)}
    torch.save(
        {"model": {"name": "linf", "args": {"a": 1}, "sd": inner}, "epoch": 3}, path
    )
    assert set(read_state(path)) == set(inner)
    prior = {"input_proj.0.weight": torch.ones(1), "outc.conv.weight": torch.ones(1)}
    torch.save({"prior_model": {"name": "unet", "args": {}, "sd": prior}}, path)
    with pytest.raises(CheckpointError, match=r"LINF-LP.*prior="):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.ones(1)}, "unknown network"),
        (torch.ones(3), "a dictionary of tensors"),
        ({"epoch": 3, "a": torch.ones(1)}, "1 are tensors"),
        ({}, "0 entries"),
    ],
    ids=["another network", "one tensor", "not only tensors", "empty"],
)
def test_other_contents_are_refused(
    content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        read_model(path)


def test_a_model_is_refused_as_a_prior(path: Path) -> None:
    with pytest.raises(CheckpointError, match="as learned prior, but it is a file of"):
        read_model(path, prior=path)
    with pytest.raises(ModelNotFoundError, match="no learned prior"):
        read_model(path, prior=path.with_name("none.pth"))
