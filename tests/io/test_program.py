"""Programs ``g(lr, latents) -> hr`` and packages of bioimage.io, of every family."""

from __future__ import annotations

import gc
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io import bioimage, program
from napari_flowsr.io.bioimage import export_package, spdx
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.program import (
    Decoder,
    decoder_inputs,
    export_program,
    has_free_size,
    load_program,
)
from napari_flowsr.models._registry import build, example_configs, families
from napari_flowsr.models.card import Model, ModelCard


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors are tiny here: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(family: str, licence: str = "BSD-3-Clause") -> Model:
    """Smallest network of a family, away from its start, output above 0."""
    torch.manual_seed(0)
    flow = build(family, example_configs(family)[0]).eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            size = float(parameter.square().mean().sqrt())
            parameter.add_((0.1 * size or 0.02) * torch.rand_like(parameter))
        if family == "rrdb":
            flow.encoder.conv_last.bias.fill_(0.5)
    card = ModelCard(f"my {family}", family, flow.scales, flow.channels)
    return Model(card.with_(licence=licence), flow)


@pytest.mark.slow
@pytest.mark.parametrize("family", families())
def test_every_family_becomes_a_program(family: str, tmp_path: Path) -> None:
    """Saved, reloaded, and run at sizes that it was not traced with."""
    model = random_model(family)
    target = tmp_path / "g.pt2"
    flow = model.flow
    m = flow.multiple_of
    facts = export_program(model, target, size=(4 * m, 6 * m))
    assert facts.difference <= program.TOLERANCE
    assert [p.name for p in tmp_path.iterdir()] == ["g.pt2"]
    run, about = load_program(target)
    assert about["card"]["name"] == f"my {family}"
    assert about["free_sizes"] is facts.free_sizes is (family != "linf")
    sizes = [(4 * m, 6 * m)]
    sizes += [(5 * m, 3 * m), (9 * m, 9 * m)] if facts.free_sizes else []
    for seed, size in enumerate(sizes):
        lr, latents = decoder_inputs(flow, size, seed=seed)
        expected = Decoder(flow)(lr, latents)
        if not flow.deterministic:
            cond = flow.condition(lr)
            by_flow = flow.decode(flow.make_latents(latents, cond), cond)
            assert torch.equal(expected, by_flow)
        assert float((run(lr, latents) - expected).abs().max()) < 1e-6


def test_any_scale_is_exported_for_one(tmp_path: Path) -> None:
    model = random_model("linf")
    assert not has_free_size(model.flow)
    facts = export_program(model, tmp_path / "g.pt2", size=(5, 7), scale=2.6)
    assert "5 × 7 pixels only, scale 2.6" in facts.sizes
    run, about = load_program(tmp_path / "g.pt2")
    assert about["scale"] == 2.6
    lr, latents = decoder_inputs(model.flow, (5, 7), scale=2.6)
    assert run(lr, latents).shape == (1, model.flow.channels, 13, 18)
    with pytest.raises(OptionError, match="Scale 99"):
        export_program(model, tmp_path / "h.pt2", scale=99.0)


def test_sizes_and_names_that_cannot_be(tmp_path: Path) -> None:
    model = random_model("srflow")
    with pytest.raises(OptionError, match="multiples of 2, from 4 on"):
        export_program(model, tmp_path / "g.pt2", size=(7, 8))
    with pytest.raises(OptionError, match=r"written as \.pt2"):
        export_program(model, tmp_path / "g.onnx")
    (tmp_path / "bad.pt2").write_bytes(b"no program")
    with pytest.raises(ExportError, match=r"bad\.pt2 is no program"):
        load_program(tmp_path / "bad.pt2")


def test_a_program_that_differs_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_compare", lambda *_: 0.01)
    with pytest.raises(ExportError, match=r"differs from the network by 0\.01"):
        export_program(random_model("l1"), tmp_path / "g.pt2")
    assert list(tmp_path.iterdir()) == []


# --- bioimage.io ----------------------------------------------------------------


# The library leaves the files open that it packs: collected here, not in other tests.
left_open = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def collected() -> Iterator[None]:
    yield
    gc.collect()


def _described(package: Path, folder: Path) -> Any:
    """Description in a package, unpacked: its library leaves archives open."""
    from bioimageio.spec import load_description

    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    return load_description(folder / "rdf.yaml")


@left_open
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("family", ["rrdb", "compact", "srflow"])
def test_a_package_is_valid_and_computes_the_same(family: str, tmp_path: Path) -> None:
    pytest.importorskip("bioimageio.spec")
    model = random_model(family, "CC BY-NC-SA 4.0, academic research only")
    target = tmp_path / f"{family}.bioimageio.zip"
    export_package(model, target)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    folder = tmp_path / "package"
    described = _described(target, folder)
    assert described.validation_summary.status in {"valid-format", "passed"}
    assert str(described.license) == "CC-BY-NC-SA-4.0"
    names = ["lr", *(f"latents{i}" for i in range(len(described.inputs) - 1))]
    arrays = [torch.from_numpy(np.load(folder / f"{name}.npy")) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(folder / "weights.pt")
    expected = torch.from_numpy(np.load(folder / "hr.npy"))
    assert float((script(*arrays) - expected).abs().max()) < 1e-5
    m = model.flow.multiple_of
    lr, latents = decoder_inputs(model.flow, (5 * m, 3 * m))
    other = Decoder(model.flow)(lr, latents)
    assert float((script(lr, *latents) - other).abs().max()) < 1e-5


@left_open
@pytest.mark.usefixtures("collected")
def test_the_built_in_model_as_a_package(tmp_path: Path) -> None:
    """Its normalisation becomes the package's preprocessing."""
    pytest.importorskip("bioimageio.spec")
    model = load_model("micro-2x", device="cpu")
    target = export_package(model, tmp_path / "micro.zip")
    described = _described(target, tmp_path / "package")
    [step] = [p for p in described.inputs[0].preprocessing if p.id == "scale_range"]
    assert (step.kwargs.min_percentile, step.kwargs.max_percentile) == (0.1, 99.9)
    assert str(described.license) == "BSD-3-Clause"


def test_what_is_not_sound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bioimageio.spec")
    target = tmp_path / "m.zip"
    with pytest.raises(OptionError, match="wrong for every other image"):
        export_package(random_model("linf"), target)
    with pytest.raises(OptionError, match=r"'not stated'.*--license"):
        export_package(random_model("compact", "not stated"), target)
    with pytest.raises(OptionError, match="'my own terms'"):
        export_package(random_model("compact"), target, licence="my own terms")
    # A recording of sizes is noticed, whatever the family says of itself.
    monkeypatch.setattr(bioimage, "_check_sound", lambda *_: None)
    with pytest.raises((ExportError, OptionError)):
        export_package(random_model("linf"), target)
    assert list(tmp_path.iterdir()) == []


def test_the_package_needs_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    with pytest.raises(OptionError, match=r"pip install 'napari-flowsr\[bioimageio\]'"):
        export_package(random_model("l1"), tmp_path / "m.zip")


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("BSD-3-Clause", "BSD-3-Clause"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("Apache-2.0 (the repository's)", "Apache-2.0"),
        ("not stated", None),
    ],
)
def test_identifiers_of_licences(licence: str, identifier: str | None) -> None:
    pytest.importorskip("bioimageio.spec")
    assert spdx(licence) == identifier
