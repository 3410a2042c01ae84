"""`rescale down` and `rescale up`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_flowsr as flowsr
from napari_flowsr.errors import Cancelled
from napari_flowsr.inference import rescale as inference_rescale
from napari_flowsr.io import collection
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import read_image, write_image
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard

OPTIONS = ("--device", "cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors are tiny here: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def rescaler(home):
    """A tiny network under the name that the commands take by default."""
    torch.manual_seed(2)
    flow = build(
        "hcflow-rescale",
        {"scale": 4, "channels": 1, "width": 4, "blocks": [1, 1], "growth": 2,
         "steps": [2], "conditional_steps": [1], "hidden": 3, "conditional_hidden": 4},
    )  # fmt: skip
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.01)
    card = ModelCard(
        "rescale-4x",
        "hcflow-rescale",
        (4.0,),
        1,
        licence="CC0-1.0",
        parameters=flow.parameter_count,
    )
    path = home / "models" / "rescale-4x.safetensors"
    save_model(path, flow, card)
    return path


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.is_file())


def test_down_and_up_exactly(cli, picture, tmp_path):
    """A picture of 24 × 30 pixels, 30 no multiple of 4."""
    done = cli("rescale", "down", picture, "--latents", *OPTIONS)
    assert done.status == 0, done.err
    assert "24 × 30 to 6 × 8 (YX)" in done.out
    assert "1.4 kB to 96 B, 6.7 %" in done.out
    small = tmp_path / "cell-small.ome.tif"
    kept = tmp_path / "cell-small.latents.safetensors"
    assert names(tmp_path) == [kept.name, small.name, picture.name]
    found = read_image(small)
    image = read_image(picture).data
    expected, latents = flowsr.rescale_down(image, bits=16, device="cpu")
    np.testing.assert_array_equal(found.data, expected)
    assert found.pixel_size == pytest.approx({"Y": 0.8, "X": 0.8})
    record = found.metadata["napari-flowsr"]
    assert record["kind"] == "small"
    assert record["detail_inferred"] is False
    assert record["rescaled"]["shape"] == [24, 30]

    done = cli(
        "rescale", "up", small, "--latents", kept, "--reference", picture, *OPTIONS
    )
    assert done.status == 0, done.err
    assert "exact, from the latents" in done.out
    assert "error     identical" in done.out
    back = read_image(tmp_path / "cell-small-back.ome.tif")
    np.testing.assert_array_equal(back.data, image)
    assert back.pixel_size == pytest.approx({"Y": 0.2, "X": 0.2})
    assert back.metadata["napari-flowsr"]["detail_inferred"] is False
    assert latents.about.small_sha256 == record["rescaled"]["small_sha256"]


@pytest.mark.parametrize("suffix", [".ome.tif", ".png"])
def test_without_latents_the_files_record_gives_size_and_type(
    cli, picture, tmp_path, suffix
):
    small, back = tmp_path / f"s{suffix}", tmp_path / "b.ome.tif"
    done = cli("rescale", "down", picture, small, "--bits", 8, "--json", *OPTIONS)
    assert done.status == 0, done.err
    facts = done.json
    assert facts["bytes"] == {"before": 1440, "after": 48, "latents": None}
    assert facts["file_bytes"]["small"] == small.stat().st_size
    assert 0 < facts["errors"]["mode"]["mean"] < facts["errors"]["mode"]["largest"]
    done = cli(
        "rescale", "up", small, back, "-t", 0, "--reference", picture, "--json",
        *OPTIONS,
    )  # fmt: skip
    assert done.status == 0, done.err
    # The error that was foretold is the one that is found.
    assert done.json["errors"]["reference"] == facts["errors"]["mode"]
    assert done.json["recorded"] is True
    found = read_image(back)
    assert found.data.shape == (24, 30)
    assert found.data.dtype == np.uint16
    assert found.metadata["napari-flowsr"]["detail_inferred"] is True
    lr = read_image(small).data
    about = flowsr.rescale_down(
        read_image(picture).data, bits=8, device="cpu"
    )[1].about  # fmt: skip
    expected = flowsr.rescale_up(lr, like=about, temperature=0, device="cpu")
    np.testing.assert_array_equal(found.data, expected)


def test_colours_of_many_planes(cli, tmp_path):
    y, x = np.mgrid[:13, :18]
    data = np.stack([(90 + 60 * np.sin((x + k) / 3) + y) for k in range(3)], -1)
    image = np.stack([data, data[::-1]]).astype(np.uint8)
    path = tmp_path / "rgb.ome.tif"
    write_image(path, image, axes="ZYXS")
    done = cli("rescale", "down", path, "--latents", "--no-check", *OPTIONS, "--json")
    assert done.status == 0, done.err
    assert done.json["output_shape"] == [2, 4, 5, 3]
    assert done.json["errors"] == {}
    small, kept = done.json["outputs"].values()
    done = cli("rescale", "up", small, tmp_path / "b.ome.tif", "--latents", kept)
    assert done.status == 0, done.err
    np.testing.assert_array_equal(read_image(tmp_path / "b.ome.tif").data, image)


def test_a_picture_without_a_record_is_brought_back_to_a_multiple(cli, tmp_path):
    path = tmp_path / "plain.png"
    data = (40 * np.mgrid[:4, :5][0] + 9).astype(np.uint8)
    write_image(path, data)
    done = cli("rescale", "up", path, "-t", 0, *OPTIONS)
    assert done.status == 0, done.err
    assert "no record of the original" in done.out
    assert read_image(tmp_path / "plain-back.ome.tif").data.shape == (16, 20)


def test_what_does_not_belong_together(cli, picture, tmp_path):
    assert cli("rescale", "down", picture, "--latents", *OPTIONS).status == 0
    small = tmp_path / "cell-small.ome.tif"
    kept = tmp_path / "cell-small.latents.safetensors"
    found = read_image(small)
    changed = found.data.copy()
    changed[0, 0] += 1
    other = tmp_path / "other.ome.tif"
    write_image(other, changed, axes="YX")
    before = names(tmp_path)
    for arguments, said in [
        ((other, "--latents", kept), "other pixels"),
        ((small, "--latents", picture), "no file of latents"),
        ((small, "--latents", tmp_path / "no"), "There is no file"),
        ((small, "--latents", kept, "-t", 0.5), "Give one of them"),
        ((small, "--reference", small), "made from one of"),
        ((small, "-m", "tiny-2x"), "cannot make them smaller"),
        ((small, small), "overwritten by its own result"),
        ((small, tmp_path / "x.jpg"), "can be written"),
        ((tmp_path / "none.tif",), "There is no file"),
    ]:
        done = cli("rescale", "up", *arguments, *OPTIONS)
        assert done.status == 2, arguments
        assert done.err.startswith("Error: ")
        assert done.err.count("\n") == 1
        assert said in done.err
    assert names(tmp_path) == before


def test_bad_options_are_told_before_the_work(cli, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(inference_rescale, "load_rescaling", lambda *_: 1 / 0)
    (tmp_path / "cell-small.ome.tif").write_bytes(b"mine")
    for arguments, said in [
        ((picture, "--bits", 12), "--bits is '12'"),
        ((picture,), "exists already"),
        ((picture, tmp_path / "no" / ".." / "cell.ome.tif"), "by its own result"),
        ((picture, tmp_path / "x.ome.tif", "--tile", "big"), "--tile is 'big'"),
    ]:
        done = cli("rescale", "down", *arguments, *OPTIONS)
        assert done.status == 2, (arguments, done.out)
        assert said in done.err
    assert (tmp_path / "cell-small.ome.tif").read_bytes() == b"mine"


def test_without_a_model_it_says_how_to_get_one(
    cli, picture, rescaler, tmp_path, monkeypatch
):
    monkeypatch.setattr(collection, "builtin_folder", lambda: tmp_path / "none")
    rescaler.unlink()
    done = cli("rescale", "down", picture)
    assert done.status == 2
    assert "models import FILE" in done.err


def test_an_interruption_leaves_nothing(cli, picture, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise Cancelled("enough")

    monkeypatch.setattr(inference_rescale.PlaneWork, "down", stop)
    before = names(tmp_path)
    done = cli("rescale", "down", picture, "--latents", *OPTIONS)
    assert done.status == 130
    assert names(tmp_path) == before
