"""Peak of anonymous memory against the size of the plane.

    python benchmarks/memory.py [SIDE ...] [--model micro-2x] [--samples 1]

Each side is a fresh process that upscales a plane of SIDE x SIDE (16 bits, in a TIFF
file that is read where it is looked at) as `upscale_files` and the docks do. Anonymous
memory (``RssAnon`` of Linux) is looked at every 20 ms; results that are kept in a file
do not count, nor does the file. A large side takes long: ``--model`` may name a smaller
network, whose tiles are planned in the same way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import tifffile

_DEFAULT = (512, 2048, 8192)


def anonymous() -> float:
    """Anonymous memory of this process, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1e3
    raise SystemExit("This system does not tell anonymous memory (RssAnon).")


def write_plane(path: Path, side: int) -> None:
    """Blurred noise, strip by strip."""
    plane = tifffile.memmap(path, shape=(side, side), dtype=np.uint16)
    rng = np.random.default_rng(0)
    for top in range(0, side, 256):
        rough = rng.integers(0, 60_000, (32, side // 8)).astype(np.uint16)
        plane[top : top + 256] = np.kron(rough, np.ones((8, 8), np.uint16))
    plane.flush()


def measure(path: Path, model: str, samples: int) -> None:
    """In a process of its own: upscale, and print the peak."""
    import napari_flowsr as flowsr
    from napari_flowsr.io.images import open_image

    peak, stop = [anonymous()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    # Not waited for if what is measured fails.
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    loaded = flowsr.load_model(model, device="cpu")
    before = anonymous()
    began = time.perf_counter()
    found = flowsr.posterior(open_image(path).data, loaded, axes="YX")
    for event in found.stream(samples):
        last = event
    seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    report = last.result.report
    side = f"{report['tile']} + {report['halo']}"
    print(f"{before:.0f} {peak[0]:.0f} {seconds:.0f} {side}")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sides", nargs="*", type=int, default=_DEFAULT)
    parser.add_argument("--model", default="micro-2x")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.file is not None:
        measure(asked.file, asked.model, asked.samples)
        return
    out = sys.stdout.write
    out("| LR side | with the model, MB | peak, MB | s | tile + halo, LR pixels |\n")
    out("|---|---|---|---|---|\n")
    for side in asked.sides:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plane.tif"
            write_plane(path, side)
            own = ["--model", asked.model, "--samples", str(asked.samples)]
            command = [sys.executable, __file__, "--file", str(path), *own]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
        before, peak, seconds, *tile = found.stdout.split()
        out(f"| {side} | {before} | {peak} | {seconds} | {' '.join(tile)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
