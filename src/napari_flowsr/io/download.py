"""Model files from the network, when a person asks for one; never by themselves.

Two kinds of address: ``https://...`` with the SHA-256 that its publisher states, and
``hub:owner/name/path/of/file`` (``@revision`` at the end is optional) for a repository
of the Hugging Face hub, which needs the extra ``hub``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from napari_flowsr.errors import CheckpointError, OptionError
from napari_flowsr.io.atomic import make_folder
from napari_flowsr.io.collection import user_folder
from napari_flowsr.io.content import file_sha256

__all__ = ["HubFile", "download", "is_address", "name_in", "parse_hub"]

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0: unknown); may raise `Cancelled`."""

_HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)/([^@]+?)(?:@([\w./-]+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the hub."""

    repository: str
    path: str
    revision: str | None = None


def is_address(text: str) -> bool:
    """Whether a text names a file in the network rather than one on the disk."""
    return text.startswith(("http://", "https://", "hub:"))


def name_in(address: str) -> str:
    """Name that an imported file gets from its address, as `proposed_name` has it."""
    from napari_flowsr.io.catalogue import proposed_name

    address = address.strip()
    if address.startswith("hub:"):
        return proposed_name(parse_hub(address).path)
    return proposed_name(_file_name(address))


def _file_name(address: str) -> str:
    return Path(urlparse(address).path).name or "model"


def parse_hub(address: str) -> HubFile:
    """Take ``hub:owner/name/path@revision`` apart; `OptionError` if it is not that."""
    match = _HUB.fullmatch(address.strip())
    if match is None:
        raise OptionError(
            f"{address!r} names no file of a hub repository; give "
            "hub:owner/name/file.safetensors, or ...@revision."
        )
    return HubFile(match[1], match[2], match[3])


def download(
    address: str, sha256: str | None = None, *, progress: Progress | None = None
) -> Path:
    """Fetch a file to a folder of its own; the caller removes its parent when done.

    Parameters
    ----------
    address : str
        ``https://...`` or ``hub:...``.
    sha256 : str, optional
        Of the file, hexadecimal; needed for ``https``. The hub's file is that of its
        revision, and is compared where a sum is given.
    progress : callable, optional
        See `Progress`.

    Raises
    ------
    OptionError
        If the address or the sum is none.
    CheckpointError
        If the file cannot be had, or has another sum: nothing is kept then.
    """
    address = address.strip()
    expected = _checked_sum(address, sha256)
    if not is_address(address):
        raise OptionError(
            f"{address!r} is no address; give https://... or hub:owner/name/file."
        )
    folder = make_folder(user_folder().parent / "downloads" / (expected or "hub")[:16])
    try:
        if address.startswith("hub:"):
            path = _from_hub(parse_hub(address), folder)
        else:
            path = _from_url(address, folder, progress)
        _compare(path, expected)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path


def _checked_sum(address: str, sha256: str | None) -> str | None:
    text = (sha256 or "").strip().lower().removeprefix("sha256:")
    if not text:
        if address.startswith("hub:"):
            return None
        raise OptionError(
            "A download from an address needs the SHA-256 that the publisher of the "
            "file states. Give it; or download the file by yourself and import it "
            "from the disk."
        )
    if not _SHA256.fullmatch(text):
        raise OptionError(
            f"{sha256!r} is no SHA-256: that has 64 hexadecimal digits. Copy it whole."
        )
    return text


def _compare(path: Path, expected: str | None) -> None:
    found = file_sha256(path)
    if expected is not None and found != expected:
        raise CheckpointError(
            f"{path.name} was downloaded, but it is not the file that was asked for: "
            f"its SHA-256 is {found}, expected {expected}. It was deleted. Check the "
            "sum and the address; the file may have been replaced."
        )


class _Bar:
    """What pooch takes for a progress bar; a call may raise `Cancelled`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self.total = 0

    def update(self, count: int) -> None:
        # pooch counts whole chunks, also for the last one.
        self._done = min(self._done + count, self.total or self._done + count)
        self._progress(self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing is held."""


def _from_url(address: str, folder: Path, progress: Progress | None) -> Path:
    import pooch

    name = _file_name(address)
    bar: Any = False if progress is None else _Bar(progress)
    target = folder / name
    # A file that is not what was asked for never gets the name of one that is.
    partial = folder / f".{name}.part"
    try:
        fetch = pooch.HTTPDownloader(progressbar=bar, timeout=30)
        fetch(address, str(partial), None)
    except (OSError, ValueError) as error:  # those of requests are such
        reason = str(error).split("\n")[0][:200]
        raise CheckpointError(
            f"{address} could not be downloaded ({reason}). Check the address and the "
            "connection; or download it by yourself and import it from the disk."
        ) from error
    partial.rename(target)
    return target


def _from_hub(wanted: HubFile, folder: Path) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise OptionError(
            "Files of the hub need the package huggingface_hub, which is not "
            "installed. Install it: pip install 'napari-flowsr[hub]'; or download the "
            "file by yourself and import it from the disk."
        ) from error
    try:
        found = hf_hub_download(
            wanted.repository,
            wanted.path,
            revision=wanted.revision,
            local_dir=str(folder),
        )
    except Exception as error:
        # The package raises its own kinds and those of the library below it.
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise CheckpointError(
            f"{wanted.path} of the hub repository {wanted.repository} could not be "
            f"downloaded ({reason}). Check the names and the connection; or download "
            "it by yourself and import it from the disk."
        ) from error
    return Path(found)
