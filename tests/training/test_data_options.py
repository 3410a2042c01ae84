"""What a training learns from: degradations, pairs, scales, arrays, intensities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch

import napari_flowsr as flowsr
from napari_flowsr.data.degradation import Degradation
from napari_flowsr.data.degrade import downscale
from napari_flowsr.data.source import ArrayImage
from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.checkpoint import read_model
from napari_flowsr.training.config import Stage, TrainConfig, load_config
from napari_flowsr.training.events import Finished, Started, Step, Validation
from napari_flowsr.training.trainer import train

OUT = "m.safetensors"
LINF = {
    "scale": 2.0,
    "channels": 1,
    "width": 5,
    "blocks": 1,
    "hidden": 6,
    "mlp_layers": 1,
    "flow_layers": 2,
}


@pytest.fixture
def quick(recipe) -> TrainConfig:
    return recipe(stage={"steps": 1})


def test_any_scale_is_trained_on_scales_between(images, tmp_path) -> None:
    stage = Stage("only", 4, {"nll": 1.0}, batch=2, patch=6, warmup=1)
    config = TrainConfig(
        "linf", LINF, (stage,), scale_range=(1.0, 3.5), device="cpu", name="any"
    )
    events = list(train(images, config, tmp_path / OUT))
    assert isinstance(events[-1], Finished)
    assert all(np.isfinite(e.loss) for e in events if isinstance(e, Step))
    card = read_model(tmp_path / OUT).card
    assert card.training["config"]["scale_range"] == [1.0, 3.5]
    assert card.scale_range is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale_range": (1.0, 4.0)}, "compact.*one scale.*linf"),
        ({"scale_range": (4.0, 2.0)}, "two rising numbers"),
        ({"scale_range": (0.5, 2.0)}, "at least 1"),
        ({"misalignment": -1}, "misalignment"),
        ({"degradation": "own network"}, "degradation.*matlab-bicubic"),
        ({"degradation": "paired"}, "No LR images were given.*paired"),
        ({"lr_source": ("low",)}, "LR images were given.*matlab-bicubic"),
        ({"degradation": "gaussian"}, "either sigma"),
        ({"degradation": "area:sigma=2"}, "area.*sigma.*photons"),
        ({"normalisation": "none"}, "normalisation"),
    ],
)
def test_options_are_checked_at_once(images, quick, tmp_path, changes, said) -> None:
    with pytest.raises((TrainingError, OptionError), match=said):
        train(images, quick.with_(**changes), tmp_path / OUT)
    assert not list(tmp_path.iterdir())


def test_a_range_of_scales_lies_in_that_of_the_network(images, tmp_path) -> None:
    stage = Stage("only", 1, {"nll": 1.0}, batch=1, patch=6)
    config = TrainConfig("linf", LINF, (stage,), scale_range=(1.0, 60.0), device="cpu")
    with pytest.raises(OptionError, match="Scale 60"):
        train(images, config, tmp_path / OUT)
    paired = config.with_(scale_range=(1.0, 3.0), degradation="paired")
    with pytest.raises(TrainingError, match="pairs of images have one scale"):
        train(images, paired, tmp_path / OUT, lr_source=images)


def test_degradation_is_part_of_the_model(images, quick, tmp_path) -> None:
    how = "gaussian:na=1.4,wavelength_nm=520,pixel_nm=65,photons=200"
    config = quick.with_(degradation=how, normalisation="dtype", misalignment=1)
    list(train(images, config, tmp_path / OUT, validation=images / "0.tif"))
    card = read_model(tmp_path / OUT).card
    assert str(card.degradation) == how
    assert card.degradation.sigma == pytest.approx(1.286, abs=1e-3)
    assert card.normalisation.kind == "dtype"
    assert card.training["config"]["misalignment"] == 1
    hr = np.random.default_rng(0).integers(0, 60000, (24, 24)).astype(np.uint16)
    lr = flowsr.load_model(tmp_path / OUT)
    small = downscale(torch.from_numpy(hr / 65535.0), 2, card.degradation).numpy()
    small = np.rint(65535 * small).astype(np.uint16)
    psnr, residual = flowsr.posterior(small, lr).consistency(hr)
    assert psnr > 90
    assert float(np.abs(residual).max()) < 1
    with pytest.raises(TrainingError, match="different are: degradation"):
        list(train(images, config.with_(degradation="area"), tmp_path / OUT))


def test_agreement_is_learned_by_the_degradation(images, quick, tmp_path) -> None:
    losses = {"nll": 1.0, "sample_lr_log_mse": 0.1}
    stages = (replace(quick.stages[1], losses=losses),)
    found = [
        next(
            e.terms["sample_lr_log_mse"]
            for e in train(
                images,
                replace(quick, stages=stages, degradation=Degradation.parse(how)),
                tmp_path / f"{number}.safetensors",
            )
            if isinstance(e, Step)
        )
        for number, how in enumerate(("area", "gaussian:sigma=0.9"))
    ]
    assert all(np.isfinite(found))
    assert found[0] != found[1]
    paired = replace(quick, stages=stages, degradation=Degradation("paired"))
    with pytest.raises(TrainingError, match=r"sample_lr_log_mse.*paired"):
        train(images, paired, tmp_path / "n.safetensors", lr_source=images)


def test_degradations_in_toml(tmp_path, quick) -> None:
    text = """
