"""What people tell a training while it goes on, from another thread."""

from __future__ import annotations

import threading

__all__ = ["Control"]


class Control:
    """Pause, resume, finish: flags that the trainer looks at between two steps.

    To stop and keep the state, stop iterating instead.
    """

    def __init__(self) -> None:
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._is_to_finish = threading.Event()

    def pause(self) -> None:
        """Wait after the present step."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._may_go_on.set()

    def finish(self) -> None:
        """Take no further step, and write the model as it is; ends a pause too."""
        self._is_to_finish.set()
        self._may_go_on.set()

    @property
    def is_paused(self) -> bool:
        """Whether it waits, or will."""
        return not self._may_go_on.is_set()

    @property
    def is_to_finish(self) -> bool:
        """Whether no further step is wanted."""
        return self._is_to_finish.is_set()

    def wait(self) -> None:
        """Return when it may go on."""
        self._may_go_on.wait()
