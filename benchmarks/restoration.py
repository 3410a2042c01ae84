"""Restoration of noisy and compressed images, next to what else one would reach for.

    python benchmarks/restoration.py FOLDER [--damage noise] [--every N]

FOLDER holds folders of clean images, one for each domain. Each image is scaled and
cropped as by `napari-flowsr evaluate` (luminance, 256 pixels on a side at most), then
degraded: Gaussian noise of 20 grey levels of 255, or JPEG of quality 30. Printed is a
table of PSNR and SSIM (means over images), with a border of `scale` pixels left out:

* degraded: as it is;
* super-resolved: its reduction, enlarged by the model at temperature 0;
* restored: `napari_flowsr.restore` with its default arguments;
* eq. (7): with the temperature of a grid that is best for the row;
* non-local means, total variation: scikit-image's, each with the parameter of a grid
  that is best for the row, which nobody knows who has no clean image.

The last column is the smallest gain of a single image by `restored`, in dB.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

import napari_flowsr as flowsr
from napari_flowsr.data.degrade import downscale
from napari_flowsr.data.source import find_files, read_planes
from napari_flowsr.io.images import read_image
from napari_flowsr.metrics.fidelity import psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_flowsr.models.card import Model

Pixels = np.ndarray[Any, np.dtype[np.float32]]

SIDE = 256
SIGMA = 20 / 255
QUALITY = 30
TEMPERATURES = (0.25, 0.5, 0.75, 1.0)
NL_MEANS = {"noise": (0.4, 0.6, 0.8, 1.0), "jpeg": (0.05, 0.1, 0.2, 0.4)}
"""Strengths, in parts of SIGMA."""
TV = {"noise": (0.05, 0.08, 0.12, 0.18), "jpeg": (0.005, 0.01, 0.02, 0.04)}
METHODS = (
    *("degraded", "super-resolved", "restored", "eq. (7)"),
    *("non-local means", "total variation"),
)


def clean_images(folder: Path, every: int) -> list[Pixels]:
    """Centres of the images, sides that 8 divides."""
    found = []
    for file in find_files(folder)[::every]:
        for plane in read_planes(file, 1, read=read_image):
            image = plane.pixels[0]
            sides = [min(SIDE, n) // 8 * 8 for n in image.shape]
            y, x = ((n - side) // 2 for n, side in zip(image.shape, sides, strict=True))
            found.append(image[y : y + sides[0], x : x + sides[1]])
    return found


def degraded(image: Pixels, how: str, seed: int) -> Pixels:
    """Noise, or compression."""
    if how == "noise":
        noise = np.random.default_rng(seed).normal(0, SIGMA, image.shape)
        return (image + noise).astype(np.float32)
    file = io.BytesIO()
    levels = np.rint(image * 255).astype(np.uint8)
    Image.fromarray(levels).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file), np.float32) / 255


def super_resolved(image: Pixels, model: Model) -> Pixels:
    """What the reduction alone tells."""
    scale = float(model.flow.scales[0])
    lr = downscale(torch.from_numpy(image), scale)[None, None]
    with torch.inference_mode():
        cond = model.flow.condition(lr)
        found = model.flow.sample(cond, 1, temperature=0.0)
    return np.asarray(found[0, 0].numpy())


def by_model(image: Pixels, model: Model) -> Iterator[tuple[str, str, Pixels]]:
    """Method, parameter and result."""
    yield "super-resolved", "", super_resolved(image, model)
    yield "restored", "", flowsr.restore(image, model)
    for tau in TEMPERATURES:
        found = flowsr.restore(image, model, temperature=tau)
        yield "eq. (7)", f"τ {tau:g}", found


def by_others(image: Pixels, how: str) -> Iterator[tuple[str, str, Pixels]]:
    """As `by_model`."""
    yield "degraded", "", image
    for part in NL_MEANS[how]:
        sigma = part * SIGMA
        found = denoise_nl_means(
            image, h=sigma, sigma=sigma, patch_size=5, patch_distance=6
        )
        yield "non-local means", f"h {sigma:.3f}", found.astype(np.float32)
    for weight in TV[how]:
        found = denoise_tv_chambolle(image, weight=weight)
        yield "total variation", f"w {weight:g}", found.astype(np.float32)


class Row:
    """Figures of one model, domain and degradation."""

    def __init__(self, border: int) -> None:
        self.border = border
        self.figures: dict[tuple[str, str], list[tuple[float, float]]]
        self.figures = defaultdict(list)

    def add(self, method: str, parameter: str, found: Pixels, clean: Pixels) -> None:
        """One result of one image."""
        found = np.clip(found, 0, 1)
        pair = (
            psnr(found, clean, self.border),
            ssim(found[None], clean[None], self.border),
        )
        self.figures[method, parameter].append(pair)

    def best(self, method: str) -> str:
        """Cell of the parameter with the best mean PSNR."""
        means = [
            (*np.mean(values, axis=0), parameter)
            for (name, parameter), values in self.figures.items()
            if name == method
        ]
        dB, similarity, parameter = max(means)
        return f"{dB:.2f} / {similarity:.3f}" + (f" ({parameter})" if parameter else "")

    def worst(self) -> float:
        """Smallest gain of a single image by restoring."""
        pairs = zip(
            self.figures["restored", ""], self.figures["degraded", ""], strict=True
        )
        return min(after[0] - before[0] for after, before in pairs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="micro-2x,micro-4x")
    parser.add_argument("--damage", default="noise,jpeg")
    parser.add_argument("--every", type=int, default=1, help="every n-th image")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    models = [flowsr.load_model(name) for name in asked.models.split(",")]
    head = ["model", "images", "damage", *METHODS, "least gain"]
    print(f"| {' | '.join(head)} |")
    print("|---|---|---|" + "---|" * (len(METHODS) + 1), flush=True)
    started = time.perf_counter()
    for folder in sorted(p for p in asked.folder.iterdir() if p.is_dir()):
        images = clean_images(folder, asked.every)
        for how in asked.damage.split(","):
            rows = [Row(int(m.flow.scales[0])) for m in models]
            for number, clean in enumerate(images):
                image = degraded(clean, how, number)
                for method, parameter, found in by_others(image, how):
                    for row in rows:
                        row.add(method, parameter, found, clean)
                for model, row in zip(models, rows, strict=True):
                    for method, parameter, found in by_model(image, model):
                        row.add(method, parameter, found, clean)
            for model, row in zip(models, rows, strict=True):
                cells = [model.card.name, f"{folder.name} ({len(images)})", how]
                cells += [row.best(method) for method in METHODS]
                print(f"| {' | '.join(cells)} | {row.worst():+.2f} |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
