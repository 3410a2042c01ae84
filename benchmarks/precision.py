"""The encoder in half precision against float32, in one run.

    python benchmarks/precision.py [network or model ...] [--side 64]
        [--model-side 256] [--precisions float32 bfloat16] [--repeat 3]
        [--threads 2] [--device cpu]

Networks are those of `decode.py`, with random weights and an LR image of ``--side``
squared; models (``micro-2x``, ...) are run whole, as `Posterior.stream`, on the middle
of scikit-image's ``cell``, ``--model-side`` squared. Precisions that the device does
not have are left out, and told. They take turns, and the fastest of ``--repeat``
counts. Printed are the seconds in float32, and how many times faster the others are:
the encoder alone, and one and five samples with all that comes before them.
Differences are those of the sample from that of float32, as parts of its range; PSNR
has this range as its peak. LR-PSNR tells how well the sample agrees with the input.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from decode import NETWORKS, SAMPLES, make
from skimage.data import cell

import napari_flowsr as flowsr
from napari_flowsr.core.allocator import freed_memory_kept
from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.layout import laid_out
from napari_flowsr.core.precision import check_precision, conditioned
from napari_flowsr.errors import DeviceError
from napari_flowsr.inference.decoder import on_device
from napari_flowsr.inference.options import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_flowsr.core.flow import ConditionalFlow

MODELS = ("micro-2x", "micro-4x")
HEAD = (
    "| network | precision | encoder | one sample | five samples "
    "| largest difference | RMS | PSNR, dB | LR-PSNR, dB |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Found:
    """Seconds of the encoder, of one sample and of five; the first sample."""

    seconds: tuple[float, float, float]
    image: np.ndarray
    lr_psnr: float = math.nan

    def faster(self, other: Found) -> Found:
        """With the smaller of each time."""
        both = zip(self.seconds, other.seconds, strict=True)
        return replace(self, seconds=tuple(map(min, both)))


def clock(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def available(names: list[str], device: torch.device) -> Iterator[str]:
    """Those of the precisions that the device has."""
    for name in names:
        try:
            check_precision(name, device)
        except DeviceError as error:
            sys.stderr.write(f"{name} left out: {error}\n")
        else:
            yield name


def placed(flow: ConditionalFlow, device: torch.device) -> ConditionalFlow:
    """On the device, with kernels in its fastest layout."""
    return laid_out(flow.to(device))


def of_network(name: str, side: int, device: torch.device) -> Callable[[str], Found]:
    """A full network with random weights."""
    case = make(name, side, 1)
    flow, spec = placed(case.fast, device), case.latents.spec
    lr = on_device(case.lr, flow)
    latents = case.latents.map(lambda t: on_device(t[:1], flow))

    @torch.inference_mode()
    def measure(precision: str) -> Found:
        with freed_memory_kept():
            times = [clock(device)]
            cond = conditioned(flow, lr, precision)
            times.append(clock(device))
            flow.prepare(cond, spec)
            image = flow.decode(latents, cond)
            times.append(clock(device))
            for _ in range(SAMPLES - 1):
                flow.decode(latents, cond)
            times.append(clock(device))
        seconds = tuple(end - times[0] for end in times[1:])
        return Found(seconds, image[0].float().cpu().numpy())

    return measure


def of_model(name: str, side: int, device: torch.device) -> Callable[[str], Found]:
    """A built-in model, by its whole run."""
    model = flowsr.load_model(name, device=str(device))
    plane = cell()
    y, x = ((n - side) // 2 for n in plane.shape)
    plane = plane[y : y + side, x : x + side].astype(np.float32)
    lr = on_device(torch.from_numpy(plane)[None, None] / 255, model.flow)

    def measure(precision: str) -> Found:
        post = flowsr.posterior(
            plane, model, axes="YX", device=device, precision=precision
        )
        with torch.inference_mode(), freed_memory_kept():
            began = clock(device)
            conditioned(model.flow, lr, precision)
            encoder = clock(device) - began
        took = {}
        for n in (1, SAMPLES):
            began = clock(device)
            *_, last = post.stream(n, ("samples",), preview=False)
            took[n] = clock(device) - began
        report = last.result.report
        seconds = encoder, took[1], took[SAMPLES]
        return Found(seconds, last.result.samples[0], report["lr_psnr"][0])

    return measure


def rows(
    name: str, measure: Callable[[str], Found], names: list[str], repeat: int
) -> Iterator[str]:
    """Of the table: the precisions take turns."""
    measure("float32")  # what is done once for a network
    best: dict[str, Found] = {}
    for _ in range(repeat):
        for precision in names:
            found = measure(precision)
            best[precision] = found.faster(best.get(precision, found))
    full = best["float32"]
    span = float(np.ptp(full.image))
    for precision, found in best.items():
        away = (found.image.astype(np.float64) - full.image) / span
        rms = float(np.sqrt(np.square(away).mean()))
        if precision == "float32":
            times = [f"{s:.3f} s" for s in found.seconds]
            told = ["", "", ""]
        else:
            both = zip(full.seconds, found.seconds, strict=True)
            times = [f"{a / b:.2f}" for a, b in both]
            psnr = -20 * math.log10(rms) if rms else math.inf
            told = [f"{np.abs(away).max():.1e}", f"{rms:.1e}", f"{psnr:.1f}"]
        agrees = "" if math.isnan(found.lr_psnr) else f"{found.lr_psnr:.1f}"
        yield f"| {name} | {precision} | {' | '.join([*times, *told, agrees])} |\n"


def parsed(
    parser: argparse.ArgumentParser,
) -> tuple[argparse.Namespace, torch.device, str]:
    """What was asked for, with the options of all such benchmarks; device, and why."""
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    return asked, *resolve_device(asked.device)


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NETWORKS, *MODELS])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--model-side", type=int, default=256)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    asked, device, why = parsed(parser)
    names = list(available(["float32", *asked.precisions], device))
    sys.stdout.write(f"{why} torch {torch.__version__}\n\n{HEAD}")
    for name in asked.names or ["srflow", *MODELS]:
        if name in MODELS:
            measure = of_model(name, asked.model_side, device)
        else:
            measure = of_network(name, asked.side, device)
        for row in rows(name, measure, list(dict.fromkeys(names)), asked.repeat):
            sys.stdout.write(row)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
