"""How far a whole run is from the machine's convolution rate.

    python benchmarks/floor.py [--model micro-2x] [--side 512] [--samples 3]
        [--repeat 2] [--threads 2]

The floor is the network's multiply-adds for the plane (no halos: those count as a loss)
divided by the rate of one large convolution, 64 to 64 channels on 512 x 512, measured
in the same run, in the layout in which it is faster. The run is `Posterior.stream` on
an image of ``--side`` squared (scikit-image's ``cell``, mirrored): tiles, noise,
normalisation, statistics and all.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from skimage.data import cell
from torch.utils.flop_counter import FlopCounterMode

import napari_flowsr as flowsr
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.inference.decoder import on_device

CHANNELS, SIDE = 64, 512


@torch.inference_mode()
def convolution_rate(repeat: int) -> float:
    """Multiply-adds a second of a large 3 x 3 convolution."""
    work = CHANNELS * CHANNELS * 9 * SIDE * SIDE
    best = float("inf")
    for layout in (torch.channels_last, torch.contiguous_format):
        image = torch.rand(1, CHANNELS, SIDE, SIDE).contiguous(memory_format=layout)
        weight = torch.rand(CHANNELS, CHANNELS, 3, 3).contiguous(memory_format=layout)
        for _ in range(2 + 3 * repeat):
            began = time.perf_counter()
            torch.nn.functional.conv2d(image, weight, padding=1)
            best = min(best, time.perf_counter() - began)
    return work / best


@torch.inference_mode()
def multiply_adds(model: flowsr.Model, side: int) -> tuple[float, float]:
    """Of the LR image alone, and of each sample, for the whole plane."""
    flow, small = model.flow, 64
    lr = on_device(torch.rand(1, flow.channels, small, small), flow)
    share = (side / small) ** 2
    with FlopCounterMode(display=False) as shared:
        cond = flow.condition(lr)
        spec = flow.spec_of(cond)
        flow.prepare(cond, spec)
    latents = NoiseField(0).draw(spec, samples=range(1))
    with FlopCounterMode(display=False) as own:
        flow.decode(latents.map(lambda t: on_device(t, flow)), cond)
    return tuple(c.get_total_flops() / 2 * share for c in (shared, own))  # type: ignore[return-value]


def run_time(model: flowsr.Model, image: np.ndarray, samples: int) -> float:
    """Seconds of a run that gives ``samples`` samples."""
    post = flowsr.posterior(image, model)
    began = time.perf_counter()
    for event in post.stream(samples):
        last = event
    seconds = time.perf_counter() - began
    if last.result.report["redrawn_samples"]:
        raise SystemExit("Parts were decoded again: the time means nothing.")
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="micro-2x")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model = flowsr.load_model(asked.model, device="cpu")
    image = np.pad(cell(), 512, mode="reflect")[: asked.side, : asked.side]
    rate, one, many = 0.0, float("inf"), float("inf")
    run_time(model, image[:64, :64], 1)  # the network is folded once
    for _ in range(asked.repeat):
        rate = max(rate, convolution_rate(asked.repeat))
        one = min(one, run_time(model, image, 1))
        many = min(many, run_time(model, image, asked.samples))
    further = (many - one) / (asked.samples - 1)
    of_lr, of_sample = multiply_adds(model, asked.side)
    pixels = (asked.side * model.card.scales[0]) ** 2 / 1e6
    out = sys.stdout.write
    plane = f"{asked.side} x {asked.side}"
    out(f"{asked.model}, {plane}, {asked.threads} threads; one large convolution: ")
    out(f"{rate / 1e9:.1f} G multiply-adds/s\n\n")
    out("| | G multiply-adds | floor, s | run, s | run / floor | MPix/s of output |\n")
    out("|---|---|---|---|---|---|\n")
    for name, work, seconds in (
        ("first sample", of_lr + of_sample, one),
        ("each further sample", of_sample, further),
    ):
        floor = work / rate
        cells = (
            f"{work / 1e9:.1f} | {floor:.2f} | {seconds:.2f} | {seconds / floor:.2f}"
        )
        out(f"| {name} | {cells} | {pixels / seconds:.2f} |\n")


if __name__ == "__main__":
    main()
