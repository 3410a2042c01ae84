"""The protocol to the letter, exploding decodes, scale, progress."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.latents import Latents
from napari_flowsr.data.resize import imresize
from napari_flowsr.data.source import Plane
from napari_flowsr.errors import Cancelled, ImageError, OptionError, SizeError
from napari_flowsr.metrics.evaluate import evaluate, evaluate_plane
from napari_flowsr.metrics.plane import COMPARED, SINGLE, VERSIONS
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.compact import Compact, CompactConfig

KEYS = {
    "psnr", "ssim", "lr_psnr", "crps", "mae_mode", "diversity", "bpd", "coverage_50",
    "coverage_90", "nonfinite",
}  # fmt: skip


class Wild(Compact):
    """Explodes where a latent is above a threshold, and always on bright images."""

    threshold = math.inf
    brightness = math.inf

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        hr = super().decode(latents, cond)
        peak = latents.levels[0].amax((1, 2, 3), keepdim=True)
        bad = (peak > self.threshold) | (cond.lr.mean() > self.brightness)
        return torch.where(bad, torch.inf, hr)


def make(scale: int = 2, channels: int = 1, **limits: float) -> Model:
    torch.manual_seed(0)
    config = CompactConfig(
        scale=scale, channels=channels, width=6, blocks=1, steps=2, hidden=5
    )
    flow = Wild(config).eval()
    for name, value in limits.items():
        setattr(flow, name, value)
    card = ModelCard("wild", "compact", (float(scale),), channels, sha256="0" * 64)
    return Model(card, flow)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, the last brighter and of odd sides."""
    cell = data.cell().astype(np.uint16) * 40
    tifffile.imwrite(tmp_path / "0.tif", cell[250:298, 300:348])
    tifffile.imwrite(tmp_path / "1.tif", 12000 - cell[250:298, 330:378])
    tifffile.imwrite(tmp_path / "2.tif", cell[371:416, 300:347])
    return tmp_path


def test_figures_follow_the_protocol(folder: Path) -> None:
    """Against a second computation from the file, with the flow alone."""
    model = make(3)
    found = evaluate(folder / "2.tif", model, n=3, temperature=0.7, seed=4)
    raw = tifffile.imread(folder / "2.tif").astype(np.float64)
    low, high = np.percentile(raw, (0.1, 99.9))
    # 45 x 47: the central 45 x 45 pixels are whole LR pixels.
    unit = np.clip((raw - low) / (high - low), 0, 1).astype("f4")
    hr = torch.from_numpy(unit[:, 1:46].copy())[None]
    lr = imresize(hr, size=(15, 15))
    bicubic = imresize(lr, size=(45, 45))
    with torch.no_grad():
        cond = model.flow.condition(lr[None])
        mode = model.flow.sample(cond, 1, temperature=0.0)[0]

    def psnr(a: Tensor, b: Tensor, border: int) -> float:
        inner = (a - b)[0, border:-border, border:-border].double()
        return float(-10 * torch.log10(inner.square().mean()))

    (row,) = found["images"]
    assert row.keys() - {"name"} == KEYS == {*COMPARED, *SINGLE} == set(found["mean"])
    assert all(set(row[key]) == set(VERSIONS) for key in COMPARED)
    for name, image in (("bicubic", bicubic), ("mode", mode)):
        assert row["psnr"][name] == pytest.approx(psnr(image, hr, 3), abs=1e-4)
        reduced = imresize(image, size=(15, 15))
        assert row["lr_psnr"][name] == pytest.approx(psnr(reduced, lr, 1), abs=1e-3)
        a, b = (t[0, 3:-3, 3:-3].double().numpy() for t in (image, hr))
        similar = structural_similarity(
            a, b, data_range=1.0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )  # fmt: skip
        assert row["ssim"][name] == pytest.approx(similar, abs=1e-5)
    error = (mode - hr)[0, 3:-3, 3:-3].abs().mean()
    assert row["mae_mode"] == pytest.approx(float(error), rel=1e-4)
    assert found["mean"] == {key: row[key] for key in found["mean"]} | {
        "coverage_90": pytest.approx(math.nan, nan_ok=True)
    }


def test_means_are_over_images(folder: Path) -> None:
    found = evaluate(folder, make(), n=2, side=32)
    assert [row["name"] for row in found["images"]] == ["0.tif", "1.tif", "2.tif"]
    each = [row["psnr"]["mean"] for row in found["images"]]
    assert found["mean"]["psnr"]["mean"] == pytest.approx(np.mean(each))
    assert found["mean"]["crps"] == pytest.approx(
        np.mean([row["crps"] for row in found["images"]])
    )
    assert found["counts"] == dict.fromkeys(KEYS, 3) | {"coverage_90": 0}
    assert math.isnan(found["mean"]["coverage_90"])
    assert found["coverage_floor"]["coverage_90"] == pytest.approx(0.85)
    assert found["unstable"] == found["left_out"] == []


