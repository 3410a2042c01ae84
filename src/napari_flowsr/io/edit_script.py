"""Python text that makes an edited image again: its base, then edit by edit."""

from __future__ import annotations

import pprint
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_flowsr.errors import OptionError
from napari_flowsr.io.edit_agreement import differing
from napari_flowsr.io.edit_record import LEFT_OUT, edit_record, edit_step, unpack

__all__ = ["KINDS", "Writer", "edit_record", "edit_script", "edit_step", "unpack"]

KINDS = ("edited",)
"""Of records that this module writes scripts for."""

# Operations on the posterior, and the keywords that each takes from its entry.
_METHODS = {
    "resample": ("seed", "temperature"),
    "normalise": ("collections", "seed", "temperature", "strength", "amplify"),
    "transfer": ("collections", "seed", "temperature"),
}
# Which of these an operation calls after its pixels were put in.
_CALLS = {
    "resample": "resample",
    "normalise": "normalise",
    "paste": "",
    "paint": "",
    "content": "normalise",
    "transfer": "transfer",
}


@dataclass(frozen=True)
class Writer:
    """What `io.provenance` knows of records, so that scripts of edits need it too.

    Parameters
    ----------
    harmless : callable
        Makes text that cannot end a docstring or a comment.
    options, call, stream : callable
        Of a record: keywords of `posterior`, the expression of its array, and the line
        that goes before it.
    load, prior, crop : callable
        Of a record: lines that load the model, name its learned prior, and cut out the
        region.
    """

    harmless: Callable[[str], str]
    options: Callable[[Mapping[str, Any]], dict[str, Any]]
    call: Callable[[Mapping[str, Any]], str]
    stream: Callable[[Mapping[str, Any]], str]
    load: Callable[[Mapping[str, Any]], str]
    prior: Callable[[Mapping[str, Any]], str]
    crop: Callable[[Mapping[str, Any]], str]


def edit_script(facts: Mapping[str, Any], writer: Writer) -> str:
    """Program that makes the base of an edited image again and repeats the edits.

    Parameters
    ----------
    facts : mapping
        The record, made of plain values; of the kind ``"edited"``.
    writer : Writer
        Of the parts that all scripts have.

    Raises
    ------
    OptionError
        An edit cannot be repeated; the text says which, and why.
    """
    base = facts.get("base")
    of_model = isinstance(base, Mapping)
    downscaled = not of_model and facts.get("lr") == "downscale"
    edits = [dict(edit) for edit in facts["edits"]]
    steps = [
        _step(facts, edit, i, writer, padded=downscaled) for i, edit in enumerate(edits)
    ]
    begin = _begin(base, writer) if isinstance(base, Mapping) else _FROM_HR
    source = facts["source_sha256"] if of_model or not downscaled else _hr(facts)
    crop = "" if downscaled else writer.crop(facts)
    name = facts.get("source_name") or "an image"
    versions = ", ".join(f"{k} {v}" for k, v in dict(facts.get("versions", {})).items())
    return _TEMPLATE.format(
        title=writer.harmless(f"edited image of {name}"),
        versions=writer.harmless(versions or "unknown versions"),
        device=writer.harmless(str(facts.get("device", "unknown"))),
        source=source,
        hr="" if of_model or downscaled else f"HR_SHA256 = {_hr(facts)!r}\n",
        model=facts["model"],
        model_sha256=facts["model_sha256"],
        prior=writer.prior(facts),
        options=_literal(writer.options(facts)),
        edits=_literal([_arrays(edit) for edit in edits]),
        given="" if of_model or downscaled else ", hr",
        crop=crop,
        # The hash is that of the whole source, or of the region that was passed on.
        matches="SOURCE_SHA256 not in (found, image_hash(image))"
        if crop
        else "found != SOURCE_SHA256",
        load=writer.load(facts),
        check="" if of_model or downscaled else _CHECK_HR,
        reduce=_REDUCE if downscaled else "",
        begin=begin,
        steps="".join(steps),
        result="whole.cropped(hr)" if downscaled else "hr",
        read="" if of_model or downscaled else ", read_image(sys.argv[2]).data",
        files="IMAGE" if of_model or downscaled else "IMAGE EDITED_IMAGE",
    )


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=84, sort_dicts=False)


