"""Which network a file holds, read from its tensors: every published kind, and ours."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import golden_numbers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import napari_flowsr as flowsr
from napari_flowsr.errors import CheckpointError, FlowSRError, OptionError
from napari_flowsr.io.checkpoint import read_model, save_model
from napari_flowsr.io.foreign import read_state
from napari_flowsr.io.priors import read_prior
from napari_flowsr.models._registry import is_deterministic
from napari_flowsr.models.card import Model, is_stated
from napari_flowsr.models.rrdb import RRDBConfig, RRDBNet

State = dict[str, Tensor]


# --- how the published programs wrap their tensors ----------------------------


def _data_parallel(state: State) -> Any:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def _linf(state: State) -> Any:
    """As LINF's training writes it."""
    spec = {"name": "linf", "args": {"flow_layers": 2, "encoder_spec": {"name": "x"}}}
    return {
        "model": {**spec, "sd": state},
        "optimizer": {"name": "adam", "args": {"lr": 1e-4}, "sd": {"state": {}}},
        "epoch": 7,
    }


def _learned_prior(state: State) -> Any:
    """As the training of the learned priors writes it."""
    spec = {"name": "unet", "args": {"depth": 3, "dim": 64, "bilinear": True}}
    return {"prior_model": {**spec, "sd": state}, "optimizer": {}, "epoch": 3}


def _half(state: State) -> Any:
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "plain": dict,
    "module.": _data_parallel,
    "LINF": _linf,
    "LINF of module.": lambda state: _linf(_data_parallel(state)),
    "half": _half,
}


# --- tiny networks of every kind, which the repository has --------------------


def _rrdb() -> State:
    torch.manual_seed(2)
    net = RRDBNet(RRDBConfig(scale=4, width=6, blocks=2, growth=3))
    return {k.removeprefix("encoder."): v for k, v in net.state_dict().items()}


def _recorded(network: str) -> State:
    """Tensors of a recorded network, under their published names."""
    return next(iter(golden_numbers.small_cases(network))).state


TINY = {
    "srflow_tiny_x4": ("srflow", 4.0, {"stacked_blocks": [0, 2]}),
    "srflow_tiny_x8": ("srflow", 8.0, {"stacked_blocks": [0, 1]}),
    "hcflow_sr_tiny_x4": ("hcflow", 4.0, {}),
    "hcflow_rescaling_tiny_x4": ("hcflow-rescale", 4.0, {}),
    "linf_edsr_tiny_1x1": ("linf", 4.0, {}),
    "linf_rdn_tiny_1x1": ("linf", 4.0, {}),
    "linf_swinir_tiny_1x1": ("linf", 4.0, {}),
    "linf_rrdb_tiny_3x3": ("linf", 4.0, {}),
    "rrdb": ("rrdb", 4.0, {}),
}


def _tiny(network: str) -> State:
    return _rrdb() if network == "rrdb" else _recorded(network)


def _write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def _sample(model: Model) -> Tensor:
    flow = model.flow
    side = 2 * flow.multiple_of
    lr = torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)
    with torch.inference_mode():
        return flow.sample(flow.condition(lr), temperature=0.5)


ONE_PER_FAMILY = {family: network for network, (family, *_) in TINY.items()}


@pytest.mark.parametrize(
    ("network", "wrapper"),
    [
        (network, wrapper)
        for wrapper in WRAPPERS
        for network in (TINY if wrapper == "plain" else ONE_PER_FAMILY.values())
    ],
)
def test_every_kind_in_every_wrapping(
    network: str, wrapper: str, tmp_path: Path
) -> None:
    family, scale, assume = TINY[network]
    state = _tiny(network)
    path = _write(WRAPPERS[wrapper](state), tmp_path / "Network.pth")
    model = flowsr.load_model(path, device="cpu", assume=assume)
    card = model.card
    assert (card.family, card.scales[0], card.channels) == (family, scale, 3)
    assert card.name == "Network"
    assert card.parameters == sum(p.numel() for p in model.flow.parameters())
    assert {"channels", "width"} <= set(card.inferred)
    assert set(assume) <= set(card.assumed)
    assert next(model.flow.parameters()).dtype == torch.float32
    plain = read_model(_write(dict(state), tmp_path / "plain.pth"), assume=assume)
    tolerance = 0.05 if wrapper == "half" else 0.0
    assert float((_sample(model) - _sample(plain)).abs().max()) <= tolerance


