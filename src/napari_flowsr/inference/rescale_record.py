"""Records of small images and of those that were brought back from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError
from napari_flowsr.inference.rescale_usual import TOOL
from napari_flowsr.inference.rescaled_facts import Rescaled
from napari_flowsr.io.provenance import NAMESPACE, record

if TYPE_CHECKING:
    from napari_flowsr.inference.rescale import Made
    from napari_flowsr.inference.rescale_up import Restored
    from napari_flowsr.models.card import Model

__all__ = ["auto_bits", "record_of", "restored_record", "small_record"]


def auto_bits(dtype: Any) -> int | None:
    """Bits of the small image that suit a data type: those of the original, or none."""
    return {"uint8": 8, "uint16": 16}.get(getattr(dtype, "name", str(dtype)))


def small_record(model: Model, made: Made, **extra: Any) -> dict[str, Any]:
    """Record of a small image, which holds what brings it back to its size."""
    about = made.latents.about
    facts = {
        "tool": TOOL,
        # Made of what was measured, and smaller: nothing is added to it.
        "detail_inferred": False,
        "axes": about.axes,
        "scale": about.scale,
        "bits": about.bits,
        "temperature": None,
        "seed": None,
        "device": made.report.get("device"),
        "report": dict(made.report),
        "rescaled": about.facts(),
    }
    return _record("small", model, about, about.source_sha256, facts | extra)


def restored_record(
    model: Model,
    restored: Restored,
    *,
    exact: bool,
    small_sha256: str,
    temperature: float | None,
    seed: int,
    **extra: Any,
) -> dict[str, Any]:
    """Record of an image that was brought back.

    Parameters
    ----------
    model : Model
        That did it.
    restored : Restored
        The result.
    exact : bool
        With its latents; else the detail was sampled.
    small_sha256 : str
        `image_hash` of the small image.
    temperature, seed
        Of sampled detail.
    **extra
        Further facts.
    """
    if temperature is None:
        temperature = model.card.temperature
    facts = {
        "tool": TOOL,
        "detail_inferred": not exact,
        "exact": exact,
        "axes": restored.about.axes,
        "scale": restored.about.scale,
        "temperature": None if exact else temperature,
        "seed": None if exact else seed,
        "device": restored.report.get("device"),
        "report": dict(restored.report),
        "original_sha256": restored.about.source_sha256,
        # What sampling needs to know besides the small image.
        "rescaled": None if exact else restored.about.facts(),
    }
    return _record("restored", model, restored.about, small_sha256, facts | extra)


def _record(
    kind: str, model: Model, about: Rescaled, source: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    card = model.card
    return record(
        kind,
        model=card.name,
        model_sha256=card.sha256,
        family=card.family,
        **{"source_sha256": source, **facts},
    )


def record_of(metadata: Mapping[str, Any]) -> Rescaled | None:
    """How a small image was made, from a layer's or file's metadata.

    None if it is no small image of ours.

    Raises
    ------
    OptionError
        The record is damaged.
    """
    found = metadata.get(NAMESPACE)
    if not isinstance(found, Mapping) or found.get("kind") != "small":
        return None
    facts = found.get("rescaled")
    if facts is None:
        return None
    try:
        return Rescaled.of(facts)
    except OptionError as error:
        raise OptionError(f"In the metadata of the small image: {error}") from error
