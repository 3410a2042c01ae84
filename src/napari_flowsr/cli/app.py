"""The typer application, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from napari_flowsr.cli import (
    batch,
    demo,
    doctor,
    evaluate,
    models,
    rescale,
    restore,
    train,
    upscale,
)
from napari_flowsr.cli._signals import ending_signals
from napari_flowsr.errors import Cancelled, FlowSRError
from napari_flowsr.io.atomic import remedy

__all__ = ["app", "run"]

BAD_INPUT = 2
INTERRUPTED = 130
# typer hides the library that parses; its base of all usage errors is found here.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="napari-flowsr",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Super-resolution with conditional normalizing flows: several plausible "
        "images, their mean, and where they disagree.\n\n"
        "Start with `napari-flowsr demo`."
    ),
)


def _version(asked: bool) -> None:
    if asked:
        from napari_flowsr import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


app.command("demo")(demo.demo)
app.command("upscale")(upscale.upscale)
app.command("batch")(batch.batch)
app.command("restore")(restore.restore)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.add_typer(rescale.app, name="rescale")
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0 is success, 2 bad input (one line on stderr says what and what to do), 130 an
    interruption with Ctrl-C, 143 one with SIGTERM; an error of the program itself
    raises.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of ``sys.argv``.
    """
    with ending_signals() as ending:
        status = _run(arguments)
        if status == INTERRUPTED:
            # CPython remembers an interruption amid code given as text (a dataclass
            # being made by an import), though it was caught, and under `python -m`
            # ends by the signal instead of our status. Running other text forgets it.
            exec("")  # noqa: S102
            typer.secho(
                "Stopped. No half-written file was left.", fg="yellow", err=True
            )
            status = ending.status or status
    return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app(
            args=None if arguments is None else list(arguments),
            prog_name="napari-flowsr",
            standalone_mode=False,
        )
    except _UsageError as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort, Cancelled):
        return INTERRUPTED
    except FlowSRError as error:
        _complain(str(error))
        return BAD_INPUT
    except BrokenPipeError:
        # The reader of a pipe such as `| head` has gone; nobody is left to be told.
        sys.stderr.close()
        return 1
    except OSError as error:
        # Files, folders and disks that do not do what was asked of them.
        _complain(_of_the_system(error))
        return BAD_INPUT
    return status if isinstance(status, int) else 0


def _usage(error: BaseException) -> int:
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return BAD_INPUT
    path = getattr(context, "command_path", "napari-flowsr")
    stop = "" if message.endswith((".", "?", "!")) else "."
    _complain(f"{message}{stop} Try '{path} --help'.")
    return BAD_INPUT


def _of_the_system(error: OSError) -> str:
    name = error.filename
    where = f"'{name}': " if isinstance(name, str) else ""
    return f"{where}{error.strerror or error}. {remedy(error)}"


def _complain(message: str) -> None:
    """One line on stderr, whatever the length: never wrapped by a console."""
    typer.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(" ".join(message.split()), err=True)