@pytest.mark.parametrize("network", TINY)
def test_bare_tensors_as_safetensors_and_our_own_file(
    network: str, tmp_path: Path
) -> None:
    """The same network from a bare state dict, and from the file that we make of it."""
    _, _, assume = TINY[network]
    state = {k: v.contiguous() for k, v in _tiny(network).items()}
    save_file(state, tmp_path / "bare.safetensors")
    bare = read_model(tmp_path / "bare.safetensors", assume=assume)
    save_model(tmp_path / "ours.safetensors", bare.flow, bare.card)
    ours = read_model(tmp_path / "ours.safetensors")
    assert torch.equal(_sample(ours), _sample(bare))
    # JSON has lists only.
    as_json = [json.loads(json.dumps(asdict(m.card))) for m in (ours, bare)]
    assert {**as_json[0], "sha256": ""} == {**as_json[1], "sha256": ""}


def test_licences_are_those_that_are_stated(tmp_path: Path) -> None:
    stated = {
        network: read_model(
            _write(_tiny(network), tmp_path / "n.pth"), assume=assume
        ).card.licence
        for network, (_, _, assume) in TINY.items()
    }
    for network, licence in stated.items():
        assert is_stated(licence) == (not network.startswith("linf"))
    assert "CC BY-NC-SA 4.0" in stated["srflow_tiny_x4"]
    assert "CC BY-NC-SA 4.0" in stated["rrdb"]
    assert "Apache-2.0" in stated["hcflow_sr_tiny_x4"]
    assert stated["linf_rdn_tiny_1x1"] == "not stated"
    prior = next(iter(golden_numbers.small_cases("linf_lp_tiny_3x3"))).prior
    path = _write(_learned_prior(prior), tmp_path / "prior.pth")
    assert not is_stated(read_prior(path).licence)


@pytest.mark.parametrize(
    ("licence", "stated"),
    [
        ("BSD-3-Clause", True),
        ("Unknown", False),
        ("", False),
        ("not stated (…)", False),
    ],
)
def test_what_counts_as_a_licence(licence: str, stated: bool) -> None:
    assert is_stated(licence) is stated


# --- an encoder alone ---------------------------------------------------------


def test_an_encoder_alone_is_a_deterministic_model(tmp_path: Path) -> None:
    path = _write(_data_parallel(_rrdb()), tmp_path / "RRDB_DF2K_4X.pth")
    model = flowsr.load_model(path, device="cpu")
    assert is_deterministic(model.card.family)
    assert "no flow" in model.card.description
    assert "long_skip" in model.card.assumed
    assert model.card.temperature == 0.0
    image = np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8)
    samples = flowsr.upscale(image, model, n=3, axes="YXS", temperature=1.0)
    assert samples.shape == (3, 28, 36, 3)
    assert (samples == samples[0]).all()
    posterior = flowsr.posterior(image, model, axes="YXS")
    with pytest.raises(OptionError, match="no spread"):
        posterior.std(4)
    with pytest.raises(OptionError, match="deterministic"):
        posterior.log_prob(samples[0])


def test_an_unknown_family_is_not_deterministic() -> None:
    assert not is_deterministic("srflow")
    assert not is_deterministic("unheard of")


# --- what cannot be loaded ----------------------------------------------------


@pytest.mark.parametrize("network", TINY)
def test_files_with_tensors_missing_or_of_other_shapes_are_refused(
    network: str, tmp_path: Path
) -> None:
    """Whatever is taken away or bent: our error, and it names the file."""
    _, _, assume = TINY[network]
    state = _tiny(network)
    rng = random.Random(network)
    path = tmp_path / "bent.pth"
    told: list[FlowSRError] = []
    for round_ in range(6):
        bent = dict(state)
        key = rng.choice([k for k in bent if "RDB" in k or "weight" in k])
        if round_ % 3 == 0:
            del bent[key]
        elif round_ % 3 == 1:
            bent[key] = bent[key].flatten()[:1]
        else:
            bent[key] = torch.cat((bent[key], bent[key]))
        _write(bent, path)
        try:
            model = read_model(path, assume=assume)
        except FlowSRError as error:
            told.append(error)
            continue
        # What is left is another, smaller network of the same family.
        whole = read_model(_write(state, tmp_path / "whole.pth"), assume=assume)
        assert model.card.inferred != whole.card.inferred, key
    assert told
    assert all(isinstance(e, CheckpointError | OptionError) for e in told)
    assert all("file" in str(e) for e in told)


