"""Batch throughput: what files, volumes and the book-keeping of a batch cost.

    python benchmarks/batch.py [--model micro-2x] [--planes 8] [--side 256]

The same planes four ways, in one run, without spread over machines: by `upscale` in a
loop (no files written), as a folder of TIFF files, as a stack in one TIFF file, and as
an OME-Zarr volume that is written plane by plane and could be resumed. Printed are the
MPix/s of output, and the ratio to the loop.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from skimage.data import cell

import napari_flowsr as flowsr

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.jobs.run import FileOutcome


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def written(outcomes: list[FileOutcome]) -> None:
    """Stop if anything failed: a rate of failures is none."""
    bad = [str(outcome) for outcome in outcomes if outcome.error]
    if bad:
        raise SystemExit("\n".join(bad))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="micro-2x")
    parser.add_argument("--planes", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    asked = parser.parse_args()
    model = flowsr.load_model(asked.model, device="cpu")
    side, image = asked.side, cell()
    if side > min(image.shape):
        raise SystemExit(f"--side is {side}; at most {min(image.shape)}.")
    planes = np.stack(
        [np.roll(image, 40 * i)[:side, :side] for i in range(asked.planes)]
    )
    pixels = planes.size * model.card.scales[0] ** 2 / 1e6
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "files").mkdir()
        for number, plane in enumerate(planes):
            tifffile.imwrite(folder / "files" / f"{number}.tif", plane)
        (folder / "stack").mkdir()
        stack = folder / "stack" / "stack.tif"
        tifffile.imwrite(
            stack, planes, metadata={"axes": "ZYX"}, ome=False, imagej=True
        )

        def batch(source: str, file_format: str) -> Callable[[], object]:
            target = folder / f"out-{source}-{file_format}"
            return lambda: written(
                flowsr.upscale_files(
                    folder / source, target, asked.model, file_format=file_format
                )
            )

        flowsr.upscale(planes[0], model)  # the network is folded once
        ways = {
            "`upscale` in a loop": lambda: [flowsr.upscale(p, model) for p in planes],
            "folder of TIFF files": batch("files", "ome.tif"),
            "stack, one TIFF file": batch("stack", "ome.tif"),
            "stack, OME-Zarr by planes": batch("stack", "ome.zarr"),
        }
        times = {name: timed(work) for name, work in ways.items()}
    loop = next(iter(times.values()))
    out = sys.stdout.write
    out("| | s | MPix/s of output | time / loop |\n|---|---|---|---|\n")
    for name, seconds in times.items():
        rate = pixels / seconds
        out(f"| {name} | {seconds:.1f} | {rate:.2f} | {seconds / loop:.2f} |\n")


if __name__ == "__main__":
    main()
