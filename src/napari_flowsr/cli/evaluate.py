"""``napari-flowsr evaluate``: figures of models on HR images, next to interpolation."""

from __future__ import annotations

import time
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli._evaluated import draw, tell, with_null
from napari_flowsr.cli._measured import plain, reported
from napari_flowsr.cli._show import progress_bar, say, show_json, warn
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.metrics.evaluate import Evaluated
    from napari_flowsr.models.card import Model
    from napari_flowsr.report.plan import Subject

__all__ = ["evaluate"]

_QUICK_SIDE, _QUICK_SWEEP = 128, 4
_QUICK_TEMPERATURES = "0,0.5,0.8,0.9,1"
_PICTURES = 3
_TEMPERATURES = "0,0.2,0.4,0.6,0.8,0.9,1"


def evaluate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL]... IMAGES...",
            help="High-resolution images: a folder, files, or a pattern; before them "
            "may stand names or files of models.",
            show_default=False,
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Name or file; may be given several times. Default: micro-2x.",
            show_default=False,
        ),
    ] = None,
    priors: Annotated[
        list[str] | None,
        typer.Option(
            "--prior",
            help="Learned prior, by name or file, measured besides the samples. With "
            "several models MODEL=PRIOR, several times.",
            show_default=False,
        ),
    ] = None,
    low: Annotated[
        list[str] | None,
        typer.Option(
            "--lr",
            help="Low-resolution images of the same names, if they were taken too: a "
            "folder, files, or a pattern; may be repeated.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("--samples", "-n", min=1, help="Per image.")] = 8,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", help="Of the samples.")
    ] = 1.0,
    scales: Annotated[
        list[float] | None,
        typer.Option(
            "--scale",
            help="Factor, for models that have several or take any number; may be "
            "given several times.",
            show_default=False,
        ),
    ] = None,
    seed: options.SeedOption = 0,
    side: Annotated[
        int | None,
        typer.Option("--crop", min=16, help="Only the central part, in HR pixels."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--images", min=1, help="At most so many, evenly spaced."),
    ] = None,
    device: options.DeviceOption = "auto",
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write all of it, with curves and pictures, "
                     "into this .html."),
    ] = None,
    temperatures: Annotated[
        str | None,
        typer.Option(
            "--temperatures",
            help=f"Of the report's curves, comma-separated. Default: {_TEMPERATURES}.",
            show_default=False,
        ),
    ] = None,
    sweep: Annotated[
        int | None,
        typer.Option(
            "--sweep",
            min=1,
            help="Samples at each temperature of the curves. Default: as --samples.",
            show_default=False,
        ),
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures",
            min=0,
            help=f"Images that the report shows. Default: {_PICTURES}.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"In minutes: --crop {_QUICK_SIDE} --sweep {_QUICK_SWEEP} "
            f"--temperatures {_QUICK_TEMPERATURES}, where not given.",
        ),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw images and calibration into this .png."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:  # fmt: skip
    """Measure models on images whose true high resolution is known.

    Each image is reduced with the model's own degradation, upscaled again, and compared
    with itself and with interpolation. With a report, models are also compared over
    temperatures; a model of any scale is measured at those that its card suggests.

    For example:

    - `napari-flowsr evaluate micro-2x my-images -n 8`
    - `napari-flowsr evaluate micro-2x 'val/*.tif' --json --figure figures.png`
    - `napari-flowsr evaluate micro-2x micro-4x my-images --report out.html --quick`
    - `napari-flowsr evaluate own.safetensors sharp --lr blurred`
    """
    from napari_flowsr.report.plan import Plan

    names, paths = _models_and_images(models, paths)
    chosen = _priors(priors or [], names)
    if report is None:
        _check_no_report(
            {"--temperatures": temperatures, "--sweep": sweep, "--pictures": pictures}
        )
    if quick:
        side, sweep = side or _QUICK_SIDE, sweep or min(n, _QUICK_SWEEP)
        temperatures = temperatures or _QUICK_TEMPERATURES
    plan = Plan(
        n=n,
        temperature=temperature,
        temperatures=_numbers(temperatures or _TEMPERATURES) if report else (),
        sweep=sweep or n,
        seed=seed,
        side=side,
        limit=limit,
        pictures=(_PICTURES if pictures is None else pictures) if report else 0,
        lr=tuple(low or ()),
    )
    _check_targets(report, figure)
    kept: list[Evaluated] = []
    started = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("Loading", total=None)

        def progress(share: float, name: str) -> None:
            bar.update(task, description=name, completed=share, total=1.0)

        subjects = _subjects(names, chosen, scales or [], device, every=bool(report))
        if figure is not None and len(subjects) > 1:
            raise OptionError(
                f"--figure draws one model at one scale; these are {len(subjects)}. "
                "Use --report, or give one."
            )
        measure = reported if report or chosen else plain
        keep = kept.append if figure is not None else None
        results = measure(paths, subjects, plan, progress, keep, report)
    seconds = time.perf_counter() - started
    _finish(results, seconds, kept, figure, report, as_json=as_json)