@pytest.mark.parametrize("network", TINY)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_published_files_are_refused(
    network: str, share: float, tmp_path: Path
) -> None:
    path = _write(_tiny(network), tmp_path / "cut.pth")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"truncated.*download it again"):
        read_model(path)


class _Code:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("wrapper", ["LINF", "plain"])
def test_code_beside_good_tensors_is_not_run(wrapper: str, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    content = WRAPPERS[wrapper](_recorded("linf_edsr_tiny_1x1"))
    content["optimizer"] = _Code(trace)
    path = _write(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        read_model(path)
    assert not trace.exists()


def test_an_unknown_network_is_told_what_is_known(tmp_path: Path) -> None:
    path = _write({"body.0.weight": torch.ones(3, 3)}, tmp_path / "ESRGAN.pth")
    with pytest.raises(CheckpointError, match=r"ESRGAN\.pth.*unknown network") as told:
        read_model(path)
    for label in ("SRFlow", "HCFlow", "LINF", "RRDB", "add-a-family"):
        assert label in str(told.value)


# --- all published configurations, in full ------------------------------------

FULL = {
    "SRFlow_DF2K_4X": "srflow",
    "SRFlow_DF2K_8X": "srflow",
    "SRFlow_CelebA_8X": "srflow",
    "SR_DF2K_X4_HCFlow": "hcflow",
    "SR_CelebA_X8_HCFlow": "hcflow",
    "Rescaling_DF2K_X4_HCFlow": "hcflow-rescale",
    "EDSR-baseline-LINF": "linf",
    "EDSR-baseline-LINF-3x3": "linf",
    "RDN-LINF": "linf",
    "SwinIR-LINF": "linf",
    "RRDB-LINF-3x3": "linf",
    "SRFlow-LP_DF2K_4X": "prior",
    "LINF-LP-3x3": "prior",
}


def full_state(about: dict) -> State:
    """Random tensors for a list of keys, such that nothing is singular."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape, dtype in about.get("keys") or about["state_dict"]:
        tensor = 0.01 * torch.randn(shape, generator=generator)
        square = len(shape) == 2 and shape[0] == shape[1]
        if square and name.endswith(("invconv.weight", "permute.weight", "_weight")):
            tensor += torch.eye(len(tensor))
        if name.endswith("running_var"):
            tensor = tensor.abs() + 1
        if name.endswith("haar_weights"):
            rows = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
            bank = torch.tensor(rows, dtype=torch.float32).view(4, 1, 2, 2)
            tensor = bank.repeat(len(tensor) // 4, 1, 1, 1)
        state[name] = tensor.to(getattr(torch, dtype))
    return state


@pytest.mark.slow
@pytest.mark.parametrize("network", FULL)
def test_full_published_configurations_load(
    network: str, reference: Path, tmp_path: Path
) -> None:
    """By `load_model`, wrapped as published; priors as the priors of a model."""
    folder = reference / "reference" / "golden" / network
    about = json.loads((folder / "full_keys.json").read_text())
    state = full_state(about)
    assert len(state) == about["n_keys"]
    family = FULL[network]
    wrap = {"linf": _linf, "prior": _learned_prior}.get(family, _data_parallel)
    path = _write(wrap(state), tmp_path / f"{network}.pth")
    assert set(read_state(path)) == set(state)
    if family == "prior":
        prior = read_prior(path)
        assert prior.facts()["parameters"] == about["n_params"]
        assert not is_stated(prior.licence)
        with pytest.raises(CheckpointError, match="prior="):
            flowsr.load_model(path, device="cpu")
        return
    model = flowsr.load_model(path, device="cpu")
    card = model.card
    assert card.family == family
    assert card.inferred
    assert is_stated(card.licence) == (family != "linf")
    # Some published tensors are never used, and not kept.
    assert 0.98 < card.parameters / about["n_params"] <= 1.0
