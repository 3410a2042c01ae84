"""Samples a second against batch: as it is, and what could be done besides.

    python benchmarks/gpu.py [network] [--side 256] [--batch 1 2 4 8 16]
        [--ways eager autocast compile graph] [--repeat 3] [--device cuda]

A full network of `decode.py` with random weights, an LR image of ``--side`` squared.
First comes what is done once for an image, by precision of the encoder; then decoding
of further samples from the prepared condition, in four ways:

* *eager*: as a run does it;
* *autocast*: the flow in bfloat16 too, which the package does not offer: its latents
  and its round trip are then wrong by what ``round trip`` tells;
* *compile*: `torch.compile`; it takes minutes for each batch, which ``first`` tells;
* *graph*: a CUDA graph of *eager*, captured once and replayed (CUDA only).

On a CPU it runs too, but for graphs: give a small ``--side`` and ``--batch``. Where a
batch does not fit into memory its row says so. *To eager* is blank where eager was not
measured. Difference and round trip are those of the first sample, each in a run of its
own, of one sample.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from decode import NETWORKS, make
from precision import available, clock, parsed, placed
from torch import Tensor

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.precision import conditioned
from napari_flowsr.inference.decoder import on_device
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory
from napari_flowsr.inference.options import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAYS = ("eager", "autocast", "compile", "graph")


@dataclass(frozen=True)
class Prepared:
    """A network, and the condition of one image."""

    flow: ConditionalFlow
    lr: Tensor
    cond: Condition
    device: torch.device

    @classmethod
    def of(cls, name: str, side: int, device: torch.device) -> Prepared:
        case = make(name, side, 1)
        flow = placed(case.fast, device)
        lr = on_device(case.lr, flow)
        cond = flow.prepare(flow.condition(lr), case.latents.spec)
        return cls(flow, lr, cond, device)

    def latents(self, batch: int) -> Latents:
        """Of ``batch`` samples."""
        drawn = NoiseField(0).draw(self.flow.spec_of(self.cond), samples=range(batch))
        return drawn.map(lambda t: on_device(0.8 * t, self.flow))

    def decode(self, levels: tuple[Tensor, ...]) -> Tensor:
        """As a run does it."""
        spec = self.flow.spec_of(self.cond)
        return self.flow.decode(Latents(levels, spec), self.cond)

    def seconds(self, work: Callable[[], object], repeat: int) -> float:
        """The fastest of some."""
        best = math.inf
        for _ in range(repeat):
            began = clock(self.device)
            work()
            best = min(best, clock(self.device) - began)
        return best


def once(made: Prepared, repeat: int) -> Iterator[str]:
    """Rows of what is done once for an image."""
    spec = made.flow.spec_of(made.cond)
    yield "| precision | encoder | ratio | encoder and preparing | ratio |\n"
    yield "|---|---|---|---|---|\n"
    full: tuple[float, ...] = ()
    for name in available(list(PRECISIONS), made.device):

        def both(name: str = name) -> None:
            made.flow.prepare(conditioned(made.flow, made.lr, name), spec)

        both()
        found = (
            made.seconds(lambda n=name: conditioned(made.flow, made.lr, n), repeat),
            made.seconds(both, repeat),
        )
        full = full or found
        told = [f"{s:.4f} s | {f / s:.2f}" for s, f in zip(found, full, strict=True)]
        yield f"| {name} | {' | '.join(told)} |\n"


# --- ways of decoding -------------------------------------------------------------


def in_autocast(made: Prepared, levels: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """Everything in bfloat16."""

    def work() -> Tensor:
        with torch.autocast(made.device.type, torch.bfloat16):
            return made.decode(levels)

    return work


def compiled(made: Prepared, levels: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """By `torch.compile`, for these sizes."""
    torch.compiler.reset()
    decode = torch.compile(made.decode, dynamic=False)
    return lambda: decode(levels)


def as_graph(made: Prepared, levels: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """Captured once; what is replayed reads the same latents and writes one image."""
    beside = torch.cuda.Stream(made.device)
    beside.wait_stream(torch.cuda.current_stream(made.device))
    with torch.cuda.stream(beside):
        for _ in range(3):
            made.decode(levels)
    torch.cuda.current_stream(made.device).wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        image = made.decode(levels)

    def work() -> Tensor:
        graph.replay()
        return image

    return work


def make_way(
    way: str, made: Prepared, levels: tuple[Tensor, ...]
) -> Callable[[], Tensor]:
    """What draws the samples, ready to be measured."""
    if way == "eager":
        return lambda: made.decode(levels)
    ways = {"autocast": in_autocast, "compile": compiled, "graph": as_graph}
    return ways[way](made, levels)


def timed(
    way: str, made: Prepared, batch: int, repeat: int
) -> tuple[float, float, Tensor]:
    """Seconds of the first run, samples a second of later ones, and the first sample.

    Nothing else: what needs more memory is no lack of memory of this way.
    """
    levels = tuple(made.latents(batch).levels)
    began = clock(made.device)
    work = make_way(way, made, levels)
    image = work()[:1].float().clone()
    first = clock(made.device) - began
    return first, batch / made.seconds(work, repeat), image


def checked(made: Prepared, image: Tensor) -> tuple[float, float]:
    """Errors of the first sample: as a part of its range, and of its latents."""
    levels = tuple(made.latents(1).levels)
    expected = made.decode(levels)
    away = float((image - expected).abs().max() / (expected.max() - expected.min()))
    back = made.flow.encode(image, made.cond).latents.levels
    trip = max(float((a - b).abs().max()) for a, b in zip(back, levels, strict=True))
    return away, trip


def fitting(work: Callable[[], Any], device: torch.device) -> Any:
    """What ``work`` returns; ``None`` where memory does not suffice."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # The error, and what its frames hold, has gone by now.
    empty_cache(device)
    return None


def decoding(
    made: Prepared, batches: list[int], ways: list[str], repeat: int
) -> Iterator[str]:
    """Rows of samples a second."""
    yield (
        "| way | batch | first | samples/s | to eager | difference / range "
        "| round trip of latents |\n|---|---|---|---|---|---|---|\n"
    )
    for batch in batches:
        eager = 0.0  # not measured, or out of memory
        for way in ways:
            found = fitting(partial(timed, way, made, batch, repeat), made.device)
            if found is None:
                yield f"| {way} | {batch} | out of memory | | | | |\n"
                continue
            first, rate, image = found
            if way == "eager":
                eager = rate
            ratio = f"{rate / eager:.2f}" if eager else ""
            errors = fitting(partial(checked, made, image), made.device)
            told = "not checked: out of memory | "
            if errors is not None:
                told = " | ".join(f"{e:.1e}" for e in errors)
            yield (
                f"| {way} | {batch} | {first:.2f} s | {rate:.3g} | {ratio} | {told} |\n"
            )


@torch.no_grad()
def main() -> None:
    """Print two markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", choices=NETWORKS, default="srflow")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    asked, device, why = parsed(parser)
    is_gpu = device.type == "cuda"
    ways = [w for w in WAYS if w in asked.ways and (is_gpu or w != "graph")]
    sys.stdout.write(f"{why} torch {torch.__version__}; {asked.network}, ")
    sys.stdout.write(f"an LR side of {asked.side}\n\n")
    made = Prepared.of(asked.network, asked.side, device)
    for table in (
        once(made, asked.repeat),
        decoding(made, asked.batch, ways, asked.repeat),
    ):
        for line in table:
            sys.stdout.write(line)
            sys.stdout.flush()
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
