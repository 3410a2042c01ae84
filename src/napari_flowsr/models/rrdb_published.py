"""Published encoder-only RRDB files: sizes from names and shapes, names to ours.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200. Its encoder's files hold the tensors of
RRDB alone; the arrangement is a fact read from them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import CheckpointError
from napari_flowsr.models.rrdb import RRDBConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["ASSUMABLE", "infer_config", "remap"]

ASSUMABLE = ()
"""Nothing that a caller can set; see ``long_skip`` among what is assumed."""


def infer_config(
    state: Mapping[str, Tensor], assume: Mapping[str, Any]
) -> tuple[RRDBConfig, dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of an encoder's state dict.

    Returns
    -------
    config : RRDBConfig
    inferred : dict
        What the names and shapes of the tensors told.
    assumed : dict
        ``long_skip``: networks of ESRGAN have the same tensors, but their long skip
        starts at the first convolution. They are another function.
    """
    try:
        width, channels = state["conv_first.weight"].shape[:2]
        growth = state["RRDB_trunk.0.RDB1.conv1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"The RRDB file lacks what tells its sizes ({error}); it is incomplete. "
            "Copy or download it again."
        ) from error
    trunk = {key.split(".")[1] for key in state if key.startswith("RRDB_trunk.")}
    doublings = sum(
        re.fullmatch(r"upconv\d+\.weight", key) is not None for key in state
    )
    inferred = {
        "scale": 2**doublings,
        "channels": int(channels),
        "width": int(width),
        "blocks": len(trunk),
        "growth": int(growth),
    }
    assumed = {"long_skip": "around the trunk's convolution, as in SRFlow"}
    return RRDBConfig(**inferred), inferred, assumed


def remap(state: Mapping[str, Tensor], config: RRDBConfig) -> dict[str, Tensor]:
    """Published names to ours."""
    return {f"encoder.{key}": tensor for key, tensor in state.items()}
