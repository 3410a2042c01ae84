"""``napari-flowsr models``: list, inspect, import, export and remove models."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli._options import JsonOption, OverwriteOption
from napari_flowsr.cli._show import facts, say, show_json, show_table
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.models.card import Model, ModelCard

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


def _plain(card: ModelCard) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(card)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Show the models at hand, built-in and imported.

    For example:

    - `napari-flowsr models list`
    """
    from napari_flowsr.io.collection import builtin_folder, list_models

    cards = list_models()
    built_in = {path.stem for path in builtin_folder().glob("*.safetensors")}
    if as_json:
        show_json([{**_plain(c), "built_in": c.name in built_in} for c in cards])
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in (
        "name",
        "family",
        "scales",
        "channels",
        "domain",
        "licence",
        "from",
    ):
        table.add_column(heading)
    for card in cards:
        table.add_row(
            card.name,
            card.family,
            _scales(card),
            str(card.channels),
            card.domain,
            card.licence,
            "built in" if card.name in built_in else "imported",
        )
    show_table(table)
    say("\nMore about one: napari-flowsr models inspect NAME")


def _scales(card: ModelCard) -> str:
    return ", ".join(f"{scale:g}×" for scale in card.scales)


@app.command()
def inspect(
    model: Annotated[
        str, typer.Argument(help="Name, or path of a model file.", show_default=False)
    ],
    assume: AssumeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a model or model file is: its card, configuration and sizes.

    For example:

    - `napari-flowsr models inspect micro-2x`
    - `napari-flowsr models inspect SRFlow_DF2K_4X.pth --assume quant=255`
    """
    from napari_flowsr.io.checkpoint import read_header
    from napari_flowsr.io.collection import find_model, load_model
    from napari_flowsr.io.foreign import describe_unrunnable

    path = find_model(model)
    if read_header(path) is None and (known := describe_unrunnable(path)):
        if as_json:
            show_json(known)
        else:
            show_table(facts({key.capitalize(): known[key] for key in known}))
        return
    loaded = load_model(model, device="cpu", assume=_assumed(assume))
    facts_of = _inspected(loaded, path)
    if as_json:
        show_json(facts_of)
        return
    rows = _rows(loaded.card, facts_of)
    show_table(
        facts({key: value for key, value in rows.items() if value not in ("", "{}")})
    )


def _inspected(model: Model, path: Path) -> dict[str, Any]:
    from dataclasses import asdict, is_dataclass

    flow = model.flow
    config = asdict(flow.config) if is_dataclass(flow.config) else dict(flow.config)  # type: ignore[arg-type]
    side = 8 * flow.multiple_of
    spec = flow.latent_spec((side, side), flow.scales[0])
    return {
        "card": _plain(model.card),
        "config": config,
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "multiple_of": flow.multiple_of,
        "receptive_field": flow.receptive_field,
        "latents": {"lr_size": [side, side], "shapes": [list(s) for s in spec.shapes]},
    }


def _rows(card: ModelCard, found: dict[str, Any]) -> dict[str, Any]:
    def pairs(mapping: Any) -> str:
        return ", ".join(f"{key} {value}" for key, value in mapping.items())

    side = found["latents"]["lr_size"][0]
    shapes = "; ".join(" × ".join(map(str, s)) for s in found["latents"]["shapes"])
    return {
        "Name": card.name,
        "Family": card.family,
        "Scales": _scales(card),
        "Channels": card.channels,
        "Domain": card.domain,
        "Description": card.description,
        "Not for": card.not_for,
        "Licence": card.licence,
        "Parameters": f"{card.parameters:,}",
        "Temperature": f"{card.temperature:g} (default)",
        "Degradation": f"{card.degradation.name} {pairs(card.degradation.parameters)}",
        "Normalisation": f"{card.normalisation.kind}, {card.normalisation.low:g} to "
        f"{card.normalisation.high:g}",
        "Metrics": pairs(card.metrics),
        "Training": pairs(card.training),
        "Inferred": pairs(card.inferred),
        "Assumed": pairs(card.assumed),
        "Configuration": pairs(found["config"]),
        "Latents": f"{shapes} for {side} × {side} input pixels",
        "Receptive field": f"{found['receptive_field']} input pixels to each side",
        "Sides": f"multiples of {found['multiple_of']} inside; any size from outside",
        "File": f"{found['file']} ({found['file_bytes'] / 2**20:.2f} MiB)",
        "SHA-256": card.sha256,
    }


@app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(help="Model file, ours or an official one.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Its future name. Default: the file's."),
    ] = None,
    assume: AssumeOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a model under a name; official files are recognised and translated.

    For example:

    - `napari-flowsr models import my-model.safetensors --name nuclei-2x`
    - `napari-flowsr models import SRFlow_DF2K_4X.pth --name srflow-4x`
    """
    from napari_flowsr.io.collection import import_model

    card = import_model(path, name, assume=_assumed(assume), overwrite=overwrite)
    if as_json:
        show_json(_plain(card))
        return
    say(
        f"Imported {card.name}: {card.family}, {_scales(card)}, {card.parameters:,} "
        f"parameters.\nUse it: napari-flowsr upscale IMAGE --model {card.name}"
    )


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="Name, or path of a model file.", show_default=False)
    ],
    target: Annotated[
        Path, typer.Argument(help="The .safetensors to write.", show_default=False)
    ],
    half: Annotated[
        bool, typer.Option("--half", help="Store float16: half the size.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model as one self-describing .safetensors file.

    For example:

    - `napari-flowsr models export micro-2x shared/micro-2x.safetensors`
    - `napari-flowsr models export micro-2x small.safetensors --half`
    """
    from napari_flowsr.io.collection import export_model, load_model

    if target.is_dir():
        target = target / f"{Path(model).stem}.safetensors"
    if target.suffix != ".safetensors":
        raise OptionError(f"'{target}' must end in .safetensors.")
    if target.exists() and not overwrite:
        raise OptionError(f"'{target}' exists already. Add --overwrite.")
    loaded = load_model(model, device="cpu")
    if half or Path(model).suffix == ".pth":
        import torch

        from napari_flowsr.io.checkpoint import save_model

        dtype = torch.float16 if half else torch.float32
        save_model(target, loaded.flow, loaded.card, dtype=dtype)
    else:
        export_model(model, target)
    sha256 = load_model(target, device="cpu").card.sha256
    if as_json:
        show_json(
            {"file": str(target), "bytes": target.stat().st_size, "sha256": sha256}
        )
        return
    say(f"Wrote {target} ({target.stat().st_size / 2**20:.2f} MiB), SHA-256 {sha256}.")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="An imported model.", show_default=False)],
) -> None:
    """Delete an imported model; built-in ones stay."""
    from napari_flowsr.io.collection import remove_model

    remove_model(name)
    say(f"Removed {name}.")
