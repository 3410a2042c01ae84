"""Published HCFlow weights: hyper-parameters from names and shapes, names to ours.

References
----------
HCFlow (Liang et al., 2021), arXiv:2108.05301. The arrangement of the files is a fact
read from them; what no tensor tells comes from the published configurations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_flowsr.models._assumed import assumed_number
from napari_flowsr.models._hcflow_names import (
    common_sizes,
    refuse,
    remap_with,
    step_name,
)
from napari_flowsr.models.hcflow import HCFlowConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["ASSUMABLE", "default_temperature", "infer_config", "remap"]

ASSUMABLE = ("quant",)
"""What no tensor of a published file tells."""

# Quantisation levels in training and default temperature, by scale: the published 4x
# network is one of photographs, the 8x network one of faces.
_QUANT = {4: 64.0}
_TEMPERATURE = {8: 0.8}


def default_temperature(config: HCFlowConfig) -> float:
    """Temperature of the published evaluation."""
    return _TEMPERATURE.get(config.scale, 0.9)


def infer_config(
    state: Mapping[str, Tensor], assume: Mapping[str, Any]
) -> tuple[HCFlowConfig, dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of a published state dict.

    Returns
    -------
    config : HCFlowConfig
    inferred : dict
        What the names and shapes of the tensors told.
    assumed : dict
        What they could not tell, and what was taken.
    """
    inferred = common_sizes(state)
    features = inferred.pop("features")
    first = "flow.layers.1.affine.f.conv1.weight"
    if features != 2 * inferred["width"] or first not in state:
        raise refuse(f"has levels conditioned on {features} channels")
    inferred["hidden"] = state[first].shape[0]
    assumed: dict[str, Any] = {
        "quant": assumed_number(assume, "quant", _QUANT.get(inferred["scale"], 256.0))
    }
    return HCFlowConfig(**inferred, **assumed), inferred, assumed


def _main_name(number: int, rest: str) -> str:
    if number < 0:
        raise refuse(f"has a tensor {rest} in a squeeze")
    return f"steps.transforms.{number}.{step_name(rest)}"


def remap(state: Mapping[str, Tensor], config: HCFlowConfig) -> dict[str, Tensor]:
    """Published names to ours; every actnorm counts as initialised."""
    return remap_with(state, config, _main_name)