def _finish(
    results: list[dict[str, Any]],
    seconds: float,
    kept: list[Evaluated],
    figure: Path | None,
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Draw the figure, and say everything."""
    further: dict[str, Any] = {"seconds": seconds}
    if report is not None:
        further["report_file"] = str(report)
    if figure is not None and kept:
        further["figure"] = str(draw(kept, figure, results[0]))
    if as_json:
        together = results[0] if len(results) == 1 else {"models": results}
        show_json(with_null({**together, **further}))
    else:
        tell(results, seconds)
        for name in ("figure", "report"):
            if path := further.get(name if name == "figure" else "report_file"):
                say(f"{name.capitalize()}: {path}")
    if figure is not None and not kept:
        typer.echo(f"No figure: no image could be decoded for {figure}.", err=True)


# --- what is asked for --------------------------------------------------------


def _models_and_images(
    models: list[str] | None, words: list[str]
) -> tuple[list[str], list[str]]:
    """Models out of the option or the first words, and the rest."""
    from napari_flowsr.io.collection import list_models

    if not models:
        known = [card.name for card in list_models()]
        models = []
        while words and _names_model(words[0], known):
            models, words = [*models, words[0]], words[1:]
        if not models:
            first = words[0]
            there = Path(first).expanduser().exists() or glob(first, recursive=True)
            if not there:
                raise OptionError(
                    f"'{first}' is neither a model nor an image, folder or pattern of "
                    f"images. Known models are {', '.join(known)}; check the name or "
                    "path."
                )
            models = ["micro-2x"]
    if not words:
        raise OptionError("No images were given; name a folder, files or a pattern.")
    return list(dict.fromkeys(models)), words


def _names_model(word: str, known: Sequence[str]) -> bool:
    return word in known or word.endswith((".safetensors", ".pth"))


def _priors(given: Sequence[str], models: Sequence[str]) -> dict[str, str]:
    """Model to its learned prior."""
    found: dict[str, str] = {}
    for text in given:
        model, _, prior = text.partition("=")
        if model not in models or not prior:
            if len(models) > 1:
                raise OptionError(
                    f"--prior is '{text}', but there are {len(models)} models; say "
                    f"which one it belongs to, such as --prior {models[0]}=NAME."
                )
            model, prior = models[0], text
        if model in found:
            raise OptionError(
                f"Two learned priors were given for '{model}'; expected one. Measure "
                "the other one by itself."
            )
        found[model] = prior
    return found


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"--temperatures is '{text}'; expected numbers separated by commas, such "
            f"as {_TEMPERATURES}."
        ) from error


def _check_no_report(given: dict[str, object]) -> None:
    """Refuse options that would do nothing."""
    for name, value in given.items():
        if value is not None:
            raise OptionError(
                f"{name} is about the report, and there is none. Add --report "
                f"FILE.html, or leave {name} out."
            )


def _check_targets(report: Path | None, figure: Path | None) -> None:
    """Refuse files that cannot be written before minutes of work, not after."""
    if report is not None:
        from napari_flowsr.report.page import check_report

        check_report(report)
    if figure is not None:
        from napari_flowsr.figures import check_target

        check_target(figure)


def _subjects(
    names: Sequence[str],
    priors: dict[str, str],
    scales: Sequence[float],
    device: str,
    *,
    every: bool,
) -> list[Subject]:
    from napari_flowsr.io.catalogue import notices
    from napari_flowsr.io.collection import load_model
    from napari_flowsr.report.plan import subjects

    models: list[Model] = []
    for name in names:
        model = load_model(name, device=device, prior=priors.get(name))
        warn(notices(model.card))
        models.append(model)
    return subjects(models, scales, every=every)
