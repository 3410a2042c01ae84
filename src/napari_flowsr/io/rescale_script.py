"""Python text that makes a small image, or one brought back from it, again."""

from __future__ import annotations

import pprint
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KINDS", "rescale_script"]

KINDS = ("small", "restored")
"""Of records that have a script; an error map has none."""


def rescale_script(
    facts: Mapping[str, Any], *, harmless: Callable[[str], str], crop: str
) -> str:
    """Program of a record of the Rescale dock or of `rescale`.

    Parameters
    ----------
    facts : mapping
        The record, made of plain values; of a kind in `KINDS`.
    harmless : callable
        Makes text that cannot end a docstring.
    crop : str
        Line that cuts out the region, or empty.
    """
    # Of a layer that the whole way was gone for, the original is the source.
    whole_way = bool(facts.get("whole_way")) or facts["kind"] == "small"
    lines = []
    if whole_way:
        down = {"bits": facts.get("bits"), "axes": facts.get("axes")}
        down["nan"] = facts.get("nan", "raise")
        lines.append(
            "lr, latents = flowsr.rescale_down(image, loaded, device=device, "
            f"**{pprint.pformat(down, width=200)})"
        )
        result = "lr"
    if facts["kind"] == "restored":
        options = {key: facts.get(key) for key in ("temperature", "seed")}
        if facts.get("exact"):
            way = "latents=latents"
        elif whole_way:
            way = f"like=latents.about, **{options!r}"
        else:
            way = f"like=Rescaled.of({facts.get('rescaled')!r}), **{options!r}"
        given = "lr" if whole_way else "image"
        result = f"flowsr.rescale_up({given}, loaded, device=device, {way})"
    body = "".join(f"    {line}\n" for line in [*lines, f"return {result}"])
    title = f"{facts['kind']} image of {facts.get('source_name') or 'an image'}"
    return _TEMPLATE.format(
        title=harmless(title),
        source=facts["source_sha256"],
        model=facts["model"],
        model_sha256=facts["model_sha256"],
        crop=crop,
        matches="SOURCE_SHA256 not in (found, image_hash(image))"
        if crop
        else "found != SOURCE_SHA256",
        body=body,
        latents=", latents=None" if facts.get("exact") and not whole_way else "",
    )


_TEMPLATE = '''"""Remakes: {title}.

Written by napari-flowsr. Run it as `python this_file.py IMAGE`, or import `remake`.
"""

import sys

import numpy as np

import napari_flowsr as flowsr
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference.rescaled import Rescaled
from napari_flowsr.io.images import read_image
from napari_flowsr.io.provenance import image_hash

SOURCE_SHA256 = {source!r}
MODEL = {model!r}
MODEL_SHA256 = {model_sha256!r}


def remake(image, model=MODEL, device="auto"{latents}):
    """Return the recorded result; `image` must be the recorded source."""
    found = image_hash(image)
{crop}    if {matches}:
        raise ImageError(
            f"This is another image: its SHA-256 is {{found}}, the result was made "
            f"from {{SOURCE_SHA256}}. Pass the original pixels."
        )
    loaded = flowsr.load_model(model, device=device)
    if loaded.card.sha256 != MODEL_SHA256:
        raise OptionError(
            f"The model {{model}} is another one: its SHA-256 is "
            f"{{loaded.card.sha256}}, the result was made with {{MODEL_SHA256}}. "
            "Import the original model."
        )
{body}

if __name__ == "__main__":
    result = remake(read_image(sys.argv[1]).data)
    np.save("remade.npy", result)
'''
