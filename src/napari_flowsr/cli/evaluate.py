"""``napari-flowsr evaluate``: figures of a model on HR images, next to bicubic."""

from __future__ import annotations

import math
import time
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli._show import (
    humanly,
    progress_bar,
    say,
    show_json,
    show_table,
    warn,
)
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from napari_flowsr.metrics.evaluate import Evaluated

__all__ = ["evaluate"]

_SINGLE = {
    "crps": ("CRPS (fair)", "lower is better; the error of a distribution"),
    "mae_mode": ("Mean absolute error of the mode", "what the CRPS is compared to"),
    "diversity": ("Diversity", "pixel standard deviation of the samples"),
    "bpd": ("Bits per dimension", "lower is better; of the 8-bit image"),
    "coverage_50": ("Coverage of 50 % intervals", "0.50 is perfect"),
    "coverage_90": ("Coverage of 90 % intervals", "0.90 is perfect"),
    "nonfinite": ("Share of exploded decodes", "before any redraw; 0 is perfect"),
}


def evaluate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] IMAGES...",
            help="High-resolution images: a folder, files, or a pattern; before them "
            "may stand the name or file of the model.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Name or file. Default: micro-2x."),
    ] = None,
    n: Annotated[int, typer.Option("--samples", "-n", min=1, help="Per image.")] = 8,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", help="Of the samples.")
    ] = 1.0,
    scale: options.ScaleOption = None,
    seed: options.SeedOption = 0,
    side: Annotated[
        int | None,
        typer.Option("--crop", min=16, help="Only the central part, in HR pixels."),
    ] = None,
    device: options.DeviceOption = "auto",
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw images and calibration into this .png."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure a model on images whose true high resolution is known.

    Each image is reduced with the model's own degradation, upscaled again, and compared
    with itself and with bicubic interpolation.

    For example:

    - `napari-flowsr evaluate micro-2x my-images -n 8`
    - `napari-flowsr evaluate micro-2x 'val/*.tif' --json --figure figures.png`
    """
    from napari_flowsr.io.catalogue import notices
    from napari_flowsr.io.collection import load_model
    from napari_flowsr.metrics.evaluate import evaluate as measure

    model, paths = _model_and_images(model, paths)
    if figure is not None:
        from napari_flowsr.figures import check_target

        check_target(figure)  # before minutes of work, not after
    kept: list[Evaluated] = []
    started = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("Loading", total=None)
        loaded = load_model(model, device=device)
        warn(notices(loaded.card))

        def progress(done: int, total: int) -> None:
            bar.update(task, description="Images", completed=done, total=total)

        result = measure(
            list(paths),
            loaded,
            n=n,
            temperature=temperature,
            scale=scale,
            seed=seed,
            side=side,
            progress=progress,
            keep=kept.append if figure is not None else None,
        )
    result["seconds"] = time.perf_counter() - started
    if figure is not None and kept:
        result["figure"] = str(_draw(kept, figure, result))
    if as_json:
        show_json(_with_null(result))
    else:
        _tell(result)
    if figure is not None and not kept:
        typer.echo(f"No figure: no image could be decoded for {figure}.", err=True)


def _with_null(value: Any) -> Any:
    """Copy with None (null in JSON) for NaN: there is no such figure."""
    if isinstance(value, dict):
        return {key: _with_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_null(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _tell(result: dict[str, Any]) -> None:
    show_table(_table(result))
    say(_single(result))
    for name in result["unstable"]:
        say(f"\nUnstable, in no mean but that of exploded decodes: {name}")
    for item in result["left_out"]:
        say(f"\nLeft out: {item['name']}. {item['reason']}")
    count = len(result["images"])
    say(f"\n{count} image{'s' if count > 1 else ''} in {humanly(result['seconds'])}.")
    if "figure" in result:
        say(f"Figure: {result['figure']}")


def _model_and_images(model: str | None, words: list[str]) -> tuple[str, list[str]]:
    """Model out of the option or the first word, and the rest."""
    from napari_flowsr.io.collection import list_models

    if model is None:
        first, known = words[0], [card.name for card in list_models()]
        if first in known or first.endswith((".safetensors", ".pth")):
            model, words = first, words[1:]
        elif Path(first).expanduser().exists() or glob(first, recursive=True):
            model = "micro-2x"
        else:
            raise OptionError(
                f"'{first}' is neither a model nor an image, folder or pattern of "
                f"images. Known models are {', '.join(known)}; check the name or path."
            )
    if not words:
        raise OptionError("No images were given; name a folder, files or a pattern.")
    return model, words


def _table(result: dict[str, Any]) -> Table:
    from rich.table import Table

    count = result["counts"]["psnr"]
    table = Table(
        title=f"{result['model']}, {result['scale']:g}×, mean over {count} "
        f"image{'' if count == 1 else 's'}, {result['n']} samples at temperature "
        f"{result['temperature']:g}"
    )
    table.add_column("")
    for name in ("bicubic", "mode (τ = 0)", "sample", "mean"):
        table.add_column(name, justify="right")
    for key, label, digits in (
        ("psnr", "PSNR, dB", 2),
        ("ssim", "SSIM", 4),
        ("lr_psnr", "LR-PSNR, dB", 2),
    ):
        row = result["mean"][key]
        values = [row[k] for k in ("bicubic", "mode", "sample", "mean")]
        table.add_row(label, *(_number(value, digits) for value in values))
    return table


def _number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _single(result: dict[str, Any]) -> str:
    mean = result["mean"]
    ratio = mean["crps"] / mean["mae_mode"] if mean["mae_mode"] else math.nan
    lines = [
        f"{label:34}{_number(mean[key]):>9}   {meaning}{_floor(result, key)}"
        for key, (label, meaning) in _SINGLE.items()
    ]
    lines.insert(
        2,
        f"{'CRPS / error of the mode':34}{_number(ratio):>9}"
        "   0.7075: calibrated Gaussian",
    )
    return "\n".join(lines)


def _floor(result: dict[str, Any], key: str) -> str:
    """What the number of samples allows a coverage to show."""
    floor = result["coverage_floor"].get(key, 0.0)
    if not floor:
        return ""
    n = f"{result['n']} sample{'' if result['n'] == 1 else 's'}"
    if math.isnan(result["mean"][key]) and result["counts"]["psnr"]:
        return f"; {n} cannot tell, take more"
    return f"; {n} cannot show less than {floor:.2f}"


def _draw(kept: list[Evaluated], path: Path, result: dict[str, Any]) -> Path:
    from napari_flowsr.figures import evaluation_figure, save_figure

    title = (
        f"{result['model']}, {result['scale']:g}×, {len(kept)} "
        f"image{'' if len(kept) == 1 else 's'}, {result['n']} samples at temperature "
        f"{result['temperature']:g}"
    )
    return save_figure(evaluation_figure(kept, title=title), path, dpi=110)
