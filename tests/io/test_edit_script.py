"""Records of edited images and the scripts that repeat the edits."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest

import napari_flowsr as flowsr
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference.reduced import reduced
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.content import image_hash
from napari_flowsr.io.edit_record import LARGEST, pack_mask, unpack
from napari_flowsr.io.edit_script import edit_record, edit_step
from napari_flowsr.io.provenance import provenance_script
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard


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


@pytest.fixture
def post(model, image):
    return flowsr.posterior(image, model, seed=5, temperature=0.7, device="cpu")


def mask_at(rows, columns, shape=(48, 60)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def remake(record):
    script = provenance_script({"napari-flowsr": json.loads(json.dumps(record))})
    names: dict = {"__name__": "remade"}
    exec(compile(script, "script.py", "exec"), names)
    return lambda *images: names["remake"](*images, device="cpu")


# --- masks --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", ">f8"])
def test_masks_are_packed_as_the_bits_of_their_box(dtype):
    mask = np.zeros((3, 2048, 2048), dtype)
    mask[1, 100:197, 1500:1603] = 1
    mask[1, 120, 1510] = 0
    packed = json.loads(json.dumps(pack_mask(mask)))
    assert packed["box"] == [[1, 2], [100, 197], [1500, 1603]]
    assert len(json.dumps(packed)) < 300
    back = unpack(packed)
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(back, mask)


def test_soft_and_empty_masks():
    soft = np.zeros((40, 50), np.float32)
    soft[5:9, 6:20] = np.linspace(0.1, 1, 14)
    np.testing.assert_array_equal(unpack(pack_mask(soft)), soft)
    empty = np.zeros((4, 5), bool)
    np.testing.assert_array_equal(unpack(pack_mask(empty)), empty)


# --- there and back -----------------------------------------------------------------


def test_a_sample_and_its_edits_are_made_again(post, image):
    """Re-sampled, normalised, pasted, painted: the same bits."""
    hr, edits = post.sample(3)[1], []
    base = post.provenance("sample", sample=1, n=3)
    first = mask_at(slice(4, 20), slice(6, 30))
    hr = post.resample(hr, first, 11, 0.9)
    edits.append(edit_step("resample", mask=first, seed=11, temperature=0.9))
    soft = np.zeros((48, 60), np.float32)
    soft[20:40, 30:50] = np.linspace(0.05, 1, 20)
    hr = post.resample(hr, soft, 12)
    edits.append(edit_step("resample", mask=soft, seed=12, label="soft"))
    box = slice(30, 40), slice(5, 25)
    hr[box] = hr[2:12, 30:50]
    edits.append(edit_step("paste", pixels=hr[box], box=box))
    around = mask_at(slice(28, 42), slice(3, 27))
    hr[box] += 100
    content = hr[box].copy()
    hr = post.normalise(hr, around, seed=3, strength=0.8, amplify=False)
    given = {"seed": 3, "strength": 0.8, "amplify": False, "collections": "local"}
    edits.append(edit_step("content", mask=around, pixels=content, box=box, **given))
    hr = post.normalise(hr, collections=("spatial", "local"))
    edits.append(edit_step("normalise", collections=("spatial", "local"), seed=0))
    record = edit_record(base, edits)
    assert record["kind"] == "edited"
    assert record["base"]["sample"] == 1
    np.testing.assert_array_equal(remake(record)(image), hr)
    with pytest.raises(ImageError, match="another image"):
        remake(record)(image + 1)


def test_a_sample_of_a_stream_of_stacks(model, image):
    """As Upscale makes it; the edits were made with another temperature and seed."""
    stack = np.stack([image, image[::-1]])
    temperature = np.linspace(0, 1, image.size).reshape(image.shape)
    post = flowsr.posterior(
        stack, model, axes="TYX", temperature=temperature, tile=16, device="cpu"
    )
    found = list(post.stream(2, ("samples",)))[-1].result.samples[1]
    base = post.provenance("sample", sample=1, n=2, stream=2, tool="upscale")
    other = flowsr.posterior(
        stack, model, axes="TYX", temperature=0.5, noise="shared", seed=4, device="cpu"
    )
    mask = np.zeros((2, 48, 60), bool)
    mask[1, 10:20, 10:20] = True
    hr = other.resample(found, mask, 4)
    # What equals the record's own seed and temperature is not repeated in the edit.
    record = edit_record(
        base, [edit_step("resample", mask=mask)], posterior=other.provenance("edited")
    )
    np.testing.assert_array_equal(remake(record)(stack), hr)


def test_an_image_that_no_model_made_is_asked_for(post, image):
    hr = np.random.default_rng(0).integers(0, 2000, (48, 60)).astype(np.uint16)
    mask = mask_at(slice(4, 20), slice(6, 30))
    record = edit_record(
        post.provenance("edited"),
        [edit_step("resample", mask=mask, seed=2)],
        hr_sha256=image_hash(hr),
    )
    again = remake(record)
    np.testing.assert_array_equal(again(image, hr), post.resample(hr, mask, 2))
    with pytest.raises(ImageError, match="Another image was edited"):
        again(image, hr + 1)


@pytest.mark.parametrize("shape", [(48, 60), (47, 59)])
def test_an_image_that_is_its_own_source(model, shape):
    """Also one whose sides are no multiples: it is padded, and cropped at the end."""
    loaded = flowsr.load_model(model, device="cpu")
    hr = np.random.default_rng(0).integers(0, 2000, shape).astype(np.uint16)
    whole = reduced(hr, loaded)
    post = flowsr.posterior(whole.lr, loaded, device="cpu")
    mask = mask_at(slice(4, 20), slice(6, 30), shape)
    expected = whole.cropped(post.resample(whole.hr, whole.fitted_map(mask), 2))
    record = edit_record(
        post.provenance("edited", lr="downscale"),
        [edit_step("resample", mask=mask, seed=2)],
        hr_sha256=image_hash(hr),
    )
    np.testing.assert_array_equal(remake(record)(hr), expected)
    with pytest.raises(ImageError, match="another image"):
        remake(record)(hr + 1)


@pytest.mark.parametrize("marked", [True, False], ids=["mask", "no-mask"])
@pytest.mark.parametrize("shape", [(48, 60), (47, 59)], ids=["even", "odd"])
def test_content_at_the_last_edges_of_an_image(model, shape, marked):
    """What is pasted there is mirrored into the padding too."""
    loaded = flowsr.load_model(model, device="cpu")
    hr = np.random.default_rng(0).integers(0, 2000, shape).astype(np.uint16)
    edited, box = hr.copy(), (slice(41, 47), slice(50, 59))
    edited[box] = hr[:6, :9]
    mask = mask_at(*box, shape) if marked else None
    expected = flowsr.transfer_content(hr, edited, mask, loaded, seed=4)
    post = flowsr.posterior(
        reduced(hr, loaded).lr, loaded, temperature=0.7, device="cpu"
    )
    told = {"seed": 4, "temperature": loaded.card.temperature, "collections": "local"}
    step = edit_step("transfer", mask=mask, pixels=edited[box], box=box, **told)
    base = post.provenance("edited", lr="downscale")
    record = edit_record(base, [step], hr_sha256=image_hash(hr))
    np.testing.assert_array_equal(remake(record)(hr), expected)


@pytest.mark.parametrize("operation", ["paste", "content"])
@pytest.mark.parametrize("shape", [(48, 60), (47, 59)], ids=["even", "odd"])
def test_pixels_at_the_last_edges_leave_the_source_as_it_is(model, shape, operation):
    loaded = flowsr.load_model(model, device="cpu")
    hr = np.random.default_rng(0).integers(0, 2000, shape).astype(np.uint16)
    given, edited, box = hr.copy(), hr.copy(), (slice(41, 47), slice(50, 59))
    edited[box] = hr[:6, :9]
    whole, mask = reduced(hr, loaded), mask_at(*box, shape)
    post = flowsr.posterior(whole.lr, loaded, device="cpu")
    step = edit_step(operation, mask=mask, pixels=edited[box], box=box, seed=4)
    base = post.provenance("edited", lr="downscale")
    record = edit_record(base, [step], hr_sha256=image_hash(hr))
    expected = edited
    if operation == "content":
        padded = whole.fitted(edited, "edited")
        expected = whole.cropped(post.normalise(padded, whole.fitted_map(mask), seed=4))
    np.testing.assert_array_equal(remake(record)(hr), expected)
    np.testing.assert_array_equal(hr, given)


def test_maps_of_temperature_are_part_of_the_script(post, image):
    hr, seeds, edits = post.sample(1)[0], (3, 4, 5), []
    mask = mask_at(slice(4, 40), slice(6, 50))
    large = np.linspace(0, 1, 48 * 60, dtype=np.float32).reshape(48, 60)
    base = post.provenance("sample", sample=0)
    for seed, tau in zip(seeds, (large, large[::2, ::2], 0.5), strict=True):
        hr = post.resample(hr, mask, seed, tau)
        edits.append(edit_step("resample", mask=mask, seed=seed, temperature=tau))
    hr = post.normalise(hr, mask, seed=6, temperature=large)
    edits.append(edit_step("normalise", mask=mask, seed=6, temperature=large))
    np.testing.assert_array_equal(remake(edit_record(base, edits))(image), hr)


def test_a_map_of_the_posterior_is_that_of_its_edits(model, image):
    tau = np.linspace(0, 1, image.size).reshape(image.shape)
    post = flowsr.posterior(image, model, temperature=tau, device="cpu")
    mask = mask_at(slice(4, 40), slice(6, 50))
    record = edit_record(
        post.provenance("sample", sample=0), [edit_step("resample", mask=mask, seed=2)]
    )
    expected = post.resample(post.sample(1)[0], mask, 2)
    np.testing.assert_array_equal(remake(record)(image), expected)


@pytest.mark.parametrize("shape", [(48, 60), (47, 59)], ids=["even", "odd"])
def test_a_map_of_temperature_is_padded_with_its_image(model, shape):
    loaded = flowsr.load_model(model, device="cpu")
    hr = np.random.default_rng(0).integers(0, 2000, shape).astype(np.uint16)
    whole, mask = reduced(hr, loaded), mask_at(slice(4, 47), slice(6, 59), shape)
    tau = np.linspace(0, 1, hr.size, dtype=np.float32).reshape(shape)
    post = flowsr.posterior(whole.lr, loaded, device="cpu")
    fitted = whole.fitted_map(mask), 2, whole.fitted_map(tau)
    step = edit_step("resample", mask=mask, seed=2, temperature=tau)
    base = post.provenance("edited", lr="downscale")
    record = edit_record(base, [step], hr_sha256=image_hash(hr))
    expected = whole.cropped(post.resample(whole.hr, *fitted))
    np.testing.assert_array_equal(remake(record)(hr), expected)


def test_the_region_is_cut_out(model, image):
    region = image[4:20, 6:26]
    post = flowsr.posterior(region, model, device="cpu")
    base = post.provenance("sample", sample=0, roi=[[4, 20], [6, 26]])
    mask = mask_at(slice(4, 20), slice(6, 30), (32, 40))
    base["source_sha256"] = image_hash(image)
    record = edit_record(base, [edit_step("resample", mask=mask, seed=2)])
    expected = post.resample(post.sample(1)[0], mask, 2)
    np.testing.assert_array_equal(remake(record)(image), expected)


def test_an_image_with_all_edits_undone_is_its_base(post, image):
    record = edit_record(post.provenance("mean", n=2), [])
    np.testing.assert_array_equal(remake(record)(image), post.mean(2))


# --- what has no script -------------------------------------------------------------


def test_large_pixels_are_left_out_and_it_says_so(post):
    pixels = np.random.default_rng(0).integers(0, 2**16, (900, 900)).astype(np.uint16)
    step = edit_step("paste", pixels=pixels, box=(slice(0, 900), slice(0, 900)))
    assert len(json.dumps(step)) < 1000 < LARGEST
    record = edit_record(post.provenance("sample", sample=0), [step])
    with pytest.raises(OptionError, match=r"edit 1: paste.*pixels take 2\.\d MiB"):
        provenance_script(record)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"operation": "style", "label": "style of a"}, "edit 1: style of a.*depends"),
        ({"operation": "paste"}, "its pixels are not in the record"),
        ({"operation": "resample", "mask": "edit mask"}, "mask of it is only named"),
        ({"operation": "resample", "temperature": {"left_out": "far"}}, "for far"),
        ({"operation": "resample", "temperature": "map"}, "damaged|no script"),
        ({}, "None"),
    ],
)
def test_what_cannot_be_repeated_is_said(post, step, said):
    record = edit_record(post.provenance("sample", sample=0), [step])
    with pytest.raises(OptionError, match=said):
        provenance_script(record)


def test_a_record_that_does_not_say_what_was_edited(post):
    facts = {**post.provenance("edited"), "edits": []}
    with pytest.raises(OptionError, match="does not say what it was made from"):
        provenance_script(facts)
    edited = edit_record(post.provenance("sample", sample=0), [])
    with pytest.raises(OptionError, match="Edit a sample of Upscale"):
        provenance_script(edit_record(edited, []))


# --- metadata of strangers ----------------------------------------------------------

HOSTILE = [
    '"""\nevil()\n"""',
    "a\nevil()\r\nevil()\x0bevil()\x85evil()\u2028evil()",
    '\\"""\nevil()',
    "\\\\N{evil()} {evil()} {0} {} %s",
    "'] + evil() + ['",
    "0]; evil(); [0",
    "\0\ud800\u202e evil()",
]


