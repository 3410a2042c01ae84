"""Curves of the report, as SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Line", "Mark", "Panel", "draw"]

# Stand-ins that the page's own colours are put in place of.
_INK, _SOFT, _RULE = "#010203", "#040506", "#070809"
_OF_THE_PAGE = {
    _INK: "currentColor",
    _SOFT: "var(--soft)",
    _RULE: "var(--rule)",
}
# To be told apart on white and on black, and by people who see colours differently.
COLOURS = ("#3b82c4", "#d9731a", "#2a9d6f", "#a56cc1", "#c9485b", "#8a8d2f", "#5f7f95")
_MARKERS = "os^Dvph"
_SIZE = (3.7, 2.75)
_PLACE = {"left": 0.18, "right": 0.97, "bottom": 0.165, "top": 0.9}
# Part of the axis that a label takes.
_APART = 0.13


@dataclass(frozen=True)
class Line:
    """A curve; points that are not numbers are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dashed: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Mark:
    """A horizontal line for reference, or with ``x`` a single point."""

    name: str
    y: float
    x: float | None = None
    symbol: str = "X"


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Parameters
    ----------
    title, x, y : str
        Texts of the diagram and its axes.
    lines : sequence of Line
        Curves.
    marks : sequence of Mark
        What they are compared with.
    ratio : bool
        Whether ``y`` is a ratio: on a logarithmic axis, with 1 in sight.
    whole : bool
        Whether ``x`` counts.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    ratio: bool = False
    whole: bool = False


def draw(panel: Panel, number: int) -> str:
    """Inline SVG of a panel; empty where there is nothing to draw.

    Parameters
    ----------
    panel : Panel
        What to draw.
    number : int
        Different for each panel of a page, so that names inside do not clash.
    """
    if not any(_known(line) for line in panel.lines):
        return ""
    # Text stays text: it can be searched, and has the page's font.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": f"panel{number}"}
    buffer = io.StringIO()
    with mpl.rc_context(settings):
        figure = Figure(figsize=_SIZE)
        figure.patch.set_alpha(0)
        # Fixed, so that diagrams side by side are alike.
        _fill(figure.subplots(gridspec_kw=_PLACE), panel)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _for_the_page(buffer.getvalue(), panel)


def _known(line: Line) -> list[tuple[float, float, str]]:
    labels = line.labels or [""] * len(line.x)
    points = zip(line.x, line.y, labels, strict=True)
    return [p for p in points if math.isfinite(p[0]) and math.isfinite(p[1])]


def _fill(axes: Axes, panel: Panel) -> None:
    axes.patch.set_alpha(0)
    if panel.ratio:
        axes.set_yscale("log")
        axes.axhline(1.0, color=_SOFT, lw=1, ls=":")
    for mark in panel.marks:
        _mark(axes, mark)
    for line in panel.lines:
        _line(axes, line)
    axes.set_title(panel.title, fontsize=10, color=_INK, loc="left", weight="bold")
    axes.set_xlabel(panel.x, fontsize=9, color=_INK)
    axes.set_ylabel(panel.y, fontsize=9, color=_INK)
    axes.tick_params(which="both", labelsize=8, colors=_SOFT, labelcolor=_INK)
    axes.grid(color=_RULE, lw=0.6)
    if panel.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.ratio:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        low, high = axes.get_ylim()
        if high < 30 * low:
            axes.yaxis.set_minor_formatter(FuncFormatter(_some_minor))
        else:
            axes.yaxis.set_minor_formatter(NullFormatter())
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles, names, frameon=False, fontsize=8, labelcolor=_INK, loc="best",
            handlelength=1.8,
        )  # fmt: skip


def _some_minor(value: float, _: Any) -> str:
    """Labels 2 and 5 of each decade: the others would overlap."""
    digit = value / 10 ** math.floor(math.log10(value))
    return f"{value:g}" if round(digit) in (2, 5) else ""


def _line(axes: Axes, line: Line) -> None:
    points = _known(line)
    if not points:
        return
    colour = COLOURS[line.colour % len(COLOURS)]
    axes.plot(
        [x for x, _, _ in points],
        [y for _, y, _ in points],
        color=colour,
        lw=1.7,
        ls="--" if line.dashed else "-",
        marker=_MARKERS[line.colour % len(_MARKERS)],
        ms=4,
        mfc="none" if line.dashed else colour,
        label=line.name or None,
    )
    if not line.labels:
        return
    axes.margins(x=0.16)
    for x, y, text in _apart(points):
        axes.annotate(
            text, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=7,
            color=_SOFT,
        )  # fmt: skip


def _apart(
    points: Sequence[tuple[float, float, str]],
) -> list[tuple[float, float, str]]:
    """The last point, and those before that are far enough from it and one another."""
    span = max(x for x, _, _ in points) - min(x for x, _, _ in points)
    kept: list[tuple[float, float, str]] = []
    for point in reversed(points):
        if all(abs(point[0] - x) > _APART * span for x, _, _ in kept):
            kept.append(point)
    return kept


def _mark(axes: Axes, mark: Mark) -> None:
    if not math.isfinite(mark.y):
        return
    if mark.x is None:
        axes.axhline(mark.y, color=_SOFT, lw=1.1, ls=(0, (4, 2)), label=mark.name)
    elif math.isfinite(mark.x):
        axes.plot(
            [mark.x], [mark.y], ls="", marker=mark.symbol, ms=6, color=_SOFT,
            label=mark.name,
        )  # fmt: skip


def _for_the_page(svg: str, panel: Panel) -> str:
    """Without the prolog of a file, in the colours of the page, with a title."""
    svg = re.sub("<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    # Names of groups are the same in all diagrams, and nothing refers to them.
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)
    for stand_in, colour in _OF_THE_PAGE.items():
        svg = svg.replace(stand_in, colour)
    label = escape(f"{panel.title}: {panel.y} against {panel.x}", quote=True)
    head, _, body = svg.partition(">")
    return f'{head} role="img" aria-label="{label}">{body.strip()}'
