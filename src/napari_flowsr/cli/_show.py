"""What commands share to talk to people: progress with time left, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID
    from rich.table import Table

    from napari_flowsr.inference.events import Event, Result

__all__ = ["counted", "follow", "humanly", "progress_bar", "say", "show_json"]
__all__ += ["show_table", "warn"]


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Progress with elapsed and remaining time, on stderr, gone when it is done.

    Without a terminal nothing is drawn, so that logs stay readable.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar


def follow(events: Iterable[Event], bar: Bar, task: TaskID) -> Result:
    """Show the events of `Posterior.stream` and return the result."""
    from napari_flowsr.inference.events import Finished, Progress

    for event in events:
        if isinstance(event, Progress):
            bar.update(task, completed=event.done, total=event.total)
        elif isinstance(event, Finished):
            return event.result
    raise RuntimeError("The run ended without its last event.")


def say(text: str = "", *, quiet: bool = False) -> None:
    """Line on stdout, unless stdout belongs to JSON."""
    if not quiet:
        typer.echo(text)


def warn(texts: Iterable[str]) -> None:
    """Warnings on stderr, a line each."""
    for text in texts:
        typer.secho("Warning: ", fg="yellow", bold=True, nl=False, err=True)
        typer.echo(text, err=True)


def show_json(value: Any) -> None:
    """JSON on stdout; numbers that JSON lacks become strings."""
    from napari_flowsr.io.content import jsonable

    typer.echo(json.dumps(jsonable(value), indent=2, ensure_ascii=False))


def show_table(table: Table) -> None:
    """Table on stdout; wide enough for its content where stdout is a file."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table)


def counted(number: int, noun: str) -> str:
    """Number and noun, the noun in the plural where it is not one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def humanly(seconds: float) -> str:
    """Duration in words that fit its size."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def facts(rows: Mapping[str, Any]) -> Table:
    """Two-column table without lines."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, str(value))
    return table
