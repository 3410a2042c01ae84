"""Exponential moving average of the weights."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["AveragedWeights"]

_Module = TypeVar("_Module", bound=nn.Module)


class AveragedWeights:
    """Shadow of all parameters and buffers of a module; what is no float is copied.

    The decay grows from 0.1 as ``(1 + t) / (10 + t)``, so that the first steps do not
    linger.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {}
        self.reset(module)

    def reset(self, module: nn.Module) -> None:
        """Start again from the module's present weights."""
        self.updates = 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the shadow towards the module."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[key].lerp_(value, 1 - decay)
            else:
                self.shadow[key].copy_(value)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Give the module the averaged weights."""
        module.load_state_dict(self.shadow)

    @torch.no_grad()
    def averaged(self, module: _Module) -> _Module:
        """Copy of the module with the averaged weights; the module stays as it is."""
        copy = deepcopy(module)
        self.copy_to(copy)
        return copy

    def state_dict(self) -> dict[str, object]:
        """For the checkpoint."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """From the checkpoint."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        shadow: dict[str, Tensor] = state["shadow"]  # type: ignore[assignment]
        for key, value in shadow.items():
            self.shadow[key].copy_(value)
