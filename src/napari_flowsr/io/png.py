"""PNG out (8 or 16 bits, grey or colour, with text and pixel size); PNG and JPEG in.

Written here because no package we depend on writes 16-bit colour together with text.

References
----------
Portable Network Graphics specification, third edition (W3C, 2025).
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.errors import ExportError, FlowSRError, ImageError
from napari_flowsr.io.image_file import ImageFile
from napari_flowsr.io.provenance import NAMESPACE, jsonable, statement
from napari_flowsr.io.untrusted import PACKING, excess, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["intensity_range", "png_parts", "read_raster", "to_png_levels"]
__all__ += ["write_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ROWS = 256
_LARGEST_PIXEL_UM = 10.0


def read_raster(path: str | Path) -> ImageFile:
    """Read PNG or JPEG through scikit-image.

    Raises
    ------
    ImageError
        Damaged file, 16-bit colour (which the decoder would cut to 8 bits), or grey
        with transparency.
    """
    from skimage import io

    path = Path(path)
    metadata: dict[str, Any] = {"format": path.suffix[1:].upper(), "series": 1}
    size: dict[str, float] = {}
    try:
        if path.suffix.lower() == ".png":
            size = _png_facts(path, metadata)
        # Opened here, because the reader leaves a damaged file open.
        with path.open("rb") as file:
            data = np.asarray(io.imread(file))
    except FlowSRError:
        raise
    except Exception as error:
        # A file of any content arrives here, and decoders raise whatever they do.
        raise ImageError(
            f"'{path}' could not be read: {error}. The file is damaged or of another "
            "format than its name says."
        ) from error
    if data.ndim == 3 and data.shape[-1] == 2:
        if (data[..., 1] != data[..., 1].flat[0]).any():
            raise ImageError(
                f"'{path}' is grey with transparency; save it without transparency."
            )
        data = data[..., 0]
    return ImageFile(
        data,
        "YXS" if data.ndim == 3 else "YX",
        pixel_size=size or None,
        unit="µm" if size else "pixel",
        metadata=metadata,
    )


def _png_facts(path: Path, metadata: dict[str, Any]) -> dict[str, float]:
    """Pixel size in µm from pHYs; the provenance goes into ``metadata``."""
    size: dict[str, float] = {}
    for kind, body in chunks(path):
        if kind == b"IHDR":
            _check_claim(path, *struct.unpack(">II2B3x", body))
        if kind == b"IHDR" and body[8] == 16 and body[9] in (2, 4, 6):
            raise ImageError(
                f"'{path}' is a PNG of 16-bit colour, which would be cut to 8 bits. "
                "Save it as TIFF."
            )
        if kind == b"pHYs" and body[8] == 1:
            per_metre = struct.unpack(">II", body[:8])
            found = {a: 1e6 / v for a, v in zip("XY", per_metre, strict=True) if v}
            if len(found) == 2 and max(found.values()) <= _LARGEST_PIXEL_UM:
                size = found
        if kind == b"iTXt" and body.startswith(NAMESPACE.encode() + b"\0"):
            text = body.split(b"\0", 5)[-1].decode()
            metadata[NAMESPACE] = parse_json(text)
    return size


def _check_claim(path: Path, width: int, height: int, bits: int, colour: int) -> None:
    """Raise for more pixels than the file can hold, or the memory."""
    samples = {2: 3, 4: 2, 6: 4}.get(colour, 1)
    stored = width * height * samples * bits // 8
    if stored > PACKING * path.stat().st_size:
        raise ImageError(
            f"'{path}' says that it has {width} x {height} pixels, which do not fit "
            "into its size. It is truncated or damaged; copy the file again."
        )
    # 1 to 8 bits become bytes, and a palette colours.
    unpacked = {3: 4}.get(colour, samples) * max(1, bits // 8)
    if too_large := excess((width, height), unpacked):
        raise ImageError(
            f"'{path}' is too large: {too_large}. Save it as OME-Zarr, of which only "
            "the part in use is read."
        )


def chunks(path: str | Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of the chunks before the pixels.

    Raises
    ------
    ImageError
        No PNG file.
    """
    left = Path(path).stat().st_size
    with Path(path).open("rb") as stream:
        if stream.read(8) != _SIGNATURE:
            raise ImageError(f"'{path}' is no PNG file. Check its name.")
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in (b"IDAT", b"IEND"):
                return
            body = b""
            if length <= left:
                body = stream.read(length + 4)
            if len(body) != length + 4:
                raise ImageError(f"'{path}' is truncated. Copy the file again.")
            yield kind, body[:-4]


