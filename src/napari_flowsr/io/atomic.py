"""Writes that either happen whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_flowsr.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_path", "check_writable", "make_folder", "remedy"]

_FULL = "The disk is full: free some space or choose another folder."
_REMEDIES = {
    # numpy reports a short write without a number.
    None: _FULL,
    errno.ENOSPC: _FULL,
    errno.EFBIG: "The file system takes no file of this size: choose another disk.",
    errno.EDQUOT: "Your quota is used up: free some space or choose another folder.",
    errno.ENOENT: "Check that the folder exists.",
    errno.ENOTDIR: "Part of the path is a file, not a folder: choose another folder.",
    errno.EEXIST: "There is a file of this name: choose another folder.",
    errno.EACCES: "You may not write there: choose another folder.",
    errno.EPERM: "You may not write there: choose another folder.",
    errno.EROFS: "The disk is read-only: choose another folder.",
    errno.EISDIR: "There is a folder of this name: choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


def remedy(error: OSError) -> str:
    """What to do about an error of the operating system."""
    return _REMEDIES.get(error.errno, "Check the path, the folder and the disk.")


def make_folder(path: str | Path) -> Path:
    """Make a folder, and those that it is in; one that exists is fine.

    Raises
    ------
    ExportError
        A part of the path is a file, or may not be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"Could not make the folder '{path}': {error.strerror or error}. "
            f"{remedy(error)}"
        ) from error
    return path


def check_writable(target: str | Path) -> None:
    """Find out whether `atomic_path` will be able to write, before a long computation.

    An empty file is made and removed where ``target`` is to go or, as long as its
    folder does not exist, in the nearest one that does; permissions alone would tell
    nothing about read-only disks, nor about folders on Windows.

    Parameters
    ----------
    target : str or Path
        A file, or for formats that are folders (OME-Zarr) a folder.

    Raises
    ------
    ExportError
        As `atomic_path` and `make_folder` would raise.
    """
    target = Path(target)
    folder = target.parent
    try:
        if target.is_dir() and target.suffix != ".zarr":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        probe = folder / _temporary(target).name
        try:
            probe.open("xb").close()
        finally:
            _remove(probe)
    except OSError as error:
        raise ExportError(
            f"'{target}' cannot be written: {error.strerror or error}. {remedy(error)}"
        ) from error


@contextmanager
def atomic_path(target: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``target`` that becomes ``target`` at the end.

    On any exception, an interruption included, the temporary file is removed and
    ``target`` stays as it was.

    Parameters
    ----------
    target : str or Path
        A file, or for formats that are folders (OME-Zarr) a folder.
    overwrite : bool
        Whether an existing target may be replaced.

    Raises
    ------
    ExportError
        When the target exists and may not be replaced, the folder does not exist, the
        disk is full or the file is not writable.
    """
    target = Path(target)
    if not overwrite and target.exists():
        raise ExportError(
            f"{target} exists already. Choose another name, or allow overwriting."
        )
    temporary = _temporary(target)
    try:
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, target)
        else:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(target)
    except OSError as error:
        raise ExportError(
            f"Could not write {target}: {error.strerror or error}. {remedy(error)} "
            "Nothing was left behind."
        ) from error
    finally:
        _remove(temporary)


def _temporary(target: Path) -> Path:
    # The suffix is kept: writers choose their format by it.
    return target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")


def _replace_folder(temporary: Path, target: Path) -> None:
    """Rename a folder; no system does so onto one that has content.

    The old one steps aside first and comes back if the rename fails.
    """
    old = temporary.with_name(f"{temporary.name}.old")
    if target.exists():
        target.replace(old)
    try:
        temporary.replace(target)
    except OSError:
        if old.exists():
            old.replace(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
