"""Which part of the images is kept from training, to measure what was learned.

Of many images some are left out. Of few ones a strip of each is: to leave out one of
two stainings, or one of three fields of view, would take away too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_flowsr.data.files import ArrayImage, find_images
from napari_flowsr.data.pairs import stem
from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.images import read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Split", "hold_out", "in_words"]

FEW = 5
"""From so many images on, whole ones are held out; of fewer, a strip of each."""
SHARE, STRIP = 0.1, 0.25
"""Held out of the images, or of each one's longer side, unless asked otherwise."""
MOST = 12
"""Images or planes of an image that are held out unless asked otherwise: to measure
takes time."""
_LEAST = 32  # pixels of a strip, in whole; less would say nothing


@dataclass(frozen=True)
class Split:
    """Images in two parts.

    Parameters
    ----------
    training, validation : tuple of Path or ArrayImage
        HR images.
    lr_training, lr_validation : tuple of Path or ArrayImage
        Their LR images, where these are given; else empty.
    words : str
        What is held out, for people.
    """

    training: tuple[Path | ArrayImage, ...]
    validation: tuple[Path | ArrayImage, ...]
    lr_training: tuple[Path | ArrayImage, ...]
    lr_validation: tuple[Path | ArrayImage, ...]
    words: str


def in_words(count: int, share: float | None = None) -> str:
    """What is held out of ``count`` images, before it is done."""
    if count >= FEW:
        number = _number(count, share)
        verb = "is" if number == 1 else "are"
        return f"{number} of the {count} images {verb} held out."
    share = _share(count, share)
    each = "" if count == 1 else " of each image"
    return f"The last {100 * share:.0f} % of the longer side{each} are held out."


def _share(count: int, share: float | None) -> float:
    usual = SHARE if count >= FEW else STRIP
    return usual if share is None else share


def _number(count: int, share: float | None) -> int:
    number = max(1, round(count * _share(count, share)))
    return min(count - 1, number if share is not None else min(number, MOST))


def hold_out(
    source: Sequence[str | Path | ArrayImage],
    share: float | None = None,
    *,
    lr: Sequence[str | Path | ArrayImage] = (),
    scale: float = 1.0,
    seed: int = 0,
) -> Split:
    """Divide images into those to train on and those to measure with.

    Parameters
    ----------
    source : sequence of path, glob pattern or ArrayImage
        HR images; files are read only where a strip is cut off.
    share : float, optional
        Of the images, or of each one's longer side; between 0 and 1. If not given,
        `SHARE` or `STRIP`.
    lr : sequence of path or ArrayImage, optional
        LR images of the same names.
    scale : float
        HR pixels per LR pixel: strips of pairs end at whole LR pixels.
    seed : int
        Draws which images are held out.

    Raises
    ------
    OptionError
        The share is none.
    TrainingError
        An image is too small for a strip, or there is none.
    """
    if share is not None and not 0 < share < 1:
        raise OptionError(
            f"The share held out for validation is {share!r}; give more than 0 and "
            "less than 1, such as 0.1."
        )
    images = find_images(source)
    pairs = {stem(one.name): one for one in find_images(lr)} if lr else {}
    if len(images) >= FEW:
        return _whole_ones(images, pairs, share, seed)
    share = _share(len(images), share)
    kept, held, lr_kept, lr_held = [], [], [], []
    for image in images:
        array = _array(image)
        pair = pairs.get(stem(image.name))
        start = _start(array, share, scale if pairs else 1.0)
        before, after = _cut(array, start)
        kept.append(before)
        held.append(after)
        if pair is not None:
            before, after = _cut(_array(pair), round(start / scale))
            lr_kept.append(before)
            lr_held.append(after)
    words = in_words(len(images), share)
    return Split(tuple(kept), tuple(held), tuple(lr_kept), tuple(lr_held), words)


def _whole_ones(
    images: list[Path | ArrayImage],
    pairs: dict[str, Path | ArrayImage],
    share: float | None,
    seed: int,
) -> Split:
    order = np.random.default_rng(seed).permutation(len(images))
    chosen = set(order[: _number(len(images), share)].tolist())
    kept = tuple(one for i, one in enumerate(images) if i not in chosen)
    held = tuple(one for i, one in enumerate(images) if i in chosen)
    lr_kept, lr_held = (
        tuple(pairs[key] for one in part if (key := stem(one.name)) in pairs)
        for part in (kept, held)
    )
    return Split(kept, held, lr_kept, lr_held, in_words(len(images), share))


def _array(image: Path | ArrayImage) -> ArrayImage:
    """Pixels and axes; a file is read."""
    if isinstance(image, ArrayImage):
        data, axes = image.data, image.axes
    else:
        found = read_image(image)
        data, axes = found.data, found.axes
    if axes is None and np.ndim(data) == 2:
        axes = "YX"
    if axes is None:
        raise TrainingError(
            f"'{image.name}' has shape {np.shape(data)} and does not name its axes, so "
            "that no part of it can be held out. Give images for validation, or save "
            "it as OME-TIFF."
        )
    return ArrayImage(data, axes, image.name)


def _start(image: ArrayImage, share: float, scale: float) -> int:
    """First row or column of the strip, at a whole LR pixel."""
    side = int(image.data.shape[_axis(image)])
    start = round((1 - share) * side / scale) * scale
    if side - start < _LEAST or start < _LEAST:
        raise TrainingError(
            f"'{image.name}' is {side} pixels long: {100 * share:.0f} % of it is too "
            f"little to be held out (at least {_LEAST} pixels on either side). Give "
            "larger images, another share, images for validation, or none."
        )
    return round(start)


def _axis(image: ArrayImage) -> int:
    """The longer one of Y and X."""
    axes = image.axes or ""
    y, x = axes.index("Y"), axes.index("X")
    return x if image.data.shape[x] > image.data.shape[y] else y


def _cut(image: ArrayImage, start: int) -> tuple[ArrayImage, ArrayImage]:
    axis = _axis(image)
    before: list[slice] = [slice(None)] * len(image.data.shape)
    after = list(before)
    before[axis], after[axis] = slice(None, start), slice(start, None)
    # Of a stack a few planes will do, far from each other.
    left = 1
    for number, side in enumerate(image.data.shape):
        if (image.axes or "")[number] not in "YXSC":
            after[number] = slice(None, None, max(1, -(-side * left // MOST)))
            left *= len(range(side)[after[number]])
    # Pairs are matched by name, over both parts.
    other = f"{stem(image.name)}, held out"
    return (
        ArrayImage(image.data[tuple(before)], image.axes, image.name),
        ArrayImage(image.data[tuple(after)], image.axes, other),
    )