def intensity_range(array: NDArray[Any], *, rgb: bool) -> tuple[float, float] | None:
    """Intensities that become black and white; None where no scaling is needed.

    8- and 16-bit unsigned integers and bool are written as they are. RGB floats are
    taken as [0, 1] and clipped. Everything else is stretched from its smallest to its
    largest finite value, over all samples together, so that they stay comparable.
    """
    if array.dtype in (np.uint8, np.uint16, np.bool_):
        return None
    if rgb and array.dtype.kind == "f":
        return 0.0, 1.0
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if finite.size == 0:
        return 0.0, 1.0
    return float(finite.min()), float(finite.max())


def to_png_levels(
    plane: NDArray[Any], limits: tuple[float, float] | None, bits: int | None = None
) -> NDArray[Any]:
    """Grey levels of one plane.

    Parameters
    ----------
    plane : ndarray
        Intensities.
    limits : tuple of float, optional
        Intensities that become 0 and the highest level; None keeps integers.
    bits : int, optional
        8 or 16; by default that of 8- and 16-bit data, else 16.
    """
    if plane.dtype == np.bool_:
        return np.where(plane, 255, 0).astype(np.uint8)
    natural = 8 if plane.dtype == np.uint8 else 16
    bits = natural if bits is None else bits
    if bits not in (8, 16):
        raise ExportError(f"PNG with {bits} bits was asked for; expected 8 or 16.")
    if limits is None and bits == natural:
        return plane.astype(f"u{bits // 8}", copy=False)
    low, high = limits if limits is not None else (0.0, 2.0**natural - 1)
    top = 2**bits - 1
    # float64: the levels of uint32 differ by less than float32 resolves.
    unit = (plane.astype(np.float64) - low) / ((high - low) or 1.0)
    unit = np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=0.0)
    levels: NDArray[Any] = np.rint(np.clip(unit, 0.0, 1.0) * top)
    return levels.astype(f"u{bits // 8}")


def write_png(
    path: str | Path,
    levels: NDArray[Any],
    *,
    pixel_size: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write one plane; not atomic by itself.

    Parameters
    ----------
    path : path
        File to write.
    levels : ndarray
        ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``, uint8 or uint16.
    pixel_size : mapping, optional
        µm along X and Y, for the pHYs chunk.
    provenance : mapping, optional
        Stored as JSON in an iTXt chunk named ``napari-flowsr``, and as a sentence in
        one named ``Description``.
    """
    with Path(path).open("wb") as stream:
        stream.writelines(png_parts(levels, pixel_size, provenance))


def png_parts(
    levels: NDArray[Any],
    pixel_size: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Iterator[bytes]:
    """Content of the file that `write_png` writes, piece by piece."""
    height, width = levels.shape[:2]
    colour = 0 if levels.ndim == 2 else {3: 2, 4: 6}[levels.shape[2]]
    bits = levels.dtype.itemsize * 8
    yield _SIGNATURE
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    yield _chunk(b"IHDR", header)
    if pixel_size and {"X", "Y"} <= set(pixel_size):
        per_metre = [round(1e6 / pixel_size[a]) for a in "XY"]
        if all(0 < value < 2**31 for value in per_metre):
            yield _chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if provenance is not None:
        yield _text("Software", "napari-flowsr")
        yield _text("Description", statement(provenance))
        yield _text(NAMESPACE, json.dumps(jsonable(provenance)))
    for body in _compressed(levels):
        yield _chunk(b"IDAT", body)
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def _text(key: str, value: str) -> bytes:
    # International text: keyword, not compressed, no language, UTF-8.
    return _chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode())


def _compressed(levels: NDArray[Any]) -> Iterator[bytes]:
    """Zlib stream of the rows, each the difference to the one above (filter Up)."""
    raw = np.ascontiguousarray(levels, levels.dtype.newbyteorder(">"))
    rows = raw.reshape(raw.shape[0], -1).view(np.uint8)
    packer = zlib.compressobj(6)
    above = np.zeros((1, rows.shape[1]), np.uint8)
    for start in range(0, rows.shape[0], _ROWS):
        block = rows[start : start + _ROWS]
        filtered = block - np.concatenate((above, block[:-1]))  # modulo 256
        above = block[-1:]
        marks = np.full((len(block), 1), 2, np.uint8)
        if body := packer.compress(np.concatenate((marks, filtered), 1).tobytes()):
            yield body
    yield packer.flush()
