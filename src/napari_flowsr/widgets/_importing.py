"""Imports and downloads of models in a worker thread. One after the other, no Qt."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_flowsr.errors import Cancelled, FlowSRError
from napari_flowsr.io.catalogue import Entry, import_file
from napari_flowsr.io.download import download

__all__ = ["Outcome", "Wanted", "fetch_all"]


@dataclass(frozen=True)
class Wanted:
    """A file to be imported, or an address to be fetched and imported."""

    path: Path | None = None
    address: str = ""
    sha256: str | None = None
    name: str | None = None
    licence: str | None = None
    overwrite: bool = False

    @property
    def title(self) -> str:
        """Name for messages."""
        return self.address or (self.path.name if self.path is not None else "")


@dataclass
class Outcome:
    """What became of some imports; one that failed does not end the others."""

    entries: list[Entry] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    is_cancelled: bool = False


def fetch_all(
    wanted: Sequence[Wanted],
    cancelled: threading.Event,
    progress: Callable[[str, int, int], None],
) -> Outcome:
    """Import all; errors are kept as values, for workers swallow some.

    Parameters
    ----------
    wanted : sequence of Wanted
    cancelled : threading.Event
        Ends a download within a block, and an import before the next file.
    progress : callable
        Called in this thread with a message, and bytes done and in all.
    """
    outcome = Outcome()
    for one in wanted:
        if cancelled.is_set():
            outcome.is_cancelled = True
            break
        try:
            outcome.entries.append(_fetch(one, cancelled, progress))
        except Cancelled:
            outcome.is_cancelled = True
            break
        except FlowSRError as error:
            outcome.errors.append(error)
        except Exception as error:  # noqa: BLE001  every error is shown to the user
            outcome.errors.append(error)
    return outcome


def _fetch(
    one: Wanted,
    cancelled: threading.Event,
    progress: Callable[[str, int, int], None],
) -> Entry:
    if not one.address:
        progress(f"Importing {one.title} …", 0, 0)
        return _keep(one, Path(one.path or ""))

    def blocks(done: int, total: int) -> None:
        if cancelled.is_set():
            raise Cancelled("The download was cancelled.")
        progress(f"Downloading {one.title} …", done, total)

    progress(f"Downloading {one.title} …", 0, 0)
    path = download(one.address, one.sha256, progress=blocks)
    try:
        progress(f"Importing {path.name} …", 0, 0)
        return _keep(one, path)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


def _keep(one: Wanted, path: Path) -> Entry:
    return import_file(
        path,
        one.name,
        licence=one.licence,
        overwrite=one.overwrite,
        address=one.address,
    )
