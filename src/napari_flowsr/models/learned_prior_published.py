"""Published learned priors: hyper-parameters from names and shapes, names to ours.

References
----------
Learned Prior (Tsao et al., 2024), arXiv:2403.10988. The arrangement of the files is a
fact read from them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_flowsr.errors import CheckpointError
from napari_flowsr.models.learned_prior import LearnedPriorConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["infer_config", "published_names", "remap"]

_LEVEL = re.compile(r"(input_proj|inc|down_layers|up_layers|outc)(\d+)\.(.+)")
_UNET = ("inc.", "down_layers.", "up_layers.", "outc.")
_EDSR = ("body.", "last_conv.")


def _count(state: Mapping[str, Tensor], start: str) -> int:
    """Different numbers that follow ``start`` in the names."""
    found = (re.match(rf"{re.escape(start)}(\d+)\.", key) for key in state)
    return len({match[1] for match in found if match})


def _pyramid(state: Mapping[str, Tensor]) -> LearnedPriorConfig:
    levels = _count(state, "input_proj")
    firsts = [state[f"input_proj{i}.conv1.weight"] for i in range(levels)]
    return LearnedPriorConfig(
        kind="pyramid",
        level_channels=tuple(int(first.shape[1]) for first in firsts),
        dim=int(firsts[0].shape[0]),
        depth=_count(state, "down_layers0."),
        bilinear="up_layers0.0.up.weight" not in state,
    )


def _patch(state: Mapping[str, Tensor]) -> LearnedPriorConfig:
    half, values = state["input_proj.conv1.weight"].shape[:2]
    channels = int(state["lr_proj.0.weight"].shape[1])
    if "last_conv.weight" in state:
        total = _count(state, "body.")
        has_tail = f"body.{total - 1}.weight" in state
        return LearnedPriorConfig(
            kind="patch",
            level_channels=(int(values),),
            dim=2 * int(half),
            generator="edsr",
            blocks=total - has_tail,
            has_tail=has_tail,
            channels=channels,
        )
    return LearnedPriorConfig(
        kind="patch",
        level_channels=(int(values),),
        dim=2 * int(half),
        depth=_count(state, "down_layers."),
        bilinear="up_layers.0.up.weight" not in state,
        channels=channels,
    )


def infer_config(state: Mapping[str, Tensor]) -> LearnedPriorConfig:
    """Hyper-parameters of a published learned prior; nothing has to be assumed."""
    try:
        is_pyramid = "input_proj0.conv1.weight" in state
        return _pyramid(state) if is_pyramid else _patch(state)
    except (LookupError, ValueError) as error:
        raise CheckpointError(
            f"The learned prior lacks what tells its sizes ({error}); it is incomplete "
            "or of a kind that no published program makes. Copy or download it again."
        ) from error


def remap(state: Mapping[str, Tensor], config: LearnedPriorConfig) -> dict[str, Tensor]:
    """Published names to ours."""
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match = _LEVEL.fullmatch(key)
        if config.kind == "pyramid" and match is not None:
            part, level, rest = match.groups()
            own = (
                f"input_proj.{level}"
                if part == "input_proj"
                else f"unet.{level}.{part}"
            )
            out[f"{own}.{rest}"] = tensor
        elif config.kind == "patch" and key.startswith((*_UNET, *_EDSR)):
            out[f"generator.{key}"] = tensor
        else:
            out[key] = tensor
    return out


_OWN_LEVEL = re.compile(r"(input_proj|unet)\.(\d+)\.(.+)")


def published_names(
    state: Mapping[str, Tensor], config: LearnedPriorConfig
) -> dict[str, Tensor]:
    """Our names to published ones: the inverse of `remap`."""
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match = _OWN_LEVEL.fullmatch(key)
        if config.kind == "pyramid" and match is not None:
            part, level, rest = match.groups()
            if part == "unet":
                part, rest = rest.split(".", 1)
            out[f"{part}{level}.{rest}"] = tensor
        else:
            out[key.removeprefix("generator.")] = tensor
    return out
