"""Recorded numbers of the published SRFlow code, and how far ours are from them.

`tests/golden/srflow_*.npz` are made by `shrink` from the full reference (about 4 MB, in
the folder that FLOWSR_REFERENCE names) so that they fit into the repository: every
STRIDE-th value of each output, and weights rounded to about 20 bits, which moves the
outputs by less than the tolerance. With the reference everything is compared, in full.

``python tests/models/srflow_golden.py`` prints the table of differences.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents
from napari_flowsr.models.srflow import SRFlow
from napari_flowsr.models.srflow_published import infer_config, remap

GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = ("srflow_tiny_x4", "srflow_tiny_x8")
CASES = ("square_b1", "rect_b2")
STRIDE = 31  # prime to every side and channel number, so that all phases are seen
_INPUTS = ("hr_u8", "lr_u8", "noise_u", "pipe_lr_u8")
_LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class Case:
    """Inputs, expected outputs and tolerances of one recorded run."""

    name: str
    info: dict
    state: dict[str, Tensor]
    blocks: list[int]
    quant: float
    arrays: dict[str, np.ndarray]
    stride: int

    def tolerance(self, name: str) -> float:
        about = self.info["arrays"][name]
        absmax = about.get("absmax", 1.0)
        return max(20 * about.get("fp_noise", 0.0), 2e-5 * absmax)

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name].astype(np.float32))

    def image(self, name: str) -> Tensor:
        array = self.arrays[name]
        array = array if array.ndim == 4 else array[None]
        return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255

    def flow(self) -> ConditionalFlow:
        config, _, _ = infer_config(
            self.state, {"stacked_blocks": self.blocks, "quant": self.quant}
        )
        flow = SRFlow(config).eval()
        flow.load_state_dict(remap(self.state, config))
        return flow


@dataclass(frozen=True)
class Row:
    """One compared array."""

    case: str
    array: str
    difference: float
    tolerance: float


# --- reading ------------------------------------------------------------------


def full_case(folder: Path, network: str, case: str) -> Case:
    """A case of the full reference."""
    here = folder / network
    config = json.loads((here / "config.json").read_text())
    with np.load(here / f"{case}.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Case(
        f"{network}/{case}",
        json.loads((here / f"{case}.json").read_text()),
        load_file(here / "weights.safetensors"),
        config["stackRRDB_blocks"],
        config["quant"],
        arrays,
        1,
    )


def small_cases(network: str) -> Iterator[Case]:
    """The cases that the repository holds."""
    with np.load(GOLDEN / f"{network}.npz") as stored:
        about = json.loads(bytes(stored["about"]).decode())
        planes = np.stack([stored[f"plane{i}"] for i in range(4)], 1)
        integers = np.ascontiguousarray(planes).view(np.uint32)[:, 0].astype(np.int64)
        values = np.where(integers % 2 == 0, integers // 2, -(integers // 2) - 1)
        state, start = {}, 0
        for name, shape, step in about["weights"]:
            count = int(np.prod(shape))
            tensor = values[start : start + count] * step
            state[name] = torch.from_numpy(tensor.astype(np.float32).reshape(shape))
            start += count
        for case, info in about["cases"].items():
            arrays = {name: stored[f"{case}.{name}"] for name in info["arrays"]}
            name = f"{network}/{case} (in the repository)"
            yield Case(
                name, info, state, about["blocks"], about["quant"], arrays, STRIDE
            )


# --- comparing ----------------------------------------------------------------


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


def _encoded(case: Case, flow: ConditionalFlow, prefix: str) -> Iterator[tuple]:
    cond = flow.condition(case.image("lr_u8"))
    hr = case.image("hr_u8")
    area = hr.shape[-2] * hr.shape[-1]
    start = 0.0
    if prefix == "encn":
        noise = torch.from_numpy(case.arrays["noise_u"].astype(np.float32)) / 65536
        hr = hr + (noise - 0.5) / case.quant
        start = -np.log(case.quant) * area
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


def _decoded(case: Case, flow: ConditionalFlow) -> Iterator[tuple]:
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


def _features(case: Case, flow: ConditionalFlow) -> Iterator[tuple]:
    lr = case.image("lr_u8")
    doublings = flow.encoder.doublings
    sizes = range(-1, doublings + 1)
    maps = flow.encoder.maps(lr, sizes, flow.config.stacked_blocks)
    for size, features in zip(sizes, maps, strict=True):
        name = f"fea_up{2**size if size >= 0 else 0}"
        yield name, features
        yield f"{name}_crop", features[..., :8, :8]
    yield "rrdb_out", flow.predict(lr)


def _pipeline(case: Case, flow: ConditionalFlow) -> Iterator[tuple]:
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


@torch.inference_mode()
def compare(case: Case) -> list[Row]:
    """Largest difference of every recorded output that ours has a counterpart of."""
    flow = case.flow()
    parts: list[Callable[[], Iterator[tuple]]] = []
    if "hr_u8" in case.arrays:
        parts.append(lambda: _encoded(case, flow, "enc"))
        parts.append(lambda: _decoded(case, flow))
        parts.append(lambda: _features(case, flow))
    if "noise_u" in case.arrays:
        parts.append(lambda: _encoded(case, flow, "encn"))
    if "pipe_lr_u8" in case.arrays:
        parts.append(lambda: _pipeline(case, flow))
    rows = []
    for part in parts:
        for name, got in part():
            if name not in case.arrays:
                continue
            flat = got.reshape(-1)[:: case.stride].numpy().astype(np.float64)
            expected = case.arrays[name].reshape(-1).astype(np.float64)
            # An 8-bit value at a rounding boundary may flip by one step.
            tolerance = 1.0 if name.endswith("_u8") else case.tolerance(name)
            difference = float(np.abs(flat - expected).max())
            rows.append(Row(case.name, name, difference, tolerance))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [
        f"{'array':20s} {'largest difference':>18s} {'tolerance':>10s} {'share':>6s}"
    ]
    last = ""
    for row in rows:
        if row.case != last:
            lines.append(row.case)
            last = row.case
        lines.append(
            f"  {row.array:18s} {row.difference:18.2e} {row.tolerance:10.1e} "
            f"{row.difference / row.tolerance:6.2f}"
        )
    return "\n".join(lines)


# --- making the small files -----------------------------------------------------


def _bits(name: str, tensor: Tensor) -> int:
    """Bits of the rounded weights: fewer for the large tensors that matter less."""
    if tensor.numel() < 3000 and not name.startswith("RRDB."):
        return 21
    if name.startswith("RRDB."):
        return 20
    return 16 if ".4.weight" in name else 19


def _rounded(state: dict[str, Tensor]) -> tuple[list, np.ndarray]:
    index, parts = [], []
    for name, tensor in state.items():
        array = tensor.double().numpy()
        step = max(float(np.abs(array).max()), 1e-30) / 2 ** (_bits(name, tensor) - 1)
        integers = np.rint(array / step).astype(np.int64).reshape(-1)
        parts.append(np.where(integers >= 0, 2 * integers, -2 * integers - 1))
        index.append([name, list(tensor.shape), step])
    return index, np.concatenate(parts).astype(np.uint32)


def shrink(folder: Path, network: str) -> None:
    """Write the small file of a network from the full reference."""
    lean = network != NETWORKS[0]  # one network has the noisy and the odd-sized run
    stored: dict[str, np.ndarray] = {}
    cases: dict[str, dict] = {}
    for name in CASES[:1] if lean else CASES:
        case = full_case(folder, network, name)
        kept = {}
        for array in case.arrays:
            pipe = array.startswith("pipe_")
            latents = "u_eps" in array
            if pipe != (name == "rect_b2") or array.startswith("trace_"):
                continue
            if lean and (array.startswith(("encn_", "noise_")) or latents):
                continue
            if lean and array.startswith("dec_") and not array.endswith("_t0"):
                continue
            values = case.arrays[array]
            inputs = array in _INPUTS or latents
            stored[f"{name}.{array}"] = (
                values if inputs else values.reshape(-1)[::STRIDE]
            )
            about = case.info["arrays"][array]
            kept[array] = {k: about[k] for k in ("absmax", "fp_noise") if k in about}
        cases[name] = {k: case.info[k] for k in ("heats", "pipe_heat", "seeded")}
        cases[name]["arrays"] = kept
    unused = "flowUpsamplerNet.f."
    state = {k: v for k, v in case.state.items() if not k.startswith(unused)}
    index, integers = _rounded(state)
    planes = integers.view(np.uint8).reshape(-1, 4)
    about = {
        "weights": index,
        "cases": cases,
        "blocks": case.blocks,
        "quant": case.quant,
    }
    stored["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    stored |= {f"plane{i}": planes[:, i].copy() for i in range(4)}
    np.savez_compressed(GOLDEN / f"{network}.npz", **stored)


def reference_folder() -> Path | None:
    """The ``golden`` folder of the reference, where there is one."""
    named = os.environ.get("FLOWSR_REFERENCE")
    for folder in (
        (Path(named, "reference", "golden"), Path(named, "golden")) if named else ()
    ):
        if folder.is_dir():
            return folder
    return None


if __name__ == "__main__":
    full = reference_folder()
    if sys.argv[1:] == ["shrink"] and full is not None:
        for network in NETWORKS:
            shrink(full, network)
    rows = [row for n in NETWORKS for case in small_cases(n) for row in compare(case)]
    if full is not None:
        rows += [
            row
            for n in NETWORKS
            for c in CASES
            for row in compare(full_case(full, n, c))
        ]
    sys.stdout.write(table(rows) + "\n")
