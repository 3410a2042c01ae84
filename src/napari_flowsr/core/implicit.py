"""Local implicit queries: which LR pixels a point of the HR image sees, and from where.

Positions are coordinates in [-1, 1] over the *whole* image, in float32 and by one
formula, whatever part of the image is computed: at odd scales a query lies exactly on
the border between LR pixels, and which one is nearest is decided by rounding. Tables
are made on the CPU, one axis at a time, so that they are the same on every device.

References
----------
Learning Continuous Image Representation with Local Implicit Image Function (Chen et
al., 2021), arXiv:2012.09161, section 3 (local ensemble, cell decoding); Boosting Flow-
based Generative Super-Resolution Models via Learned Prior (Tsao et al., 2024), section
3.2, on LINF. What the text leaves open (the shift by 1e-6, the order of operations) are
facts of the published programs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Axis", "QueryGrid", "bilinear", "centres", "corner_weights", "mirrored"]
__all__ += ["neighbours"]

_SHIFT = 1e-6
_AREA = 1e-9


def centres(numbers: Tensor, step: float) -> Tensor:
    """Coordinates ``-1 + step + 2 step i`` of pixel centres, float32.

    Parameters
    ----------
    numbers : Tensor
        Pixel numbers ``i``, integers.
    step : float
        Half the distance of two centres: 1 / (number of pixels).

    Notes
    -----
    Mathematically equal forms, such as ``(2 i + 1) / n - 1``, round otherwise and give
    other neighbours.
    """
    return -1 + step + (2 * step) * numbers.float()


@dataclass(frozen=True)
class Axis:
    """The neighbours of some queries along one axis.

    Parameters
    ----------
    index : Tensor
        ``(2, n)``, int64: LR pixel before and after each query, in the whole image.
    offset : Tensor
        ``(2, n)``, float32: signed distance to their centres; an LR pixel is 2 long.
    """

    index: Tensor
    offset: Tensor

    @property
    def count(self) -> int:
        """Number of queries."""
        return int(self.index.shape[1])

    def within(self, start: int, size: int, device: torch.device) -> Axis:
        """The same on a crop of ``size`` LR pixels from ``start``, on a device.

        Neighbours outside of the crop become its border; queries that have such belong
        to the halo.
        """
        index = (self.index - start).clamp(0, size - 1)
        return Axis(index.to(device), self.offset.to(device))

    def __getitem__(self, part: slice) -> Axis:
        """Some of the queries."""
        return Axis(self.index[:, part], self.offset[:, part])


@dataclass(frozen=True)
class QueryGrid:
    """The queries of an image or a crop.

    Parameters
    ----------
    y, x : Axis
        Rows and columns.
    size : tuple of int
        Of the grid; more than the axes have where it is filled up by ``outside``.
    cell : Tensor
        ``(2,)``: sides of an HR pixel; an LR pixel is 2 long.
    outside : tuple of Axis, optional
        One query, repeated in all rows and columns beyond those of the axes.
    """

    y: Axis
    x: Axis
    size: tuple[int, int]
    cell: Tensor
    outside: tuple[Axis, Axis] | None = None


def neighbours(coordinates: Tensor, size: int) -> Axis:
    """Nearest LR pixels of points half a pixel before and after each query.

    Parameters
    ----------
    coordinates : Tensor
        ``(n,)`` in [-1, 1], float32.
    size : int
        LR pixels of the whole image (of the feature map) along the axis.
    """
    index, offset = [], []
    for direction in (-1, 1):
        point = coordinates + (direction * (1 / size) + _SHIFT)
        point = point.clamp(-1 + _SHIFT, 1 - _SHIFT)
        # Ties go to the even pixel, as in nearest sampling by torch's grid_sample.
        nearest = torch.round(((point + 1) * size - 1) / 2).long().clamp(0, size - 1)
        index.append(nearest)
        # The difference first, then the product: the other order is less exact.
        offset.append((coordinates - centres(nearest, 1 / size)) * size)
    return Axis(torch.stack(index), torch.stack(offset))


def corner_weights(y: Axis, x: Axis) -> tuple[Tensor, ...]:
    """Weights ``(rows, columns)`` of the corners (--, -+, +-, ++); they add up to 1.

    Each is the area of the rectangle to the diagonally opposite corner (LIIF, eq. 2).
    """
    areas = [
        (y.offset[a][:, None] * x.offset[b]).abs() + _AREA
        for a in (1, 0)
        for b in (1, 0)
    ]
    total = torch.stack(areas).sum(0)
    return tuple(area / total for area in areas)


def bilinear(numbers: Tensor, rate: float, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows before and after pixels of an enlarged image, and the weight of the latter.

    Parameters
    ----------
    numbers : Tensor
        Pixels of the enlarged image, integers.
    rate : float
        LR pixels per pixel of the enlarged image.
    size : int
        LR pixels along the axis; beyond them the border is repeated.
    """
    position = ((numbers.double() + 0.5) * rate - 0.5).clamp(0, size - 1)
    before = position.floor()
    after = (before + 1).clamp(max=size - 1)
    return before.long(), after.long(), position - before


def mirrored(size: int, padded: int) -> Tensor:
    """Indices ``(padded,)`` that continue ``0 .. size`` by mirroring, ends repeated."""
    numbers = torch.arange(padded) % (2 * size)
    return torch.minimum(numbers, 2 * size - 1 - numbers)
