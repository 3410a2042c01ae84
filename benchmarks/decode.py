"""Decoding with everything shared against everything anew, in one run.

    python benchmarks/decode.py [network ...] [--side 64] [--repeat 3] [--threads 2]

The full published configurations with random weights, an LR image of 64 x 64. Two ways:

* *anew*: what the published programs do: for every sample the encoder (and, as there,
  its unused enlargement to an image), every net, no layout of its own, one sample after
  the other; for LINF, all queries at once with the features of their four corners;
* *shared*: what this package does: channels-last, freed memory kept, and one condition
  that is prepared once, from which samples are decoded in batches of ``--batch``; one
  is best on a CPU.

Printed are seconds for one and for five samples and for each further one, their ratios,
and the largest difference as a part of the range. The two ways take turns, each in a
process of its own, and the fastest of ``--repeat`` counts, so that other work on the
machine does not fall on one of them alone. The memory is the peak of a process of its
own that draws one sample, less what it had with the network loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import math
import multiprocessing
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_flowsr.core.allocator import freed_memory_kept
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents
from napari_flowsr.core.layout import laid_out
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.inference.decoder import on_device
from napari_flowsr.models import _registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from napari_flowsr.core.local_flow import ImplicitNet

NETWORKS = {
    "srflow": ("srflow", {}, None),
    "hcflow": ("hcflow", {}, None),
    "linf-rrdb": ("linf", {"encoder": "rrdb", "patch": 3}, 4.0),
    "linf-edsr": ("linf", {"encoder": "edsr", "patch": 1}, 4.0),
}
SAMPLES = 5
WAYS = ("anew", "shared")
HEAD = (
    "| network | samples | anew | shared | ratio | difference / range |\n"
    "|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Case:
    """A network with an image and latents of five samples."""

    name: str
    flow: ConditionalFlow
    fast: ConditionalFlow  # the same, laid out
    lr: Tensor
    latents: Latents
    batch: int

    @torch.inference_mode()
    def anew(self, samples: int) -> list[Tensor]:
        """As the published programs work."""
        out = []
        if self.flow.family == "linf":
            self.flow.queries_at_once = 1 << 30
            self.flow.implicit.forward = partial(corners_at_once, self.flow.implicit)
        for i in range(samples):
            cond = self.flow.condition(self.lr)
            if self.flow.family == "srflow":
                self._tail(cond.features)
            own = self.latents.map(lambda t, i=i: t[i : i + 1])
            out.append(self.flow.decode(own, cond))
        return out

    def _tail(self, features: tuple[Tensor, ...]) -> None:
        """The enlargement to an image that the published encoder computes besides."""
        encoder = self.flow.encoder
        half = features[0][:, : self.flow.config.width]
        hr = torch.nn.functional.interpolate(half, scale_factor=2.0, mode="nearest")
        for name in (f"upconv{encoder.doublings}", "HRconv", "conv_last"):
            hr = torch.nn.functional.leaky_relu(encoder.get_submodule(name)(hr), 0.2)

    @torch.inference_mode()
    def shared(self, samples: int) -> list[Tensor]:
        """As this package works."""
        flow = self.fast
        with freed_memory_kept():
            cond = flow.condition(on_device(self.lr, flow))
            flow.prepare(cond, self.latents.spec)
            out: list[Tensor] = []
            for i in range(0, samples, self.batch):
                own = self.latents.map(
                    lambda t, i=i: on_device(t[i : min(i + self.batch, samples)], flow)
                )
                out += flow.decode(own, cond).split(1)
            return out


def corners_at_once(net: ImplicitNet, *query: Any) -> Tensor:
    """`ImplicitNet.forward` on the four corners' waves concatenated, of all queries."""
    first, *rest = net.layers
    out = first(torch.cat(tuple(net.waves(*query)), -1))
    for layer in rest:
        out = layer(torch.nn.functional.relu(out))
    return out


