"""Measures all subjects on all images: the numbers behind the report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.metrics.evaluate import evaluate
from napari_flowsr.metrics.perceptual import find_lpips
from napari_flowsr.metrics.sharpness import mean_ratio
from napari_flowsr.report.measure import OF_A_VERSION, SWEPT, Measurer
from napari_flowsr.report.pictures import Pictures, take
from napari_flowsr.report.plan import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from napari_flowsr.metrics.perceptual import Perceptual
    from napari_flowsr.metrics.plane import Evaluated
    from napari_flowsr.report.plan import Plan

__all__ = ["VERSIONS", "Entry", "collect", "measure_subject"]

Figures = dict[str, Any]
VERSIONS = (
    "nearest", "bicubic", "lanczos", "predicted", "mode", "mean", "sample", "prior",
)  # fmt: skip
"""Rows of a model's table; those that a model lacks are missing."""

_ALWAYS = tuple(key for key in SWEPT if key != "lpips")


@dataclass(frozen=True)
class Entry:
    """Figures and pictures of one subject.

    Parameters
    ----------
    subject : Subject
        Model and scale.
    result : dict
        As `metrics.evaluate.evaluate` gives it, and under ``report`` what is told
        by `measure_subject`.
    pictures : dict
        Name of an image to its pictures.
    """

    subject: Subject
    result: Figures
    pictures: dict[str, Pictures] = field(default_factory=dict)


def collect(
    paths: str | Path | Iterable[str | Path],
    subjects: Sequence[Subject],
    plan: Plan,
    *,
    progress: Callable[[float, str], object],
    keep: Callable[[Evaluated], None] | None = None,
) -> tuple[list[Entry], str]:
    """Measure every subject on the same images.

    Parameters
    ----------
    paths : path, glob pattern, or list of these
        HR images.
    subjects : sequence of Subject
        At least one.
    plan : Plan
        What to measure.
    progress : callable
        Called with the share of all work that is done, and what is at work; may raise
        `Cancelled`.
    keep : callable, optional
        As in `evaluate`.

    Returns
    -------
    entries : list of Entry
        In the order of ``subjects``.
    lpips : str
        A sentence on LPIPS: how it was measured, or what is missing.
    """
    given = (
        paths
        if isinstance(paths, str) or not hasattr(paths, "__iter__")
        else (list(paths))
    )
    lpips, told = find_lpips()
    entries = []
    for number, subject in enumerate(subjects):

        def tell(share: float, done: int = number, name: str = subject.title) -> None:
            progress((done + share) / len(subjects), name)

        entries.append(measure_subject(given, subject, plan, lpips, tell, keep))
    return entries, told


def measure_subject(
    paths: str | Path | Iterable[str | Path],
    subject: Subject,
    plan: Plan,
    lpips: Perceptual | None,
    tell: Callable[[float], None],
    keep: Callable[[Evaluated], None] | None = None,
) -> Entry:
    """Measure one subject.

    ``report`` of the result holds ``versions``: figures of each of `VERSIONS`, means
    over images (of ``sharpness`` the geometric one); ``temperatures``: figures at each,
    means over the images that could be decoded at all of them, ``images`` in number,
    and ``draws`` and ``exploded`` over all images; ``best_of``: mean PSNR of the best
    of 1 to n samples; ``rescaling`` and ``prior_nonfinite`` where they apply; and
    ``images``: the same of each image.
    """
    each: list[Figures] = []
    pictures: dict[str, Pictures] = {}
    meter = _Meter(tell)
    measurer = Measurer(subject, plan, lpips, meter.tick)

    def measured(found: Evaluated) -> None:
        meter.begin(measurer.decodes, plan.n + 1)
        figures, further = measurer.measure(found)
        each.append(figures)
        if plan.pictures:
            # Files of two folders may have the same name.
            same = sum(row["name"] == found.name for row in each)
            label = found.name if same == 1 else f"{found.name} ({same})"
            pictures[label] = take(found, further)
            figures["label"] = label
        if keep is not None:
            keep(found)

    result = evaluate(
        paths,
        subject.model,
        **plan.options(subject),
        progress=meter.images,
        keep=measured,
    )
    report: Figures = {
        "seed": plan.seed,
        "crop": plan.side,
        "sweep": plan.sweep,
        "versions": _versions(each),
        "temperatures": _temperatures(each, len(result["unstable"]), plan),
        "best_of": _mean_of_lists([row["best_of"] for row in each]),
    }
    if subject.has_prior:
        exploded = [float(row["prior_exploded"]) for row in each]
        report["prior_nonfinite"] = _mean(exploded)
    if subject.rescales:
        report["rescaling"] = _rescaling([row["rescaling"] for row in each])
    report["images"] = each
    return Entry(subject, {**result, "report": report}, pictures)