def _hr(facts: Mapping[str, Any]) -> str:
    """Hash of the image that was edited, where no model made it."""
    if "hr_sha256" not in facts:
        raise OptionError(
            "The record of this edited image does not say what it was made from, so "
            "there is no script for it. Choose another layer."
        )
    return str(facts["hr_sha256"])


def _begin(base: Mapping[str, Any], writer: Writer) -> str:
    """Lines that make what was edited."""
    if base.get("kind") in KINDS or base.get("tool") not in (None, "upscale"):
        raise OptionError(
            f"What was edited is itself of the kind '{base.get('kind')}', made with "
            f"'{base.get('tool')}', and there is no script for edits of that. Edit a "
            "sample of Upscale."
        )
    options = _literal(writer.options(base)).replace("\n", "\n    ")
    return (
        f"    options = keywords(\n    {options})\n"
        "    post = flowsr.posterior(image, loaded, device=device, **options)\n"
        f"{writer.stream(base)}    hr = np.array({writer.call(base)})\n"
    )


def _arrays(edit: Mapping[str, Any]) -> dict[str, Any]:
    """What of an edit is no option: where it was, its pixels, and a map."""
    found = {k: edit[k] for k in ("mask", "pixels") if k in edit}
    if isinstance(edit.get("temperature"), Mapping):
        found["temperature"] = edit["temperature"]
    return found


def _step(
    facts: Mapping[str, Any],
    edit: Mapping[str, Any],
    index: int,
    writer: Writer,
    *,
    padded: bool,
) -> str:
    """Lines that repeat one edit; ``padded``: of an image that fits by padding."""
    operation = edit.get("operation")
    label = f"{index + 1}: {edit.get('label') or operation}"
    if operation not in _CALLS:
        raise _no_script(index, label, f"'{operation}' depends on more than it tells")
    if reason := differing(facts, edit):
        raise _no_script(index, label, reason)
    for name, packed in _arrays(edit).items():
        if not isinstance(packed, Mapping):
            raise _no_script(index, label, f"the {name} of it is only named")
        if LEFT_OUT in packed:
            raise _no_script(index, label, str(packed[LEFT_OUT]))
    lines = [f"# {writer.harmless(label)}"]
    if operation in ("paste", "paint", "content", "transfer"):
        if "pixels" not in edit:
            raise _no_script(index, label, "its pixels are not in the record")
        box = ", ".join(f"{int(a)}:{int(b)}" for a, b in edit.get("box", ())) or "..."
        put = f'[{box}] = unpack(EDITS[{index}]["pixels"])'
        lines += _put(put, beside=operation == "transfer", padded=padded)
    method = _CALLS[operation]
    if method:
        mask = f'fitted(unpack(EDITS[{index}]["mask"]))' if "mask" in edit else "None"
        told = _keywords(facts, edit, index, method)
        if method == "transfer":
            lines.append(f"edit = transferring(post, hr, pasted, {mask}, {told})")
            lines.append("hr = post.finish(edit).array")
        else:
            lines.append(f"hr = post.{method}(hr, {mask}, {told})")
    return "".join(f"    {line}\n" for line in lines)


def _put(put: str, *, beside: bool, padded: bool) -> list[str]:
    """Lines that put pixels into the image, or into a copy beside it.

    What was padded is mirrored again: pixels at its end are seen in the padding too.
    """
    into = "pasted" if beside else "hr"
    lines = ["hr = whole.cropped(hr)"] if padded else []
    if beside or padded:
        lines.append(f"{into} = hr.copy()")
    lines.append(f"{into}{put}")
    if padded and beside:
        lines.append('pasted = whole.fitted(pasted, "pasted")')
    return [*lines, 'hr = whole.fitted(hr, "hr")'] if padded else lines


