"""A model's card, and that of a learned prior, as rich text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from napari_flowsr.io.catalogue import Entry, licence_notice, notices
from napari_flowsr.models.card import ModelCard

__all__ = ["card_html", "scales_of", "summary", "warning_html"]

# Dark on amber can be read in napari's dark theme and in its light one.
_WARNING = (
    '<table width="100%" cellpadding="5"><tr><td style="background-color: #e3b617; '
    'color: black;">{}</td></tr></table>'
)
_FIGURES = (
    ("PSNR", "psnr", "{:.2f}"),
    ("SSIM", "ssim", "{:.4f}"),
    ("LR-PSNR", "lr_psnr", "{:.1f}"),
)
_IMAGES = (
    ("bicubic", "bicubic"),
    ("mode", "mode"),
    ("sample", "one sample"),
    ("mean", "mean"),
)
_OTHERS = (
    ("CRPS", "crps", "{:.4f}"),
    ("in the 50 % interval", "coverage_50", "{:.1%}"),
    ("in the 90 % interval", "coverage_90", "{:.1%}"),
)


def warning_html(texts: tuple[str, ...] | list[str]) -> str:
    """Amber box for each text."""
    return "".join(_WARNING.format(escape(text)) for text in texts)


def scales_of(card: ModelCard) -> str:
    """``"2×"``, ``"2×, 3×"`` or ``"any scale, 1× to 32×"``."""
    if card.scale_range is not None:
        low, high = card.scale_range
        return f"any scale, {low:g}× to {high:g}×"
    return ", ".join(f"{scale:g}×" for scale in card.scales)


def summary(entry: Entry) -> str:
    """One line for a list."""
    where = "built in" if entry.is_built_in else "imported"
    if entry.card is None:
        return f"{entry.label} · {where}"
    return f"{entry.card.family} · {scales_of(entry.card)} · {where}"


def card_html(entry: Entry) -> str:
    """All that is known, warnings first."""
    card = entry.card
    if card is None:
        warned = () if entry.licence_is_stated else (licence_notice(entry.name),)
        rows = {
            "What": f"{entry.label}: predicts the latents of a model; choose it as "
            "prior there",
            "Licence": entry.licence,
            "File": str(entry.path),
        }
        return f"<h3>{escape(entry.name)}</h3>{warning_html(warned)}{_table(rows)}"
    about = escape(" ".join(card.description.split()))
    return (
        f"<h3>{escape(card.name)}</h3>{warning_html(notices(card))}"
        f"{f'<p>{about}</p>' if about else ''}{_table(_rows(card))}"
        f"{_figures(card.metrics)}{_table(_details(entry, card))}"
    )


def _rows(card: ModelCard) -> dict[str, str]:
    channels = {1: "one", 3: "three (RGB)"}.get(card.channels, str(card.channels))
    return {
        "Family": card.family,
        "Scale": scales_of(card),
        "Channels": channels,
        "Domain": card.domain,
        "Licence": card.licence,
    }


def _details(entry: Entry, card: ModelCard) -> dict[str, str]:
    return {
        "Not for": " ".join(card.not_for.split()),
        "LR made by": str(card.degradation),
        "Parameters": f"{card.parameters:,}" if card.parameters else "",
        "Temperature": f"{card.temperature:g}",
        "Inferred": _pairs(card.inferred),
        "Assumed": _pairs(card.assumed) or ("nothing" if card.inferred else ""),
        "Made from": _pairs(card.source),
        "File": str(entry.path),
        "SHA-256": card.sha256,
    }


def _pairs(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items())


def _breakable(text: str) -> str:
    """Escaped text; paths may be broken after separators, sums anywhere."""
    words = []
    for word in text.split(" "):
        if re.fullmatch(r"[0-9a-f]{64}", word):
            pieces = [word[i : i + 16] for i in range(0, 64, 16)]
        else:
            pieces = re.split(r"(?<=[/\\])", word)
        words.append("\u200b".join(map(escape, pieces)))
    return " ".join(words)


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(
        f'<tr><td style="padding-right: 8px; white-space: nowrap;"><b>{key}</b></td>'
        f"<td>{_breakable(value)}</td></tr>"
        for key, value in rows.items()
        if value
    )
    return f'<table cellspacing="2">{cells}</table>'


def _figures(metrics: Mapping[str, Any]) -> str:
    """Table of what was measured on test images; a sentence without figures."""
    shown = [
        (label, metrics[key], form)
        for label, key, form in _FIGURES
        if isinstance(metrics.get(key), Mapping)
    ]
    if not shown:
        return "<p>No figures were measured with this model.</p>"
    style = "padding-left: 10px; white-space: nowrap;"
    cell = f'<td align="right" style="{style}">{{}}</td>'
    head = "".join(cell.format(f"<b>{label}</b>") for label, _, _ in shown)
    body = "".join(
        f'<tr><td style="white-space: nowrap;"><b>{label}</b></td>'
        + "".join(cell.format(_number(of.get(key), form)) for _, of, form in shown)
        + "</tr>"
        for key, label in _IMAGES
    )
    rest = ", ".join(
        f"{label} {_number(metrics.get(key), form)}"
        for label, key, form in _OTHERS
        if metrics.get(key) is not None
    )
    return (
        "<p><b>On test images</b> (PSNR in dB)</p>"
        f'<table cellspacing="2"><tr><td></td>{head}</tr>{body}</table><p>{rest}</p>'
    )


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "–"
