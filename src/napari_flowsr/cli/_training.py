"""What ``train`` says: the presets, and how a training goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_flowsr.cli._show import counted, humanly, say, show_table

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from napari_flowsr.data.source import LeftOut
    from napari_flowsr.training.events import Finished, Started, TrainEvent

__all__ = ["follow_training", "say_how_to_go_on", "show_presets"]

_SHOWN = 10  # images that are left out and named


def show_presets() -> None:
    """Table of the recipes."""
    from rich.table import Table

    from napari_flowsr.training.presets import PRESETS, preset
    from napari_flowsr.training.recipe import sentence

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("preset", style="bold", no_wrap=True)
    for title in ("family", "steps", "what for"):
        table.add_column(title, overflow="fold")
    for name in PRESETS:
        config = preset(name)
        table.add_row(name, config.family, f"{config.steps:,}", sentence(name))
    show_table(table)


def say_how_to_go_on(output: Path) -> None:
    """After an interruption: what is kept, and where."""
    from napari_flowsr.training.paths import state_path
    from napari_flowsr.training.state import read_step

    file = state_path(output.expanduser())
    step = read_step(file)
    if step is None:
        text = "Stopped before the first step; nothing was saved."
    else:
        text = (
            f"The state after step {step} is in {file}. The same command goes on from "
            f"there, and with --finish it writes the model as it is; delete "
            f"{file.parent} to start afresh."
        )
    typer.secho(text, fg="yellow", err=True)


def follow_training(
    events: Iterable[TrainEvent], bar: Bar, *, quiet: bool
) -> dict[str, Any]:
    """Show events; return what is left to report."""
    from napari_flowsr.training import events as kinds

    task = bar.add_task("Loading images", total=None)
    out: dict[str, Any] = {"validation": []}
    for event in events:
        if isinstance(event, kinds.Measuring):
            text = f"Timing the steps of {event.stage} ({event.number}/{event.stages})"
            bar.update(task, description=text)
        elif isinstance(event, kinds.Started):
            out |= _started(event, quiet=quiet)
            bar.update(task, completed=event.step, total=event.total)
        elif isinstance(event, kinds.Step):
            left = humanly(event.seconds_left)
            text = f"{event.stage}: loss {event.loss:.4g}, {left} left"
            bar.update(task, completed=event.step, total=event.total, description=text)
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
            out |= _finished(event, quiet=quiet)
    return out


def _started(event: Started, *, quiet: bool) -> dict[str, Any]:
    going_on = f", going on from step {event.step}" if event.step else ""
    say(
        f"{counted(event.images, 'image')}, {event.parameters:,} parameters, on "
        f"{event.device}{going_on}",
        quiet=quiet,
    )
    _say_left_out(event.left_out, quiet=quiet)
    return {
        "images": event.images,
        "parameters": event.parameters,
        "left_out": [asdict(one) for one in event.left_out],
        "first_step": event.step,
    }


def _finished(event: Finished, *, quiet: bool) -> dict[str, Any]:
    early = "" if event.complete else f" at step {event.step}, before its end"
    say(f"Wrote {event.path} after {humanly(event.seconds)}{early}.", quiet=quiet)
    return {
        "path": str(event.path),
        "seconds": event.seconds,
        "step": event.step,
        "complete": event.complete,
    }


def _say_left_out(left_out: Sequence[LeftOut], *, quiet: bool) -> None:
    for one in left_out[:_SHOWN]:
        say(f"left out: {one.name} ({one.reason})", quiet=quiet)
    if more := len(left_out[_SHOWN:]):
        say(f"left out: {more} more; --json names all", quiet=quiet)
