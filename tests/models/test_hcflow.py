"""HCFlow, both networks: published files by names and shapes alone, LR image, sizes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.hierarchical import HierarchicalFlow
from napari_flowsr.core.transforms.haar import HAAR
from napari_flowsr.errors import CheckpointError, OptionError, SizeError
from napari_flowsr.io.foreign import read_official
from napari_flowsr.models import hcflow_published, hcflow_rescale_published
from napari_flowsr.models._registry import build
from napari_flowsr.models.hcflow import HCFlowConfig
from napari_flowsr.models.hcflow_rescale import HCFlowRescaleConfig

SR = HCFlowConfig(
    scale=4,
    width=4,
    blocks=(1, 2),
    growth=2,
    steps=(2, 1),
    conditional_steps=(1, 2),
    hidden=3,
    conditional_hidden=5,
)
RESCALE = HCFlowRescaleConfig(
    scale=4,
    width=4,
    blocks=(2, 1),
    growth=2,
    steps=(3, 2),
    conditional_steps=(1, 2),
    hidden=3,
    conditional_hidden=5,
)
CONFIGS = {
    "4x": SR,
    "8x": replace(SR, scale=8, steps=(1,), conditional_steps=(2,), quant=256.0),
    "2x, one channel": replace(
        SR, scale=2, channels=1, steps=(2,), conditional_steps=(1,), quant=256.0
    ),
    "rescaling, 4x": RESCALE,
    "rescaling, 2x": replace(RESCALE, scale=2, steps=(2,), conditional_steps=(1,)),
}
PUBLISHED = {"hcflow": hcflow_published, "hcflow-rescale": hcflow_rescale_published}


def family(config: object) -> str:
    return "hcflow" if isinstance(config, HCFlowConfig) else "hcflow-rescale"


def _theirs(rest: str, count: int) -> str:
    """Published name inside a level's conditional flow for ours."""
    if rest.startswith("encoder."):
        return rest.removeprefix("encoder.")
    _, _, number, inner = rest.split(".", 3)
    if int(number) == count:
        return inner.replace("net.", "f.", 1)
    return f"additional_flow_steps.{number}.{_step(inner)}"


def _step(inner: str) -> str:
    """Published name inside a flow step for ours."""
    _, which, name = inner.split(".", 2)
    if which == "0":
        return f"actnorm.{name}"
    if name.startswith("net.conv"):
        return "affine.f." + name.removeprefix("net.")
    if which == "1":
        return f"permute.{name}"
    _, layer, own = name.split(".", 2)
    return f"affine.f.conv{int(layer) // 2 + 1}.{own}"


def published(flow: ConditionalFlow) -> dict[str, Tensor]:
    """The network's tensors under the names of the published files."""
    config, out = flow.config, {}
    starts = [sum(config.steps[:i]) + 2 * i for i in range(len(config.steps))]
    for name, tensor in flow.state_dict().items():
        if name.endswith("initialized"):
            continue
        _, _, number, rest = name.split(".", 3)
        level = int(number)
        if rest.startswith("squeeze."):
            own = f"layers.{starts[level]}.haar_weights"
        elif rest.startswith("steps."):
            _, _, index, inner = rest.split(".", 3)
            own = f"layers.{starts[level] + 1 + int(index)}.{_step(inner)}"
        else:
            count = config.conditional_steps[level]
            own = f"level{level}_condFlow.{_theirs(rest, count)}"
        out[f"flow.{own}"] = tensor
    return out


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_is_inferred_and_names_are_translated(name: str) -> None:
    config = CONFIGS[name]
    flow = build(family(config), config)
    state = published(flow)
    module = PUBLISHED[family(config)]
    inferred, told, _ = module.infer_config(state, {})
    assert inferred == config
    assert told["steps"] == config.steps
    tensors = module.remap(state, inferred)
    own = flow.state_dict()
    assert set(tensors) == set(own)
    for key, tensor in tensors.items():
        if key.endswith("initialized"):
            assert bool(tensor)
        else:
            assert torch.equal(tensor, own[key])


def test_files_are_told_apart(tmp_path: Path) -> None:
    for config, label, temperature in (
        (SR, "HCFlow 4x", 0.9),
        (CONFIGS["8x"], "HCFlow 8x", 0.8),
        (RESCALE, "HCFlow rescaling 4x", 1.0),
    ):
        path = tmp_path / "published.pth"
        torch.save(published(build(family(config), config)), path)
        official = read_official(path)
        assert official.config == config
        assert official.card.family == family(config)
        assert official.card.description.startswith(label)
        assert official.card.temperature == temperature
        assert "Apache-2.0" in official.card.licence
    with pytest.raises(OptionError, match="takes nothing for it, not quant"):
        read_official(path, {"quant": 64})


def test_what_no_tensor_tells() -> None:
    state = published(build("hcflow", SR))
    _, _, assumed = hcflow_published.infer_config(state, {})
    assert assumed == {"quant": 64.0}
    config, _, assumed = hcflow_published.infer_config(state, {"quant": 256})
    assert config.quant == assumed["quant"] == 256
    with pytest.raises(OptionError, match="quant was assumed as 'many'"):
        hcflow_published.infer_config(state, {"quant": "many"})