def make(name: str, side: int, batch: int) -> Case:
    """Random weights of the published sizes, small enough that nothing explodes."""
    family, options, scale = NETWORKS[name]
    torch.manual_seed(0)
    flow = _registry.build(family, options).eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 1e-4)
        for key, buffer in flow.named_buffers():
            if key.endswith("initialized"):
                buffer.fill_(True)
    lr = torch.rand(1, flow.channels, side, side)
    spec = flow.latent_spec((side, side), scale)
    latents = NoiseField(0).draw(spec, samples=range(SAMPLES)).map(lambda t: 0.8 * t)
    return Case(name, flow, laid_out(copy.deepcopy(flow)), lr, latents, batch)


def _serve(pipe: Connection, name: str, side: int, batch: int, threads: int) -> None:
    """In a process of its own: decode as asked, (way, samples) to (seconds, images)."""
    torch.set_num_threads(threads)
    case = make(name, side, batch)
    with contextlib.suppress(EOFError):
        while True:
            way, samples = pipe.recv()
            began = time.perf_counter()
            images = getattr(case, way)(samples)
            pipe.send((time.perf_counter() - began, torch.cat(images).numpy()))


@contextlib.contextmanager
def workers(*case: Any) -> Iterator[dict[str, Connection]]:
    """A process for each way, or one would leave its allocator's settings behind."""
    spawn, pipes = multiprocessing.get_context("spawn"), {}
    for way in WAYS:
        pipes[way], theirs = spawn.Pipe()
        spawn.Process(target=_serve, args=(theirs, *case), daemon=True).start()
        theirs.close()  # so that the end of a process is an end of file
    try:
        yield pipes
    finally:
        for pipe in pipes.values():
            pipe.close()


def measure(pipes: dict[str, Connection], name: str, repeat: int) -> list[str]:
    """Rows of the table."""
    best: dict[tuple[str, int], float] = {}
    difference = dict.fromkeys((1, SAMPLES), 0.0)
    for _ in range(repeat):
        for samples in (1, SAMPLES):
            results = []
            for way, pipe in pipes.items():
                pipe.send((way, samples))
                seconds, image = pipe.recv()
                best[way, samples] = min(best.get((way, samples), seconds), seconds)
                results.append(image)
            largest = float(abs(results[0] - results[1]).max())
            if not math.isfinite(largest):
                raise SystemExit(f"{name}: the random network is not finite.")
            # Random flows have large values.
            largest /= float(results[0].max() - results[0].min())
            difference[samples] = max(difference[samples], largest)
    rows = []
    for samples in (1, SAMPLES):
        a, b = best["anew", samples], best["shared", samples]
        rows.append((str(samples), a, b, f"{difference[samples]:.1e}"))
    further = [(best[way, SAMPLES] - best[way, 1]) / (SAMPLES - 1) for way in WAYS]
    rows.append(("each further", *further, ""))
    return [
        f"| {name} | {n} | {a:.2f} s | {b:.3f} s | {a / b:.1f} | {d} |"
        for n, a, b, d in rows
    ]


def peak() -> float:
    """Largest memory of this process so far, MB (``VmHWM`` of Linux)."""
    # Not getrusage: there a new process begins with the peak of the one it came from.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    raise SystemExit("This system does not tell the peak of a process (VmHWM).")


def memory(name: str, side: int, threads: int) -> str:
    """Row of the table: each way in a process of its own."""
    found = []
    for way in WAYS:
        own = [name, "--side", str(side), "--threads", str(threads), "--way", way]
        command = [sys.executable, __file__, *own]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(float(done.stdout))
    a, b = found
    return f"| {name} | memory of one | {a:.0f} MB | {b:.0f} MB | {a / b:.1f} | |"


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[[], *NETWORKS])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.way:
        case = make(asked.networks[0], asked.side, asked.batch)
        before = peak()
        getattr(case, asked.way)(1)
        sys.stdout.write(f"{peak() - before}")
        return
    sys.stdout.write(HEAD)
    for name in asked.networks or NETWORKS:
        with workers(name, asked.side, asked.batch, asked.threads) as pipes:
            sys.stdout.write("\n".join(measure(pipes, name, asked.repeat)) + "\n")
        sys.stdout.flush()
        sys.stdout.write(memory(name, asked.side, asked.threads) + "\n")


if __name__ == "__main__":
    main()
