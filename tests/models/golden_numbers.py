"""Recorded numbers of the published programs, and how far ours are from them.

What all families share: reading a recorded case, comparing, and the small files
``tests/golden/<network>.npz``, made by `shrink` from the full reference (in the folder
that FLOWSR_REFERENCE names) so that they fit into the repository: every STRIDE-th value
of each output, and weights rounded to some 20 bits, which moves the outputs by less
than the tolerance. With the reference everything is compared, in full.

A family adds one module ``golden_<family>.py`` with a `Numbers` and names it in
``test_golden.py``. ``python tests/models/test_golden.py`` prints the table of
differences; with ``shrink NETWORK`` it makes the small file of a network first.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"
STRIDE = 31  # prime to every side and channel number, so that all phases are seen
Output = tuple[str, Tensor]


@dataclass(frozen=True)
class Case:
    """Inputs, expected outputs and tolerances of one recorded run."""

    network: str
    name: str
    info: dict
    """What the case's own JSON says: ``arrays``, ``heats``, ``seeded``, ..."""
    facts: dict
    """What `Numbers.facts` took from the network's configuration."""
    state: dict[str, Tensor]
    arrays: dict[str, np.ndarray]
    prior: dict[str, Tensor] = field(default_factory=dict)
    """Tensors of the learned prior, where the network has one."""
    stride: int = 1

    @property
    def title(self) -> str:
        small = " (in the repository)" if self.stride > 1 else ""
        return f"{self.network}/{self.name}{small}"

    def tolerance(self, name: str) -> float:
        """The tolerance that came with the recorded numbers."""
        about = self.info["arrays"][name]
        absmax = about.get("absmax", 1.0)
        return max(20 * about.get("fp_noise", 0.0), 2e-5 * absmax)

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name].astype(np.float32))

    def image(self, name: str) -> Tensor:
        """An 8-bit ``(B,) H W C`` array as ``(B, C, H, W)`` in [0, 1]."""
        array = self.arrays[name]
        array = array if array.ndim == 4 else array[None]
        return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255

    def uniform(self, name: str) -> Tensor:
        """Uniform noise in [0, 1), which is stored as 16-bit integers."""
        return torch.from_numpy(self.arrays[name].astype(np.float32)) / 65536


@dataclass(frozen=True)
class Row:
    """One compared array."""

    case: str
    array: str
    difference: float
    tolerance: float


class Numbers(ABC):
    """How the recorded numbers of one family are compared."""

    cases: ClassVar[Mapping[str, tuple[str, ...]]]
    """The cases of each network."""
    expected: ClassVar[Mapping[str, set[str]]]
    """Arrays that the small file of each network must have compared, no less."""

    def is_input(self, array: str) -> bool:
        """Whether an array is something given, or has no counterpart of ours."""
        inputs = ("hr_u8", "lr_u8", "noise_u", "trace_")
        return array.startswith(inputs) or "u_eps" in array

    def is_whole(self, array: str) -> bool:
        """Whether the small file holds all of an array: every input, for a start."""
        return self.is_input(array)

    def facts(self, config: dict) -> dict[str, Any]:
        """What of ``config.json`` is needed besides the tensors; JSON-able."""
        return {}

    @abstractmethod
    def build(self, case: Case) -> Any:
        """The network, from the case's tensors, in eval mode."""

    @abstractmethod
    def outputs(self, case: Case, network: Any) -> Iterator[Output]:
        """Our counterparts of the recorded arrays; those not recorded are skipped."""

    def tolerance(self, case: Case, array: str) -> float:
        """An 8-bit value at a rounding boundary may flip by one step."""
        return 1.0 if array.endswith("_u8") else case.tolerance(array)

    def wrong(self, case: Case) -> Case:
        """The same with a mistake that must be noticed: by default one weight."""
        name = max(case.state, key=lambda key: case.state[key].numel())
        return replace(case, state={**case.state, name: 1.01 * case.state[name]})

    # --- only for making small files

    def is_kept(self, network: str, case: str, array: str) -> bool:
        """Whether the small file holds this array."""
        return not array.startswith("trace_")

    def info_kept(self) -> tuple[str, ...]:
        """Which entries of the case's JSON the small file holds."""
        return ("heats", "seeded")

    def bits(self, name: str, tensor: Tensor) -> int:
        """Bits of a rounded weight; 0 leaves the tensor out."""
        return 20


# --- reading ------------------------------------------------------------------


