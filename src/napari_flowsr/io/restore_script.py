"""Python text that restores an image again, or shows what that took away."""

from __future__ import annotations

import pprint
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KINDS", "restore_script"]

KINDS = ("restored", "removed")
"""Of records that have a script."""
_OPTIONS = (
    *("normalisation", "strength", "temperature", "seed", "axes", "tile", "nan"),
    "precision",
)


def restore_script(
    facts: Mapping[str, Any], *, harmless: Callable[[str], str], crop: str
) -> str:
    """Program of a record of `restore` or of the Restore dock.

    Parameters
    ----------
    facts : mapping
        The record, made of plain values; of a kind in `KINDS`.
    harmless : callable
        Makes text that cannot end a docstring.
    crop : str
        Line that cuts out the region, or empty.
    """
    options = {name: facts[name] for name in _OPTIONS if name in facts}
    removed = facts["kind"] == "removed"
    title = f"{facts['kind']} of {facts.get('source_name') or 'an image'}"
    return _TEMPLATE.format(
        title=harmless(title),
        source=facts["source_sha256"],
        model=facts["model"],
        model_sha256=facts["model_sha256"],
        options=pprint.pformat(options, width=84, sort_dicts=False),
        crop=crop,
        matches="SOURCE_SHA256 not in (found, image_hash(image))"
        if crop
        else "found != SOURCE_SHA256",
        result=_removed(facts) if removed else "restored",
    )


def _removed(facts: Mapping[str, Any]) -> str:
    """Expression for what was taken away; of colour layers it is shown as one."""
    call = "difference(image, restored)"
    return f"{call}[..., :3].mean(-1)" if facts.get("colour") == "mean" else call


_TEMPLATE = '''"""Remakes: {title}.

Written by napari-flowsr. What replaces the damage is inferred by the model.
Run it as `python this_file.py IMAGE`, or import `remake`.
"""

import sys

import numpy as np

import napari_flowsr as flowsr
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference.restore import difference
from napari_flowsr.io.images import read_image
from napari_flowsr.io.provenance import image_hash

SOURCE_SHA256 = {source!r}
MODEL = {model!r}
MODEL_SHA256 = {model_sha256!r}
OPTIONS = {options}


def remake(image, model=MODEL, device="auto"):
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
    restored = flowsr.restore(image, loaded, device=device, **OPTIONS)
    return {result}


if __name__ == "__main__":
    result = remake(read_image(sys.argv[1]).data)
    np.save("remade.npy", result)
'''
