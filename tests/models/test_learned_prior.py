"""Learned priors: files by names and shapes alone, attached to flows, any size."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.prior import LatentModule, LearnedPrior
from napari_flowsr.errors import CheckpointError, ModelNotFoundError, OptionError
from napari_flowsr.io.checkpoint import read_model, save_model
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.priors import (
    builtin_prior_folder,
    find_prior,
    import_prior,
    prior_folder,
    prior_names,
    read_prior,
)
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.learned_prior import (
    LearnedPriorConfig,
    UNet,
    build_prior,
)
from napari_flowsr.models.learned_prior_published import infer_config, remap

PYRAMID = LearnedPriorConfig(dim=4)
PATCH = LearnedPriorConfig("patch", level_channels=(27,), dim=6, depth=2)
CONFIGS = {
    "SRFlow-LP": PYRAMID,
    "SRFlow-LP, transposed": replace(PYRAMID, bilinear=False, depth=2),
    "LINF-LP": PATCH,
    "LINF-LP, transposed": replace(PATCH, bilinear=False, channels=1),
    "LINF-LP, EDSR": replace(PATCH, generator="edsr", blocks=3, depth=3),
    "LINF-LP, EDSR without tail": replace(
        PATCH, generator="edsr", blocks=2, has_tail=False, depth=3
    ),
}
SRFLOW = {
    "width": 4,
    "blocks": 2,
    "growth": 2,
    "stacked_blocks": (0, 1),
    "steps": 1,
    "transition_steps": 1,
    "hidden": 4,
}


def randomised(network: nn.Module) -> nn.Module:
    """Away from zero-initialised convolutions; actnorms count as initialised."""
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if name.endswith("initialized"):
                buffer.fill_(True)
    return network.eval()


def module_of(config: LearnedPriorConfig) -> LatentModule:
    return randomised(build_prior(config))


def published(module: LatentModule) -> dict[str, Tensor]:
    """The module's tensors under the names of the published files."""
    out = {}
    for name, tensor in module.state_dict().items():
        parts = name.split(".")
        if parts[0] == "generator":
            parts = parts[1:]
        elif module.config.kind == "pyramid":
            if parts[0] == "unet":
                parts = [parts[2] + parts[1], *parts[3:]]
            else:
                parts = [parts[0] + parts[1], *parts[2:]]
        out[".".join(parts)] = tensor
    return out


@pytest.fixture
def srflow() -> ConditionalFlow:
    return randomised(build("srflow", SRFLOW))


@pytest.fixture
def files(tmp_path: Path, srflow: ConditionalFlow) -> tuple[Path, Path]:
    """A model and a learned prior that fits it, as files."""
    card = ModelCard(name="m", family="srflow", scales=(4.0,), channels=3)
    save_model(tmp_path / "m.safetensors", srflow, card)
    state = published(module_of(PYRAMID))
    wrapped = {"name": "unet", "args": {"dim": 4}, "sd": state}
    torch.save({"prior_model": wrapped, "epoch": 5}, tmp_path / "lp.pth")
    return tmp_path / "m.safetensors", tmp_path / "lp.pth"


# --- names and shapes -------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_is_inferred_and_names_are_translated(name: str) -> None:
    config = CONFIGS[name]
    module = module_of(config)
    state = published(module)
    assert len(state) == len(module.state_dict())
    inferred = infer_config(state)
    assert inferred == config
    tensors = remap(state, inferred)
    own = module.state_dict()
    assert set(tensors) == set(own)
    assert all(torch.equal(tensors[key], own[key]) for key in own)


