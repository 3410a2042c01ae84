"""SRFlow: published files by names and shapes alone, halo, the encoder's details."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io.foreign import read_official
from napari_flowsr.models._registry import build
from napari_flowsr.models.srflow import SRFlow, SRFlowConfig
from napari_flowsr.models.srflow_published import infer_config, remap

TINY = SRFlowConfig(
    scale=4,
    width=4,
    blocks=2,
    growth=2,
    stacked_blocks=(1, 0),
    steps=2,
    transition_steps=1,
    hidden=5,
)
CONFIGS = {
    "4x": TINY,
    "8x": replace(TINY, scale=8, levels=4, steps=1, transition_steps=2),
    "4x, one channel, nothing stacked": replace(TINY, channels=1, stacked_blocks=()),
    "2x, no transitions": replace(TINY, scale=2, levels=2, transition_steps=0),
}
ASSUME = {"quant": 255.0}


def published(flow: ConditionalFlow) -> dict[str, Tensor]:
    """The network's tensors under the names of the published files."""
    own = flow.state_dict()
    config = flow.config
    out = {
        "RRDB." + name.removeprefix("encoder."): tensor
        for name, tensor in own.items()
        if name.startswith("encoder.")
    }
    parts = {
        "transforms.0.": "actnorm.",
        "transforms.1.": "invconv.",
        "transforms.2.net.": "affine.fFeatures.",
        "transforms.3.net.": "affine.fAffine.",
    }
    index = 0
    for level in range(config.levels):
        index += 1  # the squeeze takes an index
        for k in range(config.transition_steps + config.steps):
            prefix = f"flow.levels.{level}.steps.transforms.{k}."
            for name, tensor in own.items():
                rest = name.removeprefix(prefix)
                if rest == name or rest.endswith("initialized"):
                    continue
                ours = next(part for part in parts if rest.startswith(part))
                theirs = parts[ours] + rest.removeprefix(ours)
                out[f"flowUpsamplerNet.layers.{index}.{theirs}"] = tensor
            index += 1
        split = f"flow.levels.{level}.split.net."
        found = {n: t for n, t in own.items() if n.startswith(split)}
        for name, tensor in found.items():
            theirs = name.replace(split, f"flowUpsamplerNet.layers.{index}.conv.")
            out[theirs] = tensor
        index += bool(found)
    return out


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_is_inferred_and_names_are_translated(name: str) -> None:
    config = CONFIGS[name]
    flow = build("srflow", config)
    state = published(flow)
    state["flowUpsamplerNet.f.0.weight"] = torch.zeros(96, 12, 3, 3)
    state["flowUpsamplerNet.f.0.bias"] = torch.zeros(96)
    assume = {**ASSUME, "stacked_blocks": list(config.stacked_blocks)}
    inferred, told, assumed = infer_config(state, assume)
    assert inferred == config
    assert told["steps"] == config.steps
    assert assumed["stacked_blocks"] == config.stacked_blocks
    tensors = remap(state, inferred)
    own = flow.state_dict()
    assert set(tensors) == set(own)
    for key, tensor in tensors.items():
        if key.endswith("initialized"):
            assert bool(tensor)
        else:
            assert torch.equal(tensor, own[key])


def test_loaded_actnorms_are_not_initialised_again() -> None:
    """Not even one whose trained bias is exactly 0."""
    flow = build("srflow", TINY)
    state = published(flow)
    again = build("srflow", TINY)
    again.load_state_dict(remap(state, TINY))
    again.train()
    lr, hr = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 16, 16)
    before = {k: v.clone() for k, v in again.state_dict().items()}
    again.log_prob(hr, again.condition(lr))
    assert all(torch.equal(v, before[k]) for k, v in again.state_dict().items())


# --- what cannot be inferred ------------------------------------------------------


def test_stacked_blocks_of_published_networks_come_from_the_table() -> None:
    for blocks, scale, expected in (
        (23, 4, (1, 8, 15, 22)),
        (23, 8, (1, 3, 5, 7)),
        (8, 8, (1, 3, 5, 7)),
    ):
        config = SRFlowConfig(
            scale=scale,
            width=2,
            blocks=blocks,
            growth=1,
            stacked_blocks=expected,
            steps=1,
            transition_steps=1,
            hidden=2,
        )
        inferred, _, assumed = infer_config(published(SRFlow(config)), {})
        assert inferred.stacked_blocks == expected
        assert assumed == {
            "stacked_blocks": expected,
            "quant": 32.0,
            "affine_eps": 1e-4,
        }


def test_unknown_stacked_blocks_must_be_given() -> None:
    state = published(build("srflow", TINY))
    with pytest.raises(CheckpointError, match=r'assume=\{"stacked_blocks"'):
        infer_config(state, {})
    with pytest.raises(OptionError, match="trained with 2 stacked blocks"):
        infer_config(state, {"stacked_blocks": [1]})
    with pytest.raises(OptionError, match="blocks that exist"):
        infer_config(state, {"stacked_blocks": [1, 2]})
    with pytest.raises(OptionError, match="a list of block numbers"):
        infer_config(state, {"stacked_blocks": 3})
    with pytest.raises(OptionError, match="quant was assumed as 'many'"):
        infer_config(state, {"stacked_blocks": [1, 0], "quant": "many"})


