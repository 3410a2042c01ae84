"""``napari-flowsr upscale``: image files in, upscaled image files out."""

from __future__ import annotations

import time
from glob import has_magic
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_flowsr.cli import _jobs as jobs
from napari_flowsr.cli import _options as options
from napari_flowsr.cli._jobs import Job
from napari_flowsr.cli._show import (
    counted,
    humanly,
    progress_bar,
    say,
    show_json,
    warn,
)
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.agreement import disagreement

__all__ = ["describe", "upscale"]


def upscale(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... [OUTPUT]",
            help="Image files or patterns such as 'data/*.tif'. With one input, a "
            "second name that does not exist yet is the output; a folder at the end "
            "is the output folder.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write, for one input."),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-d", help="Folder to write to.")
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
    """Upscale images: several plausible versions, their mean, where they disagree.

    Writes OME-TIFF with the pixel size and a record of how it was made; a name ending
    in .png or .ome.zarr chooses that format.

    For example:

    - `napari-flowsr upscale cell.tif cell-2x.ome.tif`
    - `napari-flowsr upscale cell.tif -n 8 --outputs samples,mean,std`
    - `napari-flowsr upscale 'raw/*.tif' --output-dir upscaled --model micro-4x`
    """
    job = Job(
        model=model, n=n, temperature=temperature, seed=seed, scale=scale, axes=axes,
        prior=prior, noise=noise, consistent=consistent, tile=tile, device=device,
        nan=nan, pixel_size=pixel_size, target_pixel_size=target_pixel_size,
        prior_model=prior_model, outputs=outputs, overwrite=overwrite,
        precision=precision,
    )  # fmt: skip
    sources, output, output_dir = _sort_out(paths, output, output_dir)
    from napari_flowsr.jobs.plan import check_distinct, targets

    kinds = job.order.kinds
    plan = {s: targets(s, kinds, output, output_dir) for s in sources}
    check_distinct(plan)
    for files in plan.values():
        jobs.check_targets(files, job)
    results: list[dict[str, Any]] = []
    with progress_bar() as bar:
        loaded = job.load()
        for source, files in plan.items():
            started = time.perf_counter()
            facts = jobs.upscale_file(source, files, job, bar)
            facts |= {
                "model": loaded.card.name,
                "seconds": time.perf_counter() - started,
            }
            results.append(facts)
            describe(facts, quiet=as_json)
    if as_json:
        show_json(results)


def describe(facts: dict[str, Any], *, quiet: bool = False) -> None:
    """Say what was made of one file."""
    sizes = [" × ".join(map(str, facts[k])) for k in ("input_shape", "output_shape")]
    say(
        f"{facts['input']}: {sizes[0]} to {sizes[1]} ({facts['axes']}), "
        f"{counted(facts['n'], 'sample')}, "
        f"{humanly(facts['seconds'])}",
        quiet=quiet,
    )
    for row in facts["outputs"]:
        say(f"  {row['kind']:8} {row['path']}", quiet=quiet)
    if doubt := disagreement(facts["report"]):
        say(f"Warning: {doubt}", quiet=quiet)
    warn(facts["report"].get("notices", ()))


def _sort_out(
    paths: list[str], output: Path | None, folder: Path | None
) -> tuple[list[Path], Path | None, Path | None]:
    """Inputs, output file and output folder out of names and options."""
    from napari_flowsr.io import images

    if output is not None and folder is not None:
        raise OptionError("Give --output or --output-dir, not both.")
    last = Path(paths[-1])
    if output is None and folder is None and len(paths) > 1:
        if last.is_dir() and not images.suffix(last):
            paths, folder = paths[:-1], last
        elif not last.exists() and images.suffix(last) in images.WRITABLE:
            paths, output = paths[:-1], last
        elif not last.exists() and not has_magic(paths[-1]):
            raise OptionError(
                f"There is no file '{last}'. As an input, check its path; the name of "
                f"an output must end in {', '.join(images.WRITABLE)}."
            )
        elif len(paths) == 2 and last.exists() and last.samefile(paths[0]):
            raise OptionError(f"'{last}' would be overwritten by its own result.")
    sources = jobs.expand(paths)
    if output is None and folder is None and len(paths) == 2 and len(sources) == 2:
        raise OptionError(
            f"'{paths[0]}' and '{paths[1]}' both exist, so the second may be an input "
            "or the output. Say --output or --output-dir."
        )
    if output is not None and len(sources) > 1:
        raise OptionError(
            f"One output, '{output}', was given for {len(sources)} inputs; use "
            "--output-dir."
        )
    return sources, output, folder
