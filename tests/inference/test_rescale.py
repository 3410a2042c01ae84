"""Images made small by a rescaling network and brought back."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import napari_flowsr as flowsr
from napari_flowsr.errors import (
    AxesError,
    Cancelled,
    CheckpointError,
    ExportError,
    FlowSRError,
    ImageError,
    ModelNotFoundError,
    OptionError,
    SizeError,
    UnstableDecodeError,
)
from napari_flowsr.inference.rescale import Made, down
from napari_flowsr.io import collection
from napari_flowsr.models.card import Model, ModelCard, Normalisation
from napari_flowsr.models.hcflow_rescale import HCFlowRescale, HCFlowRescaleConfig

PROMISE = 1e-5


def rescaler(channels: int = 1, size: float = 0.02, **card: object) -> Model:
    """A tiny 4x network whose zero-initialised layers are random."""
    torch.manual_seed(5)
    config = HCFlowRescaleConfig(
        scale=4, channels=channels, width=4, blocks=(1, 1), growth=2, steps=(2,),
        conditional_steps=(1,), hidden=3, conditional_hidden=4,
    )  # fmt: skip
    flow = HCFlowRescale(config)
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, size)
    facts = {
        "name": "tiny-rescale",
        "family": flow.family,
        "scales": flow.scales,
        "channels": channels,
        "sha256": "0" * 64,
        "temperature": 0.05,
        **card,
    }
    return Model(ModelCard(**facts), flow.eval().requires_grad_(False))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def grey() -> Model:
    return rescaler()


@pytest.fixture(scope="module")
def gentle() -> Model:
    """Nearly untrained: its small pixels are nearly the averages of 4 x 4."""
    return rescaler(size=0.002)


@pytest.fixture(scope="module")
def rgb() -> Model:
    return rescaler(3)


def texture(*shape: int, seed: int = 0) -> np.ndarray:
    """From 0 to 1; smooth along all axes with some noise."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = sum(np.sin(g / (3 + i) + i) for i, g in enumerate(grid)) / len(shape)
    noise = np.random.default_rng(seed).normal(size=shape)
    found = 0.5 + 0.3 * waves + 0.05 * noise
    return (found - found.min()) / max(1e-9, found.max() - found.min())


def worst(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max())


# --- there and back -----------------------------------------------------------


