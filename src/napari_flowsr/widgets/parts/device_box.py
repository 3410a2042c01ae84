"""Combo box of the devices; asks torch, in a worker thread, when it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtWidgets import QComboBox

from napari_flowsr.core.device_name import AUTO
from napari_flowsr.widgets._devices import are_known, listed, news
from napari_flowsr.widgets._run import Failed, Job
from napari_flowsr.widgets.parts.fields import Bindings, find_data
from napari_flowsr.widgets.parts.folded_fields import FoldedFields

__all__ = ["DeviceBox", "look"]


class DeviceBox(QComboBox):
    """Choice of a device.

    Parameters
    ----------
    bindings : Bindings
        Of a session with a ``device``.
    fold : FoldedFields
        In which it lies: what is folded away need not be known.
    """

    def __init__(self, bindings: Bindings, fold: FoldedFields) -> None:
        super().__init__()
        self._session = bindings.session
        self.setToolTip("Where to compute")
        self._fill()
        bindings.choice("device", self)
        # Held weakly.
        news.found.connect(self._found)
        fold.toggled.connect(self._shown)
        self._session.events.device.connect(self._named)
        self._named()

    def _fill(self) -> None:
        for value, label in listed().items():
            at = find_data(self, value)
            if at < 0:
                self.addItem(label, value)
            else:
                self.setItemText(at, label)

    def _found(self) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]
            self._fill()

    def _shown(self, is_expanded: bool) -> None:
        if is_expanded:
            look()
            self._fill()

    def _named(self, *_: Any) -> None:
        """Find out, before a run needs it, whether a certain device is there."""
        if self._session.device not in (AUTO, "cpu"):
            look()


class _Search:
    """At most one, whoever asks."""

    def __init__(self) -> None:
        self.job: Job | None = None

    def begin(self) -> None:
        if self.job is None or not self.job.is_running:
            self.job = Job(
                _asked,
                on_event=_told,
                on_progress=lambda *_: None,
                on_end=_over,
                description="Look for devices",
                kind="devices",
            )


_search = _Search()


def look() -> None:
    """Find out in a worker thread which devices there are, unless it is known."""
    if not are_known():
        _search.begin()


def _asked() -> Iterator[Any]:
    from napari_flowsr.core import device

    device.available_devices()
    yield from ()


def _told(event: Any) -> None:
    if isinstance(event, Failed):
        show_error(f"Devices cannot be told: {event.error}")


def _over() -> None:
    if are_known():
        news.found.emit()
