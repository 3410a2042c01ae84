"""`.flowsr` files: an edited image as latents, there and back."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import napari_flowsr as flowsr
from every_family import FLOWS, over_every_flow
from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import CheckpointError, ExportError, OptionError
from napari_flowsr.io.flowsr_file import Edit, load_edit, save_edit
from napari_flowsr.io.images import read_image

KEY = "napari-flowsr-edit"


def texture(*shape: int) -> np.ndarray:
    """From 0 to 1; smooth along all axes with some noise."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = sum(np.sin(g / (3 + i) + i) for i, g in enumerate(grid)) / len(shape)
    noise = np.random.default_rng(0).normal(size=shape)
    return np.clip(0.5 + 0.4 * waves + 0.02 * noise, 0, 1)


def saved(path, post, image, hr, **layer) -> Edit:
    edit = Edit(
        latents=post.encode(hr),
        image=image,
        record=post.provenance("edited", edits=[{"tool": "resample"}]),
        layer=layer,
    )
    assert save_edit(path, edit) == path
    return load_edit(path)


@pytest.fixture(scope="module")
def micro():
    return flowsr.load_model("micro-2x", device="cpu")


# --- there and back -----------------------------------------------------------------


@over_every_flow
def test_a_session_goes_on_with_every_family(case, tmp_path):
    """Also where the flow finds the LR image itself, and where cells are placed."""
    model = case.model()
    lr = texture(7, 6).astype(np.float32)
    image = np.stack([lr] * 3, -1) if model.flow.channels == 3 else lr
    axes = "YXS" if model.flow.channels == 3 else "YX"
    options = {"scale": case.scale, "axes": axes, "seed": 7, "device": "cpu"}
    options["precision"] = "bfloat16"
    post = flowsr.posterior(image, model, **options)
    hr = post.sample(1)[0]
    found = saved(tmp_path / "a.flowsr", post, image, hr)
    found.check_model(model.card)
    again = flowsr.posterior(found.image, model, device="cpu", **found.options)
    back = again.decode(found.latents)
    assert np.abs(back - hr).max() < 1e-3 * np.ptp(hr)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_image_comes_back(micro, tmp_path, dtype):
    """Integers exactly; floats to a few parts in a million of the range."""
    top = np.iinfo(dtype).max if dtype.startswith("u") else 1
    lr = (texture(20, 18) * top).astype(dtype)
    post = flowsr.posterior(lr, micro, device="cpu")
    hr = post.sample(1)[0]
    hr[10:16, 20:26] = top  # an edit that no model would draw
    found = saved(tmp_path / "a.flowsr", post, lr, hr)
    again = flowsr.posterior(found.image, micro, device="cpu", **found.options)
    back = again.decode(found.latents)
    assert back.dtype == hr.dtype
    if dtype == "float32":
        assert np.abs(back - hr).max() < 1e-5
    else:
        np.testing.assert_array_equal(back, hr)


def test_real_images_of_16_bit_come_back_exactly(reference, micro, tmp_path):
    files = sorted((reference / "data" / "val" / "micro").glob("*.png"))[:3]
    for file in files:
        pixels = read_image(file).data[:64, :64].astype(np.float64)
        hr = np.rint(pixels / pixels.max() * 65535).astype(np.uint16)
        lr = np.rint(hr.reshape(32, 2, 32, 2).mean((1, 3))).astype(np.uint16)
        post = flowsr.posterior(lr, micro, device="cpu")
        found = saved(tmp_path / "a.flowsr", post, lr, hr)
        again = flowsr.posterior(found.image, micro, device="cpu", **found.options)
        np.testing.assert_array_equal(again.decode(found.latents), hr, file.name)


