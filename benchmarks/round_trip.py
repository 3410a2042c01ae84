"""Round trip of real HR images: encode, decode, largest difference.

    python benchmarks/round_trip.py FOLDER [MODEL ...] [--side 256]

For each built-in model (or those named): the largest and the root mean square
difference in network units (the range of the image is 1) of ``decode(encode(hr))``,
with the network in float32 and in float64; and how many pixels of a 16-bit image differ
after `Posterior.encode` and `Posterior.decode`, which is what an edit relies on.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import napari_flowsr as flowsr
from napari_flowsr.data.degrade import downscale
from napari_flowsr.data.source import find_files, read_planes
from napari_flowsr.io.images import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.models.card import Model


def images(folder: Path, channels: int, scale: int, side: int) -> Iterator[np.ndarray]:
    """Central crops ``(C, H, W)`` in ``[0, 1]``."""
    for file in find_files(folder):
        for plane in read_planes(file, channels, read=read_image):
            pixels = plane.pixels
            size = [min(n, side) // scale * scale for n in pixels.shape[1:]]
            y, x = ((n - s) // 2 for n, s in zip(pixels.shape[1:], size, strict=True))
            yield pixels[:, y : y + size[0], x : x + size[1]]


@torch.inference_mode()
def error(flow: ConditionalFlow, hr: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Difference of the round trip at a precision."""
    there = torch.from_numpy(hr.copy())[None].to(dtype)
    cond = flow.condition(downscale(there, flow.scales[0]))
    back = flow.decode(flow.encode(there, cond).latents, cond)
    return (back - there).double().numpy()


def sixteen_bit(model: Model, hr: np.ndarray) -> int:
    """Pixels of a 16-bit image that do not come back."""
    own = np.rint(hr[0] * 65535).astype(np.uint16)
    small = downscale(torch.from_numpy(own / 65535.0)[None], model.flow.scales[0])
    lr = np.clip(np.rint(small[0].numpy() * 65535), 0, 65535).astype(np.uint16)
    post = flowsr.posterior(lr, model, device="cpu")
    return int((post.decode(post.encode(own)) != own).sum())


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=None)
    parser.add_argument("--side", type=int, default=256)
    given = parser.parse_args()
    names = given.models or [card.name for card in flowsr.list_models()]
    for name in names:
        model = flowsr.load_model(name, device="cpu")
        flow, scale = model.flow, int(model.flow.scales[0])
        double = copy.deepcopy(flow).double()
        rows, wrong, pixels = [], 0, 0
        for hr in images(given.folder, flow.channels, scale, given.side):
            single = error(flow, hr, torch.float32)
            exact = error(double, hr, torch.float64)
            rows.append([abs(e).max() for e in (single, exact)])
            rows[-1] += [np.sqrt(np.square(e).mean()) for e in (single, exact)]
            if len(hr) == 1:
                wrong, pixels = wrong + sixteen_bit(model, hr), pixels + hr.size
        worst = np.max(rows, 0)
        print(
            f"{name}: {len(rows)} images; float32 max {worst[0]:.2e} rms "
            f"{worst[2]:.2e}; float64 max {worst[1]:.2e} rms {worst[3]:.2e}; "
            f"{wrong} of {pixels} 16-bit pixels differ"
        )


if __name__ == "__main__":
    main()