# --- damaged and foreign files ----------------------------------------------------


def _without(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    left = {k: v for k, v in state.items() if part not in k}
    assert len(left) < len(state)
    return left


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("flow.layers.2.", "flow steps at"),
        ("level1_condFlow.conv_first", "lacks the tensor"),
        ("level0_condFlow.RRDB_trunk1.1.", "of several sizes"),
    ],
)
def test_incomplete_files_are_refused(part: str, message: str) -> None:
    state = _without(published(build("hcflow", SR)), part)
    with pytest.raises(CheckpointError, match=message):
        hcflow_published.infer_config(state, {})


def test_other_architectures_are_refused() -> None:
    state = published(build("hcflow", SR))
    lu = {**state, "flow.layers.1.permute.log_s": torch.zeros(12)}
    with pytest.raises(CheckpointError, match="LU form"):
        hcflow_published.infer_config(lu, {})
    rescale = published(build("hcflow-rescale", RESCALE))
    with pytest.raises(CheckpointError, match="conditioned on 4 channels"):
        hcflow_published.infer_config(rescale, {})
    with pytest.raises(CheckpointError, match="conditioned on 8 channels"):
        hcflow_rescale_published.infer_config(state, {})
    net = "flow.layers.2.affine.f.conv1.weight"
    swapped = {**rescale, net: rescale["flow.layers.1.affine.f.conv1.weight"]}
    with pytest.raises(CheckpointError, match="looks at other channels"):
        hcflow_rescale_published.infer_config(swapped, {})


@pytest.mark.parametrize(
    "extra",
    [
        "extra.weight",
        "flow.layers.99.actnorm.bias",
        "flow.layers.0.extra",
        "flow.layers.1.extra",
        "flow.level0_condFlow.extra.weight",
        "flow.level0_condFlow.additional_flow_steps.0.extra",
    ],
)
@pytest.mark.parametrize("config", [SR, RESCALE], ids=["SR", "rescaling"])
def test_unknown_tensors_are_refused(config: object, extra: str) -> None:
    state = published(build(family(config), config))
    with pytest.raises(CheckpointError, match="has a"):
        PUBLISHED[family(config)].remap({**state, extra: torch.zeros(1)}, config)