family = "compact"
{line}
[[stages]]
name = "flow"
steps = 1
losses = {{nll = 1.0}}
[model]
scale = 2
{table}
"""
    expected = Degradation("gaussian", {"sigma": 1.5, "photons": 200.0})
    for line, table in (
        ('degradation = "gaussian:sigma=1.5,photons=200"', ""),
        ("", '[degradation]\nname = "gaussian"\nsigma = 1.5\nphotons = 200'),
        (
            'degradation = {name="gaussian", parameters={sigma=1.5, photons=200}}',
            "",
        ),
    ):
        path = tmp_path / "recipe.toml"
        path.write_text(text.format(line=line, table=table))
        config = load_config(path)
        assert config.degradation == expected
        assert config.with_(seed=3).degradation == expected


def test_arrays_and_files_together(images, quick, tmp_path) -> None:
    rng = np.random.default_rng(1)
    stack = rng.normal(-5, 3, (2, 40, 40)).astype(np.float32)  # negative floats
    lazy = da.from_array(rng.integers(0, 2**31, (40, 40), np.uint32), chunks=16)
    colour = rng.integers(0, 255, (40, 40, 3), np.uint8)
    source = [
        ArrayImage(stack, "ZYX", "stack"),
        ArrayImage(lazy, "YX", "lazy"),
        ArrayImage(colour, name="colour", rgb=True),
        ArrayImage(rng.random((40, 40)) > 0.5, "YX", "mask"),
        images,
    ]
    events = list(train(source, quick, tmp_path / OUT, validation=source[0]))
    (started,) = [e for e in events if isinstance(e, Started)]
    assert started.images == 7
    assert isinstance(events[-1], Finished)
    ambiguous = ArrayImage(np.zeros((9, 40, 3)), None, "guess")
    with pytest.raises(flowsr.errors.AxesError, match=r"'guess'.*last axis is colour"):
        list(train(ambiguous, quick, tmp_path / "n.safetensors"))


@pytest.fixture
def pairs(images: Path, tmp_path: Path) -> Path:
    """LR files for both images, under other suffixes."""
    folder = tmp_path / "low"
    folder.mkdir()
    for name in "01":
        hr = tifffile.imread(images / f"{name}.tif")
        np.save(folder / f"{name}.npy", hr[::2, ::2] / 7 + 100)
    return folder


def test_given_pairs(images, quick, pairs, tmp_path) -> None:
    config = quick.with_(degradation="paired")
    validation = images / "0.tif"
    events = list(
        train(images, config, tmp_path / OUT, lr_source=pairs, validation=validation)
    )
    assert isinstance(events[-1], Finished)
    told = [e.metrics for e in events if isinstance(e, Validation)]
    assert told
    assert all(np.isfinite(each["psnr_bicubic"]) for each in told)
    assert not any("lr_psnr" in each for each in told)
    model = flowsr.load_model(tmp_path / OUT)
    assert str(model.card.degradation) == "paired"
    assert model.card.training["config"]["lr_source"] == ["low"]
    lr = np.load(pairs / "0.npy")
    with pytest.raises(OptionError, match="pairs of given HR and LR"):
        flowsr.upscale(lr, model, consistent=True)
    assert flowsr.upscale(lr, model).shape == (1, 40, 48)
    with pytest.raises(OptionError, match="paired"):
        flowsr.restore(lr, model)


def test_pairs_that_do_not_fit_are_named(images, quick, pairs, tmp_path) -> None:
    config = quick.with_(degradation="paired", lr_source=(str(pairs),))
    np.save(pairs / "0.npy", np.zeros((20, 23)))
    with pytest.raises(TrainingError, match=r"0\.tif' and '.*0\.npy'.*40 x 46"):
        list(train(images, config, tmp_path / OUT))
    np.save(pairs / "0.npy", np.zeros((2, 20, 24)))
    with pytest.raises(TrainingError, match="1 and 2 planes"):
        list(train(images, config, tmp_path / OUT))
    (pairs / "0.npy").unlink()
    with pytest.raises(TrainingError, match=r"No LR image belongs to .*0\.tif"):
        train(images, config, tmp_path / OUT)
    np.save(pairs / "0.npy", np.zeros((20, 24)))
    tifffile.imwrite(pairs / "0.ome.tif", np.zeros((20, 24)))
    with pytest.raises(TrainingError, match="Two LR images are called '0'"):
        train(images, config, tmp_path / OUT)
    with pytest.raises(TrainingError, match="same one"):
        list(train(images, config, tmp_path / OUT, lr_source=images))


def test_pairs_of_stacks_are_matched_plane_by_plane(quick, tmp_path) -> None:
    rng = np.random.default_rng(3)
    hr = rng.random((2, 3, 32, 32))
    lr = hr.reshape(2, 3, 16, 2, 16, 2).mean((3, 5))
    config = replace(quick, degradation=Degradation("paired"))
    low = ArrayImage(lr, "TZYX", "a.tif")
    events = list(
        train(ArrayImage(hr, "TZYX", "a"), config, tmp_path / OUT, lr_source=low)
    )
    assert next(e for e in events if isinstance(e, Started)).images == 6
    turned = ArrayImage(lr.swapaxes(0, 1), "ZTYX", "a")
    with pytest.raises(TrainingError, match="other axes"):
        list(
            train(
                ArrayImage(hr, "TZYX", "a"),
                config,
                tmp_path / "n.safetensors",
                lr_source=turned,
            )
        )


def test_data_without_detail_are_refused(quick, tmp_path) -> None:
    flat = [ArrayImage(np.full((40, 40), i), "YX", f"flat {i}") for i in range(3)]
    with pytest.raises(TrainingError, match=r"None of the 3 images.*constant"):
        list(train(flat, quick, tmp_path / OUT))
    small = ArrayImage(np.eye(9), "YX", "small")
    with pytest.raises(TrainingError, match="'small': 9 x 9 px"):
        list(train(small, quick, tmp_path / OUT))
    bright = ArrayImage(300 * np.random.default_rng(0).random((40, 40)), "YX", "bright")
    with pytest.raises(flowsr.errors.ImageError, match=r"'bright'.*from 0 to 1"):
        list(train(bright, quick.with_(normalisation="dtype"), tmp_path / OUT))
