"""``napari-flowsr rescale``: images made small, and brought back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _jobs as jobs
from napari_flowsr.cli import _options as options
from napari_flowsr.cli._jobs import Job
from napari_flowsr.cli._show import humanly, progress_bar, say, show_json
from napari_flowsr.errors import AxesError, ExportError, OptionError
from napari_flowsr.inference.rescale_error import human_bytes
from napari_flowsr.io.atomic import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_flowsr.inference.rescale_error import Loss
    from napari_flowsr.inference.rescaled import Rescaled
    from napari_flowsr.io.image_file import ImageFile
    from napari_flowsr.models.card import Model

__all__ = ["app"]

app = typer.Typer(
    name="rescale",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make images small by a model that can bring them back.",
)

SourceArgument = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Image file.", show_default=False)
]
TargetArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[OUTPUT]",
        help="File to write, such as small.ome.tif or small.png.",
        show_default=False,
    ),
]
_BITS = {"8": 8, "16": 16, "float": None}


@app.command("down")
def down(
    source: SourceArgument,
    target: TargetArgument = None,
    model: options.ModelOption = "rescale-4x",
    bits: Annotated[
        str,
        typer.Option(
            "--bits",
            help="8, 16, or float (not rounded). auto: those of the image.",
        ),
    ] = "auto",
    latents: Annotated[
        bool,
        typer.Option(
            "--latents",
            help="Write what the small image lacks, too: then it comes back exactly. "
            "Larger than the image.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(help="Bring it back at once to tell the error."),
    ] = True,
    axes: options.AxesOption = None,
    pixel_size: options.PixelSizeOption = None,
    tile: options.TileOption = "auto",
    device: options.DeviceOption = "auto",
    nan: options.NanOption = "raise",
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Make an image small; the result is a picture of its own.

    Writes OME-TIFF (INPUT-small.ome.tif) unless the name ends in .png or .ome.zarr,
    and says how many bytes it saves and what bringing it back costs.

    For example:

    - `napari-flowsr rescale down cell.tif`
    - `napari-flowsr rescale down cell.tif small.ome.tif --bits 8 --latents`
    """
    job = Job(
        model=model, axes=axes, tile=tile, device=device, nan=nan,
        pixel_size=pixel_size, overwrite=overwrite,
    )  # fmt: skip
    if bits not in ("auto", *_BITS):
        raise OptionError(f"--bits is '{bits}'; expected auto, 8, 16 or float.")
    files = {"small": _target(source, target, "small")}
    if latents:
        files["latents"] = _beside(files["small"])
    _check(source, files, job)
    loaded = _load(job)
    facts = _make_small(source, files, job, loaded, bits, check=check)
    _describe(facts, "small", quiet=as_json)
    if as_json:
        show_json(facts)


