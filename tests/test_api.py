"""The public names: lazy imports, and arrays in, arrays out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import napari_flowsr as flowsr
from every_family import Case, over_every_flow
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.compact import Compact, CompactConfig


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    flow = Compact(CompactConfig(scale=2, width=6, blocks=1, steps=1, hidden=5)).eval()
    card = ModelCard(name="test", family="compact", scales=(2.0,), channels=1)
    return Model(card, flow)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, napari_flowsr; from napari_flowsr import errors; "
        "heavy = {'torch', 'napari', 'qtpy', 'numpy', 'PySide6'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_api_needs_no_qt() -> None:
    code = (
        "import sys, napari_flowsr; napari_flowsr.upscale; "
        "found = {'napari', 'qtpy', 'PySide6'} & set(sys.modules); "
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_real() -> None:
    for name in flowsr.__all__:
        assert getattr(flowsr, name) is not None
    assert set(flowsr.__all__) <= set(dir(flowsr))
    contract = {
        "best_temperature",
        "evaluate",
        "line_profile",
        "list_models",
        "load_model",
        "posterior",
        "provenance_script",
        "region_measurement",
        "resample",
        "restore",
        "temperature_by_uncertainty",
        "temperature_from_labels",
        "train",
        "upscale",
    }
    assert contract <= set(flowsr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = flowsr.nonsense


def test_upscale(model) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (2, 9, 11)).astype(np.uint16)
    found = flowsr.upscale(image, model, n=3)
    assert found.shape == (3, 2, 18, 22)
    assert found.dtype == np.uint16
    calls = []
    post = flowsr.posterior(image, model, progress=lambda *done: calls.append(done))
    np.testing.assert_array_equal(post.sample(3), found)
    assert calls[-1] == (6, 6)


def test_upscale_by_path_and_unknown_name(model, tmp_path) -> None:
    from napari_flowsr.io.checkpoint import save_model

    path = tmp_path / "mine.safetensors"
    save_model(path, model.flow, model.card)
    image = np.random.default_rng(0).normal(size=(6, 7))
    np.testing.assert_array_equal(
        flowsr.upscale(image, path), flowsr.upscale(image, model)
    )
    with pytest.raises(flowsr.errors.ModelNotFoundError):
        flowsr.upscale(image, "micro-99x")


def test_a_loaded_model_gives_plain_tensors(model, tmp_path) -> None:
    """No graph of parameters is kept for samples; training turns gradients on."""
    from napari_flowsr.io.checkpoint import save_model

    path = tmp_path / "mine.safetensors"
    save_model(path, model.flow, model.card)
    flow = flowsr.load_model(path).flow
    cond = flow.condition(torch.rand(1, 1, 6, 7))
    sample = flow.sample(cond, 2, temperature=0.8)
    assert sample.numpy().shape == (2, 1, 12, 14)
    assert not any(parameter.requires_grad for parameter in flow.parameters())
    hr = sample[:1].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(flow.log_prob(hr, cond).sum(), hr)
    assert gradient.any()


def test_upscale_names_what_is_wrong_with_its_arguments(model) -> None:
    image = np.random.default_rng(0).normal(size=(6, 7))
    with pytest.raises(flowsr.errors.ImageError, match=r"tifffile.imread\(path\)"):
        flowsr.upscale("cell.tif", model)
    with pytest.raises(flowsr.errors.AxesError, match="axes='YX'"):
        flowsr.upscale(image, model, axes=["Y", "X"])
    with pytest.raises(flowsr.errors.AxesError, match="axes='YXC'"):
        flowsr.upscale(np.zeros((30, 20, 2)), model)
    with pytest.raises(flowsr.errors.OptionError, match="seed is -1"):
        flowsr.upscale(image, model, seed=-1)
    with pytest.raises(flowsr.errors.OptionError, match="progress is 5"):
        flowsr.upscale(image, model, progress=5)
    with pytest.raises(flowsr.errors.OptionError, match="progress is 5"):
        flowsr.rescale_down(image, progress=5)
    with pytest.raises(flowsr.errors.OptionError, match="progress is 5"):
        flowsr.rescale_up(image, progress=5)


@pytest.mark.parametrize("wrong", [[np.zeros((40, 40))], np.zeros((40, 40)), 5, None])
def test_images_to_read_are_paths(model, wrong, tmp_path) -> None:
    with pytest.raises(flowsr.errors.OptionError, match="expected paths"):
        flowsr.evaluate(wrong, model)
    with pytest.raises(flowsr.errors.OptionError, match="expected paths"):
        flowsr.train(wrong, preset="compact-2x", output=tmp_path / "a.safetensors")
    with pytest.raises(flowsr.errors.OptionError, match="progress is 5"):
        flowsr.evaluate("*.tif", model, progress=5)


def test_resample(model) -> None:
    image = np.random.default_rng(0).normal(size=(20, 21))
    hr = flowsr.upscale(image, model)[0]
    mask = np.zeros((20, 21), bool)
    mask[8:12, 8:12] = True
    new = flowsr.resample(image, hr, mask, model, seed=5)
    assert not np.array_equal(new, hr)
    np.testing.assert_array_equal(
        new, flowsr.posterior(image, model).resample(hr, mask, 5)
    )


def test_provenance_script_of_a_posterior(model) -> None:
    image = np.random.default_rng(0).normal(size=(6, 7))
    post = flowsr.posterior(image, model, seed=2)
    post.sample(1)
    script = flowsr.provenance_script({"napari-flowsr": post.provenance("sample")})
    compile(script, "remake.py", "exec")
    assert "def remake(image" in script


def test_train_checks_its_options_at_once(tmp_path) -> None:
    with pytest.raises(flowsr.errors.OptionError, match="Preset"):
        flowsr.train(tmp_path, preset="none", output=tmp_path / "m.safetensors")
    with pytest.raises(flowsr.errors.OptionError, match="epochs"):
        flowsr.train(
            tmp_path, preset="compact-2x", output=tmp_path / "m.safetensors", epochs=3
        )


@over_every_flow
def test_resample_and_scripts_know_the_scale(case: Case) -> None:
    image = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    model, mask = case.model(), np.zeros((7, 9))
    hr = flowsr.upscale(image, model, scale=case.scale, temperature=0.3)[0]
    mask[3, 4] = 1
    new = flowsr.resample(image, hr, mask, model, seed=4, temperature=0.3)
    assert new.shape == hr.shape == tuple(round(case.scale * n) for n in image.shape)
    assert not np.array_equal(new, hr)
    post = flowsr.posterior(image, model, scale=case.scale)
    script = flowsr.provenance_script(post.provenance("sample"))
    assert f"'scale': {case.scale}" in script
    compile(script, "script", "exec")
