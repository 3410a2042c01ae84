"""Evaluation protocol: what the figures of cards and notes mean.

HR is scaled to its 0.1-99.9 percentile range and clipped to ``[0, 1]``; the LR image is
its MATLAB-style antialiased bicubic reduction in floating point, not rounded. Of a
model whose card names another degradation it is what that gives, with its noise; of a
rescaling model what the model itself makes. Given LR images are scaled by their own
percentiles. RGB is compared per channel, one-channel models see the luminance. A border
of ``scale`` pixels (one LR pixel for LR-PSNR) is left out, the peak is 1, and figures
are means over images. Every plane of a stack, and every channel, is an image.

``psnr``, ``ssim``, ``lr_psnr``
    Of ``bicubic`` interpolation, of the ``mode`` (temperature 0), of a ``sample`` (mean
    of the samples' figures) and of the ``mean`` of the samples; dB but for SSIM.
``crps``, ``mae_mode``
    Continuous ranked probability score (fair estimator), and mean absolute error of
    the mode, which it is compared to.
``diversity``
    Mean over pixels of the samples' standard deviation.
``bpd``
    Bits per dimension of the 8-bit image; NaN for a network without a density.
``coverage_50``, ``coverage_90``
    Share of pixels whose truth lies in the central interval. Few samples cannot show
    low values, see ``coverage_floor`` of the result; NaN where they would tell nothing
    (`metrics.calibration.coverage`).
``nonfinite``
    Share of raw decodes that exploded: first draws of samples, before any redraw, with
    values that are not finite or larger than any image has. What was redrawn is finite
    and in the other figures. An image where redrawing did not help counts as 1 and is
    in no other figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_flowsr.data.degradation import OWN_NETWORK
from napari_flowsr.data.pairs import Pairs
from napari_flowsr.data.source import find_files, find_images, read_planes
from napari_flowsr.errors import (
    ImageError,
    OptionError,
    SizeError,
    UnstableDecodeError,
)
from napari_flowsr.inference.options import check_count, check_progress, check_scale
from napari_flowsr.io.images import read_image
from napari_flowsr.metrics.calibration import coverage_floor
from napari_flowsr.metrics.plane import (
    COMPARED,
    SINGLE,
    VERSIONS,
    Evaluated,
    evaluate_plane,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_flowsr.data.source import Images, Plane
    from napari_flowsr.models.card import Model

__all__ = ["Evaluated", "evaluate", "evaluate_plane", "evenly"]

Item = TypeVar("Item")


def evaluate(
    paths: str | Path | Iterable[str | Path],
    model: Model,
    *,
    n: int = 8,
    temperature: float = 1.0,
    scale: float | None = None,
    seed: int = 0,
    side: int | None = None,
    limit: int | None = None,
    lr_source: Images | None = None,
    progress: Callable[[int, int], object] | None = None,
    keep: Callable[[Evaluated], None] | None = None,
) -> dict[str, Any]:
    """Figures of a model on HR images, next to bicubic interpolation.

    Files are read one at a time, once to find out what can be used and once to measure
    it, so that memory does not grow with their number.

    Parameters
    ----------
    paths : path, glob pattern, or list of these
        HR images.
    model : Model
        As `load_model` gives it.
    n, temperature, scale, seed, side
        As for `evaluate_plane`; image ``i`` has seed ``seed + i``.
    limit : int, optional
        At most so many images, evenly spaced among all that can be used.
    lr_source : path, glob pattern, or list of these, optional
        Given LR images, matched by name, in place of those that the degradation gives.
    progress : callable, optional
        Called with images done and in all, also while an image is at work (after each
        tile), so that raising `Cancelled` in it stops at once.
    keep : callable, optional
        Receives each `Evaluated`, for pictures.

    Returns
    -------
    dict
        ``model``, ``sha256``, ``n``, ``temperature``, ``scale``; ``images``: name and
        figures of each; ``mean``: over images, as this module tells; ``counts``: images
        behind each mean; ``coverage_floor``: smallest values that
        ``coverage_50`` and ``coverage_90`` can have; ``unstable``: names of images that
        could not be decoded, whose row has NaN and the reason under ``unstable``;
        ``left_out``: name and reason of images that are constant, or are so in the
        part that is compared, or too small.

    Raises
    ------
    OptionError
        ``n``, ``side`` or ``limit`` below 1, another scale than the model's, LR images
        for a model that makes them itself.
    TrainingError
        There are no images.
    ImageError
        An image that cannot be read or used, or nothing is left to evaluate.
    """
    check_count(n)
    check_progress(progress)
    factor = check_scale(scale, model.flow)
    if lr_source and model.card.degradation.name == OWN_NETWORK:
        raise OptionError(
            f"LR images were given, but the rescaling model '{model.card.name}' makes "
            "its LR images itself. Leave them out (lr_source; --lr)."
        )
    read = _Reading(
        model.flow.channels,
        Pairs(find_images(lr_source), factor) if lr_source else None,
    )
    places, left_out = read.survey(find_files(paths))
    places = evenly(places, limit)
    images: list[dict[str, Any]] = []
    for number, plane in enumerate(read.planes(places)):

        def tell(*_: int, done: int = number) -> None:
            if progress is not None:
                progress(done, len(places))

        try:
            result = evaluate_plane(
                plane,
                model,
                n=n,
                temperature=temperature,
                scale=factor,
                seed=seed + number,
                side=side,
                progress=tell,
            )
        except UnstableDecodeError as error:
            images.append({"name": plane.name, **_nothing(), "unstable": str(error)})
        except (SizeError, ImageError) as error:
            left_out.append({"name": plane.name, "reason": str(error)})
        else:
            images.append({"name": plane.name, **result.figures})
            if keep is not None:
                keep(result)
        tell(done=number + 1)
    if not images:
        raise ImageError(_none_left(left_out))
    return {
        "model": model.card.name,
        "sha256": model.card.sha256,
        "n": n,
        "temperature": temperature,
        "scale": factor,
        "images": images,
        **_over(images),
        "coverage_floor": {
            "coverage_50": coverage_floor(n, 0.5),
            "coverage_90": coverage_floor(n, 0.9),
        },
        "unstable": [row["name"] for row in images if "unstable" in row],
        "left_out": left_out,
    }


Place = tuple[Path, int]
"""A file, and the number of a plane in it."""


@dataclass(frozen=True)
class _Reading:
    """How files become planes: for so many channels, with given LR images."""

    channels: int
    pairs: Pairs | None

    def _file(self, file: Path) -> list[Plane]:
        planes = read_planes(file, self.channels, read=read_image)
        if self.pairs is None:
            return planes
        given = self.pairs.of(file)
        small = read_planes(given, self.channels, read=read_image)
        return self.pairs.joined(file, planes, given, small)

    def survey(self, files: Sequence[Path]) -> tuple[list[Place], list[dict[str, str]]]:
        """Where planes with any detail are, and names of the others."""
        places: list[Place] = []
        flat: list[dict[str, str]] = []
        reason = "It is constant within its percentile range; PSNR means nothing there."
        for file in files:
            for index, plane in enumerate(self._file(file)):
                if plane.pixels.std() > 0:
                    places.append((file, index))
                else:
                    flat.append({"name": plane.name, "reason": reason})
        return places, flat

    def planes(self, places: Sequence[Place]) -> Iterator[Plane]:
        """The planes; those of one file are held at a time."""
        for file, group in groupby(places, key=lambda place: place[0]):
            planes = self._file(file)
            for _, index in group:
                yield planes[index]


def evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` of the items, evenly spaced, in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise OptionError(f"limit is {limit}; it is a number of images, at least 1.")
    return [items[(2 * i + 1) * len(items) // (2 * limit)] for i in range(limit)]


def _none_left(left_out: Sequence[dict[str, str]]) -> str:
    first = left_out[0]
    return (
        f"None of the {len(left_out)} images can be evaluated. '{first['name']}': "
        f"{first['reason']}"
    )


def _nothing() -> dict[str, Any]:
    """Figures of an image that could not be decoded."""
    nan = math.nan
    compared = {key: dict.fromkeys(VERSIONS, nan) for key in COMPARED}
    return {**compared, **dict.fromkeys(SINGLE, nan), "nonfinite": 1.0}


def _over(images: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over the images that have a figure, and how many these are."""
    mean: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for key in COMPARED:
        mean[key] = {v: _mean([i[key][v] for i in images])[0] for v in VERSIONS}
        counts[key] = _mean([i[key]["mode"] for i in images])[1]
    for key in SINGLE:
        mean[key], counts[key] = _mean([i[key] for i in images])
    return {"mean": mean, "counts": counts}


def _mean(values: Sequence[float]) -> tuple[float, int]:
    """Mean of what is a number (SSIM of tiny images is not), and its count."""
    known = [v for v in values if not math.isnan(v)]
    return (float(np.mean(known)) if known else math.nan), len(known)
