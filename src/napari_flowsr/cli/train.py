"""``napari-flowsr train``: a model of one's own, with progress and time left."""

from __future__ import annotations

import ast
import os
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli._options import JsonOption
from napari_flowsr.cli._show import progress_bar, say, show_json
from napari_flowsr.cli._training import (
    follow_training,
    say_how_to_go_on,
    show_presets,
)
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.data.files import ArrayImage
    from napari_flowsr.training.config import TrainConfig

    Source = list[str | Path | ArrayImage]

__all__ = ["train"]

_SHARE = re.compile(r"(\d+(?:\.\d*)?)\s*%")


def _list_presets(wanted: bool) -> None:
    if wanted:
        show_presets()
        raise typer.Exit


def train(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="High-resolution training images: a folder, files, or a pattern.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The .safetensors to write.", show_default=False
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Recipe; --list-presets names them. Default: compact-2x, or the one "
            "of the model to start from.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file with a recipe of your own."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="One field of the recipe, as NAME=VALUE; may be repeated."
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option("--scale", help="Of the preset: --preset compact --scale 4."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Time to train; the steps of all stages are scaled to fit.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps of every stage, for a short try."),
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            "--degradation",
            help="How LR images are made, such as matlab-bicubic, "
            "area:read_noise=0.01, gaussian:sigma=1.5,photons=200 or "
            "gaussian:na=1.4,wavelength_nm=520,pixel_nm=65.",
        ),
    ] = None,
    low: Annotated[
        list[str] | None,
        typer.Option(
            "--lr",
            help="Low-resolution images of the same names, if they were taken too: a "
            "folder, files, or a pattern; may be repeated.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            help="Images for the figures during training, or a share of the training "
            "images to hold out, such as 10%.",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            help="Model to go on from (fine-tuning): a name or a file.",
        ),
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(
            "--perceptual-weights",
            help="File of VGG weights, for recipes with a perceptual loss.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the model. Default: that of the output."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")
    ] = None,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", help="Write the model of an interrupted training as it is."
        ),
    ] = False,
    import_it: Annotated[
        bool,
        typer.Option("--import", help="Keep the model in the collection, by its name."),
    ] = False,
    as_json: JsonOption = False,
    list_presets: Annotated[
        bool,
        typer.Option(
            "--list-presets",
            help="Name the recipes, and exit.",
            is_eager=True,
            callback=_list_presets,
        ),
    ] = False,
) -> None:
    """Train a model on your own images, or go on with an interrupted training.

    Ctrl-C saves the state in the folder OUTPUT.training and stops; the same command
    goes on from there. With several GPUs: torchrun -m napari_flowsr train ...

    For example:

    - `napari-flowsr train my-images -o nuclei-2x.safetensors --minutes 30`
    - `napari-flowsr train my-images -o own.safetensors --start-from micro-2x
      --minutes 5 --validation 10% --import`
    - `napari-flowsr train sharp -o psf.safetensors --degradation gaussian:sigma=1.5`
    - `napari-flowsr train sharp --lr blurred -o pairs.safetensors`
    - `napari-flowsr train my-images -o own.safetensors --config recipe.toml`
    """
    from napari_flowsr.data.degradation import PAIRED, Degradation
    from napari_flowsr.training.control import Control
    from napari_flowsr.training.trainer import train as run

    changes = _settings(setting)
    if degradation is not None and low:
        raise OptionError(
            "--degradation and --lr were both given: with LR images of your own there "
            "is nothing to make. Leave one of them out."
        )
    if low:
        changes["degradation"] = Degradation(PAIRED)
    elif degradation is not None:
        changes["degradation"] = Degradation.parse(degradation)
    given = {
        "minutes": minutes,
        "device": device,
        "name": name,
        "perceptual_weights": perceptual_weights and str(perceptual_weights),
    }
    changes |= {key: value for key, value in given.items() if value is not None}
    recipe = _recipe(preset, config, scale, steps, start_from or "", changes)
    if import_it:
        _check_name(recipe.name or output.stem)
    images, held_out, pairs = _images(source, validation, low, recipe)
    control = Control()
    if finish:
        _check_state(output)
        control.finish()
    first = int(os.environ.get("RANK", 0)) == 0  # one process of several talks
    quiet = as_json or not first
    try:
        with (
            closing(
                run(
                    images,
                    recipe,
                    output,
                    validation=held_out,
                    lr_source=pairs,
                    control=control,
                )
            ) as events,
            progress_bar() as bar,
        ):
            summary = follow_training(events, bar, quiet=quiet)
    except KeyboardInterrupt:
        if first:
            say_how_to_go_on(output)
        raise
    if first:
        summary |= _after(Path(summary["path"]), recipe, import_it, quiet=quiet)
    if as_json and first:
        show_json(summary)


