"""``napari-flowsr restore``: an image file in, the same without its noise out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli import _rescaling as files
from napari_flowsr.cli._jobs import Job
from napari_flowsr.cli._show import humanly, progress_bar, say, show_json, warn

if TYPE_CHECKING:
    from napari_flowsr.inference.restore import Restored
    from napari_flowsr.io.image_file import ImageFile
    from napari_flowsr.models.card import Model

__all__ = ["restore"]


def restore(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Image file.", show_default=False)
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OUTPUT]",
            help="File to write, such as clean.ome.tif or clean.png.",
            show_default=False,
        ),
    ] = None,
    model: options.ModelOption = "micro-4x",
    normalisation: Annotated[
        str,
        typer.Option(
            "--normalisation",
            help="Which latents are looked at together: spatial (by channel), local "
            "(by position), global, or several with commas.",
        ),
    ] = "spatial,local",
    strength: Annotated[
        float,
        typer.Option("--strength", help="From 0 (leaves the image as it is) to 1."),
    ] = 1.0,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-t",
            help="Spread of the latents after the run, whatever the image is like. "
            "Default: the noise is measured, and what it explains is taken away.",
            show_default=False,
        ),
    ] = None,
    seed: options.SeedOption = 0,
    axes: options.AxesOption = None,
    pixel_size: options.PixelSizeOption = None,
    tile: options.TileOption = "auto",
    device: options.DeviceOption = "auto",
    nan: options.NanOption = "raise",
    precision: options.PrecisionOption = "float32",
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Take noise out of an image; its size, type and range stay.

    Writes OME-TIFF (INPUT-restored.ome.tif) with the pixel size and a record of how it
    was made, unless the name ends in .png or .ome.zarr.

    For example:

    - `napari-flowsr restore noisy.tif clean.ome.tif`
    - `napari-flowsr restore noisy.tif --strength 0.7 --model micro-2x`
    """
    job = Job(
        model=model, temperature=temperature, seed=seed, axes=axes, tile=tile,
        device=device, nan=nan, pixel_size=pixel_size, overwrite=overwrite,
        precision=precision,
    )  # fmt: skip
    target = files.target_of(source, target, "restored")
    files.check(source, {"restored": target}, job)
    facts = _restore_file(source, target, job, normalisation, strength)
    _describe(facts, quiet=as_json)
    if as_json:
        show_json(facts)


def _restore_file(
    source: Path, target: Path, job: Job, normalisation: str, strength: float
) -> dict[str, Any]:
    from napari_flowsr.inference.restore import restored_record
    from napari_flowsr.inference.restorer import check_restores
    from napari_flowsr.io.catalogue import notices
    from napari_flowsr.io.collection import load_model
    from napari_flowsr.io.images import read_image

    image = read_image(source)
    model = load_model(job.model, device=job.device)
    check_restores(model)
    warn(notices(model.card))
    asked: dict[str, Any] = {
        "normalisation": tuple(n.strip() for n in normalisation.lower().split(",")),
        "strength": strength,
        "temperature": job.temperature,
        "seed": job.seed,
        "axes": job.axes or image.axes,
        "nan": job.nan,
        "precision": job.precision,
    }
    restored = _computed(source.name, image, model, job, asked)
    record = restored_record(
        model, image.data, restored, source_name=source.name, **asked
    )
    _write(target, restored, image, record, job)
    report = dict(restored.report)
    return {
        "input": str(source),
        "output": str(target),
        "shape": list(restored.image.shape),
        "model": model.card.name,
        **asked,
        "noise": report["noise"],
        "changed": report["changed"],
        "report": report,
        "seconds": report["seconds"],
    }


def _computed(
    name: str, image: ImageFile, model: Model, job: Job, asked: dict[str, Any]
) -> Restored:
    """Restore, with a progress bar."""
    from napari_flowsr.inference.restore import Restored, restoring

    events = restoring(
        image.data,
        model,
        tile=job.tile_side,  # type: ignore[arg-type]
        device=job.device,
        **asked,
    )
    with progress_bar() as bar:
        task = bar.add_task(name, total=None)
        for event in events:
            if isinstance(event, Restored):
                return event
            bar.update(task, completed=event.done, total=event.total)
    raise RuntimeError("The run ended without its last event.")


def _write(
    path: Path, restored: Restored, image: ImageFile, record: dict[str, Any], job: Job
) -> None:
    from napari_flowsr.inference.axes import parse_axes
    from napari_flowsr.io.atomic import make_folder
    from napari_flowsr.io.images import write_image

    array: Any = restored.image
    axes = parse_axes(record["axes"], array.shape)
    sizes = dict(image.pixel_size or {})
    if job.pixel_size is not None:
        sizes |= {"Y": job.pixel_size, "X": job.pixel_size}
    make_folder(path.parent)
    write_image(
        path,
        array,
        axes=axes,
        pixel_size=sizes or None,
        unit="µm" if sizes else "pixel",
        channel_names=image.channel_names if "C" in axes else (),
        provenance=record,
        overwrite=job.overwrite,
        # Grey levels of a PNG as they are: the image is to keep its range.
        **({"bits": 8 * array.dtype.itemsize} if array.dtype.kind == "u" else {}),
    )


def _describe(facts: dict[str, Any], *, quiet: bool) -> None:
    shape = " × ".join(map(str, facts["shape"]))
    say(f"{facts['input']}: {shape}, {humanly(facts['seconds'])}", quiet=quiet)
    levels = facts["noise"]
    if levels and max(levels) > 0:
        low, high = (f"{100 * f(levels):.2g}" for f in (min, max))
        span = low if low == high else f"{low} to {high}"
        say(f"  noise     {span} % of the range", quiet=quiet)
    elif levels:
        say(
            "  noise     none found: the image is as it was. For other damage give a "
            "--temperature.",
            quiet=quiet,
        )
    say(f"  changed   {100 * facts['changed']:.2g} % of the range (RMS)", quiet=quiet)
    say(f"  restored  {facts['output']}", quiet=quiet)
