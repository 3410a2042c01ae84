"""What a batch will do, found out before it begins: images, planes, room on disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_flowsr.core.interrupt import check_interrupt
from napari_flowsr.errors import FlowSRError
from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.io.images import open_image
from napari_flowsr.jobs.plan import exists
from napari_flowsr.jobs.volume import Volume

if TYPE_CHECKING:
    from napari_flowsr.jobs.order import Order

__all__ = ["Outlook", "Sight", "look"]


@dataclass(frozen=True)
class Sight:
    """What is known of an image without its pixels.

    Parameters
    ----------
    axes : str
        A letter for each axis.
    shape : tuple of int
        Of the image.
    itemsize : int
        Bytes of a pixel's component.
    error : str
        Why it cannot be used; else empty.
    """

    axes: str = "YX"
    shape: tuple[int, ...] = (0, 0)
    itemsize: int = 1
    error: str = ""

    @classmethod
    def of(cls, path: Path, axes: str | None) -> Sight:
        """Look at a file."""
        try:
            image = open_image(path)
            shape = tuple(int(side) for side in image.data.shape)
            named = parse_axes(axes or image.axes, shape)
        except (FlowSRError, OSError) as error:
            return cls(error=str(error))
        return cls(named, shape, np.dtype(image.data.dtype).itemsize)


@dataclass(frozen=True)
class Outlook:
    """What a batch will do.

    Parameters
    ----------
    plan : mapping
        As of `jobs.run.run_files`.
    work : mapping
        Image that is to be done to how much work it is, in pixels of the input.
    planes : int
        Of these images.
    begun : int
        Planes among them that an earlier run has completed.
    left_out : tuple of Path
        Images all of whose results exist.
    in_the_way : int
        Images for which a result exists that may not be replaced.
    bad : mapping
        Image that cannot be read to the reason.
    size : int or None
        Bytes of the results to come, before compression; None if the scale is not
        known yet.
    free : int
        Bytes that the disk of the results has left.
    """

    plan: Mapping[Path, Mapping[str, Path]]
    work: Mapping[Path, int] = field(default_factory=dict)
    planes: int = 0
    begun: int = 0
    left_out: tuple[Path, ...] = ()
    in_the_way: int = 0
    bad: Mapping[Path, str] = field(default_factory=dict)
    size: int | None = 0
    free: int = 0


def look(
    plan: Mapping[Path, Mapping[str, Path]],
    order: Order,
    *,
    scale: float | None,
    resume: bool = False,
    overwrite: bool = False,
    known: dict[tuple[Path, int, int], Sight] | None = None,
) -> Outlook:
    """Find out what a batch will do; no pixels of TIFF and OME-Zarr are read.

    Within `core.interrupt.interruptible` it can be stopped at each file.

    Parameters
    ----------
    plan, order, resume, overwrite
        As of `jobs.run.run_files`.
    scale : float, optional
        That results will have.
    known : dict, optional
        What was seen earlier, so that nothing is looked at twice; it is filled.
    """
    known = {} if known is None else known
    work, bad, left_out = {}, {}, []
    planes = begun = in_the_way = size = 0
    for path, files in plan.items():
        check_interrupt()
        present = [exists(target) for target in files.values()]
        if resume and all(present):
            left_out.append(path)
            continue
        sight = _seen(path, order, known)
        if sight.error:
            bad[path] = sight.error
            continue
        in_the_way += any(present) and not (resume or overwrite)
        work[path] = math.prod(sight.shape)
        planes += Geometry(sight.axes, sight.shape, 1.0).planes
        if all(target.suffix == ".zarr" for target in files.values()) and not overwrite:
            begun += Volume(path, files, order).complete
        size += _bytes(sight, files, order, scale or 1.0)
    return Outlook(
        plan=plan,
        work=work,
        planes=planes,
        begun=begun,
        left_out=tuple(left_out),
        in_the_way=in_the_way,
        bad=bad,
        size=None if scale is None else size,
        free=_free(plan),
    )


def _seen(path: Path, order: Order, known: dict[tuple[Path, int, int], Sight]) -> Sight:
    try:
        about = path.stat()
    except OSError as error:
        return Sight(error=f"'{path}' could not be read: {error.strerror or error}.")
    key = path, about.st_mtime_ns, about.st_size
    if key not in known:
        known[key] = Sight.of(path, order.options.get("axes"))
    return known[key]


def _bytes(sight: Sight, files: Mapping[str, Path], order: Order, scale: float) -> int:
    """Of the results of one image, before compression."""
    pixels = math.prod(Geometry(sight.axes, sight.shape, scale).output_shape)
    total = 0
    for kind, target in files.items():
        each = sight.itemsize if kind == "samples" else np.float32().itemsize
        if target.suffix == ".png":
            each = min(each, 2)
        total += pixels * each * (order.n if kind == "samples" else 1)
    return total


def _free(plan: Mapping[Path, Mapping[str, Path]]) -> int:
    """Of the disk that the first result goes to."""
    folder = next(iter(next(iter(plan.values())).values())).parent.resolve()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
