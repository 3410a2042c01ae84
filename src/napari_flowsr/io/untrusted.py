"""Files from anybody: what they claim is checked before memory is taken for it.

A few bytes can describe a petabyte: the sides in an image's header, the members of an
archive, a compressed array, brackets within brackets. Each reader asks here first.
"""

from __future__ import annotations

import io
import json
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["PACKING", "check_depth", "excess", "inflate", "parse_json", "room"]
__all__ += ["check_pixels", "unpack_npy"]

PACKING = 1032
"""Bytes that a byte of a zlib stream can stand for, at most."""
_DEEPEST = 64
# Values in a text: what they take in memory is some hundred times their text. Packed
# arrays are one string each; the largest record of ours has a few thousand values.
_MOST = 2_000_000
_HEADER = 1 << 16
_HOLDERS = (dict, list, tuple)


def room() -> int:
    """Bytes of memory that are free."""
    return int(psutil.virtual_memory().available)


def excess(sides: Iterable[int], itemsize: int) -> str:
    """Say by how much an array is too large to be read whole; empty if it is not."""
    size, free = math.prod(sides) * itemsize, room()
    if size <= free:
        return ""
    return f"its pixels take {_bytes(size)} and {_bytes(free)} of memory are free"


def check_pixels(shape: Iterable[int]) -> None:
    """Raise `ValueError` for an image without pixels.

    Its other sides are bounded by nothing: to list the chunks along them may take for
    ever.
    """
    if not all(sides := tuple(shape)):
        raise ValueError(f"its shape is {sides}, so it has no pixels")


def _bytes(size: int) -> str:
    return f"{size / 2**30:.3g} GiB" if size >= 2**27 else f"{size / 2**20:.3g} MiB"


def parse_json(text: str | bytes) -> Any:
    """Value of a JSON text.

    Raises
    ------
    ValueError
        No JSON; values within values beyond any use; or so many that they would take
        far more memory than the text.
    """
    if not isinstance(text, str | bytes):
        raise ValueError(f"{type(text).__name__} where a text was expected")
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if sum(map(text.count, ",[{")) > _MOST:
        raise ValueError(f"more than {_MOST} values")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("values within values without end") from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raise `ValueError` for values that lie too deep for copies and records of them.

    Copying takes several calls a level, and Python allows about a thousand.
    """
    level = [value] if isinstance(value, _HOLDERS) else []
    for _ in range(_DEEPEST - 1):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, _HOLDERS)
        ]
        if not level:
            return
    if not any(level):
        return
    raise ValueError(f"values lie within values, more than {_DEEPEST} deep")


def inflate(data: bytes, size: int, *, at_most: bool = False) -> bytes:
    """Content of a zlib stream that is ``size`` bytes long, or ``at_most`` that.

    Raises
    ------
    ValueError
        It is longer (of which no more than ``size`` is held), shorter, or damaged.
    """
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"packed bytes are damaged: {error}") from error
    if len(found) > size or (len(found) < size and not at_most):
        raise ValueError(f"packed bytes are not the {size} that they should be")
    return found


def unpack_npy(data: bytes, largest: int | None = None) -> NDArray[Any]:
    """Array of a zlib stream that holds an ``.npy`` file, of numbers.

    Parameters
    ----------
    data : bytes
        The stream.
    largest : int, optional
        Bytes that the array may take; by default what is free.

    Raises
    ------
    ValueError
        Damaged; objects; or larger than that.
    """
    try:
        start = zlib.decompressobj().decompress(data, _HEADER)
        header = io.BytesIO(start)
        version = np.lib.format.read_magic(header)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = read[version](header)
    except Exception as error:
        # NumPy reads the header as Python, with all the errors of its tokenizer.
        raise ValueError(f"a packed array is damaged: {error!r}") from error
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "biufc" or not 0 <= size <= (largest or room()):
        raise ValueError(f"a packed array of {dtype} takes {_bytes(size)}")
    raw = inflate(data, header.tell() + size)
    array: NDArray[Any] = np.load(io.BytesIO(raw), allow_pickle=False)
    return array
