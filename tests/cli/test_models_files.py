"""`models inspect`, `import` and `export` on published files and for other programs."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from napari_flowsr.io.checkpoint import read_header, save_model
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.program import Decoder, decoder_inputs, load_program
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.rrdb import RRDBConfig, RRDBNet

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """RRDB encoder alone, from several GPUs, in half precision."""
    torch.manual_seed(0)
    net = RRDBNet(RRDBConfig(scale=2, width=4, blocks=1, growth=2))
    state = {
        f"module.{key.removeprefix('encoder.')}": value.half()
        for key, value in net.state_dict().items()
    }
    torch.save(state, tmp_path / "RRDB_DF2K_2X.pth")
    return tmp_path / "RRDB_DF2K_2X.pth"


@pytest.fixture
def unlicensed(tmp_path: Path) -> Path:
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    card = ModelCard("free", "compact", flow.scales, 1)
    save_model(tmp_path / "free.safetensors", flow, card)
    return tmp_path / "free.safetensors"


def test_inspect_tells_what_was_inferred_and_assumed(cli, encoder):
    done = cli("models", "inspect", encoder)
    assert done.status == 0, done.err
    for said in ("rrdb", "2×", "blocks 1", "long_skip", "CC BY-NC-SA", "float16",
                 "Parameters", "none: deterministic"):  # fmt: skip
        assert said in done.out, said
    assert "Warning: 'RRDB_DF2K_2X' is deterministic" in done.err
    found = cli("models", "inspect", encoder, "--json").json
    assert found["card"]["inferred"]["growth"] == 2
    assert found["deterministic"] is True


def test_a_published_file_is_imported_with_its_card(cli, encoder, home):
    done = cli("models", "import", encoder, "--name", "encoder-2x")
    assert done.status == 0, done.err
    assert "CC BY-NC-SA" in done.out
    header = read_header(home / "models" / "encoder-2x.safetensors")
    assert header is not None
    assert header.card.source["file"] == "RRDB_DF2K_2X.pth"
    assert "encoder-2x" in cli("models", "list").out


def test_a_licence_is_not_stated_until_somebody_states_it(cli, unlicensed, monkeypatch):
    done = cli("models", "import", unlicensed, "--name", "first")
    assert done.status == 0, done.err
    assert "not stated" in done.out
    assert "Warning: No licence is stated for the weights of 'first'" in done.err
    done = cli("models", "import", unlicensed, "--name", "b", "--license", "MIT")
    assert done.err == ""
    licences = {c["name"]: c["licence"] for c in cli("models", "list", "--json").json}
    assert licences["first"] == "not stated"
    assert licences["b"] == "MIT"


@pytest.mark.parametrize(("answer", "kept"), [("MIT\n", "MIT"), ("\n", "not stated")])
def test_a_person_is_asked_for_the_licence(
    cli, unlicensed, encoder, monkeypatch, answer, kept
):
    asked: list[str] = []

    def prompt(text: str, default: str, err: bool) -> str:
        asked.append(text)
        return answer.strip() or default

    monkeypatch.setattr("napari_flowsr.cli.models.typer.prompt", prompt)
    monkeypatch.setattr("napari_flowsr.cli.models._is_terminal", lambda: True)
    done = cli("models", "import", unlicensed, "--json")
    assert done.status == 0, done.err
    assert done.json["licence"] == kept
    assert len(asked) == 1
    # Nobody is asked for what is known, or was given.
    assert cli("models", "import", encoder).status == 0
    options = ("--overwrite", "--license", "CC0-1.0")
    assert cli("models", "import", unlicensed, *options).status == 0
    assert len(asked) == 1


def test_import_from_an_address(cli, unlicensed, monkeypatch, home):
    monkeypatch.setenv("NO_PROXY", "*")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    sha256 = hashlib.sha256(unlicensed.read_bytes()).hexdigest()
    handler = partial(Quiet, directory=str(unlicensed.parent))
    with ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_port}/free.safetensors"
        done = cli("models", "import", address, "--sha256", sha256, "--json")
        assert done.status == 0, done.err
        assert done.json["source"]["address"] == address
        refused = cli("models", "import", address, "--name", "other")
        assert refused.status == 2
        assert "needs the SHA-256" in refused.err
        server.shutdown()
    assert list((home / "downloads").iterdir()) == []
    refused = cli("models", "import", unlicensed, "--sha256", sha256)
    assert refused.status == 2
    assert "downloaded" in refused.err


def test_export_as_a_program(cli, tmp_path):
    target = tmp_path / "tiny.pt2"
    done = cli("models", "export", "tiny-2x", target, "--size", "6x5")
    assert done.status == 0, done.err
    assert "any length from 2" in done.out
    assert "differs from the network by" in done.out
    run, about = load_program(target)
    assert about["card"]["name"] == "tiny-2x"
    flow = load_model("tiny-2x", device="cpu").flow
    lr, latents = decoder_inputs(flow, (9, 4))
    with torch.no_grad():
        assert torch.allclose(run(lr, latents), Decoder(flow)(lr, latents), atol=1e-6)
    found = cli("models", "export", "tiny-2x", target, "--overwrite", "--json").json
    assert found["free_sizes"] is True
    assert found["latent_shapes"] == [[4, 8, 8]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("x.pt2", "--size", "6"), "such as 64x96"),
        (("x.pt2", "--half"), "--half says nothing for a .pt2"),
        (("x.zip", "--size", "8x8"), "--size says nothing for a .zip"),
        (("x.safetensors", "--license", "MIT"), "--license says nothing"),
        (("x.onnx",), "must end in .safetensors, .pt2, .zip"),
    ],
    ids=str,
)
def test_options_of_another_format_are_refused(cli, tmp_path, options, said):
    done = cli("models", "export", "tiny-2x", tmp_path / options[0], *options[1:])
    assert done.status == 2
    assert said in done.err
    assert not (tmp_path / options[0]).exists()


def test_a_package_without_a_licence_is_refused(cli, unlicensed, tmp_path):
    pytest.importorskip("bioimageio.spec")
    done = cli("models", "export", unlicensed, tmp_path / "tiny.bioimageio.zip")
    assert done.status == 2
    assert "SPDX" in done.err
    assert "--license" in done.err


def test_upscaling_tells_of_a_deterministic_model(cli, encoder, picture, tmp_path):
    target = tmp_path / "out.ome.tif"
    done = cli("upscale", picture, target, "--model", encoder, "-n", 2)
    assert done.status == 0, done.err
    assert "is deterministic" in done.err
