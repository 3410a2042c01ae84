"""Where a result came from: the record, the image's hash, and a script to remake it."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from napari_flowsr.errors import OptionError
from napari_flowsr.io.content import image_hash, jsonable, pack_array, unpack_array
from napari_flowsr.io.edit_script import KINDS as EDIT_KINDS
from napari_flowsr.io.edit_script import Writer, edit_script
from napari_flowsr.io.explore_script import KINDS as EXPLORE_KINDS
from napari_flowsr.io.explore_script import explore_call
from napari_flowsr.io.rescale_script import KINDS as RESCALE_KINDS
from napari_flowsr.io.rescale_script import rescale_script
from napari_flowsr.io.restore_script import KINDS as RESTORE_KINDS
from napari_flowsr.io.restore_script import restore_script
from napari_flowsr.io.statement import statement

__all__ = [
    "NAMESPACE",
    "image_hash",
    "jsonable",
    "pack_array",
    "provenance_script",
    "record",
    "statement",
    "unpack_array",
]

NAMESPACE = "napari-flowsr"
"""Key in layer metadata and namespace in files."""

# Options of `napari_flowsr.posterior` that determine the pixels.
_OPTIONS = (
    *("temperature", "seed", "scale", "axes", "prior", "noise", "consistent"),
    *("tile", "nan", "precision"),
)
_REQUIRED = ("kind", "model", "model_sha256", "source_sha256", "temperature", "seed")


def versions() -> dict[str, str]:
    """Versions of what determines the pixels."""
    from napari_flowsr import __version__

    found = {"napari-flowsr": __version__}
    for name in ("torch", "numpy"):
        found[name] = metadata.version(name)
    return found


def record(
    kind: str,
    *,
    model: str,
    model_sha256: str,
    family: str,
    source_sha256: str,
    source_name: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Record of how a result came about, JSON-able.

    Parameters
    ----------
    kind : str
        ``"sample"`` (with ``sample``, its number, and ``n``, how many were drawn; only
        ``n``: a stack of them),
        ``"mean"`` or ``"std"`` (with ``n``), ``"quantile"`` (with ``quantile`` and
        ``n``), ``"quantile-range"`` (with ``quantiles``, two, and ``n``), one of those
        in `io.explore_script`, or the name of another operation.
    model, model_sha256, family : str
        From the model's card.
    source_sha256 : str
        `image_hash` of the input.
    source_name : str
        Layer or file name.
    **options
        Keywords of `napari_flowsr.posterior` as they were resolved, the numbers above,
        and further facts, such as ``report``. ``stream`` is the number of samples of
        the `Posterior.stream` it came from: the last bits of a convolution depend on
        how many samples are decoded together.
    """
    return {
        "plugin": NAMESPACE,
        "kind": kind,
        "detail_inferred": True,
        "model": model,
        "model_sha256": model_sha256,
        "family": family,
        "source_name": source_name,
        "source_sha256": source_sha256,
        **jsonable(options),
        "versions": versions(),
    }


def provenance_script(layer_metadata: Mapping[str, Any]) -> str:
    """Python text that defines ``remake(image)``, which returns the same array again.

    Parameters
    ----------
    layer_metadata : mapping
        ``layer.metadata``, or the record under its key ``"napari-flowsr"``.

    Returns
    -------
    str
        A program; ``remake`` raises unless image and model are the recorded ones.

    Raises
    ------
    OptionError
        No record, an incomplete one, or of a kind that has no script.
    """
    try:
        facts = _facts(layer_metadata)
        if facts.get("tool") == "rescale" and facts["kind"] in RESCALE_KINDS:
            return rescale_script(facts, harmless=_harmless, crop=_crop(facts))
        if facts.get("tool") == "restore" and facts["kind"] in RESTORE_KINDS:
            return restore_script(facts, harmless=_harmless, crop=_crop(facts))
        if facts["kind"] in EDIT_KINDS:
            return edit_script(facts, _writer())
        return _script(facts)
    except (
        TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError,
        RecursionError,
    ) as error:  # fmt: skip
        raise OptionError(
            f"The record of this layer is damaged ({error!r}), so there is "
            "no script for it. Choose another layer, or make the result again."
        ) from error


