"""What a small image saves, and what bringing it back costs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import SizeError
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.source import open_array, plane_view

if TYPE_CHECKING:
    from napari_flowsr.inference.rescaled_facts import Rescaled

__all__ = ["Loss", "compare", "human_bytes", "pixel_bytes"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """How far an image that was brought back is from the original.

    In ranges: intensities in which 0 and 1 are what they are for the model. Alpha and
    constant channels do not count.

    Parameters
    ----------
    psnr : float
        Peak 1, dB; infinite without any error.
    mean, largest : float
        Of the absolute error.
    """

    psnr: float
    mean: float
    largest: float

    def facts(self) -> dict[str, float | None]:
        """Plain values for JSON; no PSNR where there is no error."""
        found = asdict(self)
        return found | {"psnr": self.psnr if math.isfinite(self.psnr) else None}

    def said(self) -> str:
        """One line for people."""
        if self.largest == 0.0:
            return "identical"
        return (
            f"PSNR {self.psnr:.1f} dB, mean error {_share(self.mean)}, largest "
            f"{_share(self.largest)} of the range"
        )


def _share(value: float) -> str:
    if value < 1e-4:
        return f"{value:.1e}"
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 99.5 else f"{percent:.2g} %"


def human_bytes(count: float) -> str:
    """``"512 B"``, ``"3.2 kB"``, ``"1.5 MB"``: powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            break
        count /= 1000
    return (
        f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.2g} {unit}"
    )


def pixel_bytes(array: Any) -> int:
    """Bytes of an array's pixels, uncompressed; it need not be in memory."""
    return int(math.prod(array.shape)) * int(np.dtype(array.dtype).itemsize)


def compare(image: Any, back: Any, about: Rescaled) -> tuple[Loss, Array]:
    """Compare an image that was brought back with the original.

    Parameters
    ----------
    image, back : array-like
        Of the shape in ``about``. Pixels of ``image`` that are not finite are left out.
    about : Rescaled
        The record of the small image.

    Returns
    -------
    loss : Loss
        Over all planes.
    error : ndarray
        Float32, of the shape without the colour axis: absolute error in intensity
        units, averaged over colours; 0 where the original has no value.

    Raises
    ------
    SizeError
        One of them has another shape.
    """
    pair = [open_array(image), open_array(back, "back")]
    for array in pair:
        if tuple(array.shape) != about.shape:
            raise SizeError(
                f"An image of shape {tuple(array.shape)} was given to be compared; the "
                f"small image was made from one of {about.shape}. Give the original."
            )
    geometry = Geometry(about.axes, about.shape, 1.0)
    plain = Geometry(
        about.axes.replace("S", ""), about.shape[: len(about.axes.replace("S", ""))], 1
    )
    error: Array = np.zeros(plain.input_shape, np.float32)
    squares = total = largest = 0.0
    count = 0
    for plane in range(geometry.planes):
        views = [plane_view(a, geometry, plane).astype(np.float64) for a in pair]
        colours = min(geometry.components, 3)
        channel = geometry.channel(plane)
        shown = plane_view(error, plain, plane)
        for c in range(colours):
            away = np.abs(views[1][:, :, c] - views[0][:, :, c])
            known = np.isfinite(views[0][:, :, c])
            away = np.where(known, away, 0.0)
            shown[:, :, 0] += away / colours
            span = about.range(channel, c)
            if not span.constant:
                away /= span.high - span.low
                squares += float(np.square(away).sum())
                total += float(away.sum())
                largest = max(largest, float(away.max()))
                count += int(np.count_nonzero(known))
    count = max(1, count)
    psnr = -10.0 * math.log10(squares / count) if squares > 0 else math.inf
    return Loss(psnr, total / count, largest), error
