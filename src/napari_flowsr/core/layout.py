"""The layout in memory in which convolutions are fastest."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["laid_out", "layout_of"]

Module = TypeVar("Module", bound=nn.Module)


def layout_of(device: torch.device) -> torch.memory_format:
    """Channels-last, but for MPS, which does not gain from it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def laid_out(module: Module) -> Module:
    """Bring the kernels of a module into the fastest layout; their values stay.

    A convolution works in channels-last if its kernel or its input is so. The input
    alone does not tell: with one channel, both layouts are the same, and everything
    after a grey image would be computed in the default layout, in which the networks
    take a quarter to a half longer on a CPU.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    """
    first: Tensor | None = next(module.parameters(), None)
    if first is not None:
        module.to(memory_format=layout_of(first.device))  # type: ignore[call-overload]
    return module
