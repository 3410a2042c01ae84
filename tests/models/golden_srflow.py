"""Recorded numbers of the published SRFlow program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from golden_numbers import Case, Numbers, Output
from torch import Tensor

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents
from napari_flowsr.models.srflow import SRFlow
from napari_flowsr.models.srflow_published import infer_config, remap

_LN2 = float(np.log(2.0))


def seeded_latents(
    flow: ConditionalFlow, cond: object, heat: float, seed: int
) -> Latents:
    """Latents as the published sampling draws them: coarsest first, one generator."""
    generator = torch.Generator().manual_seed(seed)
    shapes = flow.latent_spec(cond.lr_size).shapes
    drawn = [
        heat * torch.randn(1, *shape, generator=generator) for shape in shapes[::-1]
    ]
    return flow.make_latents(drawn[::-1], cond)


def _splits_log_prob(latents: Latents) -> Tensor:
    """Density of the split-off latents, which the published logdet contains."""
    whole = latents.log_prob()
    last = latents.levels[-1]
    normal = torch.distributions.Normal(0.0, 1.0)
    return whole - normal.log_prob(last).flatten(1).sum(1)


def _encoded(case: Case, flow: ConditionalFlow, prefix: str) -> Iterator[Output]:
    cond = flow.condition(case.image("lr_u8"))
    hr = case.image("hr_u8")
    area = hr.shape[-2] * hr.shape[-1]
    start = 0.0
    if prefix == "encn":
        quant = case.facts["quant"]
        hr = hr + (case.uniform("noise_u") - 0.5) / quant
        start = -np.log(quant) * area
    encoded = flow.encode(hr, cond)
    for i, level in enumerate(encoded.latents.levels):
        yield f"{prefix}_eps_{i}", level
    yield f"{prefix}_eps_last", encoded.latents.levels[-1][:1]
    yield (
        f"{prefix}_logdet",
        start + encoded.logdet + _splits_log_prob(encoded.latents),
    )
    log_prob = start + flow.log_prob(hr, cond)
    yield f"{prefix}_nll", -log_prob / (_LN2 * area)


def _decoded(case: Case, flow: ConditionalFlow) -> Iterator[Output]:
    cond = flow.condition(case.image("lr_u8"))
    shapes = flow.latent_spec(cond.lr_size).shapes
    names = [f"u_eps_{i}" for i in range(len(shapes))]
    for heat in case.info["heats"]:
        if names[0] in case.arrays:
            levels = [case.tensor(name) for name in names]
        elif heat == 0:
            batch = case.arrays["lr_u8"].shape[0]
            levels = [torch.zeros(batch, *shape) for shape in shapes]
        else:
            continue
        latents = flow.make_latents(levels, cond).tempered(heat)
        hr, logdet = flow.inverse(latents, cond)
        yield f"dec_t{heat:g}", hr
        yield f"dec_logdet_t{heat:g}", logdet - _splits_log_prob(latents)
    for heat, seed in case.info["seeded"] or ():
        latents = seeded_latents(flow, cond, heat, seed)
        yield f"seeded_h{heat:g}_s{seed}", flow.decode(latents, cond)


def _features(case: Case, flow: ConditionalFlow) -> Iterator[Output]:
    lr = case.image("lr_u8")
    doublings = flow.encoder.doublings
    sizes = range(-1, doublings + 1)
    maps = flow.encoder.maps(lr, sizes, flow.config.stacked_blocks)
    for size, features in zip(sizes, maps, strict=True):
        name = f"fea_up{2**size if size >= 0 else 0}"
        yield name, features
        yield f"{name}_crop", features[..., :8, :8]
    yield "rrdb_out", flow.predict(lr)


def _pipeline(case: Case, flow: ConditionalFlow) -> Iterator[Output]:
    """Any LR size: reflect to even sides, decode, clamp, truncate to 8 bits, crop."""
    lr = case.arrays["pipe_lr_u8"]
    height, width = lr.shape[:2]
    padded = np.pad(lr, ((0, height % 2), (0, width % 2), (0, 0)), mode="reflect")
    yield "pipe_lr_padded_u8", torch.from_numpy(padded)
    tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    cond = flow.condition(tensor)
    count = len(flow.latent_spec(cond.lr_size).shapes)
    levels = [case.tensor(f"pipe_u_eps_{i}") for i in range(count)]
    latents = flow.make_latents(levels, cond).tempered(case.info["pipe_heat"])
    hr = flow.decode(latents, cond)
    yield "pipe_sr", hr
    scale = flow.config.scale
    cropped = hr[0, :, : height * scale, : width * scale].permute(1, 2, 0)
    yield "pipe_sr_u8", (cropped.clamp(0, 1) * 255).to(torch.uint8)


class SRFlowNumbers(Numbers):
    """Encoding with and without noise, decoding, features, the odd-sized pipeline."""

    cases = {
        "srflow_tiny_x4": ("square_b1", "rect_b2"),
        "srflow_tiny_x8": ("square_b1", "rect_b2"),
    }
    expected = {
        "srflow_tiny_x4": {
            "enc_eps_0", "enc_eps_1", "enc_logdet", "enc_nll", "encn_eps_0",
            "encn_eps_1", "encn_logdet", "encn_nll", "dec_t0", "dec_t0.5", "dec_t0.9",
            "dec_t1", "dec_logdet_t0", "dec_logdet_t0.5", "dec_logdet_t0.9",
            "dec_logdet_t1", "seeded_h0.8_s7", "seeded_h0_s7", "fea_up0", "fea_up1",
            "fea_up2_crop", "fea_up4_crop", "rrdb_out", "pipe_lr_padded_u8", "pipe_sr",
            "pipe_sr_u8",
        },
        "srflow_tiny_x8": {
            "enc_eps_0", "enc_eps_1", "enc_eps_2", "enc_logdet", "enc_nll", "dec_t0",
            "dec_logdet_t0", "seeded_h0.8_s9", "fea_up0", "fea_up1", "fea_up2_crop",
            "fea_up4_crop", "fea_up8_crop", "rrdb_out",
        },
    }  # fmt: skip

    def is_input(self, array: str) -> bool:
        return array == "pipe_lr_u8" or super().is_input(array)

    def facts(self, config: dict) -> dict[str, Any]:
        return {"blocks": config["stackRRDB_blocks"], "quant": config["quant"]}

    def build(self, case: Case) -> ConditionalFlow:
        assume = {
            "stacked_blocks": case.facts["blocks"],
            "quant": case.facts["quant"],
        }
        config, _, _ = infer_config(case.state, assume)
        flow = SRFlow(config).eval()
        flow.load_state_dict(remap(case.state, config))
        return flow

    def outputs(self, case: Case, network: ConditionalFlow) -> Iterator[Output]:
        if "hr_u8" in case.arrays:
            yield from _encoded(case, network, "enc")
            yield from _decoded(case, network)
            yield from _features(case, network)
        if "noise_u" in case.arrays:
            yield from _encoded(case, network, "encn")
        if "pipe_lr_u8" in case.arrays:
            yield from _pipeline(case, network)

    def wrong(self, case: Case) -> Case:
        """One stacked block replaced by another."""
        other = [*case.facts["blocks"][:-1], 0]
        if other == case.facts["blocks"]:
            other[-1] = 1
        return replace(case, facts={**case.facts, "blocks": other})

    # --- only for making small files

    def is_kept(self, network: str, case: str, array: str) -> bool:
        lean = network != "srflow_tiny_x4"  # one has the noisy and the odd-sized run
        if array.startswith("pipe_") or case == "rect_b2":
            return array.startswith("pipe_") and case == "rect_b2" and not lean
        if lean and (array.startswith(("encn_", "noise_")) or "u_eps" in array):
            return False
        if lean and array.startswith("dec_") and not array.endswith("_t0"):
            return False
        return super().is_kept(network, case, array)

    def info_kept(self) -> tuple[str, ...]:
        return ("heats", "pipe_heat", "seeded")

    def bits(self, name: str, tensor: Tensor) -> int:
        """Fewer for the large tensors, which matter less."""
        if name.startswith("flowUpsamplerNet.f."):
            return 0
        if name.startswith("RRDB."):
            return 20
        if tensor.numel() < 3000:
            return 21
        return 16 if ".4.weight" in name else 19
