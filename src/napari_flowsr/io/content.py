"""Content of arrays: a hash that does not depend on storage, and a form for JSON.

And the hash of files.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.io.untrusted import unpack_npy

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["file_sha256", "image_hash", "jsonable", "pack_array", "unpack_array"]

_BLOCK_BYTES = 2**26
_PACKED = "npy.zlib.base64"


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_hash(array: Any) -> str:
    """SHA-256 of data type, shape and pixels in C order, as a hexadecimal string.

    The same for numpy, dask and zarr arrays of the same content, whatever their chunks,
    memory order and byte order. Lazy arrays are computed block by block.

    Parameters
    ----------
    array : array
        Anything with ``__array__``.
    """
    if not all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__")):
        array = np.asarray(array)
    little = np.dtype(array.dtype).newbyteorder("<")
    digest = hashlib.sha256(
        json.dumps([little.str, [int(side) for side in array.shape]]).encode()
    )
    if not array.shape:
        digest.update(np.asarray(array, little).tobytes())
        return digest.hexdigest()
    row = max(1, math.prod(array.shape[1:]) * little.itemsize)
    step = max(1, _BLOCK_BYTES // row)
    for start in range(0, array.shape[0], step):
        block = np.asarray(array[start : start + step])
        digest.update(np.ascontiguousarray(block, little).data.cast("B"))
    return digest.hexdigest()


def jsonable(value: Any) -> Any:
    """Copy of ``value`` made of what JSON has.

    Mappings, sequences, numpy scalars and arrays (packed) are converted; numbers that
    are not finite become strings; anything else becomes its text.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return pack_array(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool):
        return value
    # Plain, not a subclass such as an enumeration, whose repr is no literal.
    return int(value) if isinstance(value, int) else _plain_text(value)


def _plain_text(value: Any) -> str:
    return str.__str__(value) if isinstance(value, str) else str(value)


def pack_array(array: NDArray[Any]) -> dict[str, Any]:
    """Array as a JSON-able mapping, for temperature maps in a record."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    text = base64.b64encode(zlib.compress(buffer.getvalue(), 9)).decode("ascii")
    return {"encoding": _PACKED, "shape": list(array.shape), "data": text}


def unpack_array(packed: Mapping[str, Any], largest: int | None = None) -> NDArray[Any]:
    """Array that `pack_array` packed.

    Parameters
    ----------
    packed : mapping
        It may come from anybody's file.
    largest : int, optional
        Bytes that it may take; by default what is free.

    Raises
    ------
    ValueError
        Damaged, or larger.
    """
    return unpack_npy(base64.b64decode(packed["data"]), largest)
