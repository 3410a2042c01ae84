"""Names of devices, known before torch can say which of them there are."""

from __future__ import annotations

import re

from napari_flowsr.errors import DeviceError

__all__ = ["AUTO", "check_device_name"]

AUTO = "auto"
"""CUDA, else Apple MPS, else the CPU."""

_NAMED = re.compile(r"(cpu|mps)(:0)?|cuda(:\d+)?")


def check_device_name(spec: object) -> None:
    """Raise `DeviceError` for what is the name of no device."""
    text = str(spec)
    if text.strip().lower() != AUTO and not _NAMED.fullmatch(text):
        raise DeviceError(
            f"Device {text!r} is unknown; give 'auto', 'cpu', 'cuda', 'cuda:<number>' "
            "or 'mps'."
        )
