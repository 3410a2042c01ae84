"""Files in the folder of imported models that are not listed, and why. No Qt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_flowsr.io.catalogue import Entry
from napari_flowsr.io.collection import builtin_folder, user_folder
from napari_flowsr.io.header import read_header

__all__ = ["left_out"]

_SUFFIXES = {".safetensors", ".pth", ".pt"}


def left_out(listed: Iterable[Entry]) -> dict[str, str]:
    """Name of each file that is none of those listed, to the reason."""
    known = {entry.path for entry in listed}
    return {
        path.name: _reason(path)
        for path in sorted(user_folder().glob("[!.]*"))
        if path.suffix in _SUFFIXES and path.is_file() and path not in known
    }


def _reason(path: Path) -> str:
    foreign = "It was put here, but not imported: import it with 'Import file…'."
    if path.suffix != ".safetensors":
        return foreign
    if (builtin_folder() / path.name).exists():
        return "It has the name of a built-in model. Rename it."
    try:
        header = read_header(path)
    except Exception as error:  # noqa: BLE001  whatever is wrong with it is the reason
        return str(error) or type(error).__name__
    return foreign if header is None else "It could not be read. Import it anew."
