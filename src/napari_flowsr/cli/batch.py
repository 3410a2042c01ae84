"""``napari-flowsr batch``: a folder in, a folder out, one bad file ends nothing."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _jobs as jobs
from napari_flowsr.cli import _options as options
from napari_flowsr.cli._jobs import Job
from napari_flowsr.cli._show import humanly, progress_bar, say, show_json
from napari_flowsr.cli.upscale import check_distinct, describe
from napari_flowsr.errors import Cancelled, FlowSRError, OptionError
from napari_flowsr.io.atomic import check_writable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["batch"]

_FAILED = 2


def batch(
    source: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder of images.", show_default=False),
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
    model: options.ModelOption = "micro-2x",
    n: options.SamplesOption = None,
    temperature: options.TemperatureOption = None,
    seed: options.SeedOption = 0,
    outputs: options.OutputsOption = "samples",
    scale: options.ScaleOption = None,
    axes: options.AxesOption = None,
    pixel_size: options.PixelSizeOption = None,
    prior: options.PriorOption = "gaussian",
    noise: options.NoiseOption = "per-plane",
    consistent: options.ConsistentOption = False,
    tile: options.TileOption = "auto",
    device: options.DeviceOption = "auto",
    nan: options.NanOption = "raise",
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Upscale every image of a folder; a file that fails does not stop the others.

    The exit status is 2 if any file failed; the summary names them with the reason.

    For example:

    - `napari-flowsr batch raw upscaled -n 8 --outputs mean,std`
    - `napari-flowsr batch raw upscaled --pattern '*.tif' --recursive --resume`
    """
    job = Job(
        model=model, n=n, temperature=temperature, seed=seed, scale=scale, axes=axes,
        prior=prior, noise=noise, consistent=consistent, tile=tile, device=device,
        nan=nan, pixel_size=pixel_size, outputs=outputs, overwrite=overwrite,
    )  # fmt: skip
    sources = _find(source, pattern, recursive, target)
    suffix = _suffix(file_format)
    plan = {
        path: jobs.targets(
            path, job, None, target / path.parent.relative_to(source), suffix
        )
        for path in sources
    }
    check_distinct(plan)
    check_writable(next(iter(plan[sources[0]].values())))
    started = time.perf_counter()
    tally = _Tally()
    with progress_bar() as bar:
        _run(plan, job, tally, bar, resume=resume, quiet=as_json)
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
    resume: bool,
    quiet: bool,
) -> None:
    overall = bar.add_task(f"{len(plan)} files", total=len(plan))
    model = job.load()
    # With --resume, what a stopped run left of a file's several outputs is replaced.
    job = replace(job, overwrite=job.overwrite or resume)
    for path, files in plan.items():
        started = time.perf_counter()
        try:
            if resume and all(jobs.exists(file) for file in files.values()):
                tally.skipped.append(str(path))
                continue
            jobs.check_targets(files, job)
            facts = jobs.upscale_file(path, files, job, model, bar)
        except Cancelled:
            raise
        except (FlowSRError, OSError) as error:
            tally.failed.append({"input": str(path), "error": str(error)})
            typer.secho(f"{path}: {error}", fg="red", err=True)
        else:
            facts["seconds"] = time.perf_counter() - started
            tally.done.append(facts)
            describe(facts, quiet=quiet)
        finally:
            bar.advance(overall)


def _suffix(file_format: str) -> str:
    from napari_flowsr.io.images import WRITABLE

    suffix = f".{file_format.lower().lstrip('.')}"
    if suffix not in WRITABLE:
        raise OptionError(
            f"--format is '{file_format}'; expected ome.tif, png or ome.zarr."
        )
    return suffix


def _find(source: Path, pattern: str, recursive: bool, target: Path) -> list[Path]:
    from napari_flowsr.io.images import READABLE, suffix

    if not source.is_dir():
        raise OptionError(
            f"'{source}' is no folder; for single files use `napari-flowsr upscale`."
        )
    if source.resolve() == target.resolve():
        raise OptionError(
            f"'{target}' is the input folder; give another one for the results."
        )
    found = sorted(source.rglob(pattern) if recursive else source.glob(pattern))
    own = target.resolve()
    chosen = [
        path
        for path in found
        if suffix(path) in READABLE
        and own not in path.resolve().parents
        and not any(part.endswith(".zarr") for part in path.parent.parts)
    ]
    if not chosen:
        raise OptionError(
            f"No image in '{source}' fits '{pattern}'; expected files of "
            f"{', '.join(READABLE)}."
        )
    return chosen