def _keywords(
    facts: Mapping[str, Any], edit: Mapping[str, Any], index: int, method: str
) -> str:
    """Keywords of the operation of an edit."""
    # What equals the record's own is not repeated in the list of edits; a map of the
    # posterior's is what it takes by itself.
    own = {k: facts[k] for k in ("seed", "temperature")}
    own = {k: v for k, v in own.items() if not isinstance(v, Mapping)}
    known, told = {**own, **edit}, []
    for name in _METHODS[method]:
        if name not in known:
            continue
        keyword, value = name, known[name]
        if method == "transfer" and name == "collections":
            keyword = "normalisation"
        if name == "temperature" and isinstance(value, Mapping):
            text = f'fitted(unpack(EDITS[{index}]["temperature"]))'
        else:
            text = repr(_option(name, value))
        told.append(f"{keyword}={text}")
    return ", ".join(told)


def _option(name: str, value: Any) -> Any:
    """Value of a keyword, of its own kind; `ValueError` for another."""
    kinds = {"seed": int, "temperature": float, "strength": float, "amplify": bool}
    if name == "collections":
        return [str(item) for item in ([value] if isinstance(value, str) else value)]
    return None if value is None else kinds[name](value)


def _no_script(index: int, label: str, reason: str) -> OptionError:
    return OptionError(
        f"There is no script for this edited image: edit {label} cannot be repeated, "
        f"for {reason}. Save the edited image itself, or as a .flowsr file."
    )


_FROM_HR = "    hr = np.array(hr)\n"
_CHECK_HR = """\
    if image_hash(hr) != HR_SHA256:
        raise ImageError(
            f"Another image was edited: its SHA-256 is {HR_SHA256}. Pass its pixels."
        )
"""
_REDUCE = """\
    whole = reduced(image, loaded, axes=OPTIONS["axes"], scale=OPTIONS["scale"])
    image, hr, fitted = whole.lr, whole.hr, whole.fitted_map
"""

_TEMPLATE = '''"""Remakes: {title}.

Written by napari-flowsr. Fine detail is inferred by the model, not measured; parts of
this image were edited.
Made with {versions};
the same versions on a CPU give the same bits.
Run it as `python this_file.py {files}`, or import `remake`.
"""

import sys

import numpy as np

import napari_flowsr as flowsr
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.inference.reduced import reduced
from napari_flowsr.inference.transfer import transferring
from napari_flowsr.io.edit_script import unpack
from napari_flowsr.io.images import read_image
from napari_flowsr.io.provenance import image_hash

SOURCE_SHA256 = {source!r}
{hr}MODEL = {model!r}
MODEL_SHA256 = {model_sha256!r}
{prior}OPTIONS = {options}
EDITS = {edits}


def keywords(options):
    """Unpack what is an array."""
    return {{k: unpack(v) if isinstance(v, dict) else v for k, v in options.items()}}


def fitted(mask):
    """Return the mask, on the grid that it is on."""
    return mask


# The result was made on: {device}
def remake(image{given}, model=MODEL, device="auto", fitted=fitted):
    """Return the recorded result; `image` must be the recorded source.

    `model` may also be the path of the model's file.
    """
    found = image_hash(image)
{crop}    if {matches}:
        raise ImageError(
            f"This is another image: its SHA-256 is {{found}}, the result was made "
            f"from {{SOURCE_SHA256}}. Pass the original "
            "pixels, of the original data type."
        )
{check}{load}    if loaded.card.sha256 != MODEL_SHA256:
        raise OptionError(
            f"The model {{model}} is another one: its SHA-256 is "
            f"{{loaded.card.sha256}}, the result was made with {{MODEL_SHA256}}. "
            "Import the original model."
        )
{reduce}{begin}    options = keywords(OPTIONS)
    post = flowsr.posterior(image, loaded, device=device, **options)
{steps}    return {result}


if __name__ == "__main__":
    result = remake(read_image(sys.argv[1]).data{read})
    np.save("remade.npy", result)
'''
