"""Model files: one ``.safetensors`` with card and configuration in its header.

The header's metadata has one entry, ``napari-flowsr``: JSON with the format version,
the family, its configuration and the model card. Such a file describes itself; nothing
in it is executed. Files of other programs go through `io.foreign`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from napari_flowsr.errors import CheckpointError, ModelNotFoundError, OptionError
from napari_flowsr.io import foreign
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.models._registry import build, config_dict
from napari_flowsr.models.card import Model, ModelCard

if TYPE_CHECKING:
    from napari_flowsr.core.flow import ConditionalFlow

__all__ = ["Header", "file_sha256", "load_weights", "read_header", "read_model"]
__all__ += ["save_model"]

FORMAT_VERSION = 1
_KEY = "napari-flowsr"
_CARD = TypeAdapter(ModelCard)
# The header of the largest known network is below 1 MB; more is not a header.
_MAX_HEADER = 64 << 20


@dataclass(frozen=True)
class Header:
    """What a model file of ours says about itself."""

    family: str
    config: Mapping[str, Any]
    card: ModelCard


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- writing ------------------------------------------------------------------


def save_model(
    path: str | Path,
    flow: ConditionalFlow,
    card: ModelCard,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network and its card, atomically.

    Parameters
    ----------
    path : path
        Target, ``.safetensors``; replaced if it exists.
    flow : ConditionalFlow
        Any family; its configuration goes into the header.
    card : ModelCard
        Stored without its ``sha256``.
    dtype : torch.dtype
        Storage of the weights: ``float32``, or ``float16`` for half the size.

    Raises
    ------
    CheckpointError
        If a weight is not finite, or not representable in ``dtype``.
    ExportError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OptionError(
            f"Model files are written as .safetensors; {path.name} was asked for."
        )
    tensors = {}
    for name, tensor in flow.state_dict().items():
        stored = tensor.to(dtype) if tensor.is_floating_point() else tensor
        tensors[name] = stored.detach().cpu().contiguous()
    check_finite(tensors, path)
    plain_card = _CARD.dump_python(card, mode="json", exclude={"sha256"})
    about = {
        "format": FORMAT_VERSION,
        "family": flow.family,
        "config": config_dict(flow.config),
        "card": plain_card,
    }
    data = save(tensors, metadata={_KEY: json.dumps(about, sort_keys=True)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


# --- reading ------------------------------------------------------------------


def _metadata(path: Path) -> dict[str, Any] | None:
    """Metadata of a safetensors file; None if it is a file of another kind."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
            length = int.from_bytes(head[:8], "little")
            if len(head) < 9 or head[8:] != b"{" or length > _MAX_HEADER:
                return None
            if length + 8 > size:
                raise _truncated(path)
            text = head[8:] + file.read(length - 1)
        header = json.loads(text)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path.name} begins like a .safetensors file, but its header is damaged. "
            "Copy or download it again."
        ) from error
    ends = [
        entry["data_offsets"][1]
        for entry in header.values()
        if isinstance(entry, dict) and "data_offsets" in entry
    ]
    if max(ends, default=0) + 8 + length > size:
        raise _truncated(path)
    return dict(header.get("__metadata__") or {})


def _truncated(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path.name} is truncated: it ends before the tensors that its header lists. "
        "Copy or download it again."
    )


def read_header(path: str | Path) -> Header | None:
    """Family, configuration and card of a file of ours, without reading its weights.

    Returns None for a file of another program.

    Raises
    ------
    CheckpointError
        If the file is damaged or was written by a newer version.
    """
    path = Path(path)
    metadata = _metadata(path)
    if metadata is None or _KEY not in metadata:
        return None
    try:
        about = json.loads(metadata[_KEY])
        version = int(about["format"])
        if version <= FORMAT_VERSION:
            card = _CARD.validate_python(about["card"])
            return Header(str(about["family"]), dict(about["config"]), card)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            f"{path.name} has a damaged description in its header ({error!r}). Copy or "
            "download it again."
        ) from error
    raise CheckpointError(
        f"{path.name} has format {version}; this version of napari-flowsr reads up to "
        f"{FORMAT_VERSION}. Update napari-flowsr."
    )


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` if a weight is NaN or infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path.name}: the tensor {name} has values that are not finite in "
                f"{str(tensor.dtype).removeprefix('torch.')}. Such a network gives "
                "no image; use an earlier checkpoint, or store it as float32."
            )


def load_weights(
    flow: ConditionalFlow, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Load tensors into ``flow``, every name and shape checked.

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, left over, or of another shape.
    """
    own = flow.state_dict()
    problems = {
        "missing": sorted(set(own) - set(tensors)),
        "not known": sorted(set(tensors) - set(own)),
        "of another shape": [
            f"{name} ({tuple(tensors[name].shape)}, expected {tuple(own[name].shape)})"
            for name in sorted(set(own) & set(tensors))
            if own[name].shape != tensors[name].shape
        ],
    }
    found = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise CheckpointError(
            f"{path.name} does not fit the {flow.family} network that its description "
            f"asks for; tensors {'; '.join(found)}. The file is damaged, or of a "
            "variant that this version does not know."
        )
    check_finite(tensors, path)
    flow.load_state_dict(dict(tensors))


def _read_own(path: Path, header: Header) -> Model:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is damaged ({error}). Copy or download it again."
        ) from error
    try:
        flow = build(header.family, header.config)
    except OptionError as error:
        raise CheckpointError(
            f"{path.name} needs a network that this version cannot build. {error} "
            "Update napari-flowsr, or train the model again."
        ) from error
    load_weights(flow, tensors, path)
    return Model(header.card, flow)


def read_model(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    prior: str | Path | None = None,
    assume: Mapping[str, Any] | None = None,
) -> Model:
    """Read a model file, ours or an official one; recognised by its content.

    Parameters
    ----------
    path : path
        Our ``.safetensors``, an official ``.pth``, or an official state dict as
        ``.safetensors``.
    device : str or torch.device
        Where the network goes.
    prior : path, optional
        File of a learned prior.
    assume : mapping, optional
        Hyper-parameters that an official file cannot tell; see `io.foreign.ASSUME`.

    Returns
    -------
    Model
        In eval mode, float32, no parameter requiring a gradient, with ``card.sha256``
        of the file.
    """
    path = Path(path)
    assume = dict(assume or {})
    foreign.check_assume(assume)
    if not path.is_file():
        raise ModelNotFoundError(
            f"There is no model file {path}. Give the path of a .safetensors or .pth "
            "file, or the name of a model that `napari-flowsr models list` shows."
        )
    if prior is not None:
        raise OptionError(
            f"A learned prior ({prior}) was given, but this version has no network "
            "that takes one. Leave prior out to draw latents from the Gaussian."
        )
    header = read_header(path)
    if header is None:
        found = foreign.read_official(path, assume)
        flow = build(found.card.family, found.config)
        load_weights(flow, found.tensors, path)
        model = Model(found.card, flow)
    elif assume:
        raise OptionError(
            f"{path.name} states all its hyper-parameters; assume= is for official "
            "files that do not. Leave it out."
        )
    else:
        model = _read_own(path, header)
    # For use, not for training: without this each sample would hold on to a graph.
    flow = model.flow.float().eval().requires_grad_(False).to(device)
    card = model.card.with_(sha256=file_sha256(path), parameters=flow.parameter_count)
    return Model(card, flow)