@pytest.mark.parametrize("bits", [None, 8, 16])
@pytest.mark.parametrize(
    ("shape", "axes", "small"),
    [
        ((21, 30), "YX", (6, 8)),
        ((30, 21), "XY", (8, 6)),
        ((1, 1), "YX", (1, 1)),
        ((2, 3, 9, 14), "CZYX", (2, 3, 3, 4)),
        ((13, 10, 3), "YXS", (4, 3, 3)),
        ((2, 13, 10, 4), "TYXS", (2, 4, 3, 4)),
        ((9, 5, 2), "YXC", (3, 2, 2)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_with_latents_the_way_back_is_exact(
    grey, rgb, shape, axes, small, bits, channels
):
    image = (100 + 50 * texture(*shape)).astype(np.float32)
    image.flat[0] = 100  # not constant, even as one pixel of several planes
    model = grey if channels == 1 else rgb
    lr, latents = flowsr.rescale_down(image, model, bits=bits, axes=axes)
    assert lr.shape == small
    assert lr.dtype == (np.float32 if bits is None else np.dtype(f"uint{bits}"))
    back = flowsr.rescale_up(lr, model, latents=latents)
    assert back.shape == image.shape
    assert back.dtype == image.dtype
    assert worst(back, image) <= PROMISE * max(1e-6, float(np.ptp(image)))


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "float16", "float32", "float64", "bool"]
)
@pytest.mark.parametrize("bits", [None, 8])
def test_every_data_type_comes_back(grey, dtype, bits):
    image = texture(19, 26)
    if dtype == "bool":
        image = image > 0.5
    elif np.dtype(dtype).kind in "ui":
        image = (image * np.iinfo(dtype).max).astype(dtype)
    else:
        image = image.astype(dtype)
    lr, latents = flowsr.rescale_down(image, grey, bits=bits)
    back = flowsr.rescale_up(lr, grey, latents=latents)
    assert back.dtype == image.dtype
    if np.dtype(dtype).kind in "bui":
        np.testing.assert_array_equal(back, image)
    assert worst(back, image) <= PROMISE


def test_the_small_image_is_still_a_picture(gentle):
    image = (1000 + texture(64, 48) * 200).astype(np.uint16)
    lr, latents = flowsr.rescale_down(image, gentle, bits=8)
    blocks = image.reshape(16, 4, 12, 4).mean((1, 3))
    # 8 bits span the range of the image, without them it has its intensities.
    span = latents.about.range(0, 0)
    assert 990 < span.low < span.high < 1210
    expected = span.to_unit(blocks).clip(0, 1) * 255
    assert worst(lr, expected) < 5
    plain, _ = flowsr.rescale_down(image, gentle)
    assert worst(plain, blocks) < 5
    assert latents.about.shape == (64, 48)


def test_lazy_images_and_their_order_of_bytes(grey):
    image = texture(21, 30).astype(np.float32)
    expected, _ = flowsr.rescale_down(image, grey)
    for other in (da.from_array(image, chunks=8), image.astype(">f4"), image.tolist()):
        lr, _ = flowsr.rescale_down(other, grey)
        np.testing.assert_allclose(lr, expected, atol=1e-6)


def test_single_precision_is_left_where_it_is_not_enough():
    model = rescaler(size=0.35)  # exponents that lose digits
    image = texture(33, 29).astype(np.float32)
    events = list(down(image, model, device="cpu"))
    made = events[-1]
    assert isinstance(made, Made)
    assert made.report["double"] is True
    assert made.latents.levels[0].dtype == torch.float64
    back = flowsr.rescale_up(made.small, model, latents=made.latents)
    assert worst(back, image) <= PROMISE


def test_pixels_far_brighter_than_the_rest_come_back(grey):
    image = texture(40, 44).astype(np.float32)
    image[17, 23] = 5000.0
    lr, latents = flowsr.rescale_down(image, grey)
    assert lr.argmax() == np.ravel_multi_index((17 // 4, 23 // 4), lr.shape)
    assert lr.max() == pytest.approx(5000 / 16, rel=0.01)
    back = flowsr.rescale_up(lr, grey, latents=latents)
    others = np.ones_like(image, bool)
    others[17, 23] = False
    assert worst(back[others], image[others]) <= PROMISE
    assert back[17, 23] == pytest.approx(5000, rel=1e-6)
    sampled = flowsr.rescale_up(lr, grey, like=latents.about)
    assert 100 < sampled.max() < 1000  # it is spread over its 4 x 4 pixels


# --- tiles --------------------------------------------------------------------


@pytest.fixture
def widths(monkeypatch) -> list[int]:
    """Widths of the crops that networks are given, there and back, HR pixels."""
    found: list[int] = []
    own_down, own_up = HCFlowRescale.downscale, HCFlowRescale.upscale

    def there(self, hr):
        found.append(int(hr.shape[-1]))
        return own_down(self, hr)

    def back(self, lr, latents):
        found.append(4 * int(lr.shape[-1]))
        return own_up(self, lr, latents)

    monkeypatch.setattr(HCFlowRescale, "downscale", there)
    monkeypatch.setattr(HCFlowRescale, "upscale", back)
    return found


def test_tiles_give_what_the_whole_gives(monkeypatch, widths):
    # Double precision for all, so that nothing but the tiles differs.
    monkeypatch.setattr("napari_flowsr.inference.rescale.needs_double", lambda *_: True)
    model = rescaler(size=0.1)
    width = 4 * (2 * model.flow.receptive_field + 61)
    image = texture(11, width).astype(np.float32)
    whole, kept = flowsr.rescale_down(image, model, tile=None)
    assert widths == [width]
    widths.clear()
    parts, found = flowsr.rescale_down(image, model, tile=20)
    back = flowsr.rescale_up(parts, model, latents=found, tile=24)
    assert len(widths) > 10
    assert max(widths) < width
    assert worst(parts, whole) <= 1e-6
    for a, b in zip(found.levels, kept.levels, strict=True):
        assert worst(a, b) <= 1e-9
    assert worst(back, image) <= PROMISE


def test_a_shorter_halo_would_show(monkeypatch, widths):
    """The test above has power: without the whole reach its promise breaks."""
    monkeypatch.setattr("napari_flowsr.inference.rescale.needs_double", lambda *_: True)
    model = rescaler(size=0.1)
    reach = model.flow.receptive_field
    image = texture(11, 4 * (2 * reach + 61)).astype(np.float32)
    _whole, kept = flowsr.rescale_down(image, model, tile=None)
    model.flow.receptive_field = 2
    _, found = flowsr.rescale_down(image, model, tile=20)
    levels = zip(found.levels, kept.levels, strict=True)
    assert max(worst(a, b) for a, b in levels) > 1e-6


def test_memory_that_lacks_makes_tiles_smaller(monkeypatch, grey, widths):
    own = HCFlowRescale.downscale

    def small_only(self, hr):
        if hr.shape[-1] > 4 * (2 * grey.flow.receptive_field + 40):
            raise RuntimeError("out of memory")
        return own(self, hr)

    monkeypatch.setattr(HCFlowRescale, "downscale", small_only)
    image = texture(8, 4 * (2 * grey.flow.receptive_field + 80)).astype(np.float32)
    lr, latents = flowsr.rescale_down(image, grey, tile=None)
    assert worst(flowsr.rescale_up(lr, grey, latents=latents), image) <= PROMISE


# --- without latents ----------------------------------------------------------


def test_without_latents_the_detail_is_sampled(gentle):
    image = (texture(30, 37) * 3000).astype(np.uint16)
    lr, latents = flowsr.rescale_down(image, gentle, bits=8)
    calls = {
        seed: flowsr.rescale_up(lr, gentle, like=latents.about, seed=seed)
        for seed in (0, 1)
    }
    again = flowsr.rescale_up(lr, gentle, like=latents.about, seed=0, tile=5)
    assert calls[0].shape == image.shape
    assert calls[0].dtype == np.uint16
    np.testing.assert_array_equal(calls[0], again)
    assert not np.array_equal(calls[0], calls[1])
    mode = flowsr.rescale_up(lr, gentle, like=latents.about, temperature=0)
    blocks = np.kron(image[:28, :36].reshape(7, 4, 9, 4).mean((1, 3)), np.ones((4, 4)))
    assert worst(mode[:28, :36], blocks) < 300


def test_without_a_record_sides_are_multiples_and_types_stay(grey):
    image = (texture(30, 37) * 255).astype(np.uint8)
    lr, latents = flowsr.rescale_down(image, grey, bits=8)
    back = flowsr.rescale_up(lr, grey, temperature=0)
    assert back.shape == (32, 40)
    assert back.dtype == np.uint8
    like = flowsr.rescale_up(lr, grey, like=latents.about, temperature=0)
    span = latents.about.range(0, 0)
    expected = span.low + (span.high - span.low) * back[:30, :37] / 255.0
    inside = (back[:30, :37] > 0) & (back[:30, :37] < 255)
    assert inside.mean() > 0.5
    assert worst(like[inside], expected[inside]) <= 1.01  # rounded twice


def test_alpha_comes_back_exactly_or_enlarged(rgb):
    image = (texture(14, 19, 4) * 255).astype(np.uint8)
    image[..., 3] = 255
    image[:6, :, 3] = 40
    lr, latents = flowsr.rescale_down(image, rgb, bits=8, axes="YXS")
    assert set(np.unique(lr[..., 3])) >= {40, 255}
    exact = flowsr.rescale_up(lr, rgb, latents=latents)
    np.testing.assert_array_equal(exact, image)
    sampled = flowsr.rescale_up(lr, rgb, like=latents.about)
    assert sampled.shape == image.shape
    assert sampled[-1, 0, 3] == 255
    assert sampled[0, 0, 3] == pytest.approx(40, abs=3)


# --- images that are refused, or nearly ---------------------------------------


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("value", [0, 37])
def test_a_constant_stays_that_constant(grey, value, bits):
    image = np.full((9, 10), value, np.uint8)
    lr, latents = flowsr.rescale_down(image, grey, bits=bits)
    assert lr.shape == (3, 3)
    assert (lr == value).all()
    for keywords in ({"latents": latents}, {"like": latents.about}):
        np.testing.assert_array_equal(flowsr.rescale_up(lr, grey, **keywords), image)


def test_pixels_without_value(grey):
    image = texture(12, 13).astype(np.float32)
    image[3, 4] = np.nan
    with pytest.raises(ImageError, match="nan='fill'"):
        flowsr.rescale_down(image, grey)
    lr, latents = flowsr.rescale_down(image, grey, nan="fill")
    back = flowsr.rescale_up(lr, grey, latents=latents)
    assert np.isfinite(back).all()
    image[3, 4] = back[3, 4]
    assert worst(back, image) <= PROMISE
    broken = lr.copy()
    broken[0, 0] = np.inf
    with pytest.raises(ImageError, match="NaN or infinite"):
        flowsr.rescale_up(broken, grey, like=latents.about)


@pytest.mark.parametrize(
    ("image", "keywords", "error", "said"),
    [
        (np.zeros(5), {}, ImageError, "two axes"),
        (np.zeros((0, 5)), {}, ImageError, "no pixels"),
        (np.zeros((5, 5), complex), {}, ImageError, "complex"),
        (np.zeros((5, 5, 3)), {}, AxesError, "YXS"),
        (np.zeros((5, 5)), {"bits": 12}, OptionError, "8 or 16"),
        (np.zeros((5, 5)), {"bits": True}, OptionError, "8 or 16"),
        (np.zeros((5, 5)), {"tile": 0}, OptionError, "tile"),
        (np.zeros((5, 5)), {"nan": "keep"}, OptionError, "nan"),
        ("cell.tif", {}, ImageError, "Read it first"),
    ],
)
def test_what_cannot_be_used_is_refused(grey, image, keywords, error, said):
    with pytest.raises(error, match=said):
        flowsr.rescale_down(image, grey, **keywords)


def test_models_that_only_enlarge_are_refused(model, image):
    for call in (flowsr.rescale_down, flowsr.rescale_up):
        with pytest.raises(OptionError, match="cannot make them smaller"):
            call(image, model)


def test_the_missing_default_model_says_how_to_get_one(image, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "builtin_folder", lambda: tmp_path)
    with pytest.raises(ModelNotFoundError, match="models import FILE"):
        flowsr.rescale_down(image)
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        flowsr.rescale_down(image, "nowhere")


def test_values_that_are_not_finite_are_no_result(monkeypatch, grey):
    own = HCFlowRescale.downscale

    def explode(self, hr):
        lr, latents = own(self, hr)
        return lr * torch.inf, latents

    monkeypatch.setattr(HCFlowRescale, "downscale", explode)
    with pytest.raises(UnstableDecodeError, match="not finite"):
        flowsr.rescale_down(texture(9, 9), grey)


def test_a_callback_cancels(grey):
    seen = []

    def stop(done, total):
        seen.append((done, total))
        raise Cancelled("enough")

    image = texture(2, 40, 40).astype(np.float32)
    with pytest.raises(Cancelled):
        flowsr.rescale_down(image, grey, tile=5, progress=stop)
    assert len(seen) == 1
    lr, latents = flowsr.rescale_down(image, grey)
    for keywords in ({"latents": latents}, {"like": latents.about}):
        with pytest.raises(Cancelled):
            flowsr.rescale_up(lr, grey, tile=5, progress=stop, **keywords)


def test_progress_is_of_the_whole_work(grey):
    seen = []
    image = texture(2, 24, 24).astype(np.float32)
    image[1] = 0.5
    flowsr.rescale_down(image, grey, progress=lambda *a: seen.append(a))
    assert seen[-1][0] == seen[-1][1]
    assert [a for a, _ in seen] == sorted(a for a, _ in seen)


# --- what belongs together ----------------------------------------------------


@pytest.fixture(scope="module")
def pair(grey):
    image = (texture(21, 26) * 255).astype(np.uint8)
    return image, *flowsr.rescale_down(image, grey, bits=8)


def test_latents_of_another_small_image_are_refused(grey, pair):
    _, lr, latents = pair
    with pytest.raises(SizeError, match="belong"):
        flowsr.rescale_up(lr[1:], grey, latents=latents)
    changed = lr.copy()
    changed[0, 0] ^= 1
    with pytest.raises(ImageError, match="other pixels"):
        flowsr.rescale_up(changed, grey, latents=latents)
    with pytest.raises(ImageError, match="made as uint8"):
        flowsr.rescale_up(lr.astype(float), grey, latents=latents)
    with pytest.raises(AxesError, match="Leave axes out"):
        flowsr.rescale_up(lr, grey, latents=latents, axes="XY")
    with pytest.raises(OptionError, match="Give one of them"):
        flowsr.rescale_up(lr, grey, latents=latents, temperature=0.5)
    with pytest.raises(OptionError, match="rescale_down gave"):
        flowsr.rescale_up(lr, grey, latents=latents.levels)


def test_another_model_is_refused(grey, pair):
    _, lr, latents = pair
    other = Model(replace(grey.card, sha256="1" * 64), grey.flow)
    for keywords in ({"latents": latents}, {"like": latents.about}):
        with pytest.raises(OptionError, match="the model that made it"):
            flowsr.rescale_up(lr, other, **keywords)


def test_latents_through_a_file(grey, pair, tmp_path):
    image, lr, latents = pair
    path = tmp_path / "a.latents.safetensors"
    assert flowsr.save_latents(path, latents) == path
    found = flowsr.load_latents(path)
    assert found.about == latents.about
    np.testing.assert_array_equal(flowsr.rescale_up(lr, grey, latents=found), image)
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["napari-flowsr-latents"])
    assert facts["about"]["model_sha256"] == "0" * 64
    assert len(facts["about"]["small_sha256"]) == 64
    assert facts["versions"]["torch"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(ExportError, match="exists already"):
        flowsr.save_latents(path, latents, overwrite=False)
    with pytest.raises(OptionError, match=r"\.latents\.safetensors"):
        flowsr.save_latents(tmp_path / "a.npz", latents)
    with pytest.raises(OptionError, match="no record"):
        flowsr.save_latents(path, latents[0:1])


def _spoiled(path, change):
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["napari-flowsr-latents"])
    tensors = load_file(path)
    change(facts, tensors)
    save_file(tensors, path, {"napari-flowsr-latents": json.dumps(facts)})


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, tensors: facts.pop("about"),
        lambda facts, tensors: facts["about"].update(shape=[10**9, 10**9]),
        lambda facts, tensors: facts["about"].update(axes="YY"),
        lambda facts, tensors: facts["about"].update(dtype="O"),
        lambda facts, tensors: facts["about"].update(ranges={"0,0": [2, 1, False]}),
        lambda facts, tensors: facts.update(lr_size=[1, 1]),
        lambda facts, tensors: facts.update(format=99),
        lambda facts, tensors: tensors.pop("level.0"),
        lambda facts, tensors: tensors.update({"level.0": torch.zeros(1, 1, 2, 2)}),
        lambda facts, tensors: tensors.update(remainder=torch.zeros(1, 1, 2, 2)),
        lambda facts, tensors: tensors.update(
            {"excess.at": torch.tensor([10**9]), "excess.by": torch.zeros(1)}
        ),
    ],
)
def test_a_damaged_file_of_latents_is_refused(pair, tmp_path, change):
    path = flowsr.save_latents(tmp_path / "a.latents.safetensors", pair[2])
    _spoiled(path, change)
    with pytest.raises(CheckpointError, match=r"a\.latents"):
        flowsr.load_latents(path)


