"""``napari-flowsr models export``: a model as one file, for us or for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli._options import JsonOption, OverwriteOption
from napari_flowsr.cli._show import say, show_json
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from napari_flowsr.models.card import Model

__all__ = ["export"]

_SUFFIXES = (".safetensors", ".pt2", ".zip")


def export(
    model: Annotated[
        str, typer.Argument(help="Name, or path of a model file.", show_default=False)
    ],
    target: Annotated[
        Path,
        typer.Argument(
            help="File to write; its end names the format: .safetensors, .pt2 or "
            ".bioimageio.zip.",
            show_default=False,
        ),
    ],
    half: Annotated[
        bool,
        typer.Option("--half", help="Store float16: half the size (.safetensors)."),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="HEIGHTxWIDTH",
            help="LR image that a .pt2 is traced with; for networks of any scale the "
            "only one that it takes.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale", help="Of a .pt2 of a network of any scale.", show_default=False
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            "--licence",
            help="SPDX identifier for a package of bioimage.io, such as CC-BY-4.0, "
            "where the card has none.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model as one file, for this program or for others.

    **.safetensors**: one self-describing file, for napari-flowsr.

    **.pt2**: the program `g(lr, latents) -> hr` by torch.export, which runs with torch
    alone; it is reloaded and compared with the network before it is kept. Images are
    in [0, 1]; latents are a list of normal numbers times the temperature, finest level
    first. Height and width of the image, and with them those of the latents, are free,
    in multiples of what the network needs; the batch is 1. Networks of any scale
    (LINF) take the one `--size` and `--scale` that they were exported with.

    **.bioimageio.zip**: a package of bioimage.io with TorchScript, for networks whose
    program does not depend on the size of the image, so not for LINF. It needs the
    extra `bioimageio`, and a licence that has an SPDX identifier.

    For example:

    - `napari-flowsr models export micro-2x shared/micro-2x.safetensors --half`
    - `napari-flowsr models export micro-2x micro-2x.pt2`
    - `napari-flowsr models export rrdb-linf.pth linf.pt2 --size 64x96 --scale 3.3`
    """
    if target.is_dir():
        target = target / f"{Path(model).stem}.safetensors"
    _check(target, half, size, scale, licence, overwrite)
    if target.suffix == ".pt2":
        facts = _program(model, target, size, scale)
    elif target.suffix == ".zip":
        facts = _package(model, target, licence)
    else:
        facts = _own(model, target, half)
    said = facts.pop("said", "")
    facts = {"file": str(target), "bytes": target.stat().st_size, **facts}
    if as_json:
        show_json(facts)
        return
    say(
        f"Wrote {target} ({target.stat().st_size / 2**20:.2f} MiB), SHA-256 "
        f"{facts['sha256']}.{said}"
    )


def _check(
    target: Path,
    half: bool,
    size: str | None,
    scale: float | None,
    licence: str | None,
    overwrite: bool,
) -> None:
    suffix = target.suffix
    if suffix not in _SUFFIXES:
        raise OptionError(f"'{target}' must end in {', '.join(_SUFFIXES)}.")
    wrong = {
        "--half": half and suffix != ".safetensors",
        "--size": size is not None and suffix != ".pt2",
        "--scale": scale is not None and suffix != ".pt2",
        "--license": licence is not None and suffix != ".zip",
    }
    for option, is_wrong in wrong.items():
        if is_wrong:
            raise OptionError(f"{option} says nothing for a {suffix}. Leave it out.")
    if target.exists() and not overwrite:
        raise OptionError(f"'{target}' exists already. Add --overwrite.")


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, separator, width = text.lower().partition("x")
    try:
        sides = int(height), int(width)
    except ValueError:
        sides = 0, 0
    if not separator or min(sides) < 1:
        raise OptionError(
            f"--size is '{text}'; give height and width in pixels, such as 64x96."
        )
    return sides


def _loaded(model: str) -> Model:
    from napari_flowsr.io.collection import load_model

    return load_model(model, device="cpu")


def _program(
    model: str, target: Path, size: str | None, scale: float | None
) -> dict[str, Any]:
    from dataclasses import asdict

    from napari_flowsr.io.content import file_sha256
    from napari_flowsr.io.program import export_program

    facts = export_program(_loaded(model), target, size=_sides(size), scale=scale)
    shapes = "; ".join(" × ".join(map(str, shape)) for shape in facts.latent_shapes)
    said = (
        f"\nIt takes a {facts.sizes}; latents {shapes or 'none'} for "
        f"{facts.lr_size[0]} × {facts.lr_size[1]}. Reloaded, it differs from the "
        f"network by {facts.difference:.1e} at most."
    )
    return {**asdict(facts), "sha256": file_sha256(target), "said": said}


def _package(model: str, target: Path, licence: str | None) -> dict[str, Any]:
    from napari_flowsr.io.bioimage import export_package
    from napari_flowsr.io.content import file_sha256

    export_package(_loaded(model), target, licence=licence)
    return {"sha256": file_sha256(target)}


def _own(model: str, target: Path, half: bool) -> dict[str, Any]:
    from napari_flowsr.io.collection import export_model, load_model

    if half or Path(model).suffix in {".pth", ".pt"}:
        import torch

        from napari_flowsr.io.checkpoint import save_model

        loaded = _loaded(model)
        dtype = torch.float16 if half else torch.float32
        save_model(target, loaded.flow, loaded.card, dtype=dtype)
    else:
        export_model(model, target)
    return {"sha256": load_model(target, device="cpu").card.sha256}
