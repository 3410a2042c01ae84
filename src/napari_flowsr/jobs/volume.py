"""A volume (T, C, Z, ...) plane by plane, into OME-Zarr, in any order, by anybody.

While it is at work there is a folder beside the result: what is to be done, an array
for each output, and a small file for each plane that is complete. Whoever computes a
plane needs the number of the plane and this folder, nothing else, and may do it twice.
When all planes are there, the results are written, whole or not at all, and the folder
goes. Killed at any moment and begun again, the work goes on with what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

from napari_flowsr.errors import ExportError, ImageError
from napari_flowsr.inference.events import Finished, Progress
from napari_flowsr.inference.options import Options
from napari_flowsr.inference.parts import Survey
from napari_flowsr.io.atomic import make_folder, remedy
from napari_flowsr.io.images import open_image, write_image
from napari_flowsr.jobs.order import Order
from napari_flowsr.jobs.schedule import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.io.image_file import ImageFile

__all__ = ["Volume", "compute_plane"]

_JOB, _DONE, _CHUNK = "job.json", "done", 512


class Volume:
    """A volume at work.

    Parameters
    ----------
    source : Path
        Image file.
    targets : mapping
        Kind of output (``"samples"``, ``"mean"``, ``"std"``, ``"q05"``, …) to the
        ``.zarr`` folder that is written.
    order : Order
        What is wanted.
    """

    def __init__(self, source: Path, targets: Mapping[str, Path], order: Order) -> None:
        self.source, self.targets, self.order = source, dict(targets), order
        first = next(iter(self.targets.values()))
        self.folder = first.with_name(f".{source.name}.napari-flowsr-partial")
        self._image: ImageFile | None = None
        self._posterior: Posterior | None = None

    # --- begin ----------------------------------------------------------------

    def begin(
        self,
        *,
        afresh: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Task]:
        """Read the image once, and say what is to be done: planes that are missing.

        Parameters
        ----------
        afresh : bool
            Discard what is unfinished.
        progress : callable, optional
            As of `compute_plane`, of the plane at work; tasks that have one cannot
            be sent to other machines.

        Raises
        ------
        ImageError, OptionError, AxesError
            As of `inference.posterior.posterior`.
        ExportError
            What lies there was begun with other options, or cannot be written.
        """
        image = open_image(self.source)
        post = self.order.bind(image, self.order.load())
        self._image, self._posterior = image, post
        survey = Survey.of(post.intensities)
        job = {
            "source": str(self.source.resolve()),
            "sha256": post.provenance("sample")["source_sha256"],
            "model_sha256": post.model.card.sha256,
            "order": _plain(asdict(self.order)),
            "temperature": post.temperature,
            "survey": _plain(asdict(survey)),
            "resolved": _plain(asdict(post.options)),
        }
        if afresh:
            self.discard()
        self._check_same(job)
        make_folder(self.folder / _DONE)
        if not (self.folder / _JOB).exists():
            self._make_arrays(post)
            _write_json(self.folder / _JOB, job)
        return [
            Task(
                f"{self.source.name}, plane {k}",
                compute_plane,
                (str(self.folder), k, progress),
            )
            for k in range(post.geometry.planes)
            if not _marker(self.folder, k).exists()
        ]

    @property
    def complete(self) -> int:
        """How many planes are complete, also before it is begun."""
        return len(list((self.folder / _DONE).glob("[0-9]*.json")))

    @property
    def planes(self) -> int:
        """How many there are, once begun."""
        return self._begun()[1].geometry.planes

    def _check_same(self, job: Mapping[str, Any]) -> None:
        path = self.folder / _JOB
        if not path.exists():
            # Killed before it was written: nothing of it is of use.
            self.discard()
            return
        old = _read_json(path)
        changed = [key for key in job if _plain(job[key]) != old.get(key)]
        if changed:
            raise ExportError(
                f"'{self.folder}' holds an unfinished result that was begun with "
                f"another {', '.join(changed)}. Use what was used then, or let it "
                "begin afresh (--overwrite, overwrite=True)."
            )

    def _make_arrays(self, post: Posterior) -> None:
        import zarr

        dtype = np.dtype(post.intensities.source.dtype)
        shape = post.geometry.output_shape
        for kind in self.targets:
            axes = self.order.axes(kind, post)
            full = (self.order.n, *shape) if "N" in axes else shape
            chunks = tuple(
                min(_CHUNK, side) if a in "YX" else side if a == "S" else 1
                for a, side in zip(axes, full, strict=True)
            )
            zarr.create_array(
                str(self.folder / kind),
                shape=full,
                chunks=chunks,
                dtype=dtype if kind == "samples" else np.float32,
                overwrite=True,
            )

    # --- end ------------------------------------------------------------------

    def _begun(self) -> tuple[ImageFile, Posterior]:
        if self._image is None or self._posterior is None:
            raise RuntimeError("The volume was not begun.")
        return self._image, self._posterior

    def finish(self, *, overwrite: bool = False) -> dict[str, Any]:
        """Write the results from complete planes, and return the facts for people.

        Raises
        ------
        ExportError
            A plane is missing, or a result cannot be written.
        """
        image, post = self._begun()
        missing = [
            k for k in range(self.planes) if not _marker(self.folder, k).exists()
        ]
        if missing:
            raise ExportError(
                f"{len(missing)} of {self.planes} planes of '{self.source}' are "
                "missing; run the same command again to compute them."
            )
        reports = [_read_json(_marker(self.folder, k)) for k in range(self.planes)]
        report = _joint(reports)
        written = []
        for kind, target in self.targets.items():
            facts = self.order.facts(kind, image, post, self.source.name, report=report)
            array = _lazy(self.folder / kind)
            paths = write_image(target, array, overwrite=overwrite, **facts)
            written += [{"kind": kind, "path": str(path)} for path in paths]
        self.discard()
        return {
            "input": str(self.source),
            "input_shape": list(post.geometry.input_shape),
            "output_shape": list(post.geometry.output_shape),
            "axes": post.geometry.axes,
            "n": self.order.n,
            "outputs": written,
            "report": report,
        }

    def discard(self) -> None:
        """Delete what is unfinished."""
        try:
            shutil.rmtree(self.folder, ignore_errors=False)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ExportError(
                f"Could not remove '{self.folder}': {error.strerror or error}. "
                f"{remedy(error)}"
            ) from error


# --- a plane, anywhere ------------------------------------------------------------


def compute_plane(
    folder: str, number: int, progress: Callable[[int, int], object] | None = None
) -> int:
    """Compute one plane of a volume that was begun, and note that it is complete.

    Parameters
    ----------
    folder : str
        Of the unfinished result, as this machine sees it.
    number : int
        Of the plane.
    progress : callable, optional
        Called with what is done of this plane and all there is to do, in tiles of
        single samples.

    Returns
    -------
    int
        The number, so that it is known which is complete.
    """
    # On a cluster, dask would hand the reading of pixels to the cluster, whose workers
    # all wait for it: a deadlock.
    with dask.config.set(scheduler="synchronous"):
        _compute_plane(Path(folder), number, progress)
    return number


def _compute_plane(
    place: Path, number: int, progress: Callable[[int, int], object] | None
) -> None:
    job = _read_json(place / _JOB)
    order = Order.of_json(job["order"])
    model = order.load()
    if model.card.sha256 != job["model_sha256"]:
        raise ExportError(
            f"The model '{order.model}' is another one here than where the work was "
            "begun (its sha256 differs). Give all machines the same file."
        )
    survey = Survey(**{**job["survey"], "shape": tuple(job["survey"]["shape"])})
    image = open_image(job["source"])
    if tuple(image.data.shape) != survey.shape:
        raise ImageError(
            f"'{job['source']}' has shape {tuple(image.data.shape)} and had "
            f"{survey.shape} when the work was begun. Put the old file back, or begin "
            "afresh."
        )
    post = survey.plane(
        image.data,
        number,
        model,
        Options(**job["resolved"]),
        temperature=job["temperature"],
        device=order.device,
    )
    events = post.stream(order.n, order.outputs, order.quantiles, preview=False)
    for event in events:
        if isinstance(event, Progress) and progress is not None:
            progress(event.done, event.total)
        elif isinstance(event, Finished):
            result = event.result
    index = survey.geometry.index(number)
    for kind, array in order.arrays(result):
        at = (slice(None), *index) if kind == "samples" else index
        _open(place / kind)[at] = array
    _write_json(_marker(place, number), result.report)


def _open(path: Path) -> Any:
    import zarr

    return zarr.open_array(str(path), mode="r+")


def _lazy(path: Path) -> Any:
    import dask.array

    array = _open(path)
    from_array: Any = dask.array.from_array
    return from_array(array, chunks=array.chunks)


def _marker(folder: Path, number: int) -> Path:
    return folder / _DONE / f"{number:06d}.json"


def _plain(value: Any) -> Any:
    """As it is after JSON."""
    return json.loads(json.dumps(value))


def _write_json(path: Path, value: Any) -> None:
    """Whole or not at all, also if the machine stops."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _joint(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of a volume from those of its planes."""
    out = dict(reports[0])  # what was filled is told of the whole image anyway
    for key in ("redrawn_blocks", "seconds"):
        out[key] = sum(report[key] for report in reports)
    out["tiles"] = sum(report["tiles"] for report in reports)
    samples = {s for report in reports for s in report["redrawn_samples"]}
    out["redrawn_samples"] = sorted(samples)
    out["redraw_attempts"] = max(report["redraw_attempts"] for report in reports)
    each = [report["lr_psnr"] for report in reports]
    out["lr_psnr"] = [_mean_psnr(column) for column in zip(*each, strict=True)]
    out["planes"] = len(reports)
    return out


def _mean_psnr(values: tuple[float | None, ...]) -> float | None:
    """DB of the mean square over planes of one size; ``None`` is exact."""
    squares = [0.0 if v is None else 10 ** (-0.1 * v) for v in values]
    mean = float(np.mean(squares))
    return None if mean == 0 else round(float(-10 * np.log10(mean)), 3)
