"""Published HCFlow rescaling weights: sizes from names and shapes, names to ours.

References
----------
HCFlow (Liang et al., 2021), arXiv:2108.05301, section 4.1. The arrangement of the files
is a fact read from them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_flowsr.models._hcflow_names import (
    common_sizes,
    layer_index,
    refuse,
    remap_with,
)
from napari_flowsr.models.hcflow_rescale import HCFlowRescaleConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["ASSUMABLE", "infer_config", "remap"]

ASSUMABLE: tuple[str, ...] = ()
"""What no tensor of a published file tells: nothing that this network uses."""

_CONV = re.compile(r"affine\.f\.(conv\d\.(?:weight|bias))")


def infer_config(
    state: Mapping[str, Tensor], assume: Mapping[str, Any]
) -> tuple[HCFlowRescaleConfig, dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of a published state dict.

    Returns
    -------
    config : HCFlowRescaleConfig
    inferred : dict
        What the names and shapes of the tensors told.
    assumed : dict
        Nothing.
    """
    inferred = common_sizes(state)
    features = inferred.pop("features")
    image = inferred["channels"]
    places = layer_index(inferred["steps"])
    sees = {
        number: state.get(f"flow.layers.{index}.affine.f.conv1.weight")
        for index, (level, number) in places.items()
        if level == 0 and number >= 0
    }
    if features != inferred["width"] or any(net is None for net in sees.values()):
        raise refuse(f"has levels conditioned on {features} channels")
    for number, net in sees.items():
        # Even steps look at the image, odd ones at the detail.
        expected = image if number % 2 == 0 else 3 * image
        if net is None or net.shape[1] != expected:
            raise refuse(f"has a coupling {number} that looks at other channels")
        inferred["hidden"] = net.shape[0]
    return HCFlowRescaleConfig(**inferred), inferred, {}


def _main_name(number: int, rest: str) -> str:
    if number < 0 and rest == "haar_weights":
        return "squeeze.filters"
    here = f"steps.transforms.{number}.transforms"
    if number >= 0 and rest.startswith("actnorm."):
        return f"{here}.0.{rest.removeprefix('actnorm.')}"
    match = _CONV.fullmatch(rest)
    if number < 0 or match is None:
        raise refuse(f"has an unknown tensor {rest}")
    return f"{here}.1.net.{match[1]}"


def remap(
    state: Mapping[str, Tensor], config: HCFlowRescaleConfig
) -> dict[str, Tensor]:
    """Published names to ours; every actnorm counts as initialised."""
    return remap_with(state, config, _main_name)
