"""LINF: published files by names and shapes, the two grids, encoders, neighbours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.encoders.swinir import SwinIR
from napari_flowsr.core.implicit import bilinear, centres, mirrored, neighbours
from napari_flowsr.core.latents import Place, Window
from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io.foreign import read_official
from napari_flowsr.models._registry import build
from napari_flowsr.models.linf import LINF, LINFConfig
from napari_flowsr.models.linf_published import infer_config, remap

TINY = LINFConfig(width=4, blocks=1, hidden=6, mlp_layers=1, flow_layers=2)
CONFIGS = {
    "edsr": replace(TINY, blocks=2),
    "edsr, 3x3": replace(TINY, patch=3, flow_layers=1, mlp_layers=2),
    "rdn": replace(TINY, encoder="rdn", growth=3, convolutions=2, blocks=2),
    "rrdb, 3x3": replace(TINY, encoder="rrdb", growth=2, patch=3),
    "swinir": replace(
        TINY,
        encoder="swinir",
        embed=12,
        depths=(2, 1),
        heads=(2, 3),
        window_size=4,
        window=4,
        mlp_ratio=1.5,
    ),
}


def published(flow: LINF) -> dict[str, Tensor]:
    """The network's tensors, and unused ones, under the published names."""
    out = {}
    for name, tensor in flow.state_dict().items():
        parts = name.split(".")
        if name.startswith("implicit.layers."):
            key = f"layers.{2 * int(parts[2])}.{parts[3]}"
            out[key] = tensor[..., None, None] if parts[3] == "weight" else tensor
        elif parts[0] == "flow":
            last = "_weight" if parts[-1] == "weight" else "bias"
            out[".".join(("imnet", *parts[1:-1], last))] = tensor
        else:
            key = name.replace("implicit.phase", "phase")
            out[key.replace("encoder.head.", "encoder.head.0.")] = tensor
    unused = {
        "edsr": ("sub_mean.weight", "add_mean.bias"),
        "rdn": (),
        "rrdb": ("HRconv.bias", "conv_last.weight", "upconv1.weight", "upconv2.bias"),
        "swinir": (
            "layers.0.residual_group.blocks.1.attn_mask",
            "layers.0.residual_group.blocks.1.attn.relative_position_index",
        ),
    }
    out |= {f"encoder.{n}": torch.zeros(2) for n in unused[flow.config.encoder]}
    return out


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_is_inferred_and_names_are_translated(name: str) -> None:
    config = CONFIGS[name]
    flow = build("linf", config)
    state = published(flow)
    inferred, told, assumed = infer_config(state, {})
    # Sizes of other encoders than this one's keep their defaults.
    assert build("linf", inferred).state_dict().keys() == flow.state_dict().keys()
    for key, value in told.items():
        assert getattr(config, key) == value
    assert assumed["grid"] == "corrected"
    assert assumed["scale_max"] == 30
    assert assumed["window"] == config.window
    assert ("res_scale" in assumed) == (config.encoder == "edsr")
    tensors, own = remap(state, inferred), flow.state_dict()
    assert set(tensors) == set(own)
    assert all(torch.equal(tensor, own[key]) for key, tensor in tensors.items())


def test_assumptions_are_taken_and_checked() -> None:
    edsr, swinir = (published(build("linf", CONFIGS[n])) for n in ("edsr", "swinir"))
    config, _, assumed = infer_config(
        edsr, {"res_scale": 0.1, "grid": "published", "scale_max": 4, "window": 0}
    )
    assert (config.res_scale, config.grid, config.scale_max) == (0.1, "published", 4)
    assert assumed["res_scale"] == 0.1
    assert infer_config(swinir, {"window": 0})[0].window == 0
    for state, assume, message in (
        (edsr, {"window": 8}, "it is 0"),
        (swinir, {"window": 8}, "it is 0 or 4"),
        (swinir, {"res_scale": 1}, "does not have"),
        (edsr, {"grid": "shifted"}, "'corrected' or 'published'"),
        (edsr, {"scale_max": "large"}, "give a number"),
    ):
        with pytest.raises(OptionError, match=message):
            infer_config(state, assume)


