"""Which curves the report shows.

References
----------
SRFlow supplement (Lugmayr et al., 2020), arXiv:2006.14200: figures 3 to 5 (PSNR, SSIM,
LPIPS and diversity against temperature), 6 (perception and distortion), 8 (best of n).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_flowsr.report.curves import Line, Mark, Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.report.collect import Entry

__all__ = ["comparing", "of_one"]

_TAU = "temperature τ"
_SHARPNESS = "fine detail (truth: 1)"


def of_one(entry: Entry) -> list[Panel]:
    """Curves of one subject; those without points are not drawn."""
    at, rows = (
        entry.result["report"]["temperatures"],
        entry.result["report"]["versions"],
    )
    tau = [row["temperature"] for row in at]

    def column(key: str) -> list[float]:
        return [row.get(key, math.nan) for row in at]

    def marks(key: str) -> list[Mark]:
        names = {"bicubic": "bicubic", "prior": "learned prior"}
        return [
            Mark(text, rows[name][key])
            for name, text in names.items()
            if key in rows.get(name, {})
        ]

    def against(title: str, key: str, y: str, *more: Line) -> Panel:
        lines = (Line("sample" if more else "", tau, column(key)), *more)
        return Panel(title, _TAU, y, lines, marks(key))

    mean = Line("mean of the samples", tau, column("psnr_mean"), 1, dashed=True)
    coverage = Panel(
        "Coverage", _TAU, "share of pixels",
        (
            Line("90 % interval", tau, column("coverage_90"), 0),
            Line("50 % interval", tau, column("coverage_50"), 1),
        ),
        # Few samples tell nothing of the wider one, which is then not drawn.
        [
            Mark("", level / 100)
            for level in (90, 50)
            if any(math.isfinite(value) for value in column(f"coverage_{level}"))
        ],
    )  # fmt: skip
    crps = Panel(
        "CRPS", _TAU, "CRPS (lower is better)", [Line("", tau, column("crps"))]
    )
    diversity = Panel(
        "Diversity", _TAU, "std of the samples", [Line("", tau, column("diversity"))]
    )
    return [
        against("PSNR", "psnr", "PSNR, dB", mean),
        against("SSIM", "ssim", "SSIM"),
        *([against("LPIPS", "lpips", "LPIPS")] if at and "lpips" in at[0] else []),
        diversity,
        crps,
        coverage,
        *_trade_offs(entry, tau, column),
        _best_of(entry),
    ]


def _trade_offs(entry: Entry, tau: Sequence[float], column: Any) -> list[Panel]:
    """Perception and distortion, at each temperature."""
    rows = entry.result["report"]["versions"]
    labels = [f"τ = {t:g}" for t in tau]
    names = {"bicubic": ("bicubic", "X"), "mean": ("mean of the samples", "P")}
    names["prior"] = ("learned prior", "*")

    def panel(key: str, title: str, y: str, *, ratio: bool) -> Panel:
        marks = [
            Mark(text, rows[name][key], rows[name]["psnr"], symbol)
            for name, (text, symbol) in names.items()
            if key in rows.get(name, {})
        ]
        line = Line("samples", column("psnr"), column(key), 0, labels=labels)
        return Panel(title, "PSNR, dB", y, [line], marks, ratio=ratio)

    panels = [panel("sharpness", "Sharpness and PSNR", _SHARPNESS, ratio=True)]
    if "lpips" in rows.get("bicubic", {}):
        title = "Perception and distortion"
        panels.append(panel("lpips", title, "LPIPS (lower is better)", ratio=False))
    return panels


def _best_of(entry: Entry) -> Panel:
    result = entry.result
    best, rows = result["report"]["best_of"], result["report"]["versions"]
    few = entry.subject.model.flow.deterministic or len(best) < 2
    counts = [] if few else list(range(1, len(best) + 1))
    marks = [Mark("mode", rows["mode"]["psnr"])] if "mode" in rows else []
    return Panel(
        "Best of n",
        "samples n to choose from",
        "PSNR of the best, dB",
        [Line(f"at τ = {result['temperature']:g}", counts, best if counts else [])],
        marks,
        whole=True,
    )


def comparing(entries: Sequence[Entry]) -> list[Panel]:
    """Curves of all subjects in common diagrams."""

    def gain(entry: Entry, key: str) -> list[float]:
        base: float = entry.result["report"]["versions"]["bicubic"]["psnr"]
        return [row[key] - base for row in entry.result["report"]["temperatures"]]

    def relative(entry: Entry) -> list[float]:
        at = entry.result["report"]["temperatures"]
        error = next((row["crps"] for row in at if row["temperature"] == 0), math.nan)
        return [row["crps"] / error if error else math.nan for row in at]

    def plain(key: str) -> Any:
        return lambda entry: [
            row[key] for row in entry.result["report"]["temperatures"]
        ]

    covered = plain("coverage_90")

    def panel(
        title: str, y: str, values: Any, *, at: float = math.nan, ratio: bool = False
    ) -> Panel:
        lines = [
            Line(
                entry.subject.title,
                [row["temperature"] for row in entry.result["report"]["temperatures"]],
                values(entry),
                number,
            )
            for number, entry in enumerate(entries)
            if entry.result["report"]["temperatures"]
        ]
        return Panel(title, _TAU, y, lines, [Mark("", at)], ratio=ratio)

    return [
        panel("PSNR over bicubic", "gain of a sample, dB", lambda e: gain(e, "psnr")),
        panel("CRPS", "CRPS / error at τ = 0", relative),
        panel("Diversity", "std of the samples", plain("diversity")),
        panel("Sharpness", _SHARPNESS, plain("sharpness"), ratio=True),
        panel("Coverage of 90 % intervals", "share of pixels", covered, at=0.9),
    ]
