"""Recorded numbers of the published HCFlow programs, both networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from golden_numbers import Case, Numbers, Output
from torch import Tensor, nn

from napari_flowsr.core.latents import Latents
from napari_flowsr.models import hcflow_published, hcflow_rescale_published
from napari_flowsr.models.hcflow import HCFlow
from napari_flowsr.models.hcflow_rescale import HCFlowRescale

Flow = HCFlow | HCFlowRescale


def _given(case: Case, flow: Flow, cond: Any, heat: float) -> Latents | None:
    """The recorded unit normals times a temperature, if they are there."""
    shapes = flow.latent_spec(cond.lr_size).shapes
    names = [f"u_eps_{i}" for i in range(len(shapes))]
    if names[0] in case.arrays:
        levels = [case.tensor(name) for name in names]
    elif heat == 0:
        levels = [torch.zeros(cond.lr.shape[0], *shape) for shape in shapes]
    else:
        return None
    return flow.make_latents(levels, cond).tempered(heat)


def _seeded(flow: Flow, cond: Any, heat: float, seed: int) -> Latents:
    """Latents as the published sampling draws them: coarsest first, one generator."""
    generator = torch.Generator().manual_seed(seed)
    shapes = flow.latent_spec(cond.lr_size).shapes
    drawn = [
        heat * torch.randn(1, *shape, generator=generator) for shape in shapes[::-1]
    ]
    return flow.make_latents(drawn[::-1], cond)


def _8_bit(lr: Tensor) -> Tensor:
    return (lr.clamp(0, 1) * 255).round() / 255


def _row(x: Tensor) -> Tensor:
    return torch.stack([x.mean(), x.std(), x.min(), x.max()])


def _trace_of_encoding(flow: Flow, hr: Tensor) -> Tensor:
    """Statistics after each entry of the published flat list: squeeze, steps, split."""
    rows, x = [], hr
    for level in flow.flow.levels:
        for layer in (level.squeeze, *level.steps.transforms):
            x, _ = layer(x)
            rows.append(_row(x))
        x = x[:, : level.kept]
        rows.append(_row(x))
    return torch.stack(rows)


def _trace_of_decoding(flow: Flow, latents: Latents, cond: Any) -> Tensor:
    """The same while decoding; a split then puts image and detail together."""
    rows, x = [], cond.lr
    coarser: list[Tensor] = []
    for level, z in zip(
        reversed(flow.flow.levels), reversed(latents.levels), strict=True
    ):
        coarser = [level.encoder(x, coarser), *coarser]
        detail, _ = level.conditional.inverse(z, coarser[0])
        x = torch.cat((x, detail), 1)
        rows.append(_row(x))
        for layer in (*reversed(level.steps.transforms), level.squeeze):
            x, _ = layer.inverse(x)
            rows.append(_row(x))
    return torch.stack(rows[::-1])


class HCFlowNumbers(Numbers):
    """Encoding (LR image, latents, priors, likelihood), decoding, features."""

    cases = {
        "hcflow_sr_tiny_x4": ("square_b1", "rect_b2_odd"),
        "hcflow_sr_tiny_x8": ("square_b1", "rect_b2_odd"),
    }
    expected = {
        "hcflow_sr_tiny_x4": {
            "lr_raw", "lr_q", "nll", "nll_per_image", "logdet", "mean_0", "mean_1",
            "logs_0", "logs_1", "eps_0", "eps_1", "dec_t0", "dec_t0.5", "dec_t0.9",
            "dec_t1", "seeded_h0.9_s7", "condfeat_last",
            "condfeat_0_crop",
        },
    }  # fmt: skip

    def is_input(self, array: str) -> bool:
        return not array.startswith("trace_") and super().is_input(array)

    def facts(self, config: dict) -> dict[str, Any]:
        return {"quant": config["quant"]}

    def build(self, case: Case) -> HCFlow:
        config, _, _ = hcflow_published.infer_config(case.state, case.facts)
        flow = HCFlow(config).eval()
        flow.load_state_dict(hcflow_published.remap(case.state, config))
        return flow

    def tolerance(self, case: Case, array: str) -> float:
        """A rounded LR value at a boundary may flip by one step."""
        step = 1.001 / 255
        return step if array == "lr_q" else super().tolerance(case, array)

    def outputs(self, case: Case, network: HCFlow) -> Iterator[Output]:
        if "noise_u" in case.arrays:
            yield from _encoded(case, network)
        yield from _decoded(case, network)

    # --- only for making small files

    def is_kept(self, network: str, case: str, array: str) -> bool:
        if case == "rect_b2_odd":  # any size, at the least cost
            return array in ("lr_u8", "dec_t0")
        return super().is_kept(network, case, array)

    def info_kept(self) -> tuple[str, ...]:
        return ("heats", "seeded", "trace_dec_heat")

    def bits(self, name: str, tensor: Tensor) -> int:
        return _bits(name, tensor)


def _bits(name: str, tensor: Tensor) -> int:
    """Fewer for the convolutions inside residual branches, which matter less."""
    if ".RDB" in name:
        return 16
    return 20 if tensor.numel() < 3000 else 19


def _encoded(case: Case, flow: HCFlow) -> Iterator[Output]:
    quant = case.facts["quant"]
    hr = case.image("hr_u8") + case.uniform("noise_u") / quant
    seen: list[tuple[Tensor, Tensor]] = []

    def note(head: nn.Module, given: tuple, _: object) -> None:
        seen.append(head.mean_logs(given[1]))

    heads = [level.conditional.transforms[-1] for level in flow.flow.levels]
    handles = [head.register_forward_hook(note) for head in heads]
    cond = flow.condition(case.image("lr_u8"))
    encoded = flow.encode(hr, cond)
    for handle in handles:
        handle.remove()
    yield "lr_raw", encoded.lr
    yield "lr_q", _8_bit(encoded.lr)
    for i, (mean, logs) in enumerate(reversed(seen)):
        yield f"mean_{i}", mean
        yield f"logs_{i}", logs
    for i, level in enumerate(encoded.latents.levels):
        yield f"eps_{i}", level
    area = hr.shape[-2] * hr.shape[-1]
    start = -math.log(quant) * area
    # Without the LR term, which is so large that subtracting it would lose digits.
    _, _, logdet = flow.flow(hr)
    yield "logdet", start + encoded.latents.log_prob() + logdet
    total = start + encoded.latents.log_prob() + encoded.logdet
    nll = -total / (math.log(2) * area)
    yield "nll_per_image", nll
    yield "nll", nll.mean()
    yield "trace_enc", _trace_of_encoding(flow, hr)


def _decoded(case: Case, flow: HCFlow) -> Iterator[Output]:
    cond = flow.condition(case.image("lr_u8"))
    yield "condfeat_last", cond.features[0]
    for heat in case.info["heats"]:
        if (latents := _given(case, flow, cond, heat)) is not None:
            yield f"dec_t{heat:g}", flow.decode(latents, cond)
    for heat, seed in case.info["seeded"] or ():
        latents = _seeded(flow, cond, heat, seed)
        yield f"seeded_h{heat:g}_s{seed}", flow.decode(latents, cond).clamp(0, 1)
    if "u_eps_0" not in case.arrays:
        return
    latents = _given(case, flow, cond, case.info["trace_dec_heat"])
    yield "trace_dec", _trace_of_decoding(flow, latents, cond)
    # Features of finer levels, which depend on the latents: those at temperature 1.
    found: list[Tensor] = []
    finer = [level.encoder for level in flow.flow.levels][:-1]
    handles = [
        encoder.register_forward_hook(lambda *got: found.append(got[2]))
        for encoder in finer
    ]
    flow.decode(_given(case, flow, cond, 1.0), cond)
    for handle in handles:
        handle.remove()
    for i, features in enumerate(reversed(found)):
        yield f"condfeat_{i}_crop", features[..., :8, :8]


class HCFlowRescaleNumbers(Numbers):
    """Downscaling, raw, clamped and rounded; upscaling at several temperatures."""

    cases = {"hcflow_rescaling_tiny_x4": ("square_b1", "rect_b2_odd")}
    expected = {
        "hcflow_rescaling_tiny_x4": {
            "down_raw", "down_lr", "down_lr_q", "down_z0", "down_z1", "up_t0",
            "seeded_h1_s11",
        },
    }  # fmt: skip

    def is_input(self, array: str) -> bool:
        given = array == "bicubic_lr_u8" or super().is_input(array)
        return given and not array.startswith("trace_")

    def is_whole(self, array: str) -> bool:
        """The rounded LR image is an output, and what is upscaled."""
        return array == "down_lr_q" or super().is_whole(array)

    def build(self, case: Case) -> HCFlowRescale:
        config, _, _ = hcflow_rescale_published.infer_config(case.state, {})
        flow = HCFlowRescale(config).eval()
        flow.load_state_dict(hcflow_rescale_published.remap(case.state, config))
        return flow

    def tolerance(self, case: Case, array: str) -> float:
        """A rounded LR value at a boundary may flip by one step."""
        step = 1.001 / 255
        return step if array == "down_lr_q" else super().tolerance(case, array)

    def outputs(self, case: Case, network: HCFlowRescale) -> Iterator[Output]:
        hr = case.image("hr_u8")
        raw, latents = network.downscale(hr)
        yield "down_raw", raw
        yield "down_lr", raw.clamp(0, 1)
        yield "down_lr_q", _8_bit(raw)
        for i, level in enumerate(latents.levels):
            yield f"down_z{i}", level
        yield "trace_enc", _trace_of_encoding(network, hr)
        cond = network.condition(case.tensor("down_lr_q"))
        for heat in case.info["heats"]:
            if (latents := _given(case, network, cond, heat)) is not None:
                yield f"up_t{heat:g}", network.upscale(cond.lr, latents)
        latents = _given(case, network, cond, case.info["trace_dec_heat"])
        if latents is not None:
            yield "trace_dec", _trace_of_decoding(network, latents, cond)
        for heat, seed in case.info["seeded"] or ():
            latents = _seeded(network, cond, heat, seed)
            hr = network.upscale(cond.lr, latents)
            yield f"seeded_h{heat:g}_s{seed}", hr.clamp(0, 1)

    # --- only for making small files

    def info_kept(self) -> tuple[str, ...]:
        return ("heats", "seeded", "trace_dec_heat")

    def is_kept(self, network: str, case: str, array: str) -> bool:
        return not array.startswith(("trace_", "bicubic_", "u_eps_"))

    def bits(self, name: str, tensor: Tensor) -> int:
        return _bits(name, tensor)
