"""``napari-flowsr rescale``: images made small, and brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli import _rescaling as work
from napari_flowsr.cli._jobs import Job
from napari_flowsr.cli._show import humanly, say, show_json
from napari_flowsr.errors import OptionError

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
    if bits not in ("auto", *work.BITS):
        raise OptionError(f"--bits is '{bits}'; expected auto, 8, 16 or float.")
    files = {"small": work.target_of(source, target, "small")}
    if latents:
        files["latents"] = work.beside(files["small"])
    work.check(source, files, job)
    loaded = work.load(job)
    facts = work.make_small(source, files, job, loaded, bits, check=check)
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
    files = {"restored": work.target_of(source, target, "back")}
    for given in (latents, reference):
        if given is not None and not given.exists():
            raise OptionError(f"There is no file '{given}'. Check the path.")
    work.check(source, files, job)
    loaded = work.load(job)
    facts = work.bring_back(source, files["restored"], job, loaded, latents, reference)
    _describe(facts, "restored", quiet=as_json)
    if as_json:
        show_json(facts)


# --- what is said -------------------------------------------------------------


def _describe(facts: dict[str, Any], kind: str, *, quiet: bool) -> None:
    # Imported here: a help text needs no torch.
    from napari_flowsr.inference.rescale_error import human_bytes

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


def _saved(sizes: dict[str, Any]) -> str:
    from napari_flowsr.inference.rescale_error import human_bytes

    before, after, kept = sizes["before"], sizes["after"], sizes["latents"]
    text = (
        f"{human_bytes(before)} to {human_bytes(after)}, {100 * after / before:.2g} %"
    )
    if kept:
        text += f"; latents {human_bytes(kept)}, {100 * kept / before:.3g} %"
    return text