def _settings(setting: list[str] | None) -> dict[str, Any]:
    """Fields of the recipe from ``NAME=VALUE``."""
    changes: dict[str, Any] = {}
    for pair in setting or ():
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise OptionError(f"--set is '{pair}'; expected NAME=VALUE.")
        try:
            changes[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            changes[key] = text
        if key == "model" and not isinstance(changes[key], dict):
            raise OptionError(
                f"--set is '{pair}'; expected fields of the network, such as "
                'model={"width": 32}.'
            )
    return changes


def _recipe(
    preset: str | None,
    path: Path | None,
    scale: float | None,
    steps: int | None,
    start_from: str,
    changes: dict[str, Any],
) -> TrainConfig:
    from dataclasses import replace

    from napari_flowsr.training.config import load_config
    from napari_flowsr.training.recipe import fitting, named, recipe

    if preset is not None and path is not None:
        raise OptionError("Give --preset or --config, not both.")
    if path is not None and scale is not None:
        raise OptionError(
            "--scale chooses among presets; a recipe of your own has its scale in "
            "`model`. Leave --scale out."
        )
    given: str | TrainConfig
    if path is not None:
        given = load_config(path)
    elif preset is None and start_from and scale is None and "model" not in changes:
        given = fitting(start_from)
    else:
        given = named(preset or "compact", scale)
    found = recipe(given, start_from=start_from, **changes)
    if steps is None:
        return found
    return found.with_(stages=tuple(replace(s, steps=steps) for s in found.stages))


def _images(
    source: list[str], validation: str | None, low: list[str] | None, recipe: Any
) -> tuple[Source, Source | None, Source | None]:
    """Images to train on, to measure with, and LR images."""
    from napari_flowsr.training.held_out import hold_out
    from napari_flowsr.training.recipe import scale_of

    pairs: Source = [*(low or ())]
    share = _SHARE.fullmatch(validation.strip()) if validation else None
    if share is None:
        return [*source], [validation] if validation else None, pairs or None
    split = hold_out(
        source,
        float(share[1]) / 100,
        lr=pairs,
        scale=scale_of(recipe),
        seed=recipe.seed,
    )
    lr: Source = [*split.lr_training, *split.lr_validation]
    return [*split.training], [*split.validation], lr or None


def _check_name(name: str) -> None:
    from napari_flowsr.io.names import check_new_name

    check_new_name(name, "model")


def _check_state(output: Path) -> None:
    from napari_flowsr.training.paths import state_path

    file = state_path(output.expanduser())
    if not file.exists():
        raise OptionError(
            f"--finish was given, but there is no state of an interrupted training "
            f"({file}). Give the output of that training."
        )


def _after(
    path: Path, recipe: TrainConfig, import_it: bool, *, quiet: bool
) -> dict[str, Any]:
    """Import the model, or tell how to."""
    if not import_it:
        say(f"Keep it under a name: napari-flowsr models import {path}", quiet=quiet)
        return {}
    from napari_flowsr.io.importing import import_file

    entry = import_file(path, recipe.name or path.stem)
    option = "-m" if entry.kind == "model" else "-m MODEL --prior-model"
    say(
        f"It is in the collection: napari-flowsr upscale IMAGE {option} {entry.name}",
        quiet=quiet,
    )
    return {"imported": entry.name}
