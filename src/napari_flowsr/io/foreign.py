"""Files of the published implementations: recognised, then translated.

A file is read without executing anything in it. Which network it holds is told by the
names of its tensors; hyper-parameters are inferred from names and shapes, and what no
tensor can tell is taken from a table that the caller may override (``assume``).
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.models._registry import families, published_module
from napari_flowsr.models.card import Degradation, ModelCard, Normalisation

__all__ = ["ASSUME", "Official", "Published", "check_assume", "describe_unrunnable"]
__all__ += ["is_runnable", "read_official", "read_state", "recognise"]

ASSUME = (
    "stacked_blocks",
    "quant",
    "affine_eps",
    "res_scale",
    "grid",
    "window",
    "scale_max",
)
"""Hyper-parameters that a state dict cannot tell, over all published families."""


@dataclass(frozen=True)
class Published:
    """A kind of published file, and how its tensors give it away."""

    kind: str
    """``model``, ``prior`` or ``encoder``."""
    family: str
    label: str
    matches: Callable[[list[str]], bool]
    licence: str = "unknown"
    temperature: float = 1.0


@dataclass(frozen=True)
class Official:
    """An official file, translated: what the registry builds, weights, and card."""

    config: Any
    tensors: Mapping[str, Tensor]
    card: ModelCard


def _prefix(start: str) -> Callable[[list[str]], bool]:
    return lambda keys: any(key.startswith(start) for key in keys)


def _pattern(expression: str) -> Callable[[list[str]], bool]:
    compiled = re.compile(expression)
    return lambda keys: any(compiled.match(key) for key in keys)


_SRFLOW_LICENCE = (
    "CC BY-NC-SA 4.0 (the authors' weights: non-commercial, academic research only)"
)

# The first match counts.
_PUBLISHED = (
    Published(
        "model",
        "srflow",
        "SRFlow",
        _prefix("flowUpsamplerNet."),
        _SRFLOW_LICENCE,
        temperature=0.9,
    ),
    Published(
        "model",
        "hcflow",
        "HCFlow",
        _pattern(r"flow\.level\d+_condFlow\."),
        "Apache-2.0 (code; the weights come with it, partly derived from "
        "non-commercial work)",
        temperature=0.9,
    ),
    Published(
        "model", "linf", "LINF", _pattern(r"imnet\.last\._weight$"), "none stated"
    ),
    Published(
        "prior",
        "srflow",
        "learned prior of SRFlow-LP",
        _prefix("input_proj0."),
        _SRFLOW_LICENCE,
    ),
    Published(
        "prior",
        "linf",
        "learned prior of LINF-LP",
        lambda keys: _prefix("input_proj.")(keys) and _prefix("outc.")(keys),
        "none stated",
    ),
    Published(
        "encoder",
        "srflow",
        "RRDB encoder of SRFlow",
        _prefix("RRDB_trunk.0.RDB1.conv1."),
        _SRFLOW_LICENCE,
    ),
)


def check_assume(assume: Mapping[str, Any]) -> None:
    """Raise `OptionError` for a key that no published family knows."""
    unknown = sorted(set(assume) - set(ASSUME))
    if unknown:
        raise OptionError(
            f"Unknown key {', '.join(map(repr, unknown))} in assume; known are "
            f"{', '.join(ASSUME)}."
        )


# --- reading ------------------------------------------------------------------


# Zip archives, and pickles as older versions of torch wrote them.
_PICKLES = (b"PK\x03\x04", b"\x80")


def _load_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch warns about TorchScript archives before it refuses them.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "weights_only" in str(error).lower():
            raise CheckpointError(
                f"{path.name} holds code or objects besides tensors, and was refused; "
                "nothing in it was executed. Ask its author for a plain state dict "
                "(torch.save(model.state_dict(), ...)) or a .safetensors file."
            ) from error
        raise _unreadable(path, error) from error
    except Exception as error:
        # A file of any content arrives here, and torch raises whatever its parsers do.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
    return CheckpointError(
        f"{path.name} is neither a .safetensors nor a .pth file that can be read "
        f"({reason}). It may be truncated, or of another program; copy or download it "
        "again."
    )


def _unwrap(content: Any) -> Any:
    """Peel the dictionaries that the published training programs put around weights."""
    for key in ("prior_model", "model", "params_ema", "params", "state_dict", "sd"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a ``.pth`` or ``.safetensors`` file by name, without ``module.``.

    Raises
    ------
    CheckpointError
        If the file cannot be read, has more than tensors in it, or none.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        try:
            content: Any = load_file(path)
        except SafetensorError as error:
            raise _unreadable(path, error) from error
    elif head.startswith(_PICKLES) or head[8:] == b"{":
        content = _unwrap(_load_pickle(path))
    else:
        raise CheckpointError(
            f"{path.name} is no model file: it begins neither like a .safetensors nor "
            "like a .pth file. Give the file of a model, or a name that `napari-flowsr "
            "models list` shows; it may also be damaged, then copy it again."
        )
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path.name} holds a {type(content).__name__}; a dictionary of tensors "
            "was expected."
        )
    state = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not state or len(state) != len(content):
        raise CheckpointError(
            f"{path.name} holds {len(content)} entries of which {len(state)} are "
            "tensors; a state dict, tensors by name, was expected."
        )
    return state


def recognise(state: Mapping[str, Tensor]) -> Published | None:
    """Which published file these tensors come from, None if from none that is known."""
    keys = list(state)
    return next((known for known in _PUBLISHED if known.matches(keys)), None)


# --- translating --------------------------------------------------------------


def _refusal(path: Path, known: Published | None) -> CheckpointError:
    if known is None:
        labels = ", ".join(dict.fromkeys(entry.label for entry in _PUBLISHED))
        return CheckpointError(
            f"{path.name} holds tensors of an unknown network; recognised are files of "
            f"napari-flowsr, and of {labels}."
        )
    if known.kind == "prior":
        return CheckpointError(
            f"{path.name} is a {known.label}, which works only together with its "
            "model: load the model's file and give this one as prior=."
        )
    if known.kind == "encoder":
        return CheckpointError(
            f"{path.name} is an {known.label} alone, without a flow; it upscales "
            "nothing by itself. Load the SRFlow file, which holds its encoder, or use "
            "this one as the starting point of a training."
        )
    return CheckpointError(
        f"{path.name} is a model of the {known.label} family, which this version of "
        "napari-flowsr recognises but cannot run yet; it runs "
        f"{', '.join(families())}. Update napari-flowsr, or use another model."
    )


def is_runnable(known: Published | None) -> bool:
    """Whether this version can build the network behind a published file."""
    if known is None or known.kind != "model":
        return False
    return published_module(known.family) is not None


def describe_unrunnable(path: str | Path) -> dict[str, Any] | None:
    """What an official file is that cannot be run, or not by itself.

    Returns
    -------
    dict or None
        ``label``, ``kind`` (``model``, ``prior`` or ``encoder``), ``family``,
        ``licence``, ``tensors``, ``parameters`` and ``remark``; None for a file that
        can be loaded.

    Raises
    ------
    CheckpointError
        If the file is damaged or unknown.
    """
    path = Path(path)
    state = read_state(path)
    known = recognise(state)
    if known is None:
        raise _refusal(path, known)
    if is_runnable(known):
        return None
    return {
        "label": known.label,
        "kind": known.kind,
        "family": known.family,
        "licence": known.licence,
        "tensors": len(state),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "remark": str(_refusal(path, known)),
    }


def read_official(
    path: str | Path, assume: Mapping[str, Any] | None = None
) -> Official:
    """Read and translate an official model file.

    Parameters
    ----------
    path : path
        ``.pth`` or ``.safetensors``.
    assume : mapping, optional
        Values for what the file cannot tell.

    Raises
    ------
    CheckpointError
        If the file is damaged, unknown, or of a family that cannot be run yet.
    OptionError
        For a key of ``assume`` that is unknown or does not concern this family.
    """
    path = Path(path)
    assume = dict(assume or {})
    check_assume(assume)
    state = read_state(path)
    known = recognise(state)
    module = published_module(known.family) if known and is_runnable(known) else None
    if known is None or module is None:
        raise _refusal(path, known)
    foreign = sorted(set(assume) - set(module.ASSUMABLE))
    if foreign:
        raise OptionError(
            f"{path.name} is a {known.label} model; assume takes "
            f"{', '.join(module.ASSUMABLE)} for it, not {', '.join(foreign)}."
        )
    config, inferred, assumed = module.infer_config(state, assume)
    card = ModelCard(
        name=path.stem,
        family=known.family,
        scales=(float(config.scale),),
        channels=config.channels,
        domain="photographs (RGB)",
        licence=known.licence,
        description=f"{known.label} {config.scale}x, read from {path.name}.",
        not_for="measurements: the detail is inferred, not observed.",
        temperature=known.temperature,
        inferred=inferred,
        assumed=assumed,
        degradation=Degradation("matlab-bicubic"),
        normalisation=Normalisation("dtype"),
    )
    return Official(config, module.remap(state, config), card)
