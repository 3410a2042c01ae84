"""Models are measured on the LR images that they are made for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import napari_flowsr as flowsr
from napari_flowsr.data.degradation import Degradation
from napari_flowsr.data.degrade import downscale
from napari_flowsr.data.source import Plane
from napari_flowsr.errors import ImageError, OptionError, TrainingError
from napari_flowsr.metrics.evaluate import evaluate, evaluate_plane
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.compact import Compact, CompactConfig


def make(how: str) -> Model:
    torch.manual_seed(0)
    flow = Compact(CompactConfig(scale=2, width=6, blocks=1, steps=2, hidden=5)).eval()
    card = ModelCard("tiny", "compact", (2.0,), 1, sha256="0" * 64)
    return Model(card.with_(degradation=Degradation.parse(how)), flow)


@pytest.fixture
def plane() -> Plane:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.random((16, 17)), np.ones((3, 3)))
    return Plane(coarse[None, :46, :50].astype(np.float32), "a")


@pytest.mark.parametrize("how", ["matlab-bicubic", "area", "gaussian:sigma=1.2"])
def test_lr_images_are_made_by_the_degradation_of_the_card(plane, how) -> None:
    found = evaluate_plane(plane, make(how), n=2)
    hr = torch.from_numpy(found.hr)
    expected = downscale(hr, 2, Degradation.parse(how)).numpy()
    np.testing.assert_array_equal(found.lr, expected)
    # LR-PSNR too: of the true image it is infinite by the card's operator alone.
    told = found.figures["lr_psnr"]["mode"]
    reduced = downscale(torch.from_numpy(found.mode), 2, Degradation.parse(how)).numpy()
    error = (reduced - expected)[..., 1:-1, 1:-1]
    assert told == pytest.approx(-10 * math.log10(np.square(error).mean()), abs=1e-3)


def test_noise_of_the_degradation_follows_the_seed(plane) -> None:
    noisy = make("area:read_noise=0.05")
    found = evaluate_plane(plane, noisy, n=2, seed=3)
    clean = evaluate_plane(plane, make("area"), n=2, seed=3)
    assert float((found.lr - clean.lr).std()) == pytest.approx(0.05, rel=0.15)
    again = evaluate_plane(plane, noisy, n=2, seed=3)
    np.testing.assert_array_equal(found.lr, again.lr)
    other = evaluate_plane(plane, noisy, n=2, seed=4)
    assert not np.array_equal(found.lr, other.lr)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """HR and LR files whose contents tell where they were cut."""
    rng = np.random.default_rng(2)
    for name in "ab":
        lr = np.kron(rng.integers(0, 999, (6, 7)), np.ones((4, 4))).astype(np.uint16)
        for folder, image in (
            ("low", 3 * lr + 5),
            ("high", lr.repeat(2, 0).repeat(2, 1)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", image)
    return tmp_path


def test_models_of_given_pairs_are_measured_on_given_pairs(pairs) -> None:
    model, high = make("paired"), pairs / "high"
    kept: list = []
    found = evaluate(
        high, model, n=2, side=34, lr_source=pairs / "low", keep=kept.append
    )
    assert [row["name"] for row in found["images"]] == ["a.tif", "b.tif"]
    assert math.isfinite(found["mean"]["psnr"]["mode"])
    assert math.isnan(found["mean"]["lr_psnr"]["mode"])  # nobody knows the operator
    for one in kept:
        np.testing.assert_allclose(one.hr[:, ::2, ::2], one.lr, atol=1e-6)
    with pytest.raises(OptionError, match="lr_source"):
        evaluate(high, model, n=2)
    (pairs / "low" / "b.tif").unlink()
    with pytest.raises(TrainingError, match=r"No LR image belongs to .*b\.tif"):
        flowsr.evaluate(high, model, n=2, lr_source=pairs / "low")


def test_a_model_that_makes_its_lr_images_is_not_given_any(pairs) -> None:
    own = make("area")
    own = Model(own.card.with_(degradation=Degradation("own network")), own.flow)
    with pytest.raises(OptionError, match="makes its LR images itself"):
        evaluate(pairs / "high", own, n=2, lr_source=pairs / "low")


def test_a_constant_part_is_left_out_and_no_mean_is_infinite(tmp_path) -> None:
    rng = np.random.default_rng(3)
    sparse = np.zeros((64, 64), np.uint16)
    sparse[2:20, 2:20] = rng.integers(0, 999, (18, 18))
    # Detail in the border alone, which is not compared.
    edge = np.zeros((64, 64), np.uint16)
    edge[24, 20:44] = rng.integers(1, 999, 24)
    for name, image in (("edge", edge), ("full", sparse[:22, :22]), ("sparse", sparse)):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    found = evaluate(tmp_path, make("area"), n=2, side=16)
    assert [row["name"] for row in found["images"]] == ["full.tif"]
    assert [one["name"] for one in found["left_out"]] == ["edge.tif", "sparse.tif"]
    assert all("16 x 16 pixels" in one["reason"] for one in found["left_out"])
    assert math.isfinite(found["mean"]["psnr"]["bicubic"])
    with pytest.raises(ImageError, match="None of the 1 images"):
        evaluate(tmp_path / "sparse.tif", make("area"), n=2, side=16)


def test_any_model_can_be_measured_on_given_pairs(pairs) -> None:
    found = evaluate(pairs / "high", make("area"), n=2, lr_source=pairs / "low")
    assert math.isfinite(found["mean"]["lr_psnr"]["mode"])
