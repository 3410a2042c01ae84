"""What `models inspect` shows, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_flowsr.models.card import ModelCard

__all__ = ["card_rows", "inspected", "plain", "scales_of"]


def plain(card: ModelCard) -> dict[str, Any]:
    """Card as a mapping for JSON."""
    from dataclasses import asdict

    return asdict(card)


def scales_of(card: ModelCard) -> str:
    """Scales in a few characters."""
    return _scales(plain(card))


def _scales(card: Mapping[str, Any]) -> str:
    if card["scale_range"]:
        low, high = card["scale_range"]
        return f"any from {low:g}× to {high:g}×"
    return ", ".join(f"{scale:g}×" for scale in card["scales"])


def _pairs(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items())


def card_rows(card: ModelCard) -> dict[str, str]:
    """The rows of a card that say what a model is and what was found out."""
    return _card(plain(card))


def inspected(found: Mapping[str, Any]) -> dict[str, str]:
    """The rows for what `io.importing.inspect_file` found; empty ones are left out."""
    rows = _prior(found) if found["kind"] == "prior" else _model(found)
    rows |= {
        "Stored as": ", ".join(f"{k} ({n:,})" for k, n in found["storage"].items()),
        "File": f"{found['file']} ({found['file_bytes'] / 2**20:.2f} MiB)",
    }
    return {key: value for key, value in rows.items() if value}


def _prior(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Name": found["name"],
        "What": f"{found['label']}; for use with its model, as prior=",
        "Licence": found["licence"],
        "Parameters": f"{found['parameters']:,}",
        "Inferred": _pairs(found["inferred"]),
        "Assumed": "nothing",
        "SHA-256": found["sha256"],
    }


def _card(card: Mapping[str, Any]) -> dict[str, str]:
    from napari_flowsr.data.degradation import Degradation

    low, high = card["normalisation"]["low"], card["normalisation"]["high"]
    kind = card["normalisation"]["kind"]
    percentiles = f" {low:g} to {high:g}" if kind == "percentile" else ""
    inferred, assumed = _pairs(card["inferred"]), _pairs(card["assumed"])
    rows = {
        "Name": card["name"],
        "Family": card["family"],
        "Scales": _scales(card),
        "Channels": str(card["channels"]),
        "Domain": card["domain"],
        "Description": card["description"],
        "Not for": card["not_for"],
        "Licence": card["licence"],
        "Parameters": f"{card['parameters']:,}",
        "Temperature": f"{card['temperature']:g} (default)",
        "Degradation": str(Degradation(**card["degradation"])),
        "Normalisation": kind + percentiles,
        "Metrics": _pairs(card["metrics"]),
        "Training": _pairs(card["training"]),
        "Inferred": inferred,
        "Assumed": assumed or ("nothing" if inferred else ""),
        "Made from": _pairs(card["source"]),
    }
    return {key: value for key, value in rows.items() if value}


def _model(found: Mapping[str, Any]) -> dict[str, str]:
    side = found["latents"]["lr_size"][0]
    shapes = "; ".join(" × ".join(map(str, s)) for s in found["latents"]["shapes"])
    latents = f"{shapes} for {side} × {side} input pixels"
    return _card(found["card"]) | {
        "Configuration": _pairs(found["config"]),
        "Latents": "none: deterministic" if found["deterministic"] else latents,
        "Receptive field": f"{found['receptive_field']} input pixels to each side",
        "Sides": f"multiples of {found['multiple_of']} inside; any size from outside",
        "SHA-256": found["card"]["sha256"],
    }