class _Meter:
    """Share of a subject's work: images, and decodes within one."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell, self._images = tell, (0, 1)
        self._done, self._all = 0, 1

    def images(self, done: int, total: int) -> None:
        """Images done and in all; between them nothing of the next is done."""
        if (done, total) != self._images:
            self._images, self._done = (done, total), 0
        self.tick(0)

    def begin(self, decodes: int, done: int) -> None:
        """Decodes of an image, and how many `evaluate` has made already."""
        self._done, self._all = done, decodes
        self.tick(0)

    def tick(self, decodes: int) -> None:
        self._done = min(self._done + decodes, self._all)
        done, total = self._images
        self._tell(min(1.0, (done + self._done / self._all) / total))


# --- means over images --------------------------------------------------------


def _mean(values: Iterable[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def _mean_figures(rows: Sequence[Figures], keys: Iterable[str]) -> Figures:
    """Means of what the rows have; of sharpness, which is a ratio, the geometric."""
    present = [key for key in keys if any(key in row for row in rows)]
    return {
        key: (mean_ratio if key == "sharpness" else _mean)(
            [row[key] for row in rows if key in row]
        )
        for key in present
    }


def _mean_of_lists(rows: Sequence[Sequence[float]]) -> list[float]:
    return [_mean(column) for column in zip(*rows, strict=True)]


def _versions(each: Sequence[Figures]) -> Figures:
    out: Figures = {}
    for name in VERSIONS:
        rows = [i["versions"][name] for i in each if name in i["versions"]]
        if rows:
            out[name] = {**_mean_figures(rows, OF_A_VERSION), "images": len(rows)}
    return out


def _temperatures(each: Sequence[Figures], unstable: int, plan: Plan) -> list[Figures]:
    """Curves over images that have all their points, and explosions over all images.

    Images that could not be decoded at the main temperature were not tried at others.
    """
    whole = [
        image["temperatures"]
        for image in each
        if all(not math.isnan(at["psnr"]) for at in image["temperatures"])
    ]
    out = []
    for number, temperature in enumerate(plan.temperatures if each else ()):
        if not each[0]["temperatures"]:
            break  # a deterministic model has none
        at_all = [image["temperatures"][number] for image in each]
        lost = unstable * plan.n if temperature == plan.temperature else 0
        draws = sum(at["draws"] for at in at_all) + lost
        exploded = sum(at["exploded"] for at in at_all) + lost
        rows = [image[number] for image in whole]
        out.append(
            {
                "temperature": temperature,
                **dict.fromkeys(_ALWAYS, math.nan),
                **_mean_figures(rows, SWEPT),
                "images": len(rows),
                "draws": draws,
                "exploded": exploded,
                "nonfinite": exploded / draws,
            }
        )
    return out


def _rescaling(rows: Sequence[Figures]) -> Figures:
    if not rows:
        return {}
    return {
        name: _mean_figures([row[name] for row in rows], ("psnr", "ssim"))
        for name in rows[0]
    }
