"""Seam between tiles against the halo: how far the built-in models really look.

    python benchmarks/seam.py docs/images/seam.png

Draws the largest difference between a tiled and a whole decode, as a part of the range,
for halos from 0 to the receptive field, on scikit-image's ``cell``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from skimage.data import cell

from napari_flowsr import load_model
from napari_flowsr.core.latents import Window
from napari_flowsr.core.noise import NoiseField

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow

SIDE, TILE = 128, 32
NOISE = NoiseField(0)


def decode(flow: ConditionalFlow, lr: torch.Tensor, window: Window) -> torch.Tensor:
    """Sample 0 of one window of ``lr``."""
    crop = lr[
        ..., window.y : window.y + window.height, window.x : window.x + window.width
    ]
    spec = flow.latent_spec((window.height, window.width))
    return flow.decode(NOISE.draw(spec, window=window), flow.condition(crop))


def seam(
    flow: ConditionalFlow, lr: torch.Tensor, whole: torch.Tensor, halo: int
) -> float:
    """Largest difference, relative to the range of the whole decode."""
    s, worst = int(flow.scales[0]), 0.0
    for y in range(0, SIDE, TILE):
        for x in range(0, SIDE, TILE):
            top, left = max(0, y - halo), max(0, x - halo)
            bottom, right = min(SIDE, y + TILE + halo), min(SIDE, x + TILE + halo)
            tile = decode(flow, lr, Window(top, left, bottom - top, right - left))
            core = tile[..., (y - top) * s :, (x - left) * s :][
                ..., : TILE * s, : TILE * s
            ]
            same = whole[..., y * s : (y + TILE) * s, x * s : (x + TILE) * s]
            worst = max(worst, float((core - same).abs().max()))
    return worst / float(whole.max() - whole.min())


@torch.inference_mode()
def main(target: str) -> None:
    """Measure both models and draw."""
    image = cell()[250 : 250 + SIDE, 350 : 350 + SIDE]
    lr = torch.from_numpy(image / image.max()).float()[None, None]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name in ("micro-2x", "micro-4x"):
        flow = load_model(name, device="cpu").flow
        whole = decode(flow, lr, Window(0, 0, SIDE, SIDE))
        halos = [*range(0, flow.receptive_field, 4), flow.receptive_field]
        seams = [seam(flow, lr, whole, halo) for halo in halos]
        axes.semilogy(halos, seams, "o-", label=f"{name}, reach {flow.receptive_field}")
        sys.stdout.write(f"{name}: {dict(zip(halos, seams, strict=True))}\n")
    axes.axhline(1e-5, color="gray", linestyle=":", label="promised")
    axes.set_xlabel("halo, LR pixels")
    axes.set_ylabel("largest difference / range")
    axes.set_title("Tiled against whole")
    axes.legend()
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "seam.png")
