"""One process of several: trains what it is told, beside the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from napari_flowsr.training.config import validated
from napari_flowsr.training.trainer import train

if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    # One group for all runs; a run would enter and leave one of its own.
    torch.distributed.init_process_group("gloo")
    for name in names:
        told = json.loads((Path(folder) / f"{name}.json").read_text())
        recipe = validated(told)
        list(
            train(
                Path(folder) / "images",
                recipe,
                Path(folder) / f"{name}.two.safetensors",
            )
        )
    torch.distributed.destroy_process_group()