def test_damaged_states_are_refused() -> None:
    state = published(build("srflow", TINY))
    assume = {"stacked_blocks": [1, 0]}
    without = {k: v for k, v in state.items() if not k.startswith("RRDB.conv_first")}
    with pytest.raises(CheckpointError, match="incomplete"):
        infer_config(without, assume)
    only_encoder = {k: v for k, v in state.items() if k.startswith("RRDB.")}
    with pytest.raises(CheckpointError, match="no flow layers"):
        infer_config(only_encoder, assume)
    fewer = {k: v for k, v in state.items() if ".layers.4." not in k}
    with pytest.raises(CheckpointError, match="arrangement of flow layers"):
        infer_config(fewer, assume)
    for extra in ("extra.weight", "flowUpsamplerNet.layers.1.extra.weight"):
        with pytest.raises(CheckpointError, match=r"extra\.weight"):
            remap({**state, extra: torch.zeros(1)}, TINY)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 3},
        {"levels": 4},
        {"stacked_blocks": (2,)},
        {"steps": 0},
        {"quant": 0.0},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match="SRFlow"):
        replace(TINY, **change)


# --- facts --------------------------------------------------------------------


def test_halo_is_exact_where_that_is_possible() -> None:
    small = build("srflow", TINY)
    assert small.halo == small.receptive_field
    with torch.device("meta"):
        encoder = RRDB(3, 8, 23, 4)
    assert encoder.reach > SRFlow.exact_halo_up_to
    large = build("srflow", replace(TINY, blocks=23))
    assert large.receptive_field > 300
    assert large.halo == SRFlow.practical_halo


def test_levels_follow_the_scale() -> None:
    assert [SRFlowConfig(scale=s).levels for s in (2, 4, 8)] == [2, 3, 4]
    flow = build("srflow", CONFIGS["8x"])
    assert flow.multiple_of == 2
    shapes = flow.latent_spec((4, 6)).shapes
    assert shapes == ((6, 16, 24), (12, 8, 12), (192, 2, 3))


# --- the encoder --------------------------------------------------------------


def test_encoder_computes_only_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = build("srflow", TINY)

    def fail(*_: object) -> Tensor:
        raise AssertionError("not needed for the condition")

    for name in ("upconv2", "HRconv", "conv_last"):
        monkeypatch.setattr(getattr(flow.encoder, name), "forward", fail)
    cond = flow.condition(torch.rand(1, 3, 4, 6))
    sizes = [tuple(t.shape[1:]) for t in cond.features]
    assert sizes == [(12, 8, 12), (12, 4, 6), (12, 2, 3)]


def test_long_skip_around_the_trunk_or_one_convolution() -> None:
    torch.manual_seed(0)
    ours = RRDB(1, 3, 1, 2, 2)
    esrgan = RRDB(1, 3, 1, 2, 2, skip_from_input=True)
    esrgan.load_state_dict(ours.state_dict())
    x = torch.rand(1, 1, 5, 5)
    first = ours.conv_first(x)
    trunk = ours.RRDB_trunk(first)
    tail = ours.trunk_conv(trunk)
    assert torch.allclose(ours(x)[0], trunk + tail)
    assert torch.allclose(esrgan(x)[0], first + tail)
    assert not torch.allclose(trunk, first, atol=1e-3)


# --- full size ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ("SRFlow_DF2K_4X", 39_541_811),
        ("SRFlow_DF2K_8X", None),
        ("SRFlow_CelebA_8X", None),
    ],
)
def test_full_size_files_load_strictly(
    network: str, parameters: int | None, reference: Path, tmp_path: Path
) -> None:
    """The published key lists, with small random numbers, as a .pth file."""
    about = json.loads(
        (reference / "reference" / "golden" / network / "full_keys.json").read_text()
    )
    keys = about.get("keys") or about["state_dict"]
    state = {f"module.{name}": torch.full(shape, 1e-3) for name, shape, _ in keys}
    assert len(state) == about["n_keys"]
    for name, tensor in state.items():
        if name.endswith("invconv.weight"):
            tensor += torch.eye(len(tensor))
    path = tmp_path / f"{network}.pth"
    torch.save(state, path)
    official = read_official(path)
    with torch.device("meta"):
        flow = _without_initialisation(official.config)
    missing = flow.load_state_dict(dict(official.tensors), strict=True, assign=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    assert official.config.scale == (4 if "4X" in network else 8)
    assert official.config.blocks == (8 if "CelebA" in network else 23)
    assert len(official.config.stacked_blocks) == 4
    assert official.card.temperature == 0.9
    assert "NC" in official.card.licence
    assert about["n_params"] == sum(t.numel() for t in state.values())
    assert parameters in (None, about["n_params"])


def _without_initialisation(config: SRFlowConfig) -> ConditionalFlow:
    """The network on the meta device, where nothing is drawn or stored."""
    from unittest import mock

    empty = "napari_flowsr.core.transforms.invconv.random_rotation"
    with mock.patch(empty, lambda channels: torch.empty(channels, channels)):
        return SRFlow(config)
