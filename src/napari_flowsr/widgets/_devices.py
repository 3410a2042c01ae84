"""Which devices there are, as far as it is known. No Qt.

Torch tells it, whose import takes seconds and stops the window amid: before it is there
only names are checked, and what a name stands for is found in a worker thread, when
somebody looks at it (`parts.device_box`) or starts a run.
"""

from __future__ import annotations

import sys

from psygnal import Signal

from napari_flowsr.core.device_name import AUTO, check_device_name
from napari_flowsr.errors import DeviceError

__all__ = ["are_known", "check_device", "listed", "news", "reason"]

_ALWAYS = {AUTO: "automatic", "cpu": "CPU"}
_MODULE = "napari_flowsr.core.device"


class _News:
    """Emitted in the main thread."""

    found = Signal()
    """It is known now which devices there are."""


news = _News()


def are_known() -> bool:
    """Whether torch is there, and not only begun by another thread."""
    # The module has it only after all of torch was imported.
    return hasattr(sys.modules.get(_MODULE), "resolve_device")


def check_device(spec: str) -> None:
    """Raise `DeviceError` for no device's name, or one that is known not to be here."""
    check_device_name(spec)
    if are_known():
        from napari_flowsr.core.device import resolve_device

        resolve_device(spec)


def listed() -> dict[str, str]:
    """Devices to choose from, and their names for people."""
    if not are_known():
        return dict(_ALWAYS)
    from napari_flowsr.core.device import available_devices

    return _ALWAYS | available_devices()


def reason(spec: str) -> str:
    """What a device's name stands for, or what is wrong with it, for people."""
    try:
        check_device(spec)
    except DeviceError as error:
        return str(error)
    if not are_known():
        return "Looking which devices there are …"
    from napari_flowsr.core.device import resolve_device

    return resolve_device(spec)[1]
