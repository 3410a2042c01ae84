"""Published LINF weights: hyper-parameters from names and shapes, names to ours.

References
----------
Local Implicit Normalizing Flow (Yao et al., 2023), arXiv:2303.05156. The arrangement of
the files is a fact read from them; what no tensor tells comes from the published
evaluation.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.models._assumed import assumed_number
from napari_flowsr.models.linf_config import LINFConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["ASSUMABLE", "infer_config", "remap"]

ASSUMABLE = ("res_scale", "grid", "window", "scale_max")
"""What no tensor of a published file tells."""

# Stored and never used: the image heads of the encoders, the mean colour, and tables
# that follow from the size of the image.
_UNUSED = re.compile(
    r"encoder\.(sub_mean|add_mean|upconv\d+|HRconv|conv_last)\.(weight|bias)"
    r"|encoder\..*\.(attn_mask|relative_position_index)"
)
_NUMBERS = {"res_scale": 1.0, "scale_max": 30.0}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Number of different values of the group of a pattern in the names."""
    found = (re.match(pattern, key) for key in state)
    return len({match[1] for match in found if match})


def _edsr(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, channels = state["encoder.head.0.weight"].shape[:2]
    return {
        "encoder": "edsr",
        "channels": channels,
        "width": width,
        "blocks": _count(state, r"encoder\.body\.(\d+)\.body\."),
    }


def _rrdb(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, channels = state["encoder.conv_first.weight"].shape[:2]
    return {
        "encoder": "rrdb",
        "channels": channels,
        "width": width,
        "blocks": _count(state, r"encoder\.RRDB_trunk\.(\d+)\."),
        "growth": state["encoder.RRDB_trunk.0.RDB1.conv1.weight"].shape[0],
    }


def _rdn(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, channels = state["encoder.SFENet1.weight"].shape[:2]
    return {
        "encoder": "rdn",
        "channels": channels,
        "width": width,
        "blocks": _count(state, r"encoder\.RDBs\.(\d+)\."),
        "convolutions": _count(state, r"encoder\.RDBs\.0\.convs\.(\d+)\."),
        "growth": state["encoder.RDBs.0.convs.0.conv.0.weight"].shape[0],
    }


def _swinir(state: Mapping[str, Tensor]) -> dict[str, Any]:
    embed, channels = state["encoder.conv_first.weight"].shape[:2]
    layers = range(_count(state, r"encoder\.layers\.(\d+)\."))
    blocks = [f"encoder.layers.{i}.residual_group.blocks" for i in layers]
    tables = [state[f"{b}.0.attn.relative_position_bias_table"] for b in blocks]
    fc1 = state[f"{blocks[0]}.0.mlp.fc1.weight"]
    return {
        "encoder": "swinir",
        "channels": channels,
        "width": state["encoder.conv_before_upsample.0.weight"].shape[0],
        "embed": embed,
        "depths": tuple(
            _count(state, re.escape(block) + r"\.(\d+)\.") for block in blocks
        ),
        "heads": tuple(int(table.shape[1]) for table in tables),
        "window_size": (math.isqrt(tables[0].shape[0]) + 1) // 2,
        "mlp_ratio": fc1.shape[0] / fc1.shape[1],
    }


_ENCODERS = {
    "encoder.RRDB_trunk.": _rrdb,
    "encoder.RDBs.": _rdn,
    "encoder.patch_embed.": _swinir,
    "encoder.head.0.": _edsr,
}


def _inferred(state: Mapping[str, Tensor]) -> dict[str, Any]:
    reader = next(
        (
            read
            for start, read in _ENCODERS.items()
            if any(key.startswith(start) for key in state)
        ),
        None,
    )
    if reader is None:
        raise CheckpointError(
            "The LINF file has an encoder that is not known; EDSR-baseline, RDN, RRDB "
            "and SwinIR can be read."
        )
    try:
        found = reader(state)
        values = state["imnet.last._weight"].shape[0]
        found["patch"] = math.isqrt(values // found["channels"])
        found["hidden"] = state["coef.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"The LINF file lacks what tells its sizes ({error}); it is incomplete. "
            "Copy or download it again."
        ) from error
    found["flow_layers"] = _count(state, r"imnet\.linears\.(\d+)\._weight")
    # The last layer gives the parameters of the flow.
    found["mlp_layers"] = _count(state, r"layers\.(\d+)\.weight") - 1
    return found


def infer_config(
    state: Mapping[str, Tensor], assume: Mapping[str, Any]
) -> tuple[LINFConfig, dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of a published state dict.

    Returns
    -------
    config : LINFConfig
    inferred : dict
        What the names and shapes of the tensors told.
    assumed : dict
        What they could not tell, and what was taken.
    """
    inferred = _inferred(state)
    assumed: dict[str, Any] = {
        key: assumed_number(assume, key, default) for key, default in _NUMBERS.items()
    }
    if inferred["encoder"] != "edsr":
        del assumed["res_scale"]
        if "res_scale" in assume:
            raise OptionError(
                f"res_scale was assumed, which the {inferred['encoder']} encoder of "
                "this LINF file does not have. Leave it out."
            )
    assumed["grid"] = assume.get("grid", "corrected")
    if assumed["grid"] not in ("corrected", "published"):
        raise OptionError(
            f"grid was assumed as {assumed['grid']!r}; give 'corrected' or 'published'."
        )
    # The published evaluation of SwinIR pads its input; the others do not.
    padding = inferred.get("window_size", 0)
    window = assumed_number(assume, "window", padding)
    if window not in (0, padding):
        raise OptionError(
            f"window was assumed as {assume['window']!r}; with the encoder of this "
            f"LINF file ({inferred['encoder']}) it is "
            + (f"0 or {padding}." if padding else "0.")
        )
    assumed["window"] = int(window)
    return LINFConfig(**inferred, **assumed), inferred, assumed


_NAMES = (
    (r"encoder\.head\.0\.(.+)", r"encoder.head.\1"),
    (r"(encoder|coef|freq)\.(.+)", r"\1.\2"),
    (r"phase\.weight", "implicit.phase.weight"),
    (r"imnet\.linears\.(\d+)\._weight", r"flow.linears.\1.weight"),
    (r"imnet\.linears\.(\d+)\.bias", r"flow.linears.\1.bias"),
    (r"imnet\.last\._weight", "flow.last.weight"),
    (r"imnet\.last\.bias", "flow.last.bias"),
)


def _own_name(key: str) -> str:
    if match := re.fullmatch(r"layers\.(\d+)\.(weight|bias)", key):
        # Between the layers an activation takes an index.
        return f"implicit.layers.{int(match[1]) // 2}.{match[2]}"
    for theirs, ours in _NAMES:
        if match := re.fullmatch(theirs, key):
            return match.expand(ours)
    raise CheckpointError(
        f"The LINF file has a tensor that no published network has: {key}."
    )


def remap(state: Mapping[str, Tensor], config: LINFConfig) -> dict[str, Tensor]:
    """Published names to ours; 1 x 1 convolutions become matrices."""
    out = {}
    for key, tensor in state.items():
        if _UNUSED.fullmatch(key):
            continue
        own = _own_name(key)
        is_convolution = own.startswith("implicit.layers.") and tensor.ndim == 4
        out[own] = tensor.flatten(1) if is_convolution else tensor
    return out
