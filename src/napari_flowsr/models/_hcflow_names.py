"""What the published files of HCFlow's two networks have in common.

References
----------
HCFlow (Liang et al., 2021), arXiv:2108.05301. The arrangement of the files is a fact
read from them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from napari_flowsr.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

__all__ = ["common_sizes", "layer_index", "refuse", "remap_with", "step_name"]

_LAYER = re.compile(r"flow\.layers\.(\d+)\.(.+)")
_LEVEL = re.compile(r"flow\.level(\d+)_condFlow\.(.+)")
_STEP = re.compile(r"additional_flow_steps\.(\d+)\.(.+)")
_CONV = re.compile(r"affine\.f\.conv(\d)\.(.+)")
_ENCODER = ("conv_first.", "RRDB_trunk0.", "RRDB_trunk1.", "trunk_conv1.")


def refuse(what: str) -> CheckpointError:
    """Error for a file that is not like the published ones."""
    return CheckpointError(
        f"The HCFlow file {what}, and no published network does. Only complete files "
        "of the published architecture can be read; copy or download it again."
    )


def _numbers(state: Mapping[str, Tensor], pattern: str) -> set[int]:
    """Every number that ``pattern``'s group has in a name."""
    compiled = re.compile(pattern)
    return {int(m[1]) for key in state if (m := compiled.match(key))}


def layer_index(steps: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Level and number of the step at each index of the published flat list.

    Each level takes an index for its squeeze, one a step, and one for its split. The
    squeeze has number -1 here, the split none.
    """
    found, index = {}, 0
    for level, count in enumerate(steps):
        for number in range(-1, count):
            found[index + 1 + number] = (level, number)
        index += count + 2
    return found


def _steps(state: Mapping[str, Tensor], levels: int) -> tuple[int, ...]:
    """Unconditional steps of each level: runs of indices that have an actnorm."""
    indices = sorted(_numbers(state, r"flow\.layers\.(\d+)\.actnorm\.bias$"))
    steps: list[int] = []
    for previous, index in zip([-2, *indices], indices, strict=False):
        if index != previous + 1:
            steps.append(0)
        steps[-1] += 1
    expected = [i for i, (_, number) in layer_index(steps).items() if number >= 0]
    if len(steps) != levels or expected != indices:
        raise refuse(f"has flow steps at {indices} for {levels} levels")
    return tuple(steps)


def _level_sizes(state: Mapping[str, Tensor], level: int) -> dict[str, Any]:
    here = f"flow.level{level}_condFlow."
    blocks = [
        len(_numbers(state, re.escape(f"{here}RRDB_trunk{trunk}.") + r"(\d+)\."))
        for trunk in (0, 1)
    ]
    dense = f"{here}RRDB_trunk0.0.RDB1.conv1.weight"
    net = f"{here}additional_flow_steps.0.affine.f.conv1.weight"
    return {
        "width": state[f"{here}conv_first.weight"].shape[0],
        "blocks": tuple(blocks),
        "growth": state[dense].shape[0],
        "conditional_hidden": state[net].shape[0],
        "features": state[f"{here}f.weight"].shape[1],
    }


def common_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes that both networks have, from names and shapes.

    Besides entries of their configurations there is ``features``, the channels that
    condition a level.
    """
    levels = len(_numbers(state, r"flow\.level(\d+)_condFlow\."))
    try:
        sizes = [_level_sizes(state, level) for level in range(levels)]
        last = f"flow.level{levels - 1}_condFlow.conv_first.weight"
        channels = state[last].shape[1]
    except KeyError as error:
        raise refuse(f"lacks the tensor {error}") from error
    if any(own != sizes[0] for own in sizes):
        raise refuse("has conditional flows of several sizes")
    if any(key.endswith("permute.log_s") for key in state):
        raise refuse("has channel mixing in LU form")
    counts = []
    for level in range(levels):
        here = rf"flow\.level{level}_condFlow\.additional_flow_steps\.(\d+)\."
        counts.append(len(_numbers(state, here)))
    return {
        "scale": 2**levels,
        "channels": channels,
        "steps": _steps(state, levels),
        "conditional_steps": tuple(counts),
        **sizes[0],
    }


def step_name(rest: str) -> str:
    """Name inside one of our coupling steps for a name inside a published one."""
    if rest.startswith("actnorm."):
        return "transforms.0." + rest.removeprefix("actnorm.")
    if rest == "permute.weight":
        return "transforms.1.weight"
    match = _CONV.fullmatch(rest)
    if match is None:
        raise refuse(f"has an unknown tensor {rest} in a flow step")
    return f"transforms.2.net.{2 * int(match[1]) - 2}.{match[2]}"


def _conditional_name(level: int, rest: str, count: int) -> str:
    here = f"flow.levels.{level}."
    if rest.startswith(_ENCODER):
        return f"{here}encoder.{rest}"
    if rest.startswith("f."):
        head = rest.removeprefix("f.")
        return f"{here}conditional.transforms.{count}.net.{head}"
    match = _STEP.fullmatch(rest)
    if match is None:
        raise refuse(f"has an unknown tensor {rest} in a conditional flow")
    return f"{here}conditional.transforms.{match[1]}.{step_name(match[2])}"


def remap_with(
    state: Mapping[str, Tensor], config: Any, main_name: Callable[[int, str], str]
) -> dict[str, Tensor]:
    """Published names to ours; every actnorm counts as initialised.

    Parameters
    ----------
    state : mapping
        Published state dict.
    config : HCFlowConfig or HCFlowRescaleConfig
        As inferred from it.
    main_name : callable
        From the number of an unconditional step (-1: the squeeze) and a name inside it
        to our name inside the level.
    """
    places = layer_index(config.steps)
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if match := _LEVEL.fullmatch(key):
            level = int(match[1])
            count = config.conditional_steps[level]
            own = _conditional_name(level, match[2], count)
        elif (match := _LAYER.fullmatch(key)) and int(match[1]) in places:
            level, number = places[int(match[1])]
            own = f"flow.levels.{level}.{main_name(number, match[2])}"
        else:
            raise refuse(f"has a tensor {key}")
        out[own] = tensor
        # The published files do not say that an actnorm was initialised; without the
        # flag, one whose trained bias happens to be 0 would be initialised again.
        if key.endswith("actnorm.bias"):
            out[own.removesuffix("bias") + "initialized"] = torch.tensor(True)
    return out
