"""What the page "Measure" of the Edit dock computes: distributions over samples. No Qt.

One pass over the samples measures region and line, and adds up the mean image.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.widgets._edit_page import EditContext, NewLayers
from napari_flowsr.widgets._measure import Line, Region

__all__ = ["LEVELS", "Measured", "Profile", "measure", "profile_table"]
__all__ += ["region_table", "table_text"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]
Table = list[list[Any]]

LEVELS = (0.5, 0.9)
"""Of the intervals and bands, the narrow one first."""


@dataclass(frozen=True)
class Measured:
    """A measurement of a region.

    Parameters
    ----------
    region : Region
        Of which.
    values : ndarray
        One per sample.
    bands : tuple of (low, high)
        For each of `LEVELS`.
    of_mean : float
        Of the mean image: that is not the mean of the values.
    """

    region: Region
    values: Vector
    bands: tuple[tuple[float, float], ...]
    of_mean: float


@dataclass(frozen=True)
class Profile:
    """Profiles along a line.

    Parameters
    ----------
    line : Line
        Along which.
    distance : ndarray
        From its start, in its unit.
    values : ndarray
        ``(n, points)``.
    median : ndarray
        Over the samples.
    bands : tuple of (low, high)
        For each of `LEVELS`, curves.
    """

    line: Line
    distance: Vector
    values: Vector
    median: Vector
    bands: tuple[tuple[Vector, Vector], ...]


def measure(
    context: EditContext, region: Region | None, line: Line | None, n: int
) -> Callable[[], Iterator[Any]]:
    """Measure n samples; yields `Measured` and `Profile`."""

    def events() -> Iterator[Any]:
        post = context.posterior()
        total: list[Any] = [0.0]

        def function(image: Array) -> Vector:
            total[0] = total[0] + np.asarray(image, np.float64)
            parts = [] if region is None else [np.array([region.value(image)])]
            parts += [] if line is None else [line.values(image)]
            return np.concatenate(parts)

        found = np.asarray(post.apply(function, n, progress=context.report), np.float64)
        if region is not None:
            yield _measured(region, found[:, 0], region.value(total[0] / n))
        if line is not None:
            yield _profile(line, found[:, region is not None :])
        yield NewLayers((), f"{n} samples were measured.")

    return events


def _measured(region: Region, values: Vector, of_mean: float) -> Measured:
    from napari_flowsr.inference.measured import band

    found = band(values, LEVELS)
    ends = [found.intervals[level] for level in LEVELS]
    bands = tuple((float(low), float(high)) for low, high in ends)
    return Measured(region, values, bands, of_mean)


def _profile(line: Line, values: Vector) -> Profile:
    from napari_flowsr.inference.measured import band

    found = band(values, LEVELS)
    bands = tuple(found.intervals[level] for level in LEVELS)
    distance = np.linspace(0, line.length, values.shape[1])
    return Profile(line, distance, values, found.median, bands)


# --- numbers to take along -----------------------------------------------------------


def region_table(found: Measured) -> Table:
    """Rows: facts, then one per sample."""
    rows: Table = [["quantity", found.region.label], ["region", found.region.name]]
    if found.region.threshold is not None:
        rows.append(["threshold", found.region.threshold])
    for level, (low, high) in zip(LEVELS, found.bands, strict=True):
        rows.append([f"{level:.0%} interval", low, high])
    rows += [["of the mean image", found.of_mean], ["sample", found.region.label]]
    return rows + [[i, value] for i, value in enumerate(found.values.tolist())]


def profile_table(found: Profile) -> Table:
    """A row per point: distance, median, bands, samples."""
    head: list[Any] = [f"distance, {found.line.unit}", "median"]
    columns = [found.distance, found.median]
    for level, edges in zip(LEVELS, found.bands, strict=True):
        head += [f"{level:.0%} from", f"{level:.0%} to"]
        columns += list(edges)
    head += [f"sample {i}" for i in range(len(found.values))]
    columns += list(found.values)
    return [head, *np.stack(columns, 1).tolist()]


def table_text(rows: Sequence[Sequence[Any]], separator: str = ",") -> str:
    """Rows as text: with commas for a file, with tabs for a spreadsheet's clipboard."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()
