"""One process of several: trains what it is told, beside the others."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path

import torch

from napari_flowsr.training.config import validated
from napari_flowsr.training.events import Step
from napari_flowsr.training.run import TrainingRun
from napari_flowsr.training.trainer import train

PATIENCE = timedelta(seconds=120)
"""With the others; one that ends early is no reason to wait for ever."""


def told(network: torch.nn.Module) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def run(folder: Path, names: list[str]) -> None:
    """Train by the recipes of these names, as the process that the environment says."""
    # One group for all runs; a run would enter and leave one of its own.
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    close, networks = TrainingRun.close, []
    TrainingRun.close = lambda self: (networks.append(self.network), close(self))
    try:
        rank = torch.distributed.get_rank()
        for name in names:
            recipe = validated(json.loads((folder / f"{name}.json").read_text()))
            output = folder / f"{name}.two.safetensors"
            events = list(train(folder / "images", recipe, output))
            losses = [event.loss for event in events if isinstance(event, Step)]
            kept = {"losses": losses, "weights": told(networks[-1])}
            (folder / f"{name}.{rank}.json").write_text(json.dumps(kept))
    finally:
        TrainingRun.close = close
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
