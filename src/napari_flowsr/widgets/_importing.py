"""Imports and downloads of models in a worker thread. One after the other, no Qt."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_flowsr.errors import Cancelled, FlowSRError, OptionError
from napari_flowsr.io.catalogue import Entry, proposed_name
from napari_flowsr.io.collection import builtin_folder
from napari_flowsr.io.download import download, name_in
from napari_flowsr.io.names import check_new_name, holders

__all__ = ["Outcome", "Wanted", "fetch_all", "of_address", "of_files"]
__all__ += ["replaced_by"]


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


def of_files(
    paths: Iterable[str | Path],
    *,
    name: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> list[Wanted]:
    """One for each file; each has a name of its own.

    Raises
    ------
    OptionError
        If two files would get the same name.
    """
    found = list(dict.fromkeys(Path(path) for path in paths))
    if name is not None and len(found) > 1:
        raise OptionError(
            f"One name was given for {len(found)} files. Import them apart."
        )
    names = [proposed_name(path) if name is None else name for path in found]
    shared = [one for one, count in Counter(names).items() if count > 1]
    if shared:
        files = [str(p) for p, n in zip(found, names, strict=True) if n == shared[0]]
        raise OptionError(
            f"{' and '.join(files)} would all be named '{shared[0]}'. Rename all but "
            "one, and import again; nothing was imported."
        )
    return [
        Wanted(path=path, name=one, licence=licence, overwrite=overwrite)
        for path, one in zip(found, names, strict=True)
    ]


def of_address(
    address: str, sha256: str = "", *, name: str | None = None, overwrite: bool = False
) -> Wanted:
    """A download, whose name is checked now and not when all has been fetched.

    Raises
    ------
    OptionError
        If its name is none, built in, or taken and not to be replaced.
    """
    name = name_in(address) if name is None else name
    check_new_name(name, overwrite=overwrite)
    return Wanted(
        address=address.strip(),
        sha256=sha256.strip() or None,
        name=name,
        overwrite=overwrite,
    )


def replaced_by(wanted: Iterable[Wanted]) -> list[str]:
    """Names that are imported already; built-in ones are refused, not replaced."""
    names = [one.name for one in wanted if one.name is not None]
    inside = builtin_folder()
    return [
        name
        for name in names
        if holders(name) and not (inside / f"{name}.safetensors").exists()
    ]


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
    from napari_flowsr.io.importing import import_file

    return import_file(
        path,
        one.name,
        licence=one.licence,
        overwrite=one.overwrite,
        address=one.address,
    )