@pytest.mark.parametrize("name", ["SRFlow-LP", "LINF-LP"])
def test_incomplete_files_are_refused(name: str, tmp_path: Path) -> None:
    state = published(module_of(CONFIGS[name]))
    first = next(key for key in state if key.endswith("conv1.weight"))
    path = tmp_path / "lp.safetensors"
    save_file({k: v for k, v in state.items() if k != first}, path)
    with pytest.raises(CheckpointError, match=r"incomplete|unknown kind"):
        read_prior(path)
    save_file({k: v for k, v in state.items() if "double_conv.4" not in k}, path)
    with pytest.raises(CheckpointError, match=r"does not fit.*missing"):
        read_prior(path)
    state[first] = state[first] + torch.inf
    save_file(state, path)
    with pytest.raises(CheckpointError, match="not finite"):
        read_prior(path)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"level_channels": ()},
        {"kind": "patch"},
        {"level_channels": (6, 1)},
        {"kind": "patch", "level_channels": (27,), "dim": 5},
        {"generator": "edsr"},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match=r"[Ll]earned prior"):
        replace(PYRAMID, **change)


# --- networks -----------------------------------------------------------------------


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (3, 17), (8, 8), (9, 13)])
@torch.no_grad()
def test_unet_takes_any_size(size: tuple[int, int], bilinear: bool) -> None:
    net = UNet(5, 7, 4, 3, bilinear=bilinear).eval()
    x = torch.randn(2, 5, *size)
    assert net(x).shape == (2, 7, *size)


@torch.no_grad()
def test_small_maps_are_continued_at_their_edge() -> None:
    net = UNet(2, 2, 4, 2).eval()
    x = torch.randn(1, 2, 4, 3)
    continued = torch.cat((x, x[..., -1:]), -1)
    assert torch.equal(net(x), net(continued)[..., :3])


def test_gradient_reaches_every_parameter(srflow: ConditionalFlow) -> None:
    for config in (PYRAMID, replace(PATCH, level_channels=(48,), stride=1)):
        module = module_of(config)
        flow = srflow if config is PYRAMID else _squeezed()
        flow.attach_prior(module)
        cond = flow.condition(torch.rand(1, 3, 16, 16))
        flow.decode(flow.learned_prior(cond), cond).square().mean().backward()
        without = [n for n, p in module.named_parameters() if p.grad is None]
        assert not without


def _squeezed() -> ConditionalFlow:
    """A family with one level of 48 channels."""
    config = {"scale": 4, "channels": 3, "width": 6, "blocks": 1, "steps": 1}
    return randomised(build("compact", {**config, "hidden": 4}))


# --- attached ---------------------------------------------------------------------


@torch.no_grad()
def test_prior_is_a_function_of_the_image(srflow: ConditionalFlow) -> None:
    srflow.attach_prior(module_of(PYRAMID))
    lr = torch.rand(2, 3, 16, 18)
    cond = srflow.condition(lr)
    latents = srflow.learned_prior(cond)
    assert tuple(t.shape[1:] for t in latents.levels) == cond_shapes(srflow, cond)
    again = srflow.learned_prior(cond, scale=4.0)
    assert all(map(torch.equal, latents.levels, again.levels))
    alone = srflow.learned_prior(srflow.condition(lr[1:]))
    for one, both in zip(alone.levels, latents.levels, strict=True):
        assert torch.allclose(one[0], both[1], atol=1e-4)
    assert not torch.allclose(latents.levels[0][0], latents.levels[0][1], atol=1e-3)


def cond_shapes(flow: ConditionalFlow, cond: object) -> tuple[tuple[int, ...], ...]:
    return flow.latent_spec(cond.lr_size).shapes


@pytest.mark.parametrize("size", [(2, 2), (14, 4), (16, 16)])
@torch.no_grad()
def test_lr_images_below_16_pixels_are_taken(
    srflow: ConditionalFlow, size: tuple[int, int]
) -> None:
    srflow.attach_prior(module_of(PYRAMID))
    cond = srflow.condition(torch.rand(1, 3, *size))
    latents = srflow.learned_prior(cond)
    hr = srflow.decode(latents, cond)
    assert hr.shape[-2:] == (4 * size[0], 4 * size[1])
    assert bool(hr.isfinite().all())


