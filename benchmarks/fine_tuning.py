"""What a few minutes of training on half of an image gain on its other half.

    python benchmarks/fine_tuning.py IMAGE [IMAGE ...] [--model micro-2x]
        [--minutes 5] [--threads 1]

Each image is cut in the middle of its longer side. A copy of the model is trained on
the first half, with the recipe of its family, and measured on the second half, like the
model that it started from. Nothing of the second half is seen in training.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import napari_flowsr as flowsr
from napari_flowsr.data.source import read_planes
from napari_flowsr.io.images import read_image


def halves(file: Path, folder: Path) -> tuple[Path, Path]:
    """Files with the two halves of the luminance, scaled as the whole image."""
    (plane,) = read_planes(file, 1, read=read_image)
    image = plane.pixels[0]
    parts = np.array_split(image, 2, axis=int(np.argmax(image.shape)))
    paths = (folder / "first.npy", folder / "second.npy")
    for path, part in zip(paths, parts, strict=True):
        np.save(path, part)
    return paths


def line(name: str, mean: dict) -> str:
    """Figures in one line."""
    mode, bicubic = mean["psnr"]["mode"], mean["psnr"]["bicubic"]
    return (
        f"  {name:12s} PSNR {mode:.2f} dB ({mode - bicubic:+.2f} over bicubic), SSIM "
        f"{mean['ssim']['mode']:.4f}, CRPS {mean['crps']:.5f}, covers 90 %: "
        f"{mean['coverage_90']:.1%}, bits {mean['bpd']:.2f}"
    )


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--model", default="micro-2x")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    scale = load(given.model).card.scales[0]
    for file in given.images:
        with tempfile.TemporaryDirectory() as place:
            first, second = halves(file, Path(place))
            before = flowsr.evaluate(second, load(given.model))["mean"]
            output = Path(place) / "own.safetensors"
            events = flowsr.train(
                first,
                preset=f"compact-{scale:g}x",
                output=output,
                start_from=given.model,
                minutes=given.minutes,
            )
            *_, last = events
            after = flowsr.evaluate(second, load(output))["mean"]
        print(f"{file.name}: {last.step} steps in {last.seconds:.0f} s")
        print(line(given.model, before))
        gain = after["psnr"]["mode"] - before["psnr"]["mode"]
        print(f"{line('fine-tuned', after)}, gain {gain:+.2f} dB", flush=True)


def load(model: str | Path) -> flowsr.Model:
    """On the CPU, where threads count."""
    return flowsr.load_model(model, device="cpu")


if __name__ == "__main__":
    main()
