"""What the LR image contributes, computed in half precision where that is asked for.

Only the encoder is: `ConditionalFlow.condition`, a function of the LR image alone. What
it gives is brought back to the precision of the image, and whatever sees it (nets of
injectors and couplings, log-determinants, matrix inverses, latents) is computed as
ever. So a flow stays invertible: both directions see the same condition. Were
`ConditionalFlow.prepare` in half precision too, the decode alone would have its errors,
and an image that was encoded would not come back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_flowsr.errors import DeviceError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["FULL", "check_precision", "conditioned"]

FULL = "float32"
_LARGEST = 65504  # of float16


def check_precision(precision: str, device: torch.device, made: str = "") -> None:
    """Raise `DeviceError` where a device does not compute in a precision.

    Parameters
    ----------
    precision : str
        One of `inference.options.PRECISIONS`.
    device : torch.device
        To compute on.
    made : str
        What was made in the precision, which therefore cannot be chosen, such as
        "'a.flowsr' was edited".
    """
    if precision == FULL or _has(device, _dtype(precision)):
        return
    lacks = f"the device '{device}' has no automatic conversion to it"
    if made:
        cpu = ", such as cpu" if _has(torch.device("cpu"), _dtype(precision)) else ""
        raise DeviceError(
            f"{made} in the precision {precision!r}, and {lacks}. Choose another "
            f"device{cpu}."
        )
    others = [
        name
        for name in ("bfloat16", "float16")
        if name != precision and _has(device, _dtype(name))
    ]
    raise DeviceError(
        f"The precision {precision!r} was asked for, and {lacks}. Choose "
        f"{' or '.join([FULL, *others])}, or another device."
    )


def conditioned(flow: ConditionalFlow, lr: Tensor, precision: str = FULL) -> Condition:
    """Encode an LR image in a precision; the result is of the image's own.

    Parameters
    ----------
    flow : ConditionalFlow
        On its device.
    lr : Tensor
        ``(B, C, h, w)``, as of `ConditionalFlow.condition`.
    precision : str
        ``"float32"``: as the flow is; or that of convolutions and matrix products,
        ``"bfloat16"`` or ``"float16"``.

    Raises
    ------
    OptionError
        Values of the encoder lie beyond the range of float16.
    """
    if precision == FULL:
        return flow.condition(lr)
    # Each weight is used once: converted copies of them need not be kept.
    with torch.autocast(lr.device.type, _dtype(precision), cache_enabled=False):
        found = flow.condition(lr)
    features = tuple(part.to(lr.dtype) for part in found.features)
    if precision == "float16" and not all(
        bool(torch.isfinite(part).all()) for part in features
    ):
        raise OptionError(
            f"In float16, which ends at {_LARGEST}, values of this model's encoder "
            "overflow on this image. Choose the precision bfloat16, which has the "
            "range of float32, or float32."
        )
    return replace(found, features=features)


def _dtype(precision: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, precision)
    return found


def _has(device: torch.device, dtype: torch.dtype) -> bool:
    kind = device.type
    if not torch.amp.is_autocast_available(kind):
        return False
    if kind == "cuda" and dtype == torch.bfloat16:
        with torch.cuda.device(device):
            # Emulated it would be slower than float32.
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # For a data type that it does not know, torch switches the conversion off.
    with torch.autocast(kind, dtype):
        return torch.is_autocast_enabled(kind)
