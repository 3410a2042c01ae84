"""Pictures of the report: which part of an image, which images, as PNG in the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from napari_flowsr.core.places import hr_side
from napari_flowsr.io.png import png_parts, to_png_levels
from napari_flowsr.metrics.baselines import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.metrics.plane import Evaluated

__all__ = ["SHOWN", "Pictures", "busiest", "data_uri", "ranks", "take"]

Image = NDArray[np.float32]

SHOWN = 128
"""Side of the part that is shown, HR pixels."""
_BRIGHTEST = 99.5
_LR_STEP = 4


@dataclass(frozen=True)
class Pictures:
    """One image in all its versions, as data URIs.

    Parameters
    ----------
    name : str
        Of the image.
    region : tuple of int
        Top, left, height and width of the part that is shown, HR pixels.
    images : mapping
        Version to data URI of a PNG.
    spread : float
        Standard deviation that is shown brightest; 0 for none.
    """

    name: str
    region: tuple[int, int, int, int]
    images: Mapping[str, str] = field(default_factory=dict)
    spread: float = 0.0


def data_uri(levels: NDArray[np.uint8]) -> str:
    """PNG of ``(H, W)`` or ``(H, W, 3)`` inside of an address."""
    png = b"".join(png_parts(levels))
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def busiest(truth: Image, scale: float, side: int = SHOWN) -> tuple[int, int, int, int]:
    """Square part of the true image ``(C, H, W)`` with the steepest gradients.

    Its position is a matter of the true image alone, whatever a model makes of it; it
    begins at multiples of four LR pixels, so that all versions show the same part.
    """
    plane = truth.mean(0, dtype=np.float64)
    height, width = (min(side, full) for full in plane.shape)
    rows, columns = np.gradient(plane)
    steep = np.pad(np.hypot(rows, columns), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    best, place = -1.0, (0, 0)
    step = hr_side(_LR_STEP, scale)
    for top in range(0, plane.shape[0] - height + 1, step):
        for left in range(0, plane.shape[1] - width + 1, step):
            bottom, right = top + height, left + width
            found = steep[bottom, right] - steep[top, right]
            found += steep[top, left] - steep[bottom, left]
            if found > best:
                best, place = float(found), (top, left)
    return (*place, height, width)


def take(found: Evaluated, further: Mapping[str, Image]) -> Pictures:
    """Draw the busiest part of an image, at the contrast of its true version."""
    top, left, height, width = region = busiest(found.hr, found.scale)

    def part(image: Image) -> Image:
        return image[:, top : top + height, left : left + width]

    low, high = (float(v) for v in np.percentile(part(found.hr), (0.1, 99.9)))
    limits = (low, high) if high > low else (low, low + 1.0)
    versions = {
        "input": nearest(found.lr, found.scale),
        "bicubic": found.bicubic,
        "mode": found.mode,
        "sample0": found.samples[0],
        "sample1": found.samples[1] if len(found.samples) > 1 else None,
        "prior": further.get("prior"),
    }
    images = {
        name: _picture(part(image), limits)
        for name, image in versions.items()
        if image is not None
    }
    spread = 0.0
    if len(found.samples) > 1:
        std = part(found.samples.std(0, ddof=1, dtype=np.float64)).mean(0)
        spread = float(np.percentile(std, _BRIGHTEST))
        images["std"] = _map(std, spread)
    images["truth"] = _picture(part(found.hr), limits)
    return Pictures(found.name, region, images, spread)


def _picture(image: Image, limits: tuple[float, float]) -> str:
    last = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    return data_uri(to_png_levels(last, limits, 8))


def _map(values: NDArray[Any], brightest: float) -> str:
    colours = mpl.colormaps["magma"](np.clip(values / (brightest or 1.0), 0, 1))
    return data_uri(np.rint(colours[..., :3] * 255).astype(np.uint8))


def ranks(gains: Mapping[str, float], count: int) -> list[tuple[str, str]]:
    """Which images are shown, and the place of each among all.

    In order of their gain over bicubic interpolation: the least, the greatest, and
    evenly spaced ones between, so that failures are shown as well as successes.

    Parameters
    ----------
    gains : mapping
        Name to gain, dB.
    count : int
        How many to show.
    """
    ordered: Sequence[str] = sorted(gains, key=lambda name: (gains[name], name))
    last, count = len(ordered) - 1, min(count, len(ordered))
    if count < 1:
        return []
    places = (
        [round(i * last / (count - 1)) for i in range(count)]
        if count > 1
        else [last // 2]
    )
    words = {0: "least gain", last: "greatest gain"} if last else {}
    return [
        (ordered[i], words.get(i, f"gain number {i + 1} of {last + 1}")) for i in places
    ]
