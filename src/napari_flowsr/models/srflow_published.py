"""Published SRFlow weights: hyper-parameters from names and shapes, names to ours.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200. The arrangement of the files is a fact
read from them; what no tensor tells comes from the published configurations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.models._assumed import assumed_number
from napari_flowsr.models.srflow import SRFlowConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["ASSUMABLE", "infer_config", "remap"]

ASSUMABLE = ("stacked_blocks", "quant", "affine_eps")
"""What no tensor of a published file tells."""

# Which blocks were stacked, by (blocks, scale): from the published configurations.
_STACKED = {
    (23, 4): (1, 8, 15, 22),
    (23, 8): (1, 3, 5, 7),
    (8, 8): (1, 3, 5, 7),
}
_LAYER = re.compile(r"flowUpsamplerNet\.layers\.(\d+)\.(.+)")
# A first version's output head, stored and never used.
_UNUSED = ("flowUpsamplerNet.f.0.weight", "flowUpsamplerNet.f.0.bias")


def _layers(state: Mapping[str, Tensor]) -> list[str]:
    """Kind of each entry of the published flat list of layers, by index."""
    names: dict[int, set[str]] = {}
    for key in state:
        if match := _LAYER.fullmatch(key):
            names.setdefault(int(match[1]), set()).add(match[2])

    def kind(own: set[str]) -> str:
        if "conv.weight" in own:
            return "split"
        affine = any(name.startswith("affine.") for name in own)
        return "step" if affine else "transition"

    if not names:
        raise CheckpointError(
            "The SRFlow file has no flow layers (flowUpsamplerNet.layers.*); it is "
            "incomplete. Copy or download it again."
        )
    # An index without tensors is a squeeze.
    return [kind(names[i]) if i in names else "squeeze" for i in range(max(names) + 1)]


def _expected(levels: int, transitions: int, steps: int) -> list[str]:
    level = ["squeeze", *["transition"] * transitions, *["step"] * steps]
    return [
        kind
        for number in range(1, levels + 1)
        for kind in [*level, *(["split"] if number < levels - 1 else [])]
    ]


def _stacked(blocks: int, scale: int, count: int, assume: Mapping[str, Any]) -> Any:
    if "stacked_blocks" in assume:
        try:
            chosen = tuple(int(block) for block in assume["stacked_blocks"])
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"stacked_blocks was assumed as {assume['stacked_blocks']!r}; give a "
                "list of block numbers, counted from 0."
            ) from error
        if len(chosen) != count:
            raise OptionError(
                f"stacked_blocks was assumed as {chosen}; this file was trained with "
                f"{count} stacked blocks. Name {count}."
            )
        return chosen
    known = _STACKED.get((blocks, scale), ())
    if len(known) == count:
        return known
    raise CheckpointError(
        f"The file's encoder has {blocks} blocks of which {count} are stacked, and no "
        f"published {scale}x network is like that; which ones cannot be read from the "
        f'file. Give them, counted from 0: assume={{"stacked_blocks": [...]}}.'
    )


def infer_config(
    state: Mapping[str, Tensor], assume: Mapping[str, Any]
) -> tuple[SRFlowConfig, dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of a published state dict.

    Returns
    -------
    config : SRFlowConfig
    inferred : dict
        What the names and shapes of the tensors told.
    assumed : dict
        What they could not tell, and what was taken.
    """
    layers = _layers(state)
    try:
        width, channels = state["RRDB.conv_first.weight"].shape[:2]
        growth = state["RRDB.RRDB_trunk.0.RDB1.conv1.weight"].shape[0]
        net = (
            f"flowUpsamplerNet.layers.{layers.index('step')}.affine.fFeatures.0.weight"
        )
        hidden, seen = state[net].shape[:2]
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"The SRFlow file lacks what tells its sizes ({error}); it is incomplete. "
            "Copy or download it again."
        ) from error
    trunk = {key.split(".")[2] for key in state if key.startswith("RRDB.RRDB_trunk.")}
    upconvs = {key for key in state if re.match(r"RRDB\.upconv\d+\.weight", key)}
    levels = layers.count("squeeze")
    inferred = {
        "scale": 2 ** len(upconvs),
        "channels": channels,
        "width": width,
        "blocks": len(trunk),
        "growth": growth,
        "levels": levels,
        "steps": layers.count("step") // levels,
        "transition_steps": layers.count("transition") // levels,
        "hidden": hidden,
    }
    expected = _expected(levels, inferred["transition_steps"], inferred["steps"])
    if layers != expected or seen % width:
        raise CheckpointError(
            "The SRFlow file has an arrangement of flow layers that no published "
            f"network has ({len(layers)} layers, {levels} levels, conditions of {seen} "
            f"channels). Only files of the published architecture can be read."
        )
    count = seen // width - 1
    assumed = {
        "stacked_blocks": _stacked(len(trunk), inferred["scale"], count, assume),
        "quant": assumed_number(assume, "quant", 32.0),
        "affine_eps": assumed_number(assume, "affine_eps", 1e-4),
    }
    return SRFlowConfig(**inferred, **assumed), inferred, assumed


def _step_name(rest: str) -> str:
    """Name inside one of our flow steps for a name inside a published one."""
    for theirs, ours in (
        ("actnorm.", "transforms.0."),
        ("invconv.", "transforms.1."),
        ("affine.fFeatures.", "transforms.2.net."),
        ("affine.fAffine.", "transforms.3.net."),
    ):
        if rest.startswith(theirs):
            return ours + rest.removeprefix(theirs)
    raise CheckpointError(f"The SRFlow file has an unknown tensor in a step: {rest}.")


def _flow_names(config: SRFlowConfig) -> list[str]:
    """Our prefix for each index of the published flat list of layers."""
    names = []
    for level in range(config.levels):
        here = f"flow.levels.{level}"
        count = config.transition_steps + config.steps
        names += [f"{here}.squeeze"]
        names += [f"{here}.steps.transforms.{k}" for k in range(count)]
        if level + 1 < config.levels - 1:
            names += [f"{here}.split"]
    return names


def remap(state: Mapping[str, Tensor], config: SRFlowConfig) -> dict[str, Tensor]:
    """Published names to ours; every actnorm counts as initialised.

    The published files do not say that an actnorm was initialised; without the flag,
    one whose trained bias happens to be 0 would be initialised again by training.
    """
    names = _flow_names(config)
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key in _UNUSED:
            continue
        if key.startswith("RRDB."):
            out["encoder." + key.removeprefix("RRDB.")] = tensor
            continue
        match = _LAYER.fullmatch(key)
        if match is None:
            raise CheckpointError(
                f"The SRFlow file has a tensor that no published network has: {key}."
            )
        prefix, rest = names[int(match[1])], match[2]
        if prefix.endswith(".split"):
            own = f"{prefix}.net.{rest.removeprefix('conv.')}"
        else:
            own = f"{prefix}.{_step_name(rest)}"
        out[own] = tensor
        is_actnorm = rest.startswith("actnorm.") or ".actnorm." in rest
        if is_actnorm and own.endswith(".bias"):
            out[own.removesuffix("bias") + "initialized"] = torch.tensor(True)
    return out
