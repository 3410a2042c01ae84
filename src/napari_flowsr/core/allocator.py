"""Memory that is freed amid a run is kept for the next tensor of it.

glibc takes large blocks from the system one by one and gives each back when it is
freed, so that every activation begins with pages that have to be mapped and zeroed:
measured, a sixth to a quarter of the time that a run takes on a CPU. In other threads
than the main one that holds for blocks below 64 MB, the size of their heaps; the
activations of a tile are smaller.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["freed_memory_kept"]

# malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
# What may lie free; by how much more than is needed the heap grows, or an aligned block
# would not fit where the one before it was; from which size on a block is apart.
_KEPT = {
    _M_TRIM_THRESHOLD: (1 << 31) - 1,
    _M_TOP_PAD: 64 << 20,
    _M_MMAP_THRESHOLD: 1 << 30,
}
# glibc adapts its thresholds by itself until they are set; these are its largest.
_USUAL = {
    _M_TRIM_THRESHOLD: 64 << 20,
    _M_TOP_PAD: 128 << 10,
    _M_MMAP_THRESHOLD: 32 << 20,
}

_lock = threading.Lock()
_users = 0


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc and its user has not tuned it."""
    if not sys.platform.startswith("linux") or _tuned():
        return None
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        _ = library.mallopt, library.malloc_trim, library.gnu_get_libc_version
        return library if _takes_large(library) else None
    return None


def _takes_large(library: ctypes.CDLL) -> bool:
    """Whether the thresholds may be as large as is needed: since glibc 2.35."""
    taken = library.mallopt(_M_MMAP_THRESHOLD, _KEPT[_M_MMAP_THRESHOLD])
    if taken:
        _set(library, _USUAL)
    return bool(taken)


def _tuned() -> bool:
    told = os.environ.get("GLIBC_TUNABLES", "")
    own = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    return "glibc.malloc" in told or any(name in os.environ for name in own)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for what, value in values.items():
        library.mallopt(what, value)


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let this process keep what it frees until the last of these blocks ends.

    Then all that is free goes back to the system. Other C libraries than glibc 2.35 and
    later, and one whose thresholds are set in the environment (by the user, or by
    dask.distributed for its workers), are left alone.
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(library, _KEPT)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            last = _users == 0
            if last:
                _set(library, _USUAL)
        if last:
            library.malloc_trim(0)