def _facts(layer_metadata: Any) -> dict[str, Any]:
    """The record in a layer's metadata, made of plain values."""
    if not isinstance(layer_metadata, Mapping):
        raise OptionError(
            f"The metadata are {type(layer_metadata).__name__}; expected "
            "layer.metadata of a layer that napari-flowsr made, or the record in it."
        )
    found = layer_metadata.get(NAMESPACE, layer_metadata)
    if not isinstance(found, Mapping):
        raise OptionError(
            f"The entry '{NAMESPACE}' of the metadata is {type(found).__name__}; "
            "expected the record that napari-flowsr writes. Choose another layer."
        )
    missing = [key for key in _REQUIRED if key not in found]
    if len(missing) == len(_REQUIRED):
        raise OptionError(
            f"The metadata have no record under '{NAMESPACE}': this layer was not made "
            "by napari-flowsr. Choose one that was."
        )
    if missing:
        raise OptionError(
            f"The metadata lack {', '.join(missing)}; expected layer.metadata of a "
            "layer that napari-flowsr made. Choose such a layer."
        )
    facts: dict[str, Any] = jsonable(found)
    return facts


def _script(facts: Mapping[str, Any]) -> str:
    """The program, with no fact in it but as a literal, a number or a comment."""
    call, crop = _call(facts), _crop(facts)
    options = _options(facts)
    title = f"{facts['kind']} of {facts.get('source_name') or 'an image'}"
    versions = ", ".join(f"{k} {v}" for k, v in dict(facts.get("versions", {})).items())
    return _TEMPLATE.format(
        title=_harmless(title),
        versions=_harmless(versions or "unknown versions"),
        device=_harmless(str(facts.get("device", "unknown"))),
        source=facts["source_sha256"],
        model=facts["model"],
        model_sha256=facts["model_sha256"],
        options=pprint.pformat(options, width=84, sort_dicts=False),
        load=_load(facts),
        prior=_prior_constants(facts),
        crop=crop,
        # The hash is that of the whole source, or of the region that was passed on.
        matches="SOURCE_SHA256 not in (found, image_hash(image))"
        if crop
        else "found != SOURCE_SHA256",
        temperature=_unpack(options),
        stream=_stream(facts),
        call=call,
    )


