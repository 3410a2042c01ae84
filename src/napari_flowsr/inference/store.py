"""Arrays for results: in memory, or in a file where they would take too much of it."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OutOfMemoryError
from napari_flowsr.inference.free_memory import free_memory

__all__ = ["FOLDER", "new_array", "scratch_folder"]

FOLDER = "NAPARI_FLOWSR_SCRATCH"
"""Environment variable: where large results are kept while they are in use."""
SHARE = 1 / 32
"""Part of the free memory that one array may take; a larger one goes to a file.

A run has several: samples, mean, spread, quantiles.
"""


def scratch_folder() -> str:
    """Where large results are kept: `FOLDER`, or the system's folder for such files."""
    return os.environ.get(FOLDER) or tempfile.gettempdir()


def new_array(shape: tuple[int, ...], dtype: np.dtype[Any] | type) -> npt.NDArray[Any]:
    """Array without content, in memory or in a temporary file.

    The file has no name and is gone when nobody holds the array any more. Its space is
    taken beforehand, so that a disk that is too small is told now.

    Raises
    ------
    OutOfMemoryError
        Neither memory nor disk can hold it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= SHARE * free_memory():
        return np.empty(shape, dtype)
    folder = scratch_folder()
    try:
        with tempfile.TemporaryFile(prefix="napari-flowsr-", dir=folder) as file:
            _reserve(file.fileno(), size, folder)
            # The map keeps the file open.
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise OutOfMemoryError(
            f"A result of {size / 1e9:.1f} GB is too large for memory, and cannot be "
            f"kept on disk in '{folder}': {error.strerror or error}. Free space there, "
            f"name another folder in the environment variable {FOLDER}, ask for fewer "
            "samples or outputs, or crop the image."
        ) from error


def _reserve(file: int, size: int, folder: str) -> None:
    """Make a file of a size whose every block exists."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    if shutil.disk_usage(folder).free < size:
        raise OSError(0, f"only {shutil.disk_usage(folder).free / 1e9:.1f} GB are free")
    os.ftruncate(file, size)
