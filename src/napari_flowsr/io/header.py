"""Header of a model file: read without its weights and checked, and written anew.

A ``.safetensors`` file begins with the length of a JSON object, and with that object;
ours says family, configuration and card under `KEY` of its metadata.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.io.untrusted import parse_json
from napari_flowsr.models.card import ModelCard

__all__ = ["FORMAT_VERSION", "KEY", "Header", "describe_anew", "description"]
__all__ += ["read_header", "read_metadata", "write_metadata"]

FORMAT_VERSION = 1
KEY = "napari-flowsr"
CARD = TypeAdapter(ModelCard)
# The header of the largest known network is below 1 MB; more is not a header.
_MAX_HEADER = 16 << 20


@dataclass(frozen=True)
class Header:
    """What a model file of ours says about itself."""

    family: str
    config: Mapping[str, Any]
    card: ModelCard


def read_header(path: str | Path) -> Header | None:
    """Family, configuration and card of a file of ours, without reading its weights.

    Returns None for a file of another program.

    Raises
    ------
    CheckpointError
        If the file is damaged, says what cannot be, or was written by a newer version.
    """
    path = Path(path)
    try:
        state = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    # Lists of models ask often. A file that takes the place of another is another one.
    return _read(path, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, *_: int) -> Header | None:
    metadata = read_metadata(path)
    if metadata is None or KEY not in metadata:
        return None
    try:
        about = parse_json(metadata[KEY])
        version = about["format"]
        if isinstance(version, bool) or int(version) != version or version < 1:
            raise ValueError(f"format is {version!r}; expected a whole number from 1")
        if version <= FORMAT_VERSION:
            card = CARD.validate_python(about["card"])
            header = Header(str(about["family"]), dict(about["config"]), card)
            _check(header)
            return header
    except (
        ValueError, KeyError, TypeError, OverflowError, ValidationError, OptionError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{path.name} has a damaged description in its header ({error!r}). Copy or "
            "download it again."
        ) from error
    raise CheckpointError(
        f"{path.name} has format {version}; this version of napari-flowsr reads up to "
        f"{FORMAT_VERSION}. Update napari-flowsr."
    )


def description(family: str, config: Mapping[str, Any], card: ModelCard) -> str:
    """What a file of ours says about itself, under `KEY`."""
    plain = CARD.dump_python(card, mode="json", exclude={"sha256", "prior"})
    about = {
        "format": FORMAT_VERSION,
        "family": family,
        "config": dict(config),
        "card": plain,
    }
    return json.dumps(about, sort_keys=True)


def describe_anew(path: str | Path, card: ModelCard) -> None:
    """Replace the card in a file of ours; weights and their storage stay.

    Raises
    ------
    CheckpointError
        If it is no file of ours, or damaged.
    ExportError
        If the file cannot be written.
    """
    path = Path(path)
    header = read_header(path)
    if header is None:
        raise CheckpointError(
            f"{path.name} was not written by napari-flowsr: it has no card. Import it."
        )
    write_metadata(path, {KEY: description(header.family, header.config, card)})


def _check(header: Header) -> None:
    """Raise `ValueError` for a card that contradicts the header or itself."""
    card = header.card
    if card.family != header.family:
        raise ValueError(
            f"the card's family is {card.family!r}, the network's {header.family!r}"
        )
    if card.channels < 1:
        raise ValueError(f"channels is {card.channels}; expected 1 or more")
    if not card.scales or not all(0 < s < math.inf for s in card.scales):
        raise ValueError(f"scales are {list(card.scales)}; expected positive numbers")
    if not 0 <= card.temperature < math.inf:
        raise ValueError(f"temperature is {card.temperature}; expected 0 or more")
    low, high = card.scale_range or (1.0, 1.0)
    if not 0 < low <= high < math.inf:
        raise ValueError(f"scale_range is {low:g} to {high:g}; expected least, largest")


# --- the file -------------------------------------------------------------------


def read_metadata(path: Path) -> dict[str, str] | None:
    """Metadata of a safetensors file; None if it is a file of another kind.

    Raises
    ------
    CheckpointError
        If it cannot be read, or is damaged.
    """
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
        header = parse_json(text)
        end, metadata = _end(header), header.get("__metadata__") or {}
        if not isinstance(metadata, dict):
            raise ValueError(f"__metadata__ is a {type(metadata).__name__}")
        for key, value in metadata.items():
            if not isinstance(value, str):
                raise ValueError(f"metadata {key[:60]!r} is a {type(value).__name__}")
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path.name} begins like a .safetensors file, but its header is damaged "
            f"({str(error)[:120]}). Copy or download it again."
        ) from error
    if end + 8 + length > size:
        raise _truncated(path)
    return metadata


def write_metadata(path: Path, changes: Mapping[str, str]) -> None:
    """Change entries of a safetensors file's metadata; all else stays bit for bit.

    Raises
    ------
    CheckpointError
        If it is no such file, or damaged.
    ExportError
        If it cannot be written.
    """
    known = read_metadata(path)
    if known is None:
        raise CheckpointError(f"{path.name} is no .safetensors file. Import it anew.")
    try:
        with path.open("rb") as old:
            length = int.from_bytes(old.read(8), "little")
            header = parse_json(old.read(length))
            header |= {"__metadata__": {**known, **changes}}
            text = json.dumps(header, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)  # tensors are aligned
            with atomic_path(path) as temporary, temporary.open("wb") as new:
                new.write(len(text).to_bytes(8, "little") + text)
                shutil.copyfileobj(old, new)
    except OSError as error:
        raise _unreadable(path, error) from error
    # File systems with coarse times may not tell the new file from the old one.
    _read.cache_clear()


def _end(header: dict[str, Any]) -> int:
    """Where the last tensor ends; `ValueError` for an entry that is none."""
    last = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not (
            isinstance(offsets, list)
            and len(offsets) == 2
            and all(type(offset) is int for offset in offsets)
            and 0 <= offsets[0] <= offsets[1]
        ):
            raise ValueError(f"the tensor {name[:60]!r} has no valid data_offsets")
        last = max(last, offsets[1])
    return last


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {error.strerror or error}.")


def _truncated(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path.name} is truncated: it ends before the tensors that its header lists. "
        "Copy or download it again."
    )
