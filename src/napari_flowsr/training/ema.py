"""Exponential moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Shadow of all floating-point parameters and buffers of a module.

    The decay grows from 0 as ``(1 + t) / (10 + t)``, so that the first steps do not
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

    def swap(self, module: nn.Module) -> None:
        """Exchange the module's weights and the shadow; call twice to undo."""
        own = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.copy_to(module)
        self.shadow = own

    def state_dict(self) -> dict[str, object]:
        """For the checkpoint."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """From the checkpoint."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        shadow: dict[str, Tensor] = state["shadow"]  # type: ignore[assignment]
        for key, value in shadow.items():
            self.shadow[key].copy_(value)
