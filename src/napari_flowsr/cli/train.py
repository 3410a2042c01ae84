"""``napari-flowsr train``: a model of one's own, with progress and time left."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli._options import JsonOption
from napari_flowsr.cli._show import counted, humanly, progress_bar, say, show_json
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from napari_flowsr.data.source import LeftOut
    from napari_flowsr.training.config import TrainConfig
    from napari_flowsr.training.events import TrainEvent

__all__ = ["train"]

_SHOWN = 10  # images that are left out and named


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
        typer.Option("--preset", "-p", help="Recipe. Default: compact-2x."),
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
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps of every stage, for a short try."),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option("--validation", help="Images for the figures during training."),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            help="Model to fine-tune: a name or a file, of the same network.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model on your own images, or go on with an interrupted training.

    Ctrl-C saves the state in the folder OUTPUT.training and stops; the same command
    goes on from there. With several GPUs: torchrun -m napari_flowsr train ...

    For example:

    - `napari-flowsr train my-images -o nuclei-2x.safetensors`
    - `napari-flowsr train my-images -o try.safetensors --steps 200 --set seed=1`
    - `napari-flowsr train my-images -o own.safetensors --config recipe.toml`
    - `napari-flowsr train my-images -o own.safetensors --start-from micro-2x`
    """
    from napari_flowsr.training.trainer import train as run

    recipe = _recipe(preset, config, setting, steps, device, start_from)
    first = int(os.environ.get("RANK", 0)) == 0  # one process of several talks
    try:
        with (
            closing(run(list(source), recipe, output, validation=validation)) as events,
            progress_bar() as bar,
        ):
            summary = _follow(events, bar, quiet=as_json or not first)
    except KeyboardInterrupt:
        if first:
            _say_how_to_go_on(output)
        raise
    if as_json and first:
        show_json(summary)


def _say_how_to_go_on(output: Path) -> None:
    from napari_flowsr.training.state import read_step, state_path

    file = state_path(output.expanduser())
    step = read_step(file)
    if step is None:
        text = "Stopped before the first step; nothing was saved."
    else:
        text = (
            f"The state after step {step} is in {file}. The same command goes on from "
            f"there; delete {file.parent} to start afresh."
        )
    typer.secho(text, fg="yellow", err=True)


def _recipe(
    preset: str | None,
    path: Path | None,
    setting: list[str] | None,
    steps: int | None,
    device: str | None,
    start_from: str | None,
) -> TrainConfig:
    from dataclasses import replace

    from napari_flowsr.training.config import load_config
    from napari_flowsr.training.presets import preset as find

    if preset is not None and path is not None:
        raise OptionError("Give --preset or --config, not both.")
    recipe = load_config(path) if path is not None else find(preset or "compact-2x")
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
    if device is not None:
        changes["device"] = device
    if start_from is not None:
        changes["start_from"] = start_from
    if steps is not None:
        changes["stages"] = tuple(replace(s, steps=steps) for s in recipe.stages)
    return recipe.with_(**changes) if changes else recipe


def _say_left_out(left_out: Sequence[LeftOut], *, quiet: bool) -> None:
    for one in left_out[:_SHOWN]:
        say(f"left out: {one.name} ({one.reason})", quiet=quiet)
    if more := len(left_out[_SHOWN:]):
        say(f"left out: {more} more; --json names all", quiet=quiet)


def _follow(events: Iterable[TrainEvent], bar: Bar, *, quiet: bool) -> dict[str, Any]:
    """Show events; return what is left to report."""
    from napari_flowsr.training import events as kinds

    task = bar.add_task("Loading images", total=None)
    out: dict[str, Any] = {"validation": []}
    for event in events:
        if isinstance(event, kinds.Started):
            going_on = f", going on from step {event.step}" if event.step else ""
            say(
                f"{counted(event.images, 'image')}, {event.parameters:,} parameters, "
                f"on {event.device}{going_on}",
                quiet=quiet,
            )
            _say_left_out(event.left_out, quiet=quiet)
            out |= {"images": event.images, "parameters": event.parameters}
            out["left_out"] = [asdict(one) for one in event.left_out]
            out["first_step"] = event.step
            bar.update(task, completed=event.step, total=event.total)
        elif isinstance(event, kinds.Step):
            left = humanly(event.seconds_left)
            text = f"{event.stage}: loss {event.loss:.4g}, {left} left"
            bar.update(task, completed=event.step, description=text)
            out["loss"] = event.loss
        elif isinstance(event, kinds.Checkpoint) and bar.disable:
            # Logs have no bar; a line now and then tells how far it is.
            done = f"step {event.step}/{bar.tasks[task].total:.0f}"
            say(f"{done}, {bar.tasks[task].description}", quiet=quiet)
        elif isinstance(event, kinds.Validation):
            figures = ", ".join(f"{k} {v:.4g}" for k, v in event.metrics.items())
            say(f"step {event.step} ({event.stage}): {figures}", quiet=quiet)
            out["validation"].append({"step": event.step, **event.metrics})
        elif isinstance(event, kinds.Finished):
            say(f"Wrote {event.path} after {humanly(event.seconds)}.", quiet=quiet)
            say(
                f"Keep it under a name: napari-flowsr models import {event.path}",
                quiet=quiet,
            )
            out |= {"path": str(event.path), "seconds": event.seconds}
            out["step"] = event.step
    return out
