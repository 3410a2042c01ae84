"""Hash, record and the script that remakes a result."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest

import napari_flowsr as flowsr
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.content import image_hash, jsonable, pack_array, unpack_array
from napari_flowsr.io.provenance import provenance_script, record
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard

# --- hash ---------------------------------------------------------------------


def test_the_hash_is_the_same_for_ever():
    """Changing it would make every stored record refuse its own image."""
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert image_hash(array) == (
        "276cb20f325a46323baf1dc42a8fcb51b890ea0dcfcb7aeef118f50dbd57a142"
    )


def test_storage_does_not_change_the_hash(monkeypatch):
    array = np.random.default_rng(0).random((7, 30, 20)).astype("f4")
    expected = image_hash(array)
    assert image_hash(da.from_array(array, chunks=(3, 11, 20))) == expected
    assert image_hash(np.asfortranarray(array)) == expected
    assert image_hash(array.astype(">f4")) == expected
    assert image_hash(array[::-1][::-1]) == expected
    monkeypatch.setattr("napari_flowsr.io.content._BLOCK_BYTES", 5000)
    assert image_hash(array) == expected


def test_content_type_and_shape_change_the_hash():
    array = np.arange(24, dtype=np.int16).reshape(4, 6)
    other = array.copy()
    other[3, 5] += 1
    variants = [array, other, array.reshape(6, 4), array.view(np.uint16), array[:, :5]]
    assert len({image_hash(v) for v in variants}) == len(variants)


def test_zarr_hash_equals_that_of_numpy(tmp_path):
    import zarr

    array = np.arange(600, dtype=np.uint8).reshape(20, 30)
    stored = zarr.create_array(
        str(tmp_path / "a"), shape=array.shape, chunks=(7, 9), dtype=array.dtype
    )
    stored[...] = array
    assert image_hash(stored) == image_hash(array)


# --- record -------------------------------------------------------------------


def test_anything_becomes_json():
    value = {
        "a": np.float32(0.5),
        1: (np.int64(2), None, True),
        "nan": float("nan"),
        "map": np.eye(3),
    }
    out = json.loads(json.dumps(jsonable(value), allow_nan=False))
    assert out["a"] == 0.5
    assert out["1"] == [2, None, True]
    assert out["nan"] == "nan"
    np.testing.assert_array_equal(unpack_array(out["map"]), np.eye(3))


def test_packed_arrays_keep_their_type():
    array = np.random.default_rng(0).random((5, 4)).astype(np.float16)
    back = unpack_array(pack_array(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("layer_metadata", "said"),
    [
        ({}, "lack kind"),
        ({"napari-flowsr": {"kind": "sample"}}, "lack model"),
    ],
)
def test_metadata_without_a_record_have_no_script(layer_metadata, said):
    with pytest.raises(OptionError, match=said):
        provenance_script(layer_metadata)


def test_an_operation_without_a_script_is_refused():
    facts = record(
        "hand-painted", model="m", model_sha256="", family="f", source_sha256="",
        temperature=1.0, seed=0,
    )  # fmt: skip
    with pytest.raises(OptionError, match="hand-painted"):
        provenance_script(facts)


# --- script -------------------------------------------------------------------


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A tiny random model, imported under a name."""
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    flow = build(
        "compact", {"scale": 2, "width": 8, "blocks": 1, "steps": 2, "hidden": 6}
    )
    card = ModelCard("tiny-2x", "compact", (2.0,), 1)
    save_model(tmp_path / "models" / "tiny-2x.safetensors", flow, card)
    return "tiny-2x"


@pytest.fixture
def image():
    y, x = np.mgrid[:24, :30]
    return (1000 + 900 * np.sin(x / 3) * np.cos(y / 4)).astype(np.uint16)


def remake(script: str):
    names: dict = {"__name__": "remade"}
    exec(compile(script, "script.py", "exec"), names)
    return names["remake"]


