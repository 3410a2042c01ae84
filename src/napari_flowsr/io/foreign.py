"""Files of the published implementations: recognised, then translated.

A file is read without executing anything in it. Which network it holds is told by the
names of its tensors; hyper-parameters are inferred from names and shapes, and what no
tensor can tell is taken from a table that the caller may override (``assume``).
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io.published import Published, labels, recognise
from napari_flowsr.models._registry import published_module
from napari_flowsr.models.card import Degradation, ModelCard, Normalisation

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ASSUME", "Official", "check_assume", "read_official", "read_state"]
__all__ += ["recognise"]

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
class Official:
    """An official file, translated: what the registry builds, weights, and card."""

    config: Any
    tensors: Mapping[str, Tensor]
    card: ModelCard


def check_assume(assume: Mapping[str, Any]) -> None:
    """Raise `OptionError` for a key that no published family knows."""
    if not isinstance(assume, Mapping):
        raise OptionError(
            f"assume is {assume!r}; give a dictionary, such as {{'quant': 64}}."
        )
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
        if zipfile.is_zipfile(path):
            _check_archive(path)
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


def _check_archive(path: Path) -> None:
    """Raise `ValueError` for an archive that holds more than its own size.

    torch.save stores what it writes as it is; a packed member may become of any size.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    packed = any(m.compress_type != zipfile.ZIP_STORED for m in members)
    if packed or sum(m.file_size for m in members) > path.stat().st_size:
        raise ValueError("it is a packed archive, which torch does not write")


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
        except (SafetensorError, OSError, RuntimeError, OverflowError) as error:
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
        name.removeprefix("module."): value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not state or len(state) != len(content):
        raise CheckpointError(
            f"{path.name} holds {len(content)} entries of which {len(state)} are "
            "tensors; a state dict, tensors by name, was expected."
        )
    _check_stored(state, path)
    return state


def _check_stored(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` unless all values of the tensors are in the file.

    One number can be all values of a tensor of any shape, and what is translated or
    built from such a tensor has that shape. Twice: tied weights are stored once.
    """
    plain = all(
        t.layout == torch.strided and t.device.type == "cpu" and not t.is_quantized
        for t in state.values()
    )
    size = path.stat().st_size
    if plain and sum(t.numel() * t.element_size() for t in state.values()) <= 2 * size:
        return
    raise CheckpointError(
        f"{path.name} holds tensors whose values are not in the file ({size} bytes); "
        "plain ones were expected. Ask its author for a plain state dict "
        "(torch.save(model.state_dict(), ...)) or a .safetensors file."
    )


# --- translating --------------------------------------------------------------


def unknown_network(path: Path) -> CheckpointError:
    """For a file of tensors that come from no network that is known."""
    return CheckpointError(
        f"{path.name} holds tensors of an unknown network; recognised are files of "
        f"napari-flowsr, and of {', '.join(labels())}. Give one of these; an own "
        "network is added as docs/add-a-family.md says."
    )


def _translator(
    path: Path, state: Mapping[str, Tensor]
) -> tuple[Published, ModuleType]:
    """What the file holds and the module that translates it; else an error."""
    known = recognise(state)
    if known is None:
        raise unknown_network(path)
    if known.kind == "prior":
        raise CheckpointError(
            f"{path.name} is a {known.label}, which works only together with its "
            "model: load the model's file and give this one as prior=."
        )
    module = published_module(known.family)
    if module is None:
        raise CheckpointError(
            f"{path.name} is a model of the {known.label} family, which this version "
            "of napari-flowsr cannot run. Update napari-flowsr, or use another model."
        )
    return known, module


def _scales(config: Any) -> tuple[tuple[float, ...], tuple[float, float] | None, str]:
    """Scales of a configuration, their range where any is possible, and in words."""
    if hasattr(config, "scale_range"):
        low, high = config.scale_range
        return config.scales, (low, high), f"{low:g}x to {high:g}x, any scale"
    return (float(config.scale),), None, f"{config.scale}x"


def _temperature(known: Published, module: ModuleType, config: Any) -> float:
    """Default temperature; of a family's networks not all were evaluated alike."""
    if hasattr(module, "default_temperature"):
        return float(module.default_temperature(config))
    return known.temperature


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
    assume = {} if assume is None else assume
    check_assume(assume)
    state = read_state(path)
    known, module = _translator(path, state)
    foreign = sorted(set(assume) - set(module.ASSUMABLE))
    if foreign:
        taken = ", ".join(module.ASSUMABLE) or "nothing"
        raise OptionError(
            f"{path.name} is a {known.label} model; assume takes {taken} for it, not "
            f"{', '.join(foreign)}."
        )
    try:
        config, inferred, assumed = module.infer_config(state, assume)
        tensors = module.remap(state, config)
    except (
        LookupError, ValueError, ArithmeticError, RuntimeError, TypeError,
        AttributeError,
    ) as error:  # fmt: skip
        # Names and shapes are the file's: anything may be missing or too short.
        raise CheckpointError(
            f"{path.name} looks like a {known.label} file, but its tensors are not "
            f"those of any network of this family ({error!r}). It is incomplete, or "
            "of a variant that is not known; copy or download it again."
        ) from error
    scales, scale_range, in_words = _scales(config)
    card = ModelCard(
        name=path.stem,
        family=known.family,
        scales=scales,
        scale_range=scale_range,
        channels=config.channels,
        domain="photographs (RGB)",
        licence=known.licence,
        description=f"{known.label} {in_words}, read from {path.name}.{known.remark}",
        not_for="measurements: the detail is inferred, not observed.",
        temperature=_temperature(known, module, config),
        inferred=inferred,
        assumed=assumed,
        # A rescaling network makes its LR images itself: see models.card.Model.
        degradation=Degradation("matlab-bicubic"),
        normalisation=Normalisation("dtype"),
    )
    return Official(config, tensors, card)