def _options(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of `posterior` that a record tells."""
    return {name: facts[name] for name in _OPTIONS if name in facts}


def _writer() -> Writer:
    return Writer(_harmless, _options, _call, _stream, _load, _prior_constants, _crop)


def _harmless(text: str) -> str:
    """Text that cannot end the docstring or comment it is put into.

    Metadata may come from anybody's file. One line, without backslashes, double quotes
    and what cannot be seen (line ends, text direction marks, NUL).
    """
    seen = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(seen.replace("\\", "/").replace('"', "'").split())


def _call(facts: Mapping[str, Any]) -> str:
    """Expression that makes the array from a posterior ``post``."""
    # Layers of colour images show statistics as one channel, or rounded to be shown.
    call = _statistic(facts)
    if facts.get("colour") == "mean":
        call = f"({call}).mean(-1)"
    if "rounded_to" in facts:
        call = f"np.rint({call}).astype({facts['rounded_to']!r})"
    return call


def _stream(facts: Mapping[str, Any]) -> str:
    """Line that runs the stream which the result came from, empty without one."""
    if "stream" not in facts or facts["kind"] in EXPLORE_KINDS:
        return ""
    names = {"sample": "samples", "quantile-range": "quantiles"}
    wanted = names.get(facts["kind"], facts["kind"])
    levels = _levels(facts.get("quantiles", ()))
    asked = f"{int(facts['stream'])}, ({wanted!r},), {levels!r}"
    return f"    found = list(post.stream({asked}))[-1].result\n"


def _streamed(facts: Mapping[str, Any]) -> str:
    """Expression that takes the array from the stream's result ``found``."""
    kind = facts["kind"]
    if kind == "sample":
        one = f"[{int(facts['sample'])}]" if "sample" in facts else ""
        return f"found.samples{one}"
    if kind in ("mean", "std"):
        return f"found.{kind}"
    if kind == "quantile-range":
        low, high = _levels(facts["quantiles"])
        return f"found.quantiles[{high!r}] - found.quantiles[{low!r}]"
    raise OptionError(
        f"A result of the kind '{kind}' does not come from a stream; expected sample, "
        "mean, std or quantile-range."
    )


def _levels(values: Any) -> tuple[float, ...]:
    """Levels of quantiles; NaN has no literal."""
    levels = tuple(float(q) for q in values)
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError(f"quantiles are {levels}")
    return levels


def _statistic(facts: Mapping[str, Any]) -> str:
    if facts["kind"] in EXPLORE_KINDS:
        return explore_call(facts)
    if "stream" in facts:
        return _streamed(facts)
    kind, n = facts["kind"], int(facts.get("n", 1))
    stack = kind == "samples" or "n" in facts
    if kind in ("sample", "samples") and ("sample" in facts or not stack):
        number = int(facts.get("sample", 0))
        # As many as were drawn: the last bits depend on what is decoded together.
        return f"post.sample({max(n, number + 1)})[{number}]"
    if kind in ("sample", "samples"):
        return f"post.sample({n})"
    if kind in ("mean", "std"):
        return f"post.{kind}({n})"
    if kind == "quantile":
        (level,) = _levels([facts["quantile"]])
        return f"post.quantile({level!r}, {n})"
    if kind == "quantile-range":
        low, high = _levels(facts["quantiles"])
        return f"post.quantile({high!r}, {n}) - post.quantile({low!r}, {n})"
    raise OptionError(
        f"A result of the kind '{kind}' has no script; expected sample, samples, mean, "
        f"std, quantile, quantile-range, {', '.join(EXPLORE_KINDS)}."
    )


def _crop(facts: Mapping[str, Any]) -> str:
    """Line that cuts out the recorded region of interest, empty without one.

    ``roi`` holds ``[start, stop]`` of each axis of the source, colour left out, or of Y
    and X alone.
    """
    roi = facts.get("roi")
    if not roi:
        return ""
    axes = str(facts.get("axes") or "YX")
    letters = axes.replace("S", "") if len(roi) > 2 else "YX"
    bounds = dict(zip(letters, roi, strict=True))
    index = ", ".join(
        f"{int(bounds[a][0])}:{int(bounds[a][1])}" if a in bounds else ":" for a in axes
    )
    return f"    image = image[{index}]\n"


def _load(facts: Mapping[str, Any]) -> str:
    """Lines that load the model, with its learned prior and what was assumed."""
    assume, learned = facts.get("assume"), facts.get("prior") == "learned"
    options = "model, device, prior=PRIOR" if learned else "model, device"
    if assume:
        text = (
            "    try:\n"
            f"        loaded = flowsr.load_model({options}, assume={assume!r})\n"
            "    except OptionError:  # an imported copy states these itself\n"
            f"        loaded = flowsr.load_model({options})\n"
        )
    else:
        text = f"    loaded = flowsr.load_model({options})\n"
    if learned:
        text += (
            '    if loaded.card.prior["sha256"] != PRIOR_SHA256:\n'
            '        raise OptionError(f"{PRIOR} is another learned prior: its SHA-256 '
            'is not {PRIOR_SHA256}.")\n'
        )
    return text


def _prior_constants(facts: Mapping[str, Any]) -> str:
    """Lines that name the learned prior, empty without one."""
    if facts.get("prior") != "learned":
        return ""
    name, sha256 = (str(facts.get(f"prior_{key}", "")) for key in ("name", "sha256"))
    return (
        "# A name among the imported learned priors, or the path of its file.\n"
        f"PRIOR = {name!r}\nPRIOR_SHA256 = {sha256!r}\n"
    )


def _unpack(options: Mapping[str, Any]) -> str:
    """Line that unpacks a temperature map, empty for a number."""
    if not isinstance(options.get("temperature"), Mapping):
        return ""
    return '    options["temperature"] = unpack_array(OPTIONS["temperature"])\n'


_TEMPLATE = '''"""Remakes: {title}.

Written by napari-flowsr. Fine detail is inferred by the model, not measured.
Made with {versions};
the same versions on a CPU give the same bits.
Run it as `python this_file.py IMAGE`, or import `remake`.
"""

import sys

import numpy as np

import napari_flowsr as flowsr
from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.io.images import read_image
from napari_flowsr.io.provenance import image_hash, unpack_array

SOURCE_SHA256 = {source!r}
MODEL = {model!r}
MODEL_SHA256 = {model_sha256!r}
{prior}OPTIONS = {options}


# The result was made on: {device}
def remake(image, model=MODEL, device="auto"):
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
    options = dict(OPTIONS)
{temperature}{load}    if loaded.card.sha256 != MODEL_SHA256:
        raise OptionError(
            f"The model {{model}} is another one: its SHA-256 is "
            f"{{loaded.card.sha256}}, the result was made with {{MODEL_SHA256}}. "
            "Import the original model."
        )
    post = flowsr.posterior(image, loaded, device=device, **options)
{stream}    return {call}


if __name__ == "__main__":
    result = remake(read_image(sys.argv[1]).data)
    np.save("remade.npy", result)
'''
