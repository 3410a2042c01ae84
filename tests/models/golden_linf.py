"""Recorded numbers of the published LINF program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from golden_numbers import Case, Numbers, Output
from torch import Tensor

from napari_flowsr.models.linf import LINF
from napari_flowsr.models.linf_published import infer_config, remap

_DECODED = re.compile(r"(win_)?sr_s(?P<s>\d+(p\d+)?)_t(?P<t>[\d.]+)(?P<smax>_smax4)?")
_SEEDED = re.compile(r"seeded_s(?P<s>\d+)_t(?P<t>[\d.]+)_seed(?P<seed>\d+)")


def network(case: Case, **assume: object) -> LINF:
    """The network on the published grid, other assumptions as given."""
    assume = {"grid": "published", "window": case.info["window"], **assume}
    config, _, _ = infer_config(case.state, assume)
    flow = LINF(config).eval()
    flow.load_state_dict(remap(case.state, config))
    return flow


def _queries(flow: LINF, cond: object, scale: float, vectors: Tensor) -> Tensor:
    """Vectors ``(..., D)``, query by query, as ``(B, D, rows, columns)``."""
    size, rows, columns = flow.latent_spec(cond.lr_size, scale).shapes[0]
    return vectors.reshape(-1, rows, columns, size).permute(0, 3, 1, 2)


def _decoded(case: Case, flow: LINF) -> Iterator[Output]:
    lr = case.image("lr_u8")
    for name in case.arrays:
        if not (match := _DECODED.fullmatch(name)):
            continue
        used = network(case, scale_max=4) if match["smax"] else flow
        scale, tau = float(match["s"].replace("p", ".")), float(match["t"])
        cond = used.condition(lr)
        given = f"u_eps_s{match['s']}"
        if given in case.arrays:
            z = _queries(used, cond, scale, case.tensor(given))
        elif tau == 0:
            z = torch.zeros(len(lr), *used.latent_spec(cond.lr_size, scale).shapes[0])
        latents = used.make_latents([z], cond, scale).tempered(tau)
        yield name, used.decode(latents, cond)


def _seeded(case: Case, flow: LINF) -> Iterator[Output]:
    """One generator, query by query, all values of a query together."""
    cond = flow.condition(case.image("lr_u8"))
    for name in case.arrays:
        if not (match := _SEEDED.fullmatch(name)):
            continue
        scale = float(match["s"])
        size, rows, columns = flow.latent_spec(cond.lr_size, scale).shapes[0]
        generator = torch.Generator().manual_seed(int(match["seed"]))
        drawn = torch.randn(rows * columns, size, generator=generator)
        z = _queries(flow, cond, scale, drawn * float(match["t"]))
        yield name, flow.decode(flow.make_latents([z], cond, scale), cond)


class LINFNumbers(Numbers):
    """Decoding at many scales, densities of each patch, features, implicit network."""

    cases = {
        "linf_edsr_tiny_1x1": ("b1", "b2_odd"),
        "linf_rdn_tiny_1x1": ("b1",),
        "linf_rrdb_tiny_3x3": ("b1", "b2_odd"),
        "linf_swinir_tiny_1x1": ("b1_div4", "b1_window"),
    }
    expected = {
        "linf_edsr_tiny_1x1": {
            "sr_s1p7_t0", "sr_s2_t0", "sr_s3p3_t0", "sr_s3p3_t0.6", "sr_s4_t0",
            "sr_s6_t0", "seeded_s4_t0.8_seed5", "logp", "logp_z", "feat",
            "affine_s2_corner", "sr_s3_t0.5",
        },
        "linf_rdn_tiny_1x1": {
            "sr_s2_t0", "sr_s3p3_t0", "sr_s3p3_t0.6", "logp", "logp_z", "feat",
            "affine_s2_corner",
        },
        "linf_rrdb_tiny_3x3": {
            "sr_s1p7_t0", "sr_s2_t0", "sr_s3p3_t0", "sr_s3p3_t0.6", "sr_s4_t0",
            "sr_s6_t0", "seeded_s4_t0.8_seed5", "logp", "logp_z", "feat",
            "affine_s2_corner", "sr_s3_t0.5",
        },
        "linf_swinir_tiny_1x1": {
            "sr_s1p7_t0.7", "logp", "logp_z", "feat", "affine_s2_corner",
            "win_sr_s2_t0", "win_sr_s2_t0.7", "win_sr_s4_t0",
        },
    }  # fmt: skip

    def build(self, case: Case) -> LINF:
        return network(case)

    def outputs(self, case: Case, network: LINF) -> Iterator[Output]:
        yield from _decoded(case, network)
        yield from _seeded(case, network)
        lr = case.image("lr_u8")
        cond = network.condition(lr)
        if "hr_u8" in case.arrays and "logp" in case.arrays:
            hr = case.image("hr_u8")
            yield "logp", network.patch_log_prob(hr, cond)
            yield "logp_z", network.encode(hr, cond).latents.levels[0]
        if "feat" in case.arrays:
            yield "feat", network.features(lr)
            grid = network.grid(network.latent_spec(cond.lr_size, 2.0), cond)
            corner = (grid.y[:2], grid.x[:2], grid.cell)
            raw = network.implicit(*cond.features, *corner)
            yield "affine_s2_corner", raw.permute(0, 3, 1, 2)

    def wrong(self, case: Case) -> Case:
        """The pixel size of another scale: one per cent of the phases."""
        name = "phase.weight"
        return replace(case, state={**case.state, name: 1.01 * case.state[name]})

    # --- only for making small files

    def is_kept(self, network: str, case: str, array: str) -> bool:
        kept = {*self.expected[network], "lr_u8"}
        if case == "b2_odd":
            return array in ("sr_s3_t0.5", "u_eps_s3", "lr_u8")
        if case == "b1_window":
            return array in ("lr_u8", "u_eps_s2") or array in kept
        tempered = "u_eps_s1p7" if "swinir" in network else "u_eps_s3p3"
        return array in kept | {"hr_u8", tempered}

    def info_kept(self) -> tuple[str, ...]:
        return ("window",)

    def bits(self, name: str, tensor: Tensor) -> int:
        """Unused layers, and tables that follow from the image's size, are left out."""
        follows = name.endswith(("attn_mask", "relative_position_index"))
        unused = ("sub_mean", "add_mean", "upconv", "HRconv", "conv_last")
        if follows or any(part in name for part in unused):
            return 0
        return 22
