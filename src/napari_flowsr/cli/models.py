"""``napari-flowsr models``: list, inspect, import, export and remove models."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _export
from napari_flowsr.cli._inspect import card_rows, inspected, plain, scales_of
from napari_flowsr.cli._options import JsonOption, OverwriteOption
from napari_flowsr.cli._show import (
    facts,
    progress_bar,
    say,
    show_json,
    show_table,
    warn,
)
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_flowsr.io.catalogue import Entry

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="List, inspect, import, export and remove models."
)
AssumeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--assume",
        help="What an official file cannot tell, as KEY=VALUE; may be repeated.",
    ),
]


def _assumed(pairs: list[str] | None) -> dict[str, Any] | None:
    """Mapping out of ``KEY=VALUE``; values are Python literals, else text."""
    out: dict[str, Any] = {}
    for pair in pairs or ():
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise OptionError(f"--assume is '{pair}'; expected KEY=VALUE.")
        try:
            out[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            out[key] = text
    return out or None


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Show the models at hand, built-in and imported, and the learned priors.

    For example:

    - `napari-flowsr models list`
    """
    from napari_flowsr.io.catalogue import entries

    found = entries()
    if as_json:
        show_json([_told(e) | {"built_in": e.is_built_in} for e in found])
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    headings = ("name", "family", "scales", "channels", "domain", "licence", "from")
    for heading in headings:
        table.add_column(heading)
    for entry in found:
        table.add_row(*_row(entry))
    show_table(table)
    say("\nMore about one: napari-flowsr models inspect NAME")


def _row(entry: Entry) -> tuple[str, ...]:
    where = "built in" if entry.is_built_in else "imported"
    card = entry.card
    if card is None:
        return (entry.name, entry.label, "", "", "", entry.licence, where)
    return (
        card.name,
        card.family,
        scales_of(card),
        str(card.channels),
        card.domain,
        card.licence,
        where,
    )


@app.command()
def inspect(
    model: Annotated[
        str, typer.Argument(help="Name, or path of a model file.", show_default=False)
    ],
    assume: AssumeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a model or a file is: its card, what was inferred, what was assumed.

    Files of the published programs are recognised by their tensors: SRFlow, HCFlow,
    LINF, learned priors, and RRDB encoders alone. Nothing in a file is executed.

    For example:

    - `napari-flowsr models inspect micro-2x`
    - `napari-flowsr models inspect SRFlow_DF2K_4X.pth --assume quant=255`
    """
    from napari_flowsr.io.importing import inspect_file

    found = inspect_file(model, _assumed(assume))
    if as_json:
        show_json(found)
        return
    show_table(facts(inspected(found)))
    warn(found["notices"])


@app.command("import")
def import_(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Model file or learned prior, ours or a published one; or an address, "
            "https://... or hub:owner/name/file.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Its future name. Default: the file's."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            "--licence",
            help="Of the weights, where the file does not tell. Asked for at a "
            "terminal; otherwise 'not stated'.",
            show_default=False,
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            "--sha256",
            help="Of a file that is downloaded; needed for https.",
            show_default=False,
        ),
    ] = None,
    assume: AssumeOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a model under a name, as one self-describing .safetensors with its card.

    Published files are recognised and translated; nothing in them is executed.

    For example:

    - `napari-flowsr models import my-model.safetensors --name nuclei-2x`
    - `napari-flowsr models import SRFlow_DF2K_4X.pth --name srflow-4x`
    - `napari-flowsr models import rrdb-linf.pth --license "asked the authors"`
    """
    from pathlib import Path

    from napari_flowsr.io.download import is_address

    if is_address(file):
        entry = _downloaded(file, sha256, name, licence, _assumed(assume), overwrite)
    elif sha256 is not None:
        raise OptionError("--sha256 is for files that are downloaded. Leave it out.")
    else:
        entry = _imported(Path(file), name, licence, _assumed(assume), overwrite)
    if as_json:
        show_json(_told(entry))
        return
    _say_imported(entry)


def _downloaded(
    address: str,
    sha256: str | None,
    name: str | None,
    licence: str | None,
    assume: dict[str, Any] | None,
    overwrite: bool,
) -> Entry:
    import shutil

    from napari_flowsr.io.download import download, name_in
    from napari_flowsr.io.names import check_new_name

    name = name_in(address) if name is None else name
    check_new_name(name, overwrite=overwrite)  # before the download, not after

    with progress_bar() as bar:
        task = bar.add_task("downloading", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        path = download(address, sha256, progress=progress)
    try:
        return _imported(path, name, licence, assume, overwrite, address)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


def _imported(
    path: Path,
    name: str | None,
    licence: str | None,
    assume: dict[str, Any] | None,
    overwrite: bool,
    address: str = "",
) -> Entry:
    from napari_flowsr.io.importing import import_file

    licence = licence or _asked_for(path)
    return import_file(
        path,
        name,
        licence=licence,
        assume=assume,
        overwrite=overwrite,
        address=address,
    )


def _is_terminal() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _asked_for(path: Path) -> str | None:
    """Licence that a person at a terminal gives, where the file does not tell one."""
    from napari_flowsr.io.importing import known_licence
    from napari_flowsr.models.card import NOT_STATED, is_stated

    if not _is_terminal():
        return None
    if not path.is_file() or is_stated(known_licence(path)):
        return None
    answer: str = typer.prompt(
        "No licence is stated for these weights. Which one do they have, as far as "
        "you know?",
        default=NOT_STATED,
        err=True,
    )
    return answer


def _told(entry: Entry) -> dict[str, Any]:
    if entry.card is not None:
        return {**plain(entry.card), "kind": entry.kind}
    return {
        "name": entry.name,
        "kind": entry.kind,
        "label": entry.label,
        "licence": entry.licence,
    }


def _say_imported(entry: Entry) -> None:
    from napari_flowsr.io.catalogue import licence_notice, notices

    card = entry.card
    if card is None:
        say(
            f"Imported {entry.name}: {entry.label}; licence: {entry.licence}.\nUse it "
            f"with its model: napari-flowsr upscale IMAGE --model MODEL --prior-model "
            f"{entry.name}"
        )
        if entry.licence_is_stated:
            return
        warn([licence_notice(entry.name)])
        return
    say(f"Imported {card.name}: {card.family}, {scales_of(card)}.")
    show_table(facts(card_rows(card)))
    say(f"\nUse it: napari-flowsr upscale IMAGE --model {card.name}")
    warn(notices(card))


app.command("export")(_export.export)


@app.command()
def remove(
    name: Annotated[
        str,
        typer.Argument(help="An imported model or learned prior.", show_default=False),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="model or prior; only where both have the name.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Delete an imported model or learned prior; built-in ones stay.

    For example:

    - `napari-flowsr models remove srflow-4x`
    """
    from napari_flowsr.io.catalogue import remove as delete

    delete(name, kind)
    say(f"Removed {name}.")
