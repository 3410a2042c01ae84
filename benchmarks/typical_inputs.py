"""What the LR images were like that a model was trained on, for its card.

    python benchmarks/typical_inputs.py FOLDER [MODEL ...] [--write]
        [--check FOLDER ...]

FOLDER holds the HR images that the models were trained on. Each is reduced as in
training and described by `inference.typical`, whole and as a random crop of 64 x 64 LR
pixels, so that small images are known too. With ``--write`` the statistics go into the
card of the model's file; its tensors stay. ``--check`` tells which share of other
images, and of images made unlike them, lies outside.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_flowsr import load_model, posterior
from napari_flowsr.data.degrade import degrade
from napari_flowsr.data.source import find_files, read_planes
from napari_flowsr.inference.typical import calibrated, describe
from napari_flowsr.io.collection import builtin_folder
from napari_flowsr.io.header import describe_anew
from napari_flowsr.io.images import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_flowsr.models.card import Model

    Image = np.ndarray

CROP = 64


def lr_images(folder: Path, model: Model) -> Iterator[Image]:
    """LR images ``(h, w)`` of all planes in a folder, in the order of their names."""
    scale, rng = int(model.flow.scales[0]), np.random.default_rng(0)
    for file in find_files(folder):
        for plane in read_planes(file, 1, read=read_image):
            height, width = (side // scale * scale for side in plane.pixels.shape[1:])
            hr = torch.from_numpy(plane.pixels[0, :height, :width].copy())
            if min(height, width) >= 32 * scale and hr.std() > 0:
                lr = degrade(hr[None].double(), scale, model.card.degradation, rng)
                yield lr[0].numpy()


def crop_of(lr: Image, rng: np.random.Generator) -> Image:
    """A random part, if possible not an empty one."""
    for _ in range(8):
        y, x = (int(rng.integers(0, max(1, side - CROP + 1))) for side in lr.shape)
        part = lr[y : y + CROP, x : x + CROP]
        if part.std() > 0.3 * lr.std():
            break
    return part


def measured(folder: Path, model: Model) -> dict:
    """Statistics for the card."""
    rng = np.random.default_rng(0)
    images = list(lr_images(folder, model))
    parts = [part for lr in images for part in (lr, crop_of(lr, rng))]
    described = [found for part in parts if (found := describe(part)) is not None]
    return calibrated(described, images=len(images))


def unlike(rng: np.random.Generator) -> dict[str, Callable[[Image], Image]]:
    """Ways to make an image that a model did not learn from."""

    def chequered(x: Image) -> Image:
        side = 2 ** int(rng.integers(0, 5))
        return (np.indices(x.shape) // side).sum(0) % 2

    return {
        "64 x 64 crops": lambda x: crop_of(x, rng),
        "noise of 2 % of the range": lambda x: x + 0.02 * rng.standard_normal(x.shape),
        "noise of 5 % of the range": lambda x: x + 0.05 * rng.standard_normal(x.shape),
        "20 photons at most": lambda x: rng.poisson(np.clip(x, 0, 1) * 20),
        "uniform noise": lambda x: rng.random(x.shape),
        "normal noise": lambda x: rng.standard_normal(x.shape),
        "masks": lambda x: x > np.quantile(x, rng.uniform(0.3, 0.9)),
        "chequerboards": chequered,
    }


def outside(images: list[Image], model: Model) -> str:
    """Share that lies outside, and the median score."""
    found = [
        posterior(np.asarray(x, np.float32), model, device="cpu").doubt()
        for x in images
    ]
    share = np.mean([doubt.is_outside for doubt in found])
    scores = [doubt.score for doubt in found]
    return f"{share:6.1%} of {len(found):3d} outside, median {np.nanmedian(scores):.2f}"


def check(folders: list[Path], model: Model) -> None:
    """Print rates; what is made unlike is made of the first folder."""
    for number, folder in enumerate(folders):
        images = list(lr_images(folder, model))
        print(f"  {'/'.join(folder.parts[-2:]):28s} {outside(images, model)}")
        if number == 0:
            for name, change in unlike(np.random.default_rng(1)).items():
                changed = [change(x) for x in images]
                print(f"  {'  ' + name:28s} {outside(changed, model)}")


def main() -> None:
    """Measure, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=["micro-2x", "micro-4x"])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    for name in given.models:
        model = load_model(name, device="cpu")
        typical = measured(given.folder, model)
        card = model.card.with_(typical=typical)
        print(
            f"{name}: {typical['images']} images, {typical['count']} descriptions, "
            f"threshold {typical['threshold']}"
        )
        check([*given.check], type(model)(card, model.flow))
        if given.write:
            path = builtin_folder() / f"{name}.safetensors"
            describe_anew(path, card)
            print(f"  written into {path.name}")


if __name__ == "__main__":
    main()