def test_other_files_are_no_latents(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    path = tmp_path / "a.latents.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="no file of latents"):
        flowsr.load_latents(path)
    assert not (tmp_path / "ran").exists()
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="holds no latents"):
        flowsr.load_latents(path)
    with pytest.raises(CheckpointError, match="There is no file"):
        flowsr.load_latents(tmp_path / "b.latents.safetensors")


# --- the card -----------------------------------------------------------------


def test_no_card_says_that_its_small_images_are_bicubic(grey, image):
    assert grey.card.degradation.name == "own network"
    with pytest.raises(OptionError, match="rescaling model"):
        flowsr.upscale(image, grey, consistent=True)
    post = flowsr.posterior(image, grey, temperature=0)
    with pytest.raises(OptionError, match="rescaling model"):
        post.consistency(post.sample(1)[0])


def test_each_sample_is_consistent_by_the_models_own_reduction(grey):
    """Why back-projection is refused, and nothing is lost by that."""
    unit = texture(9, 11).astype(np.float32)
    dtype = Model(replace(grey.card, normalisation=Normalisation("dtype")), grey.flow)
    sample = flowsr.upscale(unit, dtype, temperature=0.05)[0]
    back, _ = dtype.flow.downscale(torch.from_numpy(sample)[None, None])
    assert worst(back[0, 0], unit) < 1e-5


def test_errors_are_ours(grey):
    with pytest.raises(FlowSRError):
        flowsr.rescale_up(np.zeros((3, 3), "U1"), grey)