def test_a_stack_of_channels_and_a_temperature_map(tmp_path):
    tiny = next(c.values[0] for c in FLOWS if c.id == "compact-0").model()
    stack = (texture(2, 3, 14, 11) * 4000).astype(np.uint16)
    temperature = np.linspace(0, 1, 14 * 11).reshape(14, 11)
    post = flowsr.posterior(
        stack, tiny, axes="TCYX", noise="shared", temperature=temperature,
        device="cpu",
    )  # fmt: skip
    hr = post.sample(1)[0]
    found = saved(tmp_path / "a.flowsr", post, stack, hr, scale=(1, 1, 0.5, 0.5))
    assert found.latents.batch == 6
    assert found.layer == {"scale": [1, 1, 0.5, 0.5]}
    assert found.record["edits"] == [{"tool": "resample"}]
    again = flowsr.posterior(found.image, tiny, device="cpu", **found.options)
    np.testing.assert_array_equal(again.decode(found.latents), hr)
    np.testing.assert_array_equal(again.sample(1)[0], hr)


@pytest.mark.parametrize("dtype", ["bool", "uint64", ">i2", "<f8", "float16"])
def test_the_lr_image_keeps_its_data_type(micro, tmp_path, dtype):
    image = (texture(9, 8) * 100).astype(dtype)
    image = image[::-1, ::-1]  # as a view
    latents = flowsr.posterior(texture(9, 8), micro, device="cpu").encode(
        texture(18, 16)
    )
    record = {"model": "micro-2x", "model_sha256": micro.card.sha256}
    path = save_edit(
        tmp_path / "a.flowsr", Edit(latents=latents, image=image, record=record)
    )
    found = load_edit(path).image
    assert found.dtype == image.dtype.newbyteorder("=")
    assert found.flags.writeable
    np.testing.assert_array_equal(found, image)


# --- what is refused ------------------------------------------------------------


@pytest.fixture
def edit(micro):
    lr = texture(9, 8)
    post = flowsr.posterior(lr, micro, device="cpu")
    return Edit(
        latents=post.encode(texture(18, 16)), image=lr, record=post.provenance("edited")
    )


def test_another_model_is_refused(edit, micro):
    other = flowsr.load_model("micro-4x", device="cpu").card
    said = f"'micro-2x' .SHA-256 {micro.card.sha256[:12]}.*'micro-4x'.*Choose"
    with pytest.raises(OptionError, match=said):
        edit.check_model(other)
    with pytest.raises(OptionError, match="another model of the same name"):
        edit.check_model(micro.card.with_(sha256="1" * 64))
    edit.check_model(micro.card)


def test_writing(edit, tmp_path):
    path = save_edit(tmp_path / "a.flowsr", edit)
    assert [p.name for p in tmp_path.iterdir()] == ["a.flowsr"]
    with pytest.raises(ExportError, match="exists already"):
        save_edit(path, edit, overwrite=False)
    with pytest.raises(ExportError, match="folder exists"):
        save_edit(tmp_path / "none" / "a.flowsr", edit)
    with pytest.raises(OptionError, match=r"ends in \.flowsr"):
        save_edit(tmp_path / "a.safetensors", edit)
    with pytest.raises(OptionError, match="lacks model and model_sha256"):
        Edit(latents=edit.latents, image=edit.image, record={"kind": "edited"})
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()[KEY])
    assert facts["format"] == 1
    assert facts["versions"]["napari-flowsr"] == flowsr.__version__