def test_damaged_states_are_refused() -> None:
    state = published(build("linf", TINY))
    with pytest.raises(CheckpointError, match="encoder that is not known"):
        infer_config({"imnet.last._weight": torch.zeros(3, 3)}, {})
    without = {k: v for k, v in state.items() if k != "coef.weight"}
    with pytest.raises(CheckpointError, match=r"incomplete.*again"):
        infer_config(without, {})
    for extra in ("extra.weight", "imnet.extra", "phase.bias"):
        with pytest.raises(CheckpointError, match="no published network has"):
            remap({**state, extra: torch.zeros(1)}, TINY)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.5},
        {"scale": 40.0},
        {"patch": 2},
        {"hidden": 7},
        {"blocks": 0},
        {"window": 8},
        {"scale_max": 0.0},
        {"depths": (2,), "heads": (7,)},
        {"depths": (2, 2), "heads": (2,)},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match="LINF"):
        replace(TINY, **change)


# --- the two grids ----------------------------------------------------------------


def _pair(config: LINFConfig) -> tuple[LINF, LINF]:
    """The same weights on the corrected and on the published grid."""
    torch.manual_seed(0)
    corrected = LINF(replace(config, grid="corrected")).double().eval()
    other = LINF(replace(config, grid="published")).double().eval()
    other.load_state_dict(corrected.state_dict())
    return corrected, other


