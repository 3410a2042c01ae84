"""``napari-flowsr batch``: images in, a folder out, one bad file ends nothing."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli._jobs import Job
from napari_flowsr.cli._show import counted, humanly, progress_bar, say, show_json
from napari_flowsr.cli.upscale import describe

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["batch"]

_FAILED = 2


def batch(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Folder of images, or one image, such as an OME-Zarr.",
            show_default=False,
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT-FOLDER",
            help="Folder for the results; folders inside are kept.",
            show_default=False,
        ),
    ],
    pattern: Annotated[
        str, typer.Option("--pattern", help="Which files, such as '*.tif'.")
    ] = "*",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also folders inside.")
    ] = False,
    file_format: Annotated[
        str, typer.Option("--format", help="ome.tif, png or ome.zarr.")
    ] = "ome.tif",
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out files whose results exist.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            help="Address of a dask.distributed scheduler, such as tcp://node1:8786; "
            "its workers compute, and need to see the files under the same paths.",
            show_default=False,
        ),
    ] = None,
    model: options.ModelOption = "micro-2x",
    n: options.SamplesOption = None,
    temperature: options.TemperatureOption = None,
    seed: options.SeedOption = 0,
    outputs: options.OutputsOption = "samples",
    scale: options.ScaleOption = None,
    axes: options.AxesOption = None,
    pixel_size: options.PixelSizeOption = None,
    target_pixel_size: options.TargetOption = None,
    prior: options.PriorOption = "gaussian",
    prior_model: options.PriorModelOption = None,
    noise: options.NoiseOption = "per-plane",
    consistent: options.ConsistentOption = False,
    tile: options.TileOption = "auto",
    device: options.DeviceOption = "auto",
    nan: options.NanOption = "raise",
    precision: options.PrecisionOption = "float32",
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Upscale every image of a folder; a file that fails does not stop the others.

    The exit status is 2 if any file failed; the summary names them with the reason.
    With `--format ome.zarr` volumes (T, C, Z) are computed plane by plane, and a run
    that was killed goes on where it was when it is started again.

    For example:

    - `napari-flowsr batch raw upscaled -n 8 --outputs mean,std`
    - `napari-flowsr batch raw upscaled --pattern '*.tif' --recursive --resume`
    - `napari-flowsr batch volume.ome.zarr upscaled --format ome.zarr`
    - `napari-flowsr batch raw upscaled --format ome.zarr --scheduler tcp://node1:8786`
    """
    job = Job(
        model=model, n=n, temperature=temperature, seed=seed, scale=scale, axes=axes,
        prior=prior, noise=noise, consistent=consistent, tile=tile, device=device,
        nan=nan, pixel_size=pixel_size, target_pixel_size=target_pixel_size,
        prior_model=prior_model, outputs=outputs, overwrite=overwrite,
        precision=precision,
    )  # fmt: skip
    from napari_flowsr.jobs.plan import plan_folder

    plan = plan_folder(
        source,
        target,
        job.order.kinds,
        pattern=pattern,
        recursive=recursive,
        file_format=file_format,
    )
    started = time.perf_counter()
    tally = _Tally()
    with progress_bar() as bar:
        _run(plan, job, tally, bar, scheduler=scheduler, resume=resume, quiet=as_json)
    seconds = time.perf_counter() - started
    say(
        f"{len(tally.done)} upscaled, {len(tally.failed)} failed, "
        f"{len(tally.skipped)} left out, {humanly(seconds)}.",
        quiet=as_json,
    )
    if as_json:
        show_json({"model": model, **asdict(tally), "seconds": seconds})
    if tally.failed:
        raise typer.Exit(_FAILED)


@dataclass
class _Tally:
    """What became of the files."""

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def _run(
    plan: dict[Path, dict[str, Path]],
    job: Job,
    tally: _Tally,
    bar: Bar,
    *,
    scheduler: str | None,
    resume: bool,
    quiet: bool,
) -> None:
    from napari_flowsr.jobs.run import run_files

    overall = bar.add_task(counted(len(plan), "file"), total=len(plan))
    job.load()
    shown: dict[Path, TaskID] = {}

    def tell(path: Path, done: int, total: int) -> None:
        if path not in shown:
            shown[path] = bar.add_task(path.name, total=total)
        bar.update(shown[path], completed=done, total=total)

    started = time.perf_counter()
    for found in run_files(
        plan,
        job.order,
        scheduler=scheduler,
        resume=resume,
        overwrite=job.overwrite,
        progress=tell,
    ):
        path = found.source
        if found.error:
            tally.failed.append({"input": str(path), "error": found.error})
            typer.secho(f"{path}: {found.error}", fg="red", err=True)
        elif found.skipped:
            tally.skipped.append(str(path))
        else:
            facts = {**found.facts, "seconds": time.perf_counter() - started}
            tally.done.append(facts)
            describe(facts, quiet=quiet)
        if path in shown:
            bar.remove_task(shown.pop(path))
        bar.advance(overall)
        started = time.perf_counter()
