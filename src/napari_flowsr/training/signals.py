"""Ctrl-C between two states that belong together, never amid them."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C, and other signals that Python handles, wait for the block's end.

    Only the main thread is ever interrupted, and only there can handlers be set.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {n: h for n in numbers if callable(h := signal.getsignal(n))}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    came: list[int] = []
    try:
        for number in before:
            signal.signal(number, lambda which, frame: came.append(which))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
