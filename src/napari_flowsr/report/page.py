"""The report: one HTML file with everything in it, for screens and for paper."""

from __future__ import annotations

from datetime import datetime
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError
from napari_flowsr.io.atomic import atomic_path, check_writable
from napari_flowsr.io.provenance import versions as installed
from napari_flowsr.report import tables
from napari_flowsr.report.curves import draw
from napari_flowsr.report.panels import comparing, of_one
from napari_flowsr.report.pictures import SHOWN, ranks
from napari_flowsr.report.protocol import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_flowsr.report.collect import Entry
    from napari_flowsr.report.curves import Panel
    from napari_flowsr.report.pictures import Pictures
    from napari_flowsr.report.plan import Plan

__all__ = ["check_report", "render", "write_report"]

_CAUTION = (
    "Fine detail is inferred by the models, not measured. All figures hold for images "
    "like these, made small as the models expect it."
)
_CAPTIONS = {
    "input": "Input", "bicubic": "Bicubic", "mode": "Mode (τ = 0)",
    "sample0": "Sample 0", "sample1": "Sample 1", "prior": "Learned prior",
    "std": "Standard deviation", "truth": "True image",
}  # fmt: skip


def check_report(path: Path) -> None:
    """Raise, before the long work, if no report can get this name.

    Raises
    ------
    OptionError
        It does not end in .html.
    ExportError
        It cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"'{path}' is to be a report; expected a name in .html.")
    check_writable(path)


def write_report(
    path: Path, entries: Sequence[Entry], plan: Plan, *, lpips: str, seconds: float
) -> Path:
    """Write the report, whole or not at all; see `render`."""
    check_report(path)
    text = render(entries, plan, lpips=lpips, seconds=seconds)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render(entries: Sequence[Entry], plan: Plan, *, lpips: str, seconds: float) -> str:
    """HTML that needs nothing but itself.

    Parameters
    ----------
    entries : sequence of Entry
        At least one.
    plan : Plan
        What was measured.
    lpips : str
        What is to be said of LPIPS.
    seconds : float
        How long it took.
    """
    numbers = iter(range(10_000))
    titles = ", ".join(dict.fromkeys(e.subject.model.card.name for e in entries))
    style = files("napari_flowsr.report").joinpath("page.css").read_text("utf-8")
    shown = _chosen(entries[0], plan.pictures)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Evaluation of {escape(titles)}</title>",
        f"<style>{style}</style></head><body>",
        f"<h1>Evaluation of {escape(titles)}</h1>",
        f'<p class="soft">{_line(entries, seconds)}</p>',
        f'<p class="note">{_CAUTION}</p>',
        _summary(entries, numbers),
        *(_section(i, e, shown, numbers) for i, e in enumerate(entries)),
        protocol(entries, plan, lpips),
        "</body></html>",
    ]
    return "\n".join(parts)


def _line(entries: Sequence[Entry], seconds: float) -> str:
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    count = max(len(entry.result["images"]) for entry in entries)
    versions = ", ".join(f"{k} {v}" for k, v in installed().items())
    return escape(
        f"{now} · {count} image{'' if count == 1 else 's'} · measured in "
        f"{seconds / 60:.1f} minutes · {versions}"
    )


def _curves(panels: Sequence[Panel], numbers: Iterator[int]) -> str:
    drawn = "".join(draw(panel, next(numbers)) for panel in panels)
    return f'<div class="curves">{drawn}</div>' if drawn else ""


def _summary(entries: Sequence[Entry], numbers: Iterator[int]) -> str:
    text = "<h2>Overview</h2>" + tables.overview(entries)
    text += (
        "<p>PSNR of the reconstruction, in brackets what it gains over bicubic "
        "interpolation. CRPS: the error of the whole distribution, lower is better. "
        "Fine detail: power above half the Nyquist frequency over that of the true "
        "image, 1 is as sharp; more is more than there is.</p>"
    )
    kinds = {
        (e.subject.model.flow.channels, str(e.subject.model.card.degradation))
        for e in entries
    }
    if len(kinds) > 1:
        text += (
            '<p class="note">These models differ in colour or in how small images '
            "arise: compare each with its own bicubic baseline, not with one another."
            "</p>"
        )
    if len(entries) > 1:
        text += _curves(comparing(entries), numbers)
    return text


def _section(
    place: int,
    entry: Entry,
    shown: Sequence[tuple[str, str]],
    numbers: Iterator[int],
) -> str:
    result = entry.result
    parts = [
        f'<h2 id="m{place}">{escape(entry.subject.title)}</h2>',
        tables.facts(_facts(entry)),
        "<h3>Against interpolation</h3>",
        tables.versions(entry),
    ]
    if entry.subject.model.flow.deterministic:
        parts.append(
            '<p class="note">This model makes one prediction: all samples are the '
            "same, and there is no distribution to measure.</p>"
        )
    elif result["n"] < 2:
        parts.append(
            '<p class="note">One sample of each image was drawn: it tells nothing of '
            "the distribution. Draw eight or more.</p>"
        )
    else:
        parts += ["<h3>The distribution</h3>", tables.distribution(entry)]
    parts.append(tables.rescaled(entry))
    if drawn := _curves(of_one(entry), numbers):
        parts += ["<h3>Curves</h3>", drawn, _counted(entry)]
    if exploded := tables.explosions(entry):
        parts += ["<h3>Exploding decodes</h3>", exploded]
    parts += _pictures(entry, shown)
    parts += ["<h3>Each image</h3>", tables.per_image(entry)]
    lost = [f"{name}: unstable, not in the means" for name in result["unstable"]]
    lost += [f"{i['name']}: left out. {i['reason']}" for i in result["left_out"]]
    if lost:
        items = "".join(f"<li>{escape(text)}</li>" for text in lost)
        parts.append(f"<ul>{items}</ul>")
    return "\n".join(parts)


def _counted(entry: Entry) -> str:
    """How many images are behind the curves, where that is not all."""
    at = entry.result["report"]["temperatures"]
    count, whole = at[0]["images"], len(entry.result["images"])
    if count == whole:
        return ""
    return (
        f'<p class="note">The curves are means over {count} of {whole} images: those '
        "that could be decoded at every temperature.</p>"
    )


def _facts(entry: Entry) -> dict[str, Any]:
    card, flow = entry.subject.model.card, entry.subject.model.flow
    normalisation = card.normalisation
    rows: dict[str, Any] = {
        "SHA-256": card.sha256,
        "Family": card.family,
        "Parameters": f"{card.parameters or flow.parameter_count:,}",
        "Colour": "one channel" if flow.channels == 1 else f"{flow.channels} channels",
        "Made for": card.domain,
        **({"Not for": card.not_for} if card.not_for else {}),
        "Small images arise by": str(card.degradation),
        "Normalisation": normalisation.kind
        if normalisation.kind == "dtype"
        else f"{normalisation.low:g} to {normalisation.high:g} % of the intensities",
        "Licence of the weights": card.licence,
    }
    if card.prior:
        rows["Learned prior"] = (
            f"{card.prior.get('name', '')}, SHA-256 {card.prior.get('sha256', '')}"
        )
    return rows


# --- pictures -----------------------------------------------------------------


def _chosen(entry: Entry, count: int) -> list[tuple[str, str]]:
    """Labels of the images to show, for all subjects, by the first one's gains."""
    gains = {}
    for row in entry.result["report"]["images"]:
        ways = row["versions"]
        gains[row.get("label", row["name"])] = (
            ways["mode"]["psnr"] - ways["bicubic"]["psnr"]
        )
    return ranks(gains, count)


