"""Content transfer: agreement with the LR image before and after harmonising.

    python benchmarks/content_transfer.py HOST SOURCE [HOST SOURCE ...] --out FOLDER

Takes the place of HOST with the most detail and, as a person would, the patch of SOURCE
that looks most like it from afar; pastes it (matched in brightness and contrast) and
harmonises it, given the host's own reduction, by both built-in models. Prints one line
for each and writes a picture: host, paste, harmonised, difference. ``--ablate`` adds
the variants that docs/editing.md speaks of.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.ndimage import binary_erosion, gaussian_filter

import napari_flowsr as flowsr
from napari_flowsr.data.degrade import downscale, upscale_bicubic
from napari_flowsr.inference.paste import paste
from napari_flowsr.inference.reduced import reduced
from napari_flowsr.inference.transfer import transferring
from napari_flowsr.io.images import read_image

MODELS = ("micro-2x", "micro-4x")
VARIANTS: dict[str, dict[str, Any]] = {
    "local": {},
    "as in the paper": {"reconcile": False},
    "spatial": {"normalisation": "spatial"},
    "global": {"normalisation": "global"},
    "spatial, local": {"normalisation": ("spatial", "local")},
    "local at 0.7": {"temperature": 0.7},
}


@dataclass(frozen=True)
class Scene:
    """A host, and the same with a patch pasted in."""

    name: str
    host: np.ndarray
    edited: np.ndarray
    mask: np.ndarray


def grey(path: str) -> np.ndarray:
    """One channel of an image, in its own range."""
    image = np.asarray(read_image(path).data)
    return image if image.ndim == 2 else image[..., :3].mean(-1).astype(image.dtype)


def busiest(image: np.ndarray, side: int) -> tuple[int, int]:
    """Corner of the square with the most detail, away from the borders."""
    detail = np.abs(image - gaussian_filter(image.astype(float), 2))
    score = gaussian_filter(detail, side / 4)
    half = side // 2
    inner = score[side:-side, side:-side]
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(y) + side - half, int(x) + side - half


def resembling(host: np.ndarray, source: np.ndarray, blur: float) -> tuple[int, int]:
    """Corner of the patch of the source that looks most like the host, blurred."""
    from skimage.feature import match_template

    far, wanted = (gaussian_filter(a.astype(float), blur) for a in (source, host))
    found = match_template(far, wanted)
    y, x = np.unravel_index(int(found.argmax()), found.shape)
    return int(y), int(x)


def scene(host_path: str, source_path: str, side: int) -> Scene:
    """Paste what fits best, an ellipse, at the host's busiest place."""
    host, source = grey(host_path), grey(source_path)
    at = busiest(host, side)
    place = tuple(slice(start, start + side) for start in at)
    y, x = resembling(host[place], source, 4.0)
    patch = source[y : y + side, x : x + side]
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    edited, mask = paste(host, patch, at=at, mask=rows**2 + columns**2 < 1, match=True)
    name = f"{Path(source_path).stem} in {Path(host_path).stem}"
    return Scene(name, host, edited, mask)


def fine(image: np.ndarray, scale: int) -> np.ndarray:
    """What the LR image does not show: all but what its reduction enlarges to."""
    sides = [side // scale * scale for side in image.shape]
    whole = torch.from_numpy(image[: sides[0], : sides[1]].astype(float))
    return (whole - upscale_bicubic(downscale(whole, scale), scale)).numpy()


def correlation(a: np.ndarray, b: np.ndarray, made: Scene, scale: int) -> float:
    """Of the fine detail of two images, well inside the mask."""
    inner = binary_erosion(made.mask, iterations=2 * scale)
    found = [fine(image, scale) for image in (a, b)]
    inner = inner[: found[0].shape[0], : found[0].shape[1]]
    return float(np.corrcoef(*(f[inner] for f in found))[0, 1])


def draw(made: Scene, results: dict[str, np.ndarray], said: str, path: Path) -> None:
    """Close up: host, paste, and for each model the result and what it changed."""
    rows, columns = (np.flatnonzero(made.mask.any(axis)) for axis in (1, 0))
    margin = 24
    box = tuple(
        slice(max(0, int(a[0]) - margin), int(a[-1]) + margin) for a in (rows, columns)
    )
    pictures = {"host": made.host, "pasted": made.edited, **results}
    figure = Figure(figsize=(3.1 * (len(pictures) + 1), 3.6), layout="constrained")
    low, high = np.percentile(made.host[box], (0.5, 99.5))
    axes = figure.subplots(1, len(pictures) + 1)
    for axis, (title, image) in zip(axes, pictures.items(), strict=False):
        axis.imshow(image[box], cmap="gray", vmin=low, vmax=high)
        axis.set_title(title)
    last = next(reversed(results.values()))
    change = last[box].astype(float) - made.host[box]
    axes[-1].imshow(change, cmap="coolwarm", vmin=low - high, vmax=high - low)
    axes[-1].set_title("last − host")
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(f"{made.name}: {said}")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure all pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", help="HOST SOURCE, in turn")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--ablate", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    pairs = zip(given.images[::2], given.images[1::2], strict=True)
    variants = VARIANTS if given.ablate else {"local": {}}
    for host, source in pairs:
        made = scene(host, source, given.side)
        results, said = {}, []
        for name in MODELS:
            model = flowsr.load_model(name)
            pair = reduced(made.host, model)
            post = flowsr.posterior(pair.lr, model)
            edited = pair.fitted(made.edited, "edited")
            before = post.consistency(edited)[0]
            for title, options in variants.items():
                mask = pair.fitted_map(made.mask)
                steps = transferring(post, pair.hr, edited, mask, **options)
                full = post.finish(steps).array
                after, found = post.consistency(full)[0], pair.cropped(full)
                scale = int(post.geometry.scale)
                kept = correlation(made.edited, found, made, scale)
                left = correlation(made.host, found, made, scale)
                print(
                    f"{made.name:58s} {name} {title:16s} LR-PSNR {before:5.1f} -> "
                    f"{after:5.1f} dB ({after - before:+5.1f}), fine detail: "
                    f"{kept:.2f} of the paste, {left:.2f} of the host",
                    flush=True,
                )
                if title == "local":
                    results[f"harmonised, {name}"] = found
                    said.append(f"{name} {before:.1f} → {after:.1f} dB")
        path = given.out / f"{Path(source).stem}_in_{Path(host).stem}.png"
        draw(made, results, ", ".join(said), path)


if __name__ == "__main__":
    main()