def test_nonfinite_is_the_share_of_first_draws(folder: Path) -> None:
    """It used to be measured after redraws, and so always 0."""
    calm = evaluate(folder / "0.tif", make(), n=6)
    assert calm["mean"]["nonfinite"] == 0
    # The largest of so many normal numbers is above this in a third of the samples.
    model, kept = make(threshold=3.6), []
    found = evaluate(folder / "0.tif", model, n=12, keep=kept.append)
    flow = model.flow
    lr = torch.from_numpy(kept[0].lr)[None]
    with torch.no_grad():
        raw = flow.sample(flow.condition(lr), 12, temperature=1.0, seed=0)
    share = float((~torch.isfinite(raw)).flatten(1).any(1).double().mean())
    assert 0 < share < 1
    assert found["mean"]["nonfinite"] == pytest.approx(share)
    assert np.isfinite(kept[0].samples).all()
    assert math.isfinite(found["mean"]["crps"])


def test_an_unstable_image_is_counted_and_named(folder: Path) -> None:
    """It used to abort the evaluation."""
    found = evaluate(folder, make(brightness=0.5), n=2)
    assert found["unstable"] == ["2.tif"]
    rows = {row["name"]: row for row in found["images"]}
    assert rows["2.tif"]["nonfinite"] == 1
    assert "redraws" in rows["2.tif"]["unstable"]
    assert math.isnan(rows["2.tif"]["psnr"]["bicubic"])
    assert found["mean"]["nonfinite"] == pytest.approx(1 / 3)
    assert found["counts"]["nonfinite"] == 3
    assert found["counts"]["psnr"] == found["counts"]["bpd"] == 2
    for version in VERSIONS:
        both = [rows[name]["psnr"][version] for name in ("0.tif", "1.tif")]
        assert found["mean"]["psnr"][version] == pytest.approx(np.mean(both))
    alone = evaluate(folder / "2.tif", make(brightness=0.5), n=2)
    assert alone["mean"]["nonfinite"] == 1
    assert math.isnan(alone["mean"]["psnr"]["mode"])


def test_what_cannot_be_measured_is_left_out_by_name(folder: Path) -> None:
    tifffile.imwrite(folder / "flat.tif", np.full((40, 40), 7, np.uint8))
    tifffile.imwrite(folder / "tiny.tif", np.arange(25, dtype=np.uint8).reshape(5, 5))
    found = evaluate(folder, make(), n=1)
    assert len(found["images"]) == 3
    left = {item["name"]: item["reason"] for item in found["left_out"]}
    assert "constant" in left["flat.tif"]
    assert "at least 6" in left["tiny.tif"]
    with pytest.raises(ImageError, match=r"tiny\.tif"):
        evaluate(folder / "tiny.tif", make())


def test_tiny_images_have_all_but_ssim() -> None:
    rng = np.random.default_rng(0)
    plane = Plane(rng.random((1, 12, 12), np.float32), "a")
    figures = evaluate_plane(plane, make(), n=2).figures
    assert math.isnan(figures["ssim"]["mode"])
    assert math.isfinite(figures["psnr"]["mode"])
    with pytest.raises(SizeError, match="at least 6"):
        evaluate_plane(Plane(plane.pixels[:, :5], "a"), make())
    with pytest.raises(SizeError, match="of which 4"):
        evaluate_plane(plane, make(), side=4)


def test_colour_is_compared_per_channel(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)
    tifffile.imwrite(folder / "c.tif", rgb, photometric="rgb")
    kept: list[Any] = []
    found = evaluate(folder / "c.tif", make(channels=3), n=2, keep=kept.append)
    assert kept[0].samples.shape == (2, 3, 24, 24)
    inner = (kept[0].mode - kept[0].hr)[:, 2:-2, 2:-2].astype(float)
    expected = -10 * np.log10(np.mean(inner**2))
    assert found["mean"]["psnr"]["mode"] == pytest.approx(expected)
    evaluate(folder / "c.tif", make(), n=1, keep=kept.append)
    assert kept[1].hr.shape == (1, 24, 24)


def test_scale_is_the_models(folder: Path) -> None:
    model = make(3)
    assert evaluate(folder / "0.tif", model, n=1, scale=3)["scale"] == 3.0
    with pytest.raises(OptionError, match="Scale 2 was asked for"):
        evaluate(folder, model, scale=2)
    with pytest.raises(OptionError, match="n is 0"):
        evaluate(folder, model, n=0)
    with pytest.raises(OptionError, match="side is 0"):
        evaluate(folder, model, side=0)


def test_a_model_of_several_scales_is_measured_at_the_one_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scale` used to be checked and then ignored."""
    model = make(3)
    monkeypatch.setattr(type(model.flow), "scales", (2.0, 3.0), raising=False)
    kept: list[Any] = []
    found = evaluate(folder / "0.tif", model, n=1, scale=3.0, keep=kept.append)
    assert found["scale"] == 3.0
    assert kept[0].lr.shape == (1, 16, 16)


def test_progress_counts_images_and_can_cancel_within_one(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(folder, make(), n=2, progress=lambda *args: seen.append(args))
    assert seen == sorted(seen)
    assert {done for done, _ in seen} == {0, 1, 2, 3}
    assert {total for _, total in seen} == {3}
    kept: list[Any] = []

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(folder, make(), n=2, progress=stop, keep=kept.append)
    assert kept == []  # the first image was not finished


def test_the_device_of_the_model_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples used to move to the best device whatever the model was loaded on."""
    from napari_flowsr.metrics import plane

    whole, seen = plane.posterior, []

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs.get("device"))
        return whole(*args, **kwargs)

    monkeypatch.setattr(plane, "posterior", spy)
    evaluate(folder / "0.tif", make(), n=1)
    assert seen == [torch.device("cpu")] * 2
