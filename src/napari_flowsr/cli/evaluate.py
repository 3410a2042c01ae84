"""``napari-flowsr evaluate``: figures of a model on HR images, next to bicubic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli._show import humanly, progress_bar, say, show_json, show_table
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
    "nonfinite": ("Share of non-finite decodes", "0 is perfect"),
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
    from napari_flowsr.io.collection import load_model
    from napari_flowsr.metrics.evaluate import evaluate as measure

    model, paths = _model_and_images(model, paths)
    kept: list[Evaluated] = []
    started = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("Loading", total=None)
        loaded = load_model(model, device=device)

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
    if figure is not None:
        result["figure"] = str(_draw(kept, figure, result))
    if as_json:
        show_json(result)
        return
    show_table(_table(result))
    say(_single(result["mean"]))
    count = len(result["images"])
    say(f"\n{count} image{'s' if count > 1 else ''} in {humanly(result['seconds'])}.")
    if figure is not None:
        say(f"Figure: {figure}")


def _model_and_images(model: str | None, words: list[str]) -> tuple[str, list[str]]:
    """Model out of the option or the first word, and the rest."""
    from napari_flowsr.io.collection import list_models

    if model is None:
        first = words[0]
        named = first in {card.name for card in list_models()}
        if named or first.endswith((".safetensors", ".pth")):
            model, words = first, words[1:]
        else:
            model = "micro-2x"
    if not words:
        raise OptionError("No images were given; name a folder, files or a pattern.")
    return model, words


def _table(result: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{result['model']}, {result['scale']:g}×, mean over "
        f"{len(result['images'])} images, {result['n']} samples at temperature "
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
        table.add_row(label, *(f"{value:.{digits}f}" for value in values))
    return table


def _single(mean: dict[str, Any]) -> str:
    lines = [
        f"{label:34}{mean[key]:9.4f}   {meaning}"
        for key, (label, meaning) in _SINGLE.items()
    ]
    ratio = mean["crps"] / mean["mae_mode"] if mean["mae_mode"] else float("nan")
    lines.insert(
        2, f"{'CRPS / error of the mode':34}{ratio:9.4f}   0.7075: calibrated Gaussian"
    )
    return "\n".join(lines)


def _draw(kept: list[Evaluated], path: Path, result: dict[str, Any]) -> Path:
    from napari_flowsr.figures import evaluation_figure, save_figure

    title = f"{result['model']}, {result['scale']:g}×, {len(kept)} images"
    return save_figure(evaluation_figure(kept, title=title), path, dpi=110)
