"""Writes that either happen whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_flowsr.errors import ExportError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` that becomes ``target`` at the end.

    On any exception, an interruption included, the temporary file is removed and
    ``target`` stays as it was.

    Raises
    ------
    ExportError
        When the folder does not exist, the disk is full or the file is not writable.
    """
    target = Path(target)
    # The suffix is kept: writers choose their format by it.
    temporary = target.with_name(
        f".{target.stem}-{secrets.token_hex(4)}{target.suffix}"
    )
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        raise ExportError(
            f"Could not write {target}: {error.strerror or error}. Nothing was left "
            "behind; check the folder, its permissions and the free space."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
