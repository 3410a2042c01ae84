"""The bundled set as a whole: small, complete, and told truly in the documentation."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_flowsr as flowsr
from napari_flowsr.io.collection import builtin_folder
from napari_flowsr.io.header import read_header
from napari_flowsr.io.priors import builtin_prior_folder, find_prior, read_prior

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(path.stem for path in builtin_folder().glob("*.safetensors"))
PRIORS = sorted(path.stem for path in builtin_prior_folder().glob("*.safetensors"))


def test_files_are_small() -> None:
    files = [*builtin_folder().rglob("*.safetensors")]
    sizes = {path.name: path.stat().st_size / 1e6 for path in files}
    assert max(sizes.values()) <= 3, sizes
    assert sum(sizes.values()) <= 15, sizes


@pytest.mark.parametrize("name", MODELS)
def test_a_card_says_what_its_model_is_and_what_was_measured(name: str) -> None:
    header = read_header(builtin_folder() / f"{name}.safetensors")
    assert header is not None
    card = header.card
    assert card.name == name
    assert card.licence == "BSD-3-Clause"
    assert card.description.strip()
    assert card.not_for.strip()
    assert card.training["images"] > 0
    assert card.training["config"]["seed"] == 0
    for key in ("psnr", "ssim", "lr_psnr"):
        assert {"bicubic", "mode", "sample", "mean"} <= set(card.metrics[key])
    assert "held-out" in card.metrics["protocol"]


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_gives_one_finite_result_for_its_model(name: str) -> None:
    prior = read_prior(find_prior(name))
    # Unlike any image that it learned from.
    image = np.random.default_rng(0).random((24, 27)).astype(np.float32)
    model = flowsr.load_model(prior.about["flow"]["name"], prior=name, device="cpu")
    # It was trained for these very weights.
    assert model.card.sha256 == prior.about["flow"]["sha256"]
    found = flowsr.upscale(image, model, prior="learned", device="cpu")
    assert np.isfinite(found).all()
    assert np.array_equal(
        found, flowsr.upscale(image, model, prior="learned", seed=5, device="cpu")
    )


def test_the_models_page_has_the_figures_of_the_cards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_model_tables.py", "--check"])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "docs/make_model_tables.py"), run_name="__main__")
    assert not done.value.code, "run docs/make_model_tables.py"


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_of_the_file_is_enough(name: str) -> None:
    """A round trip through the latents is exact with the weights as they are stored."""
    flow = flowsr.load_model(name, device="cpu").flow
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(1, flow.channels, 12, 12, generator=generator)
    cond = flow.condition(lr)
    with torch.no_grad():
        hr = flow.sample(cond, 1, temperature=0.7)
        encoded = flow.encode(hr, cond)
        back = flow.decode(encoded.latents, flow.condition(encoded.lr))
    assert float((back - hr).abs().max()) < 1e-4