@app.command("up")
def up(
    source: SourceArgument,
    target: TargetArgument = None,
    model: options.ModelOption = "rescale-4x",
    latents: Annotated[
        Path | None,
        typer.Option(
            "--latents",
            help="File that `rescale down --latents` wrote beside the small image.",
            show_default=False,
        ),
    ] = None,
    temperature: options.TemperatureOption = None,
    seed: options.SeedOption = 0,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="The original, to tell the error."),
    ] = None,
    axes: options.AxesOption = None,
    pixel_size: options.PixelSizeOption = None,
    tile: options.TileOption = "auto",
    device: options.DeviceOption = "auto",
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Bring a small image back: exactly with its latents, sampled without.

    Size, data type and intensities of the original are taken from the record in the
    small image's file.

    For example:

    - `napari-flowsr rescale up cell-small.ome.tif`
    - `napari-flowsr rescale up small.ome.tif back.ome.tif --latents
      small.latents.safetensors`
    """
    job = Job(
        model=model, temperature=temperature, seed=seed, axes=axes, tile=tile,
        device=device, pixel_size=pixel_size, overwrite=overwrite,
    )  # fmt: skip
    files = {"restored": _target(source, target, "back")}
    for given in (latents, reference):
        if given is not None and not given.exists():
            raise OptionError(f"There is no file '{given}'. Check the path.")
    _check(source, files, job)
    loaded = _load(job)
    facts = _bring_back(source, files["restored"], job, loaded, latents, reference)
    _describe(facts, "restored", quiet=as_json)
    if as_json:
        show_json(facts)


# --- files --------------------------------------------------------------------


def _target(source: Path, target: Path | None, what: str) -> Path:
    from napari_flowsr.io import images

    if target is None:
        stem = source.name[: -len(images.suffix(source)) or None]
        return source.with_name(f"{stem}-{what}.ome.tif")
    if images.suffix(target) not in images.WRITABLE:
        raise OptionError(
            f"'{target}' names no format that can be written; expected a name that "
            f"ends in {', '.join(images.WRITABLE)}."
        )
    return target


def _beside(small: Path) -> Path:
    from napari_flowsr.inference.rescaled import SUFFIX
    from napari_flowsr.io import images

    return small.with_name(small.name[: -len(images.suffix(small))] + SUFFIX)


def _check(source: Path, files: dict[str, Path], job: Job) -> None:
    """Refuse what cannot be kept, before the long work."""
    jobs.expand([str(source)])
    for path in files.values():
        if path.resolve() == source.resolve():
            raise OptionError(f"'{source}' would be overwritten by its own result.")
        if path.exists() and not job.overwrite:
            raise ExportError(
                f"'{path}' exists already. Add --overwrite, or name another OUTPUT."
            )
    jobs.check_targets(files, job)


def _load(job: Job) -> Model:
    from napari_flowsr.inference.rescale import load_rescaling

    return load_rescaling(job.model, job.device)


def _sizes(
    image: ImageFile, factor: float, pixel_size: float | None
) -> dict[str, float] | None:
    """Pixel sizes in µm, those of Y and X multiplied."""
    sizes = dict(image.pixel_size or {})
    if pixel_size is not None:
        sizes |= {"Y": pixel_size, "X": pixel_size}
    return {k: v * factor if k in "YX" else v for k, v in sizes.items()} or None


def _write(
    path: Path,
    array: Any,
    axes: str,
    image: ImageFile,
    sizes: dict[str, float] | None,
    provenance: dict[str, Any],
    job: Job,
) -> None:
    from napari_flowsr.io.images import write_image

    make_folder(path.parent)
    write_image(
        path,
        array,
        axes=axes,
        pixel_size=sizes,
        unit="µm" if sizes else "pixel",
        channel_names=image.channel_names if "C" in axes else (),
        provenance=provenance,
        overwrite=job.overwrite,
        # The bytes of 8 and 16 bits as they are: they are to come back.
        **({"bits": 8 * array.dtype.itemsize} if array.dtype.kind == "u" else {}),
    )


def _follow(events: Iterable[Any], name: str) -> Any:
    """Show progress; return the last event."""
    from napari_flowsr.inference.events import Progress

    with progress_bar() as bar:
        task = bar.add_task(name, total=None)
        for event in events:
            if not isinstance(event, Progress):
                return event
            bar.update(task, completed=event.done, total=event.total)
    raise RuntimeError("The run ended without its last event.")


def _file_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


# --- the work -----------------------------------------------------------------


def _make_small(
    source: Path, files: dict[str, Path], job: Job, model: Model, bits: str, *,
    check: bool,
) -> dict[str, Any]:  # fmt: skip
    from napari_flowsr.inference import rescale
    from napari_flowsr.inference.rescale_error import pixel_bytes
    from napari_flowsr.inference.rescale_record import auto_bits, small_record
    from napari_flowsr.inference.rescaled import save_latents
    from napari_flowsr.io.images import read_image

    started = time.perf_counter()
    image = read_image(source)
    wanted = auto_bits(image.data.dtype) if bits == "auto" else _BITS[bits]
    events = rescale.down(
        image.data,
        model,
        bits=wanted,
        axes=job.axes or image.axes,
        tile=job.tile_side,
        device=job.device,
        nan=job.nan,
    )
    made = _follow(events, f"{source.name}: making it small")
    about = made.latents.about
    errors = _errors(image.data, made, job, model, exact="latents" in files, on=check)
    sizes = _sizes(image, about.scale, job.pixel_size)
    record = small_record(model, made, source_name=source.name, nan=job.nan)
    _write(files["small"], made.small, about.axes, image, sizes, record, job)
    if "latents" in files:
        save_latents(files["latents"], made.latents, overwrite=job.overwrite)
    return {
        "input": str(source),
        "outputs": {kind: str(path) for kind, path in files.items()},
        "input_shape": list(about.shape),
        "output_shape": list(about.small_shape),
        "axes": about.axes,
        "bits": about.bits,
        "model": model.card.name,
        "bytes": {
            "before": pixel_bytes(image.data),
            "after": pixel_bytes(made.small),
            "latents": made.latents.nbytes if "latents" in files else None,
        },
        "file_bytes": {
            "before": _file_bytes(source),
            **{kind: _file_bytes(path) for kind, path in files.items()},
        },
        "errors": {kind: loss.facts() for kind, loss in errors.items()},
        "said": {kind: loss.said() for kind, loss in errors.items()},
        "report": dict(made.report),
        "seconds": time.perf_counter() - started,
    }


def _errors(
    image: Any, made: Any, job: Job, model: Model, *, exact: bool, on: bool
) -> dict[str, Loss]:
    """Error of bringing it back: the most likely image, and the exact one."""
    from napari_flowsr.inference.rescale_error import compare
    from napari_flowsr.inference.rescale_up import up as bring_back

    found: dict[str, Loss] = {}
    about = made.latents.about
    ways: dict[str, dict[str, Any]] = {"mode": {"like": about, "temperature": 0.0}}
    if exact:
        ways["with latents"] = {"latents": made.latents}
    for kind, keywords in ways.items() if on else ():
        events = bring_back(
            made.small, model, tile=job.tile_side, device=job.device, **keywords
        )
        restored = _follow(events, f"bringing it back ({kind})")
        found[kind] = compare(image, restored.image, about)[0]
    return found


def _bring_back(
    source: Path,
    target: Path,
    job: Job,
    model: Model,
    latents_file: Path | None,
    reference: Path | None,
) -> dict[str, Any]:
    from napari_flowsr.inference.rescale_error import pixel_bytes
    from napari_flowsr.inference.rescale_record import record_of, restored_record
    from napari_flowsr.inference.rescale_up import up as bring_back
    from napari_flowsr.inference.rescaled import load_latents
    from napari_flowsr.io.content import image_hash
    from napari_flowsr.io.images import read_image

    started = time.perf_counter()
    image = read_image(source)
    latents = None if latents_file is None else load_latents(latents_file)
    about = record_of(image.metadata) if latents is None else latents.about
    small = _in_order(image, about)
    axes = None if about is not None else job.axes or image.axes
    restored = _follow(
        bring_back(
            small, model, latents=latents, like=about, temperature=job.temperature,
            seed=job.seed, axes=axes, tile=job.tile_side, device=job.device,
        ),
        f"{source.name}: bringing it back",
    )  # fmt: skip
    loss = _against(reference, restored.image, restored.about)
    sizes = _sizes(image, 1 / restored.about.scale, job.pixel_size)
    record = restored_record(
        model, restored, exact=latents is not None, small_sha256=image_hash(small),
        temperature=job.temperature, seed=job.seed, source_name=source.name,
    )  # fmt: skip
    _write(target, restored.image, restored.about.axes, image, sizes, record, job)
    return {
        "input": str(source),
        "outputs": {"restored": str(target)},
        "input_shape": list(small.shape),
        "output_shape": list(restored.image.shape),
        "axes": restored.about.axes,
        "model": model.card.name,
        "exact": latents is not None,
        "recorded": about is not None,
        "temperature": record["temperature"],
        "seed": record["seed"],
        "bytes": {"before": pixel_bytes(small), "after": pixel_bytes(restored.image)},
        "file_bytes": {"before": _file_bytes(source), "restored": _file_bytes(target)},
        "errors": {} if loss is None else {"reference": loss.facts()},
        "said": {} if loss is None else {"reference": loss.said()},
        "report": dict(restored.report),
        "seconds": time.perf_counter() - started,
    }


def _in_order(image: ImageFile, about: Rescaled | None) -> Any:
    """Small image with its axes as they were when it was made; files may order them."""
    if about is None or image.axes is None or image.axes == about.axes:
        return image.data
    if sorted(image.axes) != sorted(about.axes):
        return image.data
    return image.data.transpose([image.axes.index(a) for a in about.axes])


def _against(reference: Path | None, back: Any, about: Rescaled) -> Loss | None:
    from napari_flowsr.inference.rescale_error import compare
    from napari_flowsr.io.images import read_image

    if reference is None:
        return None
    original = read_image(reference)
    if original.axes and sorted(original.axes) != sorted(about.axes):
        raise AxesError(
            f"'{reference}' has the axes {original.axes}, the image {about.axes}. Give "
            "the original of the small image."
        )
    return compare(_in_order(original, about), back, about)[0]


# --- what is said -------------------------------------------------------------


def _describe(facts: dict[str, Any], kind: str, *, quiet: bool) -> None:
    sizes = [" × ".join(map(str, facts[k])) for k in ("input_shape", "output_shape")]
    say(
        f"{facts['input']}: {sizes[0]} to {sizes[1]} ({facts['axes']}), "
        f"{humanly(facts['seconds'])}",
        quiet=quiet,
    )
    for name, path in facts["outputs"].items():
        size = facts["file_bytes"][name]
        say(f"  {name:9} {path}, {human_bytes(size)}", quiet=quiet)
    if kind == "small":
        say(f"  pixels    {_saved(facts['bytes'])}", quiet=quiet)
        for name, words in facts["said"].items():
            way = "latents" if name == "with latents" else "back"
            say(f"  {way:9} {words}", quiet=quiet)
        return
    if facts["exact"]:
        say("  detail    exact, from the latents", quiet=quiet)
    else:
        tau = facts["temperature"]
        say(f"  detail    inferred, at temperature {tau:g}", quiet=quiet)
        if not facts["recorded"]:
            say(
                "  The file has no record of the original: its size was taken as a "
                "multiple of the scale.",
                quiet=quiet,
            )
    for words in facts["said"].values():
        say(f"  error     {words}", quiet=quiet)


def _saved(sizes: dict[str, int | None]) -> str:
    before, after, kept = sizes["before"], sizes["after"], sizes["latents"]
    text = (
        f"{human_bytes(before)} to {human_bytes(after)}, "
        f"{100 * (after or 0) / (before or 1):.2g} %"
    )
    if kept:
        text += f"; latents {human_bytes(kept)}, {100 * kept / (before or 1):.3g} %"
    return text
