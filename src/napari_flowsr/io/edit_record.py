"""Records of edited images.

The record of an edited image (kind ``"edited"``) lists its edits under ``"edits"``, in
order. Each is a mapping that `edit_step` makes: the operation, its mask and options,
and pixels that came from elsewhere. ``"base"`` is the record of the sample (or mean)
that was edited; an image that no model made is told by its hash under ``"hr_sha256"``.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.io.content import jsonable, pack_array, unpack_array
from napari_flowsr.io.untrusted import excess, inflate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LARGEST", "LEFT_OUT", "edit_record", "edit_step", "pack_mask", "unpack"]

LARGEST = 1 << 20
"""Bytes of pixels, packed, that a record takes; larger ones are left out."""
LEFT_OUT = "left_out"
"""Entry that stands for an array which was, and tells why."""

Array = npt.NDArray[Any]

_BITS = "bits.zlib.base64"

# --- arrays in records --------------------------------------------------------------


def pack_mask(mask: Any) -> dict[str, Any]:
    """Mask as a JSON-able mapping: the box that it marks, as bits or as numbers.

    Parameters
    ----------
    mask : array-like
        Bool or 0 and 1: one bit for each pixel of the box. Soft masks keep their
        values.
    """
    values = np.asarray(mask)
    box = _marked(values)
    inside = values[tuple(slice(a, b) for a, b in box)]
    facts = {
        "shape": list(values.shape),
        "box": box,
        "dtype": values.dtype.newbyteorder("<").str,
    }
    if not np.isin(inside, (0, 1)).all():
        return {**facts, "inside": pack_array(inside)}
    bits = zlib.compress(np.packbits(inside.astype(bool)).tobytes(), 9)
    text = base64.b64encode(bits).decode("ascii")
    return {**facts, "encoding": _BITS, "data": text}


def unpack(packed: Mapping[str, Any]) -> Array:
    """Array or mask that `pack_mask` or `io.content.pack_array` packed."""
    if "box" not in packed:
        return unpack_array(packed)
    slices = tuple(slice(int(a), int(b)) for a, b in packed["box"])
    shape, dtype = [int(side) for side in packed["shape"]], np.dtype(packed["dtype"])
    if too_large := excess(shape, dtype.itemsize):
        raise ValueError(f"a mask is too large: {too_large}")
    out = np.zeros(shape, dtype)
    if "inside" in packed:
        out[slices] = unpack_array(packed["inside"])
    else:
        inside = out[slices]
        raw = inflate(base64.b64decode(packed["data"]), -(-inside.size // 8))
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=inside.size)
        out[slices] = bits.reshape(inside.shape)
    return out


def _marked(values: Array) -> list[list[int]]:
    """First and last index, on each axis, of what is not 0."""
    box = []
    for axis in range(values.ndim):
        others = tuple(a for a in range(values.ndim) if a != axis)
        (along,) = np.nonzero(np.any(values != 0, axis=others))
        box.append([int(along[0]), int(along[-1]) + 1] if len(along) else [0, 0])
    return box


def _small(packed: dict[str, Any], what: str) -> dict[str, Any]:
    """The packed array, or why it was left out."""
    size = len(str(packed))
    if size <= LARGEST:
        return packed
    return {
        LEFT_OUT: f"{what} take {size / 2**20:.1f} MiB, and a record holds at most "
        f"{LARGEST / 2**20:.0f} MiB"
    }


# --- records ------------------------------------------------------------------------


def edit_step(
    operation: str,
    *,
    mask: Any = None,
    pixels: Any = None,
    box: Sequence[slice] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """One edit, JSON-able.

    Parameters
    ----------
    operation : str
        ``"resample"``, ``"normalise"``, ``"paste"`` or ``"paint"`` (pixels as they
        are), ``"content"`` (pixels, then normalised), ``"transfer"`` (of content), or
        the name of another one, which no script can repeat.
    mask : array-like, optional
        As the operation took it.
    pixels : array-like, optional
        What was put into ``box``; left out where it is large.
    box : sequence of slice, optional
        Where ``pixels`` are; by default everywhere.
    **options
        Keywords of the operation, such as ``seed`` and ``temperature``, and further
        facts.
    """
    step: dict[str, Any] = {"operation": operation, **jsonable(options)}
    if mask is not None:
        step["mask"] = _small(pack_mask(mask), "The values of its mask")
    if pixels is not None:
        step["pixels"] = _small(pack_array(np.asarray(pixels)), "Its pasted pixels")
        if box is not None:
            step["box"] = [[int(part.start), int(part.stop)] for part in box]
    return step


def edit_record(
    base_record: Mapping[str, Any],
    edits: Sequence[Mapping[str, Any]],
    *,
    posterior: Mapping[str, Any] | None = None,
    hr_sha256: str = "",
) -> dict[str, Any]:
    """Record of an edited image.

    Parameters
    ----------
    base_record : mapping
        Of what was edited: of a sample or a mean, with ``sample`` for one of a stack.
        For an image that no model made, the record of the posterior.
    edits : sequence of mapping
        Of `edit_step`, in order.
    posterior : mapping, optional
        Record of the posterior of the edits, where its options are others than those
        that the base was made with.
    hr_sha256 : str
        `image_hash` of the image that was edited, if no model made it; the script then
        asks for its pixels.
    """
    facts = {**base_record, **(posterior or {}), "kind": "edited", "tool": "edit"}
    facts.pop("base", None)
    if hr_sha256:
        facts["hr_sha256"] = hr_sha256
    else:
        facts["base"] = {k: v for k, v in base_record.items() if k != "versions"}
    done: dict[str, Any] = jsonable({**facts, "edits": list(edits)})
    return done
