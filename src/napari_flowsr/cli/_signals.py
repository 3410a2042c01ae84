"""Signals that ask the program to end, treated as Ctrl-C is: nothing is left behind.

Without this the operating system ends the process at once, and the temporary files of
`io.atomic` stay where they are.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Ending", "ending_signals", "signals_end_at_once"]

# Asked to end by another program or a batch system; the terminal was closed. Windows
# has the first name alone.
_NAMES = ("SIGTERM", "SIGHUP")


@dataclass
class Ending:
    """Which signal asked for the end, if any did."""

    number: int | None = None

    @property
    def status(self) -> int | None:
        """Exit status by the custom of shells: 143 for SIGTERM."""
        return None if self.number is None else 128 + self.number


@contextmanager
def ending_signals() -> Iterator[Ending]:
    """Raise `KeyboardInterrupt` for signals that would end the process.

    A signal that somebody ignores (``nohup``) or handles is left alone, and outside of
    the main thread, where Python lets nobody handle signals, nothing is done.
    """
    ending = Ending()

    def interrupt(number: int, _: FrameType | None) -> None:
        # Once is enough: a second one must not interrupt the clean-up.
        signal.signal(number, signal.SIG_IGN)
        ending.number = number
        raise KeyboardInterrupt

    replaced = _handle(interrupt)
    try:
        yield ending
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def signals_end_at_once() -> Iterator[None]:
    """Give the signals their usual effect back, for a window's event loop.

    Python's handlers would run there only when the window next calls Python.
    """
    numbers = [number for number in _numbers() if callable(signal.getsignal(number))]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    handlers: dict[int, Any] = {
        number: signal.signal(number, signal.SIG_DFL) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _handle(handler: Any) -> list[int]:
    """Install a handler for signals that nobody handles; return their numbers."""
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = [n for n in _numbers() if signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, handler)
    return numbers