@pytest.mark.parametrize("config", [SR, RESCALE], ids=["SR", "rescaling"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 3}, "it can be 2, 4 or 8"),
        ({"steps": (1, 2, 3)}, "2 numbers, finest level first"),
        ({"blocks": (0, 1)}, "blocks is 0"),
        ({"width": 0}, "width is 0"),
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(
    config: object, change: dict, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        replace(config, **change)


def test_one_number_stands_for_all_levels() -> None:
    assert HCFlowConfig(scale=8).conditional_steps == (13, 13, 13)
    assert HCFlowRescaleConfig().steps == (8, 8)
    with pytest.raises(OptionError, match="quant is 0"):
        replace(SR, quant=0)


# --- the LR image ---------------------------------------------------------------


def _perturbed(config: object) -> HierarchicalFlow:
    torch.manual_seed(2)
    flow = build(family(config), config).eval().double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow


@torch.no_grad()
def test_the_flow_assigns_an_lr_image() -> None:
    """Raw; decoding it with the latents gives the HR image back, whatever was given."""
    flow = _perturbed(SR)
    lr = torch.rand(1, 3, 3, 5, dtype=torch.float64)
    hr = torch.rand(1, 3, 12, 20, dtype=torch.float64)
    encoded = flow.encode(hr, flow.condition(lr))
    assert encoded.lr.shape == lr.shape
    assert not torch.allclose(encoded.lr, lr, atol=0.1)
    again = flow.decode(encoded.latents, flow.condition(encoded.lr))
    assert float((again - hr).abs().max()) < 1e-9


@torch.no_grad()
def test_likelihood_of_the_lr_image_is_a_narrow_gaussian() -> None:
    flow = _perturbed(SR)
    hr = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    lr = torch.full((1, 3, 2, 2), 100 / 255, dtype=torch.float64)
    own = flow.encode(hr, flow.condition(lr)).lr
    rounded = (own.clamp(0, 1) * 255).round() / 255
    normal = torch.distributions.Normal(lr, math.exp(-6))
    expected = normal.log_prob(rounded).sum()
    assert torch.allclose(flow.lr_log_prob(own, flow.condition(lr)), expected)
    # It is all that the given LR image changes.
    best = flow.condition(rounded)
    difference = flow.log_prob(hr, best) - flow.log_prob(hr, flow.condition(lr))
    most = -lr.numel() * (-6 + 0.5 * math.log(2 * math.pi))
    assert difference.item() == pytest.approx(most - expected.item())


def test_rounding_passes_gradients() -> None:
    flow = _perturbed(SR)
    cond = flow.condition(torch.zeros(1, 3, 1, 1, dtype=torch.float64))
    lr = torch.tensor([-0.2, 0.5, 1.3], dtype=torch.float64).view(1, 3, 1, 1)
    lr.requires_grad_()
    flow.lr_log_prob(lr, cond).backward()
    rounded = torch.tensor([0.0, 128 / 255, 1.0], dtype=torch.float64)
    assert torch.allclose(lr.grad.flatten(), -rounded * math.exp(12))


# --- rescaling ------------------------------------------------------------------


@torch.no_grad()
def test_smaller_and_back() -> None:
    flow = _perturbed(RESCALE)
    hr = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    lr, latents = flow.downscale(hr)
    assert lr.shape == (2, 3, 3, 5)
    assert latents.spec.shapes == ((6, 6, 10), (21, 3, 5))
    assert float((flow.upscale(lr, latents) - hr).abs().max()) < 1e-9
    # float32, as in use
    flow = flow.float()
    lr, latents = flow.downscale(hr.float())
    assert float((flow.upscale(lr, latents) - hr).abs().max()) < 1e-5


@torch.no_grad()
def test_an_untrained_network_takes_block_means() -> None:
    hr = torch.rand(1, 3, 8, 8)
    lr, _ = build("hcflow-rescale", RESCALE).eval().downscale(hr)
    means = torch.nn.functional.avg_pool2d(hr, 4)
    assert torch.allclose(lr, means, atol=1e-6)


def test_sides_that_cannot_be_made_smaller() -> None:
    flow = build("hcflow-rescale", RESCALE)
    with pytest.raises(SizeError, match="8 x 6; downscaling by 4"):
        flow.downscale(torch.zeros(1, 3, 8, 6))
    for shape in ((1, 1, 8, 8), (3, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(SizeError, match=r"needs \(B, 3, H, W\)"):
            flow.downscale(torch.zeros(shape))


# --- facts --------------------------------------------------------------------


def test_halo_is_exact_where_that_is_possible() -> None:
    small = build("hcflow", SR)
    assert small.halo == small.receptive_field
    with mock.patch.object(HierarchicalFlow, "exact_halo_up_to", 20):
        assert small.halo == HierarchicalFlow.practical_halo
    # 2 steps x 2, 1 coupling x 2, the head and the encoder at HR/2, of which half ...
    finest = 4 + 2 + 1 + (2 + 15 * 3)
    coarsest = 2 + 4 + 1 + (2 + 15 * 3)
    assert small.receptive_field == math.ceil(finest / 2) + coarsest


def test_features_of_the_lr_image_are_computed_once() -> None:
    """And those of finer levels once for all samples of a batch."""
    flow = build("hcflow", SR).eval()
    cond = flow.condition(torch.rand(1, 3, 2, 2))
    assert len(cond.features) == 1
    calls = []
    for number, level in enumerate(flow.flow.levels):
        level.encoder.register_forward_hook(
            lambda *_, number=number: calls.append(number)
        )
    with torch.no_grad():
        flow.sample(cond, 3)
    assert calls == [0]


# --- full size ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ("SR_DF2K_X4_HCFlow", 23_232_539),
        ("SR_CelebA_X8_HCFlow", 27_017_723),
        ("Rescaling_DF2K_X4_HCFlow", 4_396_350),
    ],
)
def test_full_size_files_load_strictly(
    network: str, parameters: int, reference: Path, tmp_path: Path
) -> None:
    """The published key lists, with small numbers, as a .pth file."""
    about = json.loads(
        (reference / "reference" / "golden" / network / "full_keys.json").read_text()
    )
    keys = about.get("keys") or about["state_dict"]
    state = {f"module.{name}": torch.full(shape, 1e-3) for name, shape, _ in keys}
    assert len(state) == about["n_keys"]
    for name, tensor in state.items():
        if name.endswith("permute.weight"):
            tensor += torch.eye(len(tensor))
        if name.endswith("haar_weights"):
            bank = torch.tensor(HAAR).view(4, 1, 2, 2)
            tensor.copy_(bank.repeat(len(tensor) // 4, 1, 1, 1))
    path = tmp_path / f"{network}.pth"
    torch.save(state, path)
    official = read_official(path)
    expected = "hcflow-rescale" if "Rescaling" in network else "hcflow"
    assert official.card.family == expected
    with torch.device("meta"):
        flow = _without_initialisation(expected, official.config)
    missing = flow.load_state_dict(dict(official.tensors), strict=True, assign=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    defaults = {
        "SR_DF2K_X4_HCFlow": HCFlowConfig(),
        "SR_CelebA_X8_HCFlow": HCFlowConfig(scale=8, blocks=(5, 5), quant=256.0),
        "Rescaling_DF2K_X4_HCFlow": HCFlowRescaleConfig(),
    }
    assert official.config == defaults[network]
    assert sum(t.numel() for t in state.values()) == about["n_params"] == parameters
    assert flow.halo == 32 < flow.receptive_field


def _without_initialisation(name: str, config: object) -> ConditionalFlow:
    """The network on the meta device, where nothing is drawn or stored."""
    empty = "napari_flowsr.core.transforms.invconv.random_rotation"
    with mock.patch(empty, lambda channels: torch.empty(channels, channels)):
        return build(name, config)
