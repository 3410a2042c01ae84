"""Main memory that may be used."""

from __future__ import annotations

import os
import re

import psutil

from napari_flowsr.errors import OptionError

__all__ = ["LIMIT", "free_memory"]

LIMIT = "NAPARI_FLOWSR_MEMORY"
"""Environment variable: main memory that a run may plan with, such as ``4GB``."""


def free_memory() -> int:
    """Bytes of main memory that may be used: what is free, or `LIMIT` if that is less.

    Raises
    ------
    OptionError
        The environment variable names no amount of memory.
    """
    free = int(psutil.virtual_memory().available)
    asked = os.environ.get(LIMIT, "").strip()
    if not asked:
        return free
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", asked)
    if found is None or not float(found[1]) > 0:
        raise OptionError(
            f"The environment variable {LIMIT} is '{asked}'; give an amount of memory, "
            "such as 4GB or 500MB."
        )
    return min(free, int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " ")))