@torch.no_grad()
def test_initial_prior_is_the_enlarged_image(srflow: ConditionalFlow) -> None:
    module = module_of(PYRAMID)
    lr = torch.rand(1, 3, 6, 8)
    cond = srflow.condition(lr)
    up = srflow.decode(module.initial(srflow, cond), cond)
    expected = nn.functional.interpolate(lr, scale_factor=4.0, mode="bilinear")
    assert torch.allclose(up, expected, atol=1e-4)
    standard = module.standardised(module.initial(srflow, cond))
    for level in standard.levels:
        assert torch.allclose(level.mean(1), torch.zeros(()), atol=1e-5)
        assert torch.allclose(level.var(1), torch.ones(()), atol=1e-3)


def test_prior_is_no_part_of_the_flow(srflow: ConditionalFlow) -> None:
    before = (set(srflow.state_dict()), srflow.parameter_count)
    assert srflow.latent_module is None
    cond = srflow.condition(torch.rand(1, 3, 16, 16))
    with pytest.raises(OptionError, match="prior="):
        srflow.learned_prior(cond)
    module = module_of(PYRAMID).train()
    srflow.attach_prior(module)
    assert (set(srflow.state_dict()), srflow.parameter_count) == before
    assert srflow.latent_module is module
    assert not module.training
    assert copy.deepcopy(srflow).latent_module is not None
    # It follows the image to its precision.
    wide = srflow.double()
    latents = wide.learned_prior(wide.condition(cond.lr.double()))
    assert latents.levels[0].dtype == torch.float64


def test_prior_of_other_latents_is_refused(srflow: ConditionalFlow) -> None:
    with pytest.raises(OptionError, match=r"\(27,\).*srflow.*\(6, 96\)"):
        srflow.attach_prior(module_of(PATCH))
    with pytest.raises(OptionError, match=r"\(6, 96\).*compact.*\(48,\)"):
        _squeezed().attach_prior(module_of(PYRAMID))
    grey = replace(PATCH, level_channels=(48,), channels=1)
    with pytest.raises(OptionError, match="images of 1"):
        _squeezed().attach_prior(module_of(grey))


@torch.no_grad()
def test_prior_fits_another_family_of_the_same_latents() -> None:
    config = {key: SRFLOW[key] for key in ("width", "growth", "steps", "hidden")}
    flow = randomised(build("adflow", {**config, "taps": (1,)}))
    flow.attach_prior(module_of(PYRAMID))
    cond = flow.condition(torch.rand(1, 3, 16, 16))
    assert bool(flow.decode(flow.learned_prior(cond), cond).isfinite().all())


@torch.no_grad()
def test_prior_of_the_whole_is_cut_for_a_window(srflow: ConditionalFlow) -> None:
    from napari_flowsr.core.latents import Place, Window

    srflow.attach_prior(module_of(PYRAMID))
    lr = torch.rand(1, 3, 20, 24)
    whole: Latents = srflow.learned_prior(srflow.condition(lr))
    place = Place(Window(4, 8, 10, 12), (20, 24))
    cond = srflow.condition(lr[..., 4:14, 8:20]).at(place)
    with pytest.raises(OptionError, match="a function of the whole LR image"):
        srflow.learned_prior(cond)
    spec = srflow.window_spec(place)
    part = LearnedPrior(whole).draw(srflow, cond, spec, NoiseField(0), range(3))
    assert part.batch == 3
    assert torch.equal(part.levels[0][1], whole.levels[0][0, :, 8:28, 16:40])
    assert torch.equal(part.levels[1][2], whole.levels[1][0, :, 2:7, 4:10])


# --- files --------------------------------------------------------------------------


