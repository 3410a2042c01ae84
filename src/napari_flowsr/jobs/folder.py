"""A folder of images in, a folder of results out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_flowsr.jobs.order import Order
from napari_flowsr.jobs.plan import plan_folder
from napari_flowsr.jobs.run import FileOutcome, run_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["upscale_files"]


def upscale_files(
    source: str | Path,
    target: str | Path,
    model: str | Path = "micro-2x",
    *,
    n: int | None = None,
    outputs: Sequence[str] = ("samples",),
    file_format: str = "ome.tif",
    pattern: str = "*",
    recursive: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    scheduler: str | None = None,
    prior_model: str | None = None,
    progress: Callable[[Path, int, int], object] = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
    **options: Any,
) -> list[FileOutcome]:
    """Upscale every image of a folder, or one, as ``napari-flowsr batch`` does.

    A file that fails stops no other. Volumes are computed plane by plane with
    ``file_format="ome.zarr"``: killed and called again, it goes on where it was.

    Parameters
    ----------
    source, target : path
        Folder of images, or one image (OME-Zarr too), and folder of the results.
    model : str or Path
        Name or file; the machines of a scheduler load it by that too.
    n : int, optional
        Samples of each image: 1 if samples alone are asked for, else 8.
    outputs : sequence of str
        Some of ``"samples"``, ``"mean"``, ``"std"``, ``"quantiles"``.
    file_format : str
        ``"ome.tif"``, ``"png"`` or ``"ome.zarr"``.
    pattern : str
        Which files, such as ``"*.tif"``.
    recursive : bool
        Also folders inside.
    resume : bool
        Leave out files all of whose results exist.
    overwrite : bool
        Replace results.
    scheduler : str, optional
        Address of a dask.distributed scheduler, such as ``"tcp://node1:8786"``.
    prior_model : str, optional
        A learned prior.
    progress : callable
        Called with a file, what is done of it and all there is to do.
    cancelled : callable
        Asked often; once it is true, `Cancelled` is raised.
    **options
        Of `posterior`: ``temperature`` (a number), ``seed``, ``scale``, ``axes``,
        ``noise``, ``consistent``, ``tile``, ``device``, ``nan``,
        ``precision``.

    Returns
    -------
    list of FileOutcome
        What became of each file.

    Raises
    ------
    FlowSRError
        Nothing can be done at all: no such folder, model or scheduler.
    """
    wanted = tuple(outputs)
    order = Order(
        model=str(model),
        prior_model=prior_model,
        n=n or (1 if wanted == ("samples",) else 8),
        outputs=wanted,
        options=options,
    )
    plan = plan_folder(
        Path(source),
        Path(target),
        order.kinds,
        pattern=pattern,
        recursive=recursive,
        file_format=file_format,
    )
    order.load()
    outcomes = run_files(
        plan,
        order,
        scheduler=scheduler,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        cancelled=cancelled,
    )
    return list(outcomes)
