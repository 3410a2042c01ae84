"""Stopping a computation amid a tile: one way for every family of networks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from napari_flowsr.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from torch import nn

__all__ = ["check_interrupt", "interruptible", "until_cancelled"]

T = TypeVar("T")


class _Watched(threading.local):
    """Who is asked in this thread whether to stop."""

    def __init__(self) -> None:
        self.by: list[Callable[[], bool]] = []


_watched = _Watched()


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The computation was cancelled.")


def check_interrupt() -> None:
    """Raise `Cancelled` if it is time to stop: for steps that call no module."""
    for cancelled in _watched.by:
        _check(cancelled)


@contextmanager
def interruptible(cancelled: Callable[[], bool]) -> Iterator[None]:
    """Raise `Cancelled` at the next call of any module once ``cancelled()`` is true.

    Every convolution and linear map of a network is such a call, so that no family
    needs to know of this, nor do copies of a network or learned priors; the steps of
    `core.folding` call no modules, and ask by `check_interrupt`. Networks that other
    threads use meanwhile go on.

    Parameters
    ----------
    cancelled : callable
        Asked often, in this thread: it must be fast.
    """
    # Here, for windows know this module, and torch is to come in a thread of its own.
    from torch.nn.modules.module import register_module_forward_pre_hook

    thread = threading.get_ident()

    def ask(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == thread:
            _check(cancelled)

    handle = register_module_forward_pre_hook(ask)
    _watched.by.append(cancelled)
    try:
        yield
    finally:
        _watched.by.remove(cancelled)
        handle.remove()


def until_cancelled(
    events: Iterable[T], cancelled: Callable[[], bool]
) -> Generator[T, None, None]:
    """Pass events on; raise `Cancelled` when ``cancelled()`` is true, also amid a step.

    A generator is closed in the end. Between two events nothing is watched: whoever
    iterates may use networks for something else there.
    """
    source = iter(events)
    try:
        while True:
            _check(cancelled)
            with interruptible(cancelled):
                try:
                    event = next(source)
                except StopIteration:
                    return
            _check(cancelled)
            yield event
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
