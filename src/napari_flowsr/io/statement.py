"""A record of how a result came about, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["statement"]


def statement(provenance: Mapping[str, Any]) -> str:
    """One sentence for people who open the file."""
    model = provenance.get("model", "an unknown model")
    if provenance.get("tool") == "rescale" and not provenance.get("detail_inferred"):
        small = provenance.get("kind") == "small"
        what = "Made small" if small else "Brought back exactly from its small version"
        return f"{what} with napari-flowsr, model {model}."
    if provenance.get("tool") == "restore":
        return (
            f"Restored with napari-flowsr, model {model} "
            f"({provenance.get('kind', 'result')}). What replaces the damage is "
            "inferred by the model, not measured."
        )
    return (
        f"Super-resolved with napari-flowsr, model {model} "
        f"({provenance.get('kind', 'result')}). Fine detail is inferred by the model, "
        "not measured."
    )