def full_case(numbers: Numbers, folder: Path, network: str, case: str) -> Case:
    """A case of the full reference."""
    here = folder / network
    with np.load(here / f"{case}.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    prior = here / "prior.safetensors"
    return Case(
        network,
        case,
        json.loads((here / f"{case}.json").read_text()),
        numbers.facts(json.loads((here / "config.json").read_text())),
        load_file(here / "weights.safetensors"),
        arrays,
        load_file(prior) if prior.exists() else {},
    )


def _unpacked(stored: Mapping[str, np.ndarray], index: list) -> dict[str, Tensor]:
    planes = np.stack([stored[f"plane{i}"] for i in range(4)], 1)
    integers = np.ascontiguousarray(planes).view(np.uint32)[:, 0].astype(np.int64)
    values = np.where(integers % 2 == 0, integers // 2, -(integers // 2) - 1)
    state, start = {}, 0
    for name, shape, step in index:
        count = int(np.prod(shape))
        tensor = values[start : start + count] * step
        state[name] = torch.from_numpy(tensor.astype(np.float32).reshape(shape))
        start += count
    return state


def small_cases(network: str) -> Iterator[Case]:
    """The cases that the repository holds."""
    with np.load(GOLDEN / f"{network}.npz") as stored:
        about = json.loads(bytes(stored["about"]).decode())
        tensors = _unpacked(stored, about.pop("weights"))
        infos = about.pop("cases")
        prior = {
            name.removeprefix("prior:"): tensor
            for name, tensor in tensors.items()
            if name.startswith("prior:")
        }
        state = {k: v for k, v in tensors.items() if not k.startswith("prior:")}
        for case, info in infos.items():
            arrays = {name: stored[f"{case}.{name}"] for name in info["arrays"]}
            yield Case(network, case, info, about, state, arrays, prior, STRIDE)


def reference_folder() -> Path | None:
    """The ``golden`` folder of the reference, where there is one."""
    named = os.environ.get("FLOWSR_REFERENCE")
    for folder in (
        (Path(named, "reference", "golden"), Path(named, "golden")) if named else ()
    ):
        if folder.is_dir():
            return folder
    return None


# --- comparing ----------------------------------------------------------------


@torch.inference_mode()
def compare(numbers: Numbers, case: Case) -> list[Row]:
    """Largest difference of every recorded output that ours has a counterpart of."""
    rows = []
    for name, got in numbers.outputs(case, numbers.build(case)):
        if name not in case.arrays:
            continue
        stride = 1 if numbers.is_whole(name) else case.stride
        flat = got.reshape(-1)[::stride].numpy().astype(np.float64)
        expected = case.arrays[name].reshape(-1).astype(np.float64)
        difference = float(np.abs(flat - expected).max())
        rows.append(Row(case.title, name, difference, numbers.tolerance(case, name)))
    return rows


def table(rows: Iterable[Row]) -> str:
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


def _rounded(numbers: Numbers, state: Mapping[str, Tensor]) -> tuple[list, np.ndarray]:
    index, parts = [], []
    for name, tensor in state.items():
        bits = numbers.bits(name, tensor)
        if not bits:
            continue
        array = tensor.double().numpy()
        largest = max(float(np.abs(array).max()), 1e-30)
        # Integers (flags, counters) are stored as they are.
        step = largest / 2 ** (bits - 1) if tensor.is_floating_point() else 1.0
        integers = np.rint(array / step).astype(np.int64).reshape(-1)
        parts.append(np.where(integers >= 0, 2 * integers, -2 * integers - 1))
        index.append([name, list(tensor.shape), step])
    return index, np.concatenate(parts).astype(np.uint32)


def shrink(numbers: Numbers, folder: Path, network: str) -> Path:
    """Write the small file of a network from the full reference."""
    stored: dict[str, np.ndarray] = {}
    cases: dict[str, dict] = {}
    for name in numbers.cases[network]:
        case = full_case(numbers, folder, network, name)
        kept = {}
        for array, values in case.arrays.items():
            if not numbers.is_kept(network, name, array):
                continue
            stride = 1 if numbers.is_whole(array) else STRIDE
            stored[f"{name}.{array}"] = (
                values if stride == 1 else values.reshape(-1)[::stride]
            )
            about = case.info["arrays"][array]
            kept[array] = {k: about[k] for k in ("absmax", "fp_noise") if k in about}
        if kept:
            cases[name] = {k: case.info.get(k) for k in numbers.info_kept()}
            cases[name]["arrays"] = kept
    tensors = case.state | {f"prior:{k}": v for k, v in case.prior.items()}
    index, integers = _rounded(numbers, tensors)
    planes = integers.view(np.uint8).reshape(-1, 4)
    about = {"weights": index, "cases": cases, **case.facts}
    stored["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    stored |= {f"plane{i}": planes[:, i].copy() for i in range(4)}
    path = GOLDEN / f"{network}.npz"
    np.savez_compressed(path, **stored)
    return path
