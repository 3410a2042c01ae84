"""Hash, record and the script that remakes a result."""

from __future__ import annotations

import ast
import enum
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
        (None, "metadata are NoneType; expected layer.metadata"),
        ([], "metadata are list"),
        ({}, "was not made by napari-flowsr"),
        ({"my own": {"kind": "sample"}}, "was not made by napari-flowsr"),
        ({"napari-flowsr": None}, "is NoneType; expected the record"),
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

    def on_cpu(image, model=names["MODEL"]):
        return names["remake"](image, model, "cpu")

    return on_cpu


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


# --- metadata of strangers ------------------------------------------------------

# Each would call `evil()` if it left the literal or comment that it is put into.
HOSTILE = [
    '"""\nevil()\n"""',
    "'''\nevil()\n'''",
    "a\nevil()\r\nevil()\x0bevil()\x0cevil()\x85evil()\u2028evil()",
    "\\",
    '\\"""\nevil()',
    "\\\\N{evil()} {evil()} {0} {} %s",
    "'] + evil() + ['",
    "\\' + evil() + '",
    "0]; evil(); [0",
    "\0\ud800\u202e evil()",
]
WHOLE = {
    "kind": "sample", "model": "m", "model_sha256": "a", "source_sha256": "b",
    "temperature": 0.5, "seed": 1, "source_name": "s", "versions": {"torch": "2"},
    "axes": "YX", "prior": "gaussian", "noise": "per-plane", "tile": "auto",
    "device": "cpu", "nan": "raise", "assume": {"quant": 255}, "n": 3, "sample": 1,
    "roi": [[1, 2], [3, 4]], "colour": "mean", "rounded_to": "uint8",
}  # fmt: skip


def words_of(script: str) -> set[str]:
    """Every word of the program that is neither literal nor comment."""
    out: set[str] = set()
    for node in ast.walk(ast.parse(script)):
        named = (getattr(node, key, None) for key in ("id", "attr", "arg", "name"))
        out |= {type(node).__name__, *(name for name in named if name)}
    return out


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("stream", [None, 3])
def test_hostile_metadata_stay_text(text, stream):
    """Wherever it stands, the script has no other words, or there is no script."""
    whole = WHOLE if stream is None else {**WHOLE, "stream": stream}
    allowed = words_of(provenance_script(whole))
    scripts = 0
    for key in whole:
        facts = {**whole, key: text}
        if key in ("versions", "assume"):
            facts[key] = {text: text}
        try:
            script = provenance_script({"napari-flowsr": facts})
        except OptionError:
            continue  # no number, no axis, no known kind
        compile(script, "script.py", "exec")
        assert words_of(script) <= allowed, key
        scripts += 1
    assert scripts >= 12


def test_a_title_of_several_lines_becomes_one():
    script = provenance_script({**WHOLE, "source_name": "first\n\n  second\tthird"})
    assert script.splitlines()[0] == '"""Remakes: sample of first second third.'


@pytest.mark.parametrize(
    "damage",
    [
        {"roi": [[1, 2]]},
        {"roi": 5},
        {"n": "many"},
        {"sample": None},
        {"versions": "2.0"},
        {"stream": 3, "sample": "0]; evil(); [0"},
        {"kind": "quantile", "quantile": "nan"},
        {"kind": "quantile-range", "quantiles": [0.1, 7]},
        {"kind": "quantile-range", "quantiles": 3},
        {"kind": ["sample"]},
    ],
)
def test_a_damaged_record_is_no_traceback(damage):
    with pytest.raises(OptionError, match=r"damaged|no script"):
        provenance_script({**WHOLE, **damage})


def test_enumerations_become_literals():
    class Noise(enum.StrEnum):
        SHARED = "shared"

    class Seed(enum.IntEnum):
        ONE = 1

    facts = jsonable({"noise": Noise.SHARED, "seed": Seed.ONE})
    assert repr(facts) == "{'noise': 'shared', 'seed': 1}"


def test_the_script_runs_on_other_machines(model, image):
    """What it was made on is told, not required."""
    post = flowsr.posterior(image, model, device="cpu")
    facts = {**post.provenance("sample", sample=0), "device": "cuda:7"}
    script = provenance_script(facts)
    assert "# The result was made on: cuda:7" in script
    assert 'device="auto"' in script
    assert script.count("cuda:7") == 1
    np.testing.assert_array_equal(remake(script)(image), post.sample(1)[0])


def test_names_with_quotes_do_not_break_the_script(model, image):
    post = flowsr.posterior(image, model, device="cpu")
    name = 'a """quoted""" \\N name'
    script = provenance_script(post.provenance("sample", sample=0, source_name=name))
    np.testing.assert_array_equal(remake(script)(image), post.sample(1)[0])