def _spoil(path, change):
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()[KEY])
    tensors = load_file(path)
    change(facts, tensors)
    save_file(tensors, path, {KEY: json.dumps(facts)})


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, tensors: facts.pop("spec"),
        lambda facts, tensors: facts.pop("format"),
        lambda facts, tensors: facts.update(format="1; evil()"),
        lambda facts, tensors: facts["spec"].update(lr_size=[10, 8, 1]),
        lambda facts, tensors: facts["spec"].update(levels=[[4, 9, 8, "1/0"]]),
        lambda facts, tensors: facts["spec"].update(levels=[[4, 9, 7, "1"]]),
        lambda facts, tensors: facts["spec"].update(place=[[0, 0, 99, 8], [9, 8], 2]),
        lambda facts, tensors: facts["image"].update(dtype="O"),
        lambda facts, tensors: facts["image"].update(shape=[10**9, 10**9]),
        lambda facts, tensors: facts["image"].update(shape=[9, -1, 3]),
        lambda facts, tensors: facts.update(record=None),
        lambda facts, tensors: facts["record"].pop("model_sha256"),
        lambda facts, tensors: facts.update(layer=[1]),
        lambda facts, tensors: tensors.pop("level.0"),
        lambda facts, tensors: tensors.pop("image"),
        lambda facts, tensors: tensors.update({"image": torch.zeros(3)}),
        lambda facts, tensors: tensors.update({"level.0": tensors["level.0"].int()}),
        lambda facts, tensors: tensors.update({"lr": torch.zeros(1, 1, 3, 3)}),
    ],
)
def test_a_damaged_file_is_refused(edit, tmp_path, change):
    path = save_edit(tmp_path / "a.flowsr", edit)
    _spoil(path, change)
    with pytest.raises(CheckpointError, match=r"a\.flowsr.* is damaged.*Copy it again"):
        load_edit(path)


def test_a_newer_version_is_named(edit, tmp_path):
    path = save_edit(tmp_path / "a.flowsr", edit)
    _spoil(path, lambda facts, tensors: facts.update(format=2))
    with pytest.raises(CheckpointError, match=r"format 2;.*reads up to 1\. Update"):
        load_edit(path)


@pytest.mark.parametrize("part", [0, 5, 100, 0.5, -1])
def test_a_truncated_file_is_refused(edit, tmp_path, part):
    path = save_edit(tmp_path / "a.flowsr", edit)
    data = path.read_bytes()
    size = int(len(data) * part) if isinstance(part, float) else part
    path.write_bytes(data[:size])
    with pytest.raises(CheckpointError, match=r"damaged.*Give a \.flowsr file"):
        load_edit(path)


def test_other_files_are_no_edits(edit, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    path = tmp_path / "a.flowsr"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="no file of latents of an edited image"):
        load_edit(path)
    assert not (tmp_path / "ran").exists()
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="holds no latents of an edited image"):
        load_edit(path)
    with pytest.raises(CheckpointError, match="There is no file"):
        load_edit(tmp_path / "b.flowsr")
    with pytest.raises(CheckpointError, match="no file of latents"):
        load_edit(tmp_path)
    with pytest.raises(OptionError, match="give the path"):
        load_edit(3)


def test_a_file_of_a_rescaled_image_is_none(edit, tmp_path):
    """Both hold latents, of different things."""
    path = save_edit(tmp_path / "a.flowsr", edit)
    with pytest.raises(CheckpointError, match="holds no latents of a small image"):
        flowsr.load_latents(path)


def test_latents_are_latents(edit, tmp_path):
    found = load_edit(save_edit(tmp_path / "a.flowsr", edit)).latents
    assert type(found) is Latents
    for own, there in zip(edit.latents.levels, found.levels, strict=True):
        assert torch.equal(own, there)


def test_a_posterior_gives_what_a_file_takes(tmp_path) -> None:
    """The way that docs/editing.md shows."""
    import napari_flowsr as flowsr

    image = np.random.default_rng(0).integers(0, 4000, (24, 20)).astype(np.uint16)
    post = flowsr.posterior(image, "micro-2x", seed=4, temperature=0.5, device="cpu")
    hr = post.sample(1)[0]
    path = tmp_path / "cells.flowsr"
    assert flowsr.save_edit(path, post.snapshot(hr, layer={"name": "a"})) == path
    edit = flowsr.load_edit(path)
    assert edit.layer == {"name": "a"}
    again = flowsr.posterior(edit.image, edit.model, device="cpu", **edit.options)
    edit.check_model(again.model.card)
    np.testing.assert_array_equal(again.decode(edit.latents), hr)
    np.testing.assert_array_equal(again.sample(1)[0], hr)
