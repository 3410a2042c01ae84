"""Which device to compute on, and why."""

from __future__ import annotations

import torch

from napari_flowsr.core.device_name import AUTO, check_device_name
from napari_flowsr.errors import DeviceError

__all__ = ["available_devices", "resolve_device"]


def _mps_available() -> bool:
    return torch.backends.mps.is_available()


def _automatic() -> tuple[torch.device, str]:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return torch.device("cuda:0"), f"GPU found: {name}."
    if _mps_available():
        return torch.device("mps"), "Apple GPU found (MPS)."
    if torch.version.cuda or torch.version.hip:
        why = "no GPU or no working GPU driver was found"
    else:
        why = "this build of PyTorch has no GPU support"
    return torch.device("cpu"), f"CPU, for {why}."


def resolve_device(spec: str | torch.device = "auto") -> tuple[torch.device, str]:
    """Turn a device name into a device that works here.

    Parameters
    ----------
    spec : str or torch.device
        ``"auto"`` (CUDA, else Apple MPS, else CPU), or a torch device name such as
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Returns
    -------
    device : torch.device
        With an index where the kind has several.
    reason : str
        One sentence on why it is this one, for people.

    Raises
    ------
    DeviceError
        Unknown name, or a device that is not available here.
    """
    if isinstance(spec, str) and spec.strip().lower() == AUTO:
        return _automatic()
    check_device_name(spec)
    device = torch.device(spec)
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "mps" and not _mps_available():
        raise DeviceError(f"Device {str(spec)!r} was asked for. {_automatic()[1]}")
    return device, f"{str(spec)!r} was asked for."


def _cuda(device: torch.device) -> tuple[torch.device, str]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = device.index or 0
    if index >= count:
        raise DeviceError(
            f"Device '{device}' was asked for, but {count} CUDA devices are available. "
            "Use 'auto', or install a PyTorch build and a driver that fit the GPU."
        )
    chosen = torch.device("cuda", index)
    return chosen, f"'{device}' was asked for: {torch.cuda.get_device_name(index)}."


def available_devices() -> dict[str, str]:
    """Devices that are there besides the CPU, and their names for people."""
    count = torch.cuda.device_count()
    found = {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(count)}
    return found | ({"mps": "Apple GPU"} if _mps_available() else {})