@pytest.mark.parametrize(
    ("kind", "extra", "make"),
    [
        ("sample", {"sample": 2}, lambda post: post.sample(3)[2]),
        ("sample", {"n": 3}, lambda post: post.sample(3)),
        ("samples", {"n": 3}, lambda post: post.sample(3)),
        ("sample", {"n": 3, "sample": 1}, lambda post: post.sample(3)[1]),
        ("mean", {"n": 3}, lambda post: post.mean(3)),
        ("std", {"n": 3}, lambda post: post.std(3)),
        ("quantile", {"quantile": 0.9, "n": 3}, lambda post: post.quantile(0.9, 3)),
        (
            "quantile-range",
            {"quantiles": [0.1, 0.9], "n": 3},
            lambda post: post.quantile(0.9, 3) - post.quantile(0.1, 3),
        ),
    ],
)
def test_the_script_gives_the_same_bits(model, image, kind, extra, make):
    post = flowsr.posterior(image, model, seed=5, temperature=0.7, device="cpu")
    metadata = {"napari-flowsr": json.loads(json.dumps(post.provenance(kind, **extra)))}
    expected = make(post)
    result = remake(flowsr.provenance_script(metadata))(image)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_the_script_knows_temperature_maps_and_axes(model, image):
    stack = np.stack([image, image[::-1]])
    temperature = np.linspace(0, 1, image.size).reshape(image.shape)
    post = flowsr.posterior(
        stack, model, temperature=temperature, axes="TYX", noise="shared", tile=16,
        device="cpu",
    )  # fmt: skip
    script = provenance_script(post.provenance("sample", sample=0))
    np.testing.assert_array_equal(remake(script)(stack), post.sample(1)[0])


def test_the_script_cuts_out_the_region(model, image):
    region = image[4:20, 6:26]
    post = flowsr.posterior(region, model, device="cpu")
    facts = post.provenance("sample", sample=0, roi=[[4, 20], [6, 26]])
    np.testing.assert_array_equal(
        remake(provenance_script(facts))(image), post.sample(1)[0]
    )
    facts["source_sha256"] = image_hash(image)
    np.testing.assert_array_equal(
        remake(provenance_script(facts))(image), post.sample(1)[0]
    )
    with pytest.raises(ImageError, match="another image"):
        remake(provenance_script(facts))(image + 1)


def test_the_script_refuses_another_image_and_another_model(model, image, tmp_path):
    post = flowsr.posterior(image, model, device="cpu")
    script = provenance_script(post.provenance("sample", sample=0))
    with pytest.raises(ImageError, match="another image"):
        remake(script)(image + 1)
    flow = build(
        "compact", {"scale": 2, "width": 8, "blocks": 2, "steps": 2, "hidden": 6}
    )
    card = ModelCard("tiny-2x", "compact", (2.0,), 1)
    save_model(tmp_path / "models" / "tiny-2x.safetensors", flow, card)
    with pytest.raises(OptionError, match="another one"):
        remake(script)(image)


def test_the_script_of_an_imported_official_model_runs(model, image):
    """Its record says what was assumed, which its own file states and so refuses."""
    post = flowsr.posterior(image, model, device="cpu")
    facts = post.provenance("sample", sample=0, assume={"quant": 255})
    np.testing.assert_array_equal(
        remake(provenance_script(facts))(image), post.sample(1)[0]
    )


def test_the_script_takes_the_path_of_a_model(model, image, tmp_path):
    path = tmp_path / "models" / "tiny-2x.safetensors"
    post = flowsr.posterior(image, path, device="cpu")
    script = provenance_script(post.provenance("sample", sample=0))
    np.testing.assert_array_equal(remake(script)(image, path), post.sample(1)[0])


def test_names_with_quotes_do_not_break_the_script(model, image):
    post = flowsr.posterior(image, model, device="cpu")
    name = 'a """quoted""" \\N name'
    script = provenance_script(post.provenance("sample", sample=0, source_name=name))
    np.testing.assert_array_equal(remake(script)(image), post.sample(1)[0])
