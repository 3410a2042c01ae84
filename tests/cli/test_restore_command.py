"""`restore`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_flowsr as flowsr
from napari_flowsr.errors import Cancelled
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import read_image, write_image
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard

pytestmark = pytest.mark.usefixtures("home")
TINY = ("--model", "tiny-2x", "--device", "cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors are tiny here: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def grainy(tmp_path):
    """OME-TIFF of 45 × 38 pixels of 0.2 µm, uint16, with noise."""
    y, x = np.mgrid[:45, :38]
    clean = 2000 + 1500 * np.sin(y / 6) * np.cos(x / 8)
    noise = np.random.default_rng(0).normal(0, 120, clean.shape)
    path = tmp_path / "grainy.ome.tif"
    write_image(path, (clean + noise).astype(np.uint16), pixel_size=0.2)
    return path


def test_a_file_is_restored(cli, grainy, tmp_path):
    out = tmp_path / "new" / "clean.ome.tif"
    done = cli("restore", grainy, out, *TINY)
    assert done.status == 0, done.err
    assert f"restored  {out}" in done.out
    assert "% of the range" in done.out
    image, found = read_image(grainy).data, read_image(out)
    expected = flowsr.restore(image, "tiny-2x", device="cpu")
    np.testing.assert_array_equal(found.data, expected)
    assert not np.array_equal(found.data, image)
    assert found.pixel_size == pytest.approx({"Y": 0.2, "X": 0.2})
    record = found.metadata["napari-flowsr"]
    assert record["tool"] == "restore"
    assert record["source_name"] == "grainy.ome.tif"
    names: dict = {"__name__": "script"}
    exec(flowsr.provenance_script(record), names)
    np.testing.assert_array_equal(names["remake"](image), found.data)


def test_options_are_passed_on_and_reported(cli, grainy):
    done = cli(
        "restore", grainy, *TINY, "--normalisation", "Local, global", "--strength",
        "0.5", "-t", "0.8", "--seed", 3, "--tile", 8,
        "--precision", "bfloat16", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    facts = done.json
    assert facts["output"] == str(grainy.with_name("grainy-restored.ome.tif"))
    assert facts["normalisation"] == ["local", "global"]
    assert (facts["strength"], facts["temperature"], facts["seed"]) == (0.5, 0.8, 3)
    assert facts["noise"] == []
    assert facts["precision"] == "bfloat16"
    assert facts["report"]["tile"] == 8
    assert facts["changed"] > 0
    expected = flowsr.restore(
        read_image(grainy).data, "tiny-2x", normalisation=("local", "global"),
        strength=0.5, temperature=0.8, seed=3, tile=8, device="cpu",
        precision="bfloat16",
    )  # fmt: skip
    np.testing.assert_array_equal(read_image(facts["output"]).data, expected)


def test_without_noise_it_says_so(cli, picture, tmp_path):
    done = cli("restore", picture, tmp_path / "o.ome.tif", *TINY)
    assert done.status == 0, done.err
    assert "none found: the image is as it was" in done.out
    np.testing.assert_array_equal(
        read_image(tmp_path / "o.ome.tif").data, read_image(picture).data
    )


def test_colour_png(cli, tmp_path):
    levels = np.random.default_rng(0).integers(60, 200, (20, 22, 3)).astype(np.uint8)
    write_image(tmp_path / "a.png", levels, axes="YXS")
    done = cli("restore", tmp_path / "a.png", tmp_path / "b.png", *TINY)
    assert done.status == 0, done.err
    found = read_image(tmp_path / "b.png").data
    assert found.dtype == np.uint8
    expected = flowsr.restore(levels, "tiny-2x", axes="YXS", device="cpu")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--strength", "2"), "strength is 2"),
        (("--temperature", "-1"), "temperature is -1"),
        (("--normalisation", "odd"), "give one or more of"),
        (("--normalisation", ""), "give one or more of"),
        (("--tile", "0"), "--tile is '0'"),
        (("--axes", "ZYX"), "axes is 'ZYX'"),
        (("--model", "nothing"), "nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_no_file(
    cli, grainy, tmp_path, arguments, said
):
    out = tmp_path / "out.ome.tif"
    done = cli("restore", grainy, out, *TINY, *arguments)
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert said in done.err
    assert not out.exists()


def test_files_that_cannot_be(cli, grainy, tmp_path):
    out = tmp_path / "out.ome.tif"
    assert "There is no file" in cli("restore", tmp_path / "no.tif", out, *TINY).err
    assert "names no format" in cli("restore", grainy, tmp_path / "o.xyz", *TINY).err
    assert "overwritten by its own" in cli("restore", grainy, grainy, *TINY).err
    out.write_bytes(b"precious")
    refused = cli("restore", grainy, out, *TINY)
    assert refused.status == 2
    assert "--overwrite" in refused.err
    assert out.read_bytes() == b"precious"
    assert cli("restore", grainy, out, *TINY, "--overwrite").status == 0
    assert read_image(out).data.shape == (45, 38)


def test_models_that_cannot_restore_are_refused(cli, grainy, home):
    config = {"scale": 4, "channels": 3, "width": 4, "blocks": 1, "growth": 2}
    flow = build("rrdb", config)
    card = ModelCard("plain", "rrdb", (4.0,), 3, licence="CC0-1.0")
    save_model(home / "models" / "plain.safetensors", flow, card)
    done = cli("restore", grainy, "--model", "plain", "--device", "cpu")
    assert done.status == 2
    assert "is deterministic" in done.err


def test_interrupted_it_leaves_nothing(cli, grainy, tmp_path, monkeypatch):
    def stop(*_, **__):
        yield from ()
        raise Cancelled("enough")

    monkeypatch.setattr("napari_flowsr.inference.restore.restoring", stop)
    done = cli("restore", grainy, tmp_path / "o.ome.tif", *TINY)
    assert done.status == 130
    assert not (tmp_path / "o.ome.tif").exists()
