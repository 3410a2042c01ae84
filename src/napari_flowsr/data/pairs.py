"""Given LR images: which one belongs to which HR image, and whether it fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_flowsr.data.files import ArrayImage
from napari_flowsr.errors import TrainingError

if TYPE_CHECKING:
    from napari_flowsr.data.source import Plane

__all__ = ["Pairs", "stem"]

_SUFFIX = re.compile(r"(\.ome)?\.(png|tiff?|jpe?g|npy|zarr)$", re.IGNORECASE)


def stem(name: str) -> str:
    """Name of an image without its suffix, ``.ome.tif`` and the like as one."""
    return _SUFFIX.sub("", name)


@dataclass(frozen=True)
class Pairs:
    """LR images by the names of HR images.

    Parameters
    ----------
    images : sequence of Path or ArrayImage
        LR images; those to which no HR image belongs are left aside.
    scale : float
        HR pixels per LR pixel.
    """

    images: Sequence[Path | ArrayImage]
    scale: float
    _by_stem: dict[str, Path | ArrayImage] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        for image in self.images:
            before = self._by_stem.setdefault(stem(image.name), image)
            if before is not image:
                raise TrainingError(
                    f"Two LR images are called '{stem(image.name)}': {_said(before)} "
                    f"and {_said(image)}. Pairs are matched by name; rename one."
                )

    def of(self, image: Path | ArrayImage) -> Path | ArrayImage:
        """The LR image of the same name as an HR image."""
        found = self._by_stem.get(stem(image.name))
        if found is None:
            raise TrainingError(
                f"No LR image belongs to {_said(image)}; expected one called "
                f"'{stem(image.name)}' (any suffix) among the {len(self.images)} LR "
                "images. Pairs are matched by name; rename it, or leave the HR image "
                "out."
            )
        return found

    def joined(
        self,
        hr_image: Path | ArrayImage,
        hr: Sequence[Plane],
        lr_image: Path | ArrayImage,
        lr: Sequence[Plane],
    ) -> list[Plane]:
        """HR planes with their LR planes, if these are as many and fit in size."""
        both = f"{_said(hr_image)} and {_said(lr_image)}"
        if hr_image == lr_image:
            raise TrainingError(
                f"HR and LR image are the same one, {_said(hr_image)}. Keep LR images "
                "in a folder of their own."
            )
        places = [
            [re.findall(r"\d+", plane.name[len(image.name) :]) for plane in planes]
            for image, planes in ((hr_image, hr), (lr_image, lr))
        ]
        if places[0] != places[1]:
            raise TrainingError(
                f"{both} are a pair, but have {len(hr)} and {len(lr)} planes, or "
                "other axes. Save both with the same times, depths and channels."
            )
        return [
            self._joined(both, one, other) for one, other in zip(hr, lr, strict=True)
        ]

    def _joined(self, both: str, hr: Plane, lr: Plane) -> Plane:
        small, large = lr.pixels.shape[1:], hr.pixels.shape[1:]
        expected = tuple(side * self.scale for side in small)
        if large != expected:
            raise TrainingError(
                f"{both} are a pair, of {large[0]} x {large[1]} and {small[0]} x "
                f"{small[1]} pixels; at {self.scale:g}x the HR image would have "
                f"{expected[0]:g} x {expected[1]:g}. Crop both to the same field of "
                "view, or choose another scale."
            )
        return replace(hr, lr=lr.pixels)


def _said(image: Path | ArrayImage) -> str:
    """Path of a file, or name of an array, in quotation marks."""
    return f"'{image}'" if isinstance(image, Path) else f"'{image.name}'"
