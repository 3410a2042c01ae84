"""What `evaluate` measures: plain figures, or all that a report holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_flowsr.metrics.evaluate import Evaluated
    from napari_flowsr.report.plan import Plan, Subject

__all__ = ["plain", "reported"]


def plain(
    paths: list[str],
    subjects: Sequence[Subject],
    plan: Plan,
    progress: Callable[[float, str], None],
    keep: Callable[[Evaluated], None] | None,
    report: Path | None,
) -> list[dict[str, Any]]:
    """The figures of `flowsr.evaluate` alone."""
    from napari_flowsr.metrics.evaluate import evaluate as measure

    results = []
    for number, subject in enumerate(subjects):

        def tell_share(
            done: int, total: int, first: int = number, name: str = subject.title
        ) -> None:
            progress((first + done / total) / len(subjects), name)

        results.append(
            measure(
                paths,
                subject.model,
                **plan.options(subject),
                progress=tell_share,
                keep=keep,
            )
        )
    return results


def reported(
    paths: list[str],
    subjects: Sequence[Subject],
    plan: Plan,
    progress: Callable[[float, str], None],
    keep: Callable[[Evaluated], None] | None,
    report: Path | None,
) -> list[dict[str, Any]]:
    """All that a report holds, written if it has a place."""
    from napari_flowsr.report.collect import collect
    from napari_flowsr.report.page import write_report

    started = time.perf_counter()
    entries, lpips = collect(paths, subjects, plan, progress=progress, keep=keep)
    if report is not None:
        seconds = time.perf_counter() - started
        write_report(report, entries, plan, lpips=lpips, seconds=seconds)
    return [{**entry.result, "lpips": lpips} for entry in entries]