@torch.no_grad()
def test_loaded_with_its_model(files: tuple[Path, Path]) -> None:
    model, prior = files
    with pytest.raises(CheckpointError, match=r"SRFlow-LP.*prior="):
        load_model(prior)
    loaded = load_model(model, device="cpu", prior=prior)
    assert loaded.card.prior["name"] == "lp"
    assert loaded.card.prior["inferred"]["dim"] == 4
    assert "NC" in loaded.card.prior["licence"]
    assert len(loaded.card.prior["sha256"]) == 64
    cond = loaded.flow.condition(torch.rand(1, 3, 16, 16))
    assert len(loaded.flow.learned_prior(cond).levels) == 2
    with pytest.raises(ModelNotFoundError, match="no learned prior"):
        load_model(model, prior="nothing")
    with pytest.raises(CheckpointError, match="as learned prior"):
        load_model(model, prior=model)


def test_the_model_file_does_not_keep_it(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    model = read_model(files[0], prior=files[1])
    save_model(tmp_path / "again.safetensors", model.flow, model.card)
    again = read_model(tmp_path / "again.safetensors")
    assert again.card.prior == {}
    assert again.flow.latent_module is None


def test_imported_and_found_by_name(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    model, prior = files
    assert import_prior(prior, "sharp") == "sharp"
    builtin = {path.stem for path in builtin_prior_folder().glob("*.safetensors")}
    assert set(prior_names()) - builtin == {"sharp"}
    assert find_prior("sharp").parent == prior_folder()
    loaded = load_model(model, device="cpu", prior="sharp")
    assert loaded.card.prior["name"] == "sharp"
    own, again = read_prior(prior).module, loaded.flow.latent_module
    for key, tensor in own.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])
    with pytest.raises(OptionError, match="imported already"):
        import_prior(prior, "sharp")
    import_prior(prior, "sharp", overwrite=True)
    with pytest.raises(OptionError, match="cannot be a prior's name"):
        import_prior(prior, "../sharp")
    with pytest.raises(ModelNotFoundError, match="'sharp'"):
        find_prior("shrap")
    with pytest.raises(CheckpointError, match="as learned prior"):
        import_prior(model, "model")


def test_half_precision_and_a_prefix_are_read(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    state = published(module_of(PYRAMID))
    half = {
        f"module.{k}": v.half() if v.is_floating_point() else v
        for k, v in state.items()
    }
    save_file(half, tmp_path / "half.safetensors")
    module = read_prior(tmp_path / "half.safetensors").module
    assert {p.dtype for p in module.parameters()} == {torch.float32}


# --- full size ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("SRFlow-LP_DF2K_4X", LearnedPriorConfig()),
        ("LINF-LP-3x3", LearnedPriorConfig("patch", level_channels=(27,))),
    ],
)
def test_full_size_files_load_strictly(
    network: str, expected: LearnedPriorConfig, reference: Path, tmp_path: Path
) -> None:
    """The published key lists, with random numbers, as a wrapped .pth file."""
    folder = reference / "reference" / "golden"
    about = json.loads((folder / network / "full_keys.json").read_text())
    state = {
        name: torch.rand(shape).to(getattr(torch, dtype))
        for name, shape, dtype in about["keys"]
    }
    assert len(state) == about["n_keys"]
    path = tmp_path / f"{network}.pth"
    torch.save({"prior_model": {"name": "unet", "args": {}, "sd": state}}, path)
    prior = read_prior(path)
    assert prior.module.config == expected
    assert sum(p.numel() for p in prior.module.parameters()) == about["n_params"]


@pytest.mark.parametrize("network", ["srflow_lp_tiny_x4", "linf_lp_tiny_3x3"])
def test_files_wrapped_as_the_published_ones(network: str, reference: Path) -> None:
    here = reference / "reference" / "golden" / network
    prior = read_prior(here / "prior_official_like.pth")
    plain = load_file(here / "prior.safetensors")
    tensors = remap(plain, infer_config(plain))
    own = prior.module.state_dict()
    assert set(own) == set(tensors)
    assert all(torch.equal(own[key], tensors[key]) for key in own)
