"""Errors of napari-flowsr: each says what was given, what was expected, what to do."""

from __future__ import annotations

__all__ = [
    "AxesError",
    "Cancelled",
    "CheckpointError",
    "DeviceError",
    "ExportError",
    "FlowSRError",
    "ImageError",
    "ModelNotFoundError",
    "OptionError",
    "OutOfMemoryError",
    "SizeError",
    "TrainingError",
    "UnstableDecodeError",
]


class FlowSRError(Exception):
    """Base of every error that this package raises on purpose."""


class Cancelled(FlowSRError):
    """The computation was told to stop; progress callbacks may raise this to do so."""


class ImageError(FlowSRError):
    """The pixel data cannot be used as they are (dtype, NaN, empty)."""


class AxesError(ImageError):
    """The axes of an array are missing, ambiguous or do not fit its shape."""


class SizeError(FlowSRError):
    """A tensor has another size than the model needs."""


class OptionError(FlowSRError):
    """An option has a value outside its domain, or an unknown name."""


class ModelNotFoundError(FlowSRError):
    """No built-in or imported model has this name, and no file has this path."""


class CheckpointError(FlowSRError):
    """A model file is truncated, of unknown origin, or has other tensors."""


class DeviceError(FlowSRError):
    """The device that was asked for is not available."""


class OutOfMemoryError(FlowSRError):
    """Not even the smallest tile fits into memory."""


class UnstableDecodeError(FlowSRError):
    """The inverse flow gave non-finite values that re-drawing did not cure."""


class ExportError(FlowSRError):
    """A result could not be written; nothing half-written was left behind."""


class TrainingError(FlowSRError):
    """Training cannot start or go on (data, configuration, divergence)."""