def words_of(script: str) -> set[str]:
    """Every word of the program that is neither literal nor comment."""
    out: set[str] = set()
    for node in ast.walk(ast.parse(script)):
        named = (getattr(node, key, None) for key in ("id", "attr", "arg", "name"))
        out |= {type(node).__name__, *(name for name in named if name)}
    return out


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_metadata_stay_text(post, text):
    mask = mask_at(slice(4, 20), slice(6, 30))
    facts = {"source_name": "s", "assume": {"quant": 255}, "roi": [[0, 24], [0, 30]]}
    base = post.provenance("sample", sample=0, n=1, stream=1, **facts)
    box = slice(0, 1), slice(0, 2)
    step = edit_step(
        "content", mask=mask, pixels=np.zeros((1, 2)), box=box, seed=1, strength=0.5,
        temperature=0.4, collections=("local",), label="l",
    )  # fmt: skip
    whole = edit_record(base, [step])
    allowed = words_of(provenance_script(whole))
    scripts = 0
    for part in (whole, whole["base"], whole["edits"][0]):
        for key in list(part):
            kept = part[key]
            part[key] = text
            try:
                script = provenance_script(whole)
            except OptionError:
                continue  # no number, no known kind
            finally:
                part[key] = kept
            assert words_of(script) <= allowed, key
            scripts += 1
    assert scripts >= 20


@pytest.mark.parametrize(
    "damage",
    [
        {"edits": 5},
        {"edits": ["resample"]},
        {"edits": [{"operation": "resample", "seed": "evil()"}]},
        {"edits": [{"operation": "paste", "pixels": {}, "box": [[1]]}]},
        {"edits": [{"operation": ["resample"]}]},
        {"edits": [{"operation": "normalise", "collections": 3}]},
        {"base": {}},
    ],
)
def test_a_damaged_record_is_no_traceback(post, damage):
    record = edit_record(post.provenance("sample", sample=0), [])
    with pytest.raises(OptionError, match=r"damaged|no script"):
        provenance_script({**record, **damage})