def _pictures(entry: Entry, shown: Sequence[tuple[str, str]]) -> list[str]:
    parts = []
    for label, why in shown:
        if (pictures := entry.pictures.get(label)) is not None:
            parts.append(_row(label, why, pictures, entry))
    if not parts:
        return []
    rule = (
        f"<p>The part of {SHOWN} × {SHOWN} pixels, or less, whose true version has the "
        "steepest gradients, at the contrast of the true version. Images were chosen "
        "by what the first model's mode gains over bicubic interpolation, from the "
        "least to the greatest; PSNR is that of the whole image.</p>"
    )
    return ["<h3>Pictures</h3>", rule, *parts]


def _row(label: str, why: str, pictures: Pictures, entry: Entry) -> str:
    row = next(r for r in entry.result["report"]["images"] if r.get("label") == label)
    psnr = {name: way["psnr"] for name, way in row["versions"].items()}
    psnr |= {f"sample{i}": own for i, own in enumerate(row["psnr_samples"])}
    figures = []
    for name, uri in pictures.images.items():
        told = _CAPTIONS[name]
        if name == "std":
            told += f"<br>brightest: {pictures.spread:.3f}"
        elif name in psnr:
            told += f"<br>{tables.number(psnr[name])} dB"
        figures.append(
            f'<figure><img src="{uri}" alt="{escape(_CAPTIONS[name], quote=True)} of '
            f'{escape(label, quote=True)}"><figcaption>{told}</figcaption></figure>'
        )
    top, left, height, width = pictures.region
    where = f"{height} × {width} pixels at row {top}, column {left}"
    return (
        f"<h4>{escape(label)} <small>{escape(why)}; {where}</small></h4>"
        f'<div class="shown" style="--n: {len(figures)}">{"".join(figures)}</div>'
    )