@pytest.mark.parametrize(
    ("size", "rows"), [((4, 5), ((14, 17), (14, 17))), ((3, 6), ((9, 18), (10, 19)))]
)
@torch.no_grad()
def test_sizes_of_the_grids_of_patches(size: tuple, rows: tuple) -> None:
    """Published: a full patch more where the side divides; corrected: none."""
    corrected, other = _pair(CONFIGS["rrdb, 3x3"])
    scale = 10.0 if size == (4, 5) else 9.0
    (_, h, w), (_, hp, wp) = (
        flow.latent_spec(size, scale).shapes[0] for flow in (corrected, other)
    )
    assert ((h, w), (hp, wp)) == rows
    assert (h, w) == tuple(-(-round(s * scale) // 3) for s in size)


@pytest.mark.parametrize("size", [(4, 4), (5, 6), (6, 5)])
@torch.no_grad()
def test_the_published_grid_queries_its_padding_at_the_centre(size: tuple) -> None:
    """At H mod 3 = 1 a real row comes from there, and only that row differs."""
    corrected, other = _pair(CONFIGS["rrdb, 3x3"])
    lr = torch.rand(1, 3, *size, dtype=torch.float64)
    conds = [flow.condition(lr) for flow in (corrected, other)]
    spec = other.latent_spec(size, 4.0)
    noise = torch.randn(1, *spec.shapes[0], dtype=torch.float64)
    published_hr = other.decode(other.make_latents([noise], conds[1], 4.0), conds[1])
    _, rows, columns = corrected.latent_spec(size, 4.0).shapes[0]
    cut = [noise[..., :rows, :columns]]
    latents = corrected.make_latents(cut, conds[0], 4.0)
    corrected_hr = corrected.decode(latents, conds[0])
    differs = (published_hr - corrected_hr).abs().amax((0, 1)) > 1e-9
    height, width = (4 * side for side in size)
    expected = torch.zeros(height, width, dtype=torch.bool)
    if height % 3 == 1:
        expected[-1] = True
    if width % 3 == 1:
        expected[:, -1] = True
    assert torch.equal(differs, expected)


@pytest.mark.parametrize("size", [(5, 6), (6, 5), (3, 3)])
@torch.no_grad()
def test_densities_count_real_patches_only(size: tuple) -> None:
    corrected, other = _pair(CONFIGS["edsr, 3x3"])
    lr = torch.rand(1, 3, *size, dtype=torch.float64)
    scale = 3.0  # 15 and 18 rows: the published grid has a row and a column more
    conds = [flow.condition(lr) for flow in (corrected, other)]
    hr = corrected.sample(conds[0], scale=scale)
    values = [f.log_prob(hr, c) for f, c in zip((corrected, other), conds, strict=True)]
    assert torch.allclose(*values, rtol=1e-12)
    each = corrected.patch_log_prob(hr, conds[0])
    expected = each.sum() + hr.numel() * torch.log(torch.tensor(2.0)).double()
    assert float(values[0]) == pytest.approx(float(expected), rel=1e-6)
    more = other.patch_log_prob(hr, conds[1])
    assert more.shape[-1] == each.shape[-1] + 1
    assert torch.allclose(more[:, :-1, :-1], each)


@torch.no_grad()
def test_swinir_grids_agree_on_real_pixels() -> None:
    corrected, other = _pair(CONFIGS["swinir"])
    lr = torch.rand(1, 3, 5, 8, dtype=torch.float64)
    a, b = corrected.condition(lr), other.condition(lr)
    assert corrected.latent_spec((5, 8), 3.0).shapes == ((3, 15, 24),)
    assert other.latent_spec((5, 8), 3.0).shapes == ((3, 24, 36),)
    noise = torch.randn(1, 3, 24, 36, dtype=torch.float64)
    whole = other.decode(other.make_latents([noise], b, 3.0), b)
    cut = corrected.make_latents([noise[..., :15, :24]], a, 3.0)
    assert torch.allclose(corrected.decode(cut, a), whole, atol=1e-10)
    assert torch.allclose(corrected.log_prob(whole, a), other.log_prob(whole, b))


def test_the_published_grid_takes_no_crops() -> None:
    corrected, other = _pair(CONFIGS["rrdb, 3x3"])
    assert other.needs_whole
    assert not corrected.needs_whole
    assert not _pair(CONFIGS["edsr"])[1].needs_whole
    place = Place(Window(0, 0, 2, 2), (4, 4))
    with pytest.raises(OptionError, match="whole image at once"):
        other.window_spec(place)


# --- positions ------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 11, 48, 101])
def test_neighbours_are_those_of_nearest_sampling(size: int) -> None:
    for scale in (1, 1.7, 2, 3, 3.3, 5, 7.5):
        count = round(size * scale)
        coordinates = centres(torch.arange(count), 1 / count)
        axis = neighbours(coordinates, size)
        pixels = torch.arange(size).float().view(1, 1, size, 1)
        for k, direction in enumerate((-1, 1)):
            point = (coordinates + direction / size + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
            at = torch.stack((torch.zeros(count), point), -1)[None, :, None]
            nearest = F.grid_sample(
                pixels, at, mode="nearest", align_corners=False, padding_mode="border"
            )
            assert torch.equal(axis.index[k].float(), nearest.flatten())
        assert float(axis.offset.abs().max()) < 2.1


def test_bilinear_positions() -> None:
    x = torch.rand(1, 1, 7, 1, dtype=torch.float64)
    for count in (7, 12, 23):
        before, after, share = bilinear(torch.arange(count), 7 / count, 7)
        got = torch.lerp(x[0, 0, before, 0], x[0, 0, after, 0], share)
        expected = F.interpolate(x, (count, 1), mode="bilinear", align_corners=False)
        assert torch.allclose(got, expected.flatten())


def test_mirrored_indices() -> None:
    assert mirrored(3, 7).tolist() == [0, 1, 2, 2, 1, 0, 0]
    assert mirrored(1, 3).tolist() == [0, 0, 0]


@torch.no_grad()
def test_a_flat_residual_keeps_the_interpolation() -> None:
    """With latents that give no residual, the result is the enlarged LR image."""
    flow = build("linf", TINY).double()
    for parameter in (*flow.implicit.parameters(), *flow.flow.parameters()):
        if parameter.ndim == 1 or parameter.shape[0] > 3:
            parameter.zero_()
    lr = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    hr = flow.sample(flow.condition(lr), scale=3.3, temperature=0.0)
    expected = F.interpolate(lr, (round(16.5), 20), mode="bilinear")
    assert torch.allclose(hr, expected)


# --- encoders -------------------------------------------------------------------


def test_halo_is_exact_where_that_is_possible() -> None:
    small = build("linf", TINY)
    assert small.halo == small.receptive_field
    with torch.device("meta"):
        encoder = RRDB(3, 8, 23, 4)
        attention = SwinIR(3)
    assert encoder.reach > LINF.exact_halo_up_to
    assert attention.reach > LINF.exact_halo_up_to
    large = build("linf", replace(TINY, encoder="rrdb", growth=1, blocks=23))
    assert large.halo == LINF.practical_halo < large.receptive_field


def test_attention_pads_or_asks_for_whole_windows() -> None:
    padded = build("linf", CONFIGS["swinir"])
    bare = build("linf", replace(CONFIGS["swinir"], window=0))
    assert (padded.multiple_of, bare.multiple_of) == (1, 4)
    assert padded.alignment == bare.alignment == 4
    # Always some, even where the side is a multiple already.
    assert padded.features(torch.rand(1, 3, 4, 5)).shape[-2:] == (8, 8)
    assert bare.features(torch.rand(1, 3, 4, 8)).shape[-2:] == (4, 8)


@torch.no_grad()
def test_shifted_windows_do_not_join_the_ends_of_the_image() -> None:
    """A cyclic shift brings them together; the mask has to keep them apart."""
    torch.manual_seed(0)
    # One layer of a plain and a shifted block reaches 4 + 2 windows' sides at most.
    net = SwinIR(1, 2, 4, (2,), (1,), 4).double()
    x = torch.rand(1, 1, 4, 64, dtype=torch.float64)
    changed = x.clone()
    changed[..., 0] += 1.0
    difference = (net(changed) - net(x)).abs().amax((0, 1, 2))
    assert float(difference[0]) > 1e-6
    assert float(difference[net.reach + 1 :].max()) < 1e-12


# --- full size ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("EDSR-baseline-LINF", {"encoder": "edsr", "blocks": 16, "patch": 1}),
        ("EDSR-baseline-LINF-3x3", {"encoder": "edsr", "blocks": 16, "patch": 3}),
        (
            "RDN-LINF",
            {"encoder": "rdn", "blocks": 16, "convolutions": 8, "growth": 64},
        ),
        (
            "RRDB-LINF-3x3",
            {"encoder": "rrdb", "blocks": 23, "growth": 32, "patch": 3},
        ),
        (
            "SwinIR-LINF",
            {
                "encoder": "swinir",
                "embed": 180,
                "depths": (6,) * 6,
                "heads": (6,) * 6,
                "window_size": 8,
                "window": 8,
                "mlp_ratio": 2.0,
            },
        ),
    ],
)
def test_full_size_files_load_strictly(
    network: str, expected: dict, reference: Path, tmp_path: Path
) -> None:
    """The published key lists, with constants, wrapped as the training wrote them."""
    about = json.loads(
        (reference / "reference" / "golden" / network / "full_keys.json").read_text()
    )
    state = {
        name: torch.full(shape, 1e-3).to(getattr(torch, dtype))
        for name, shape, dtype in about["keys"]
    }
    assert len(state) == about["n_keys"]
    path = tmp_path / f"{network}.pth"
    wrapped = {"model": {**about["spec"], "sd": state}, "optimizer": {}, "epoch": 1}
    torch.save(wrapped, path)
    official = read_official(path)
    with torch.device("meta"):
        flow = _without_initialisation(official.config)
    missing = flow.load_state_dict(dict(official.tensors), strict=True, assign=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    config = official.config
    shared = {"channels": 3, "width": 64, "hidden": 256, "mlp_layers": 3}
    for key, value in {**shared, "flow_layers": 10, **expected}.items():
        assert getattr(config, key) == value
    assert official.card.scale_range == (1.0, 32.0)
    assert official.card.scales[0] == 4.0
    assert official.card.family == "linf"


def _without_initialisation(config: LINFConfig) -> LINF:
    """The network on the meta device, where nothing is drawn or stored."""
    from unittest import mock

    empty = "napari_flowsr.core.local_flow.random_rotation"
    with mock.patch(empty, lambda size: torch.empty(size, size)):
        return LINF(config)
