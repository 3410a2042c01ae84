"""``napari-flowsr demo``: the built-in model on a bundled microscopy image."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_flowsr.cli import _options as options
from napari_flowsr.cli._show import follow, humanly, progress_bar, say, show_json
from napari_flowsr.cli._signals import signals_end_at_once
from napari_flowsr.errors import OptionError
from napari_flowsr.io.atomic import check_writable, make_folder

if TYPE_CHECKING:
    from napari_flowsr.inference.events import Result
    from napari_flowsr.inference.posterior import Posterior

__all__ = ["demo"]

MODEL = "micro-2x"
# scikit-image's `cell`: a cell floating in saline, quantitative phase image retrieved
# from a digital hologram; its documentation gives this pixel spacing.
PIXEL_UM = 0.107
_QT_REMEDY = (
    "Install a Qt binding with `pip install 'napari-flowsr[all]'`; "
    "`napari-flowsr doctor` tells more."
)


@dataclass(frozen=True)
class Made:
    """What the demo computed."""

    image: Any
    post: Posterior
    result: Result
    seconds: float


def demo(
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-d", help="Folder for the results.")
    ] = Path("flowsr-demo"),
    n: Annotated[int, typer.Option("--samples", "-n", min=2, help="Samples.")] = 8,
    seed: options.SeedOption = 0,
    device: options.DeviceOption = "auto",
    napari: Annotated[
        bool, typer.Option("--napari", help="Open the results in napari as well.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Upscale a bundled image of a cell: needs no files, no network, no display.

    Writes samples, mean and standard deviation as OME-TIFF, and overview.png, which
    shows them side by side. Running it again replaces them.

    For example:

    - `napari-flowsr demo`
    - `napari-flowsr demo --napari`
    """
    for name in _names(output_dir).values():
        check_writable(name)
    made = _compute(n, seed, device)
    files = _write(made, output_dir, n)
    if as_json:
        show_json(
            {
                "model": MODEL,
                "seconds": made.seconds,
                "outputs": files,
                "report": dict(made.result.report),
            }
        )
    else:
        _tell(made, files, n)
    if napari:
        _open(made, n)


def _compute(n: int, seed: int, device: str) -> Made:
    from napari_flowsr.inference.posterior import posterior
    from napari_flowsr.io.collection import load_model

    with progress_bar() as bar:
        task = bar.add_task("Loading", total=None)
        from skimage import data

        bundled: Any = data
        image = bundled.cell()
        model = load_model(MODEL, device=device)
        post = posterior(image, model, seed=seed, device=device)
        bar.update(task, description=f"{n} samples")
        started = time.perf_counter()
        events = post.stream(n, outputs=("samples", "mean", "std"), preview=False)
        result = follow(events, bar, task)
        return Made(image, post, result, time.perf_counter() - started)


def _arrays(made: Made) -> dict[str, Any]:
    result = made.result
    return {"samples": result.samples, "mean": result.mean, "std": result.std}


def _scale(made: Made) -> float:
    return made.post.geometry.scale


def _record(made: Made, kind: str, n: int) -> dict[str, Any]:
    kind = "sample" if kind == "samples" else kind
    return made.post.provenance(kind, n=n, source_name="cell (scikit-image)")


def _names(folder: Path) -> dict[str, Path]:
    kinds = ("input", "samples", "mean", "std")
    files = {kind: folder / f"cell-{kind}.ome.tif" for kind in kinds}
    return files | {"overview": folder / "overview.png"}


def _write(made: Made, folder: Path, n: int) -> dict[str, str]:
    from napari_flowsr.io.images import write_image

    make_folder(folder)
    files = _names(folder)
    write_image(files["input"], made.image, pixel_size=PIXEL_UM)
    for kind, array in _arrays(made).items():
        write_image(
            files[kind],
            array,
            axes="NYX" if kind == "samples" else "YX",
            pixel_size=PIXEL_UM / _scale(made),
            provenance=_record(made, kind, n),
        )
    _draw(made, files["overview"], n)
    return {kind: str(path) for kind, path in files.items()}


def _draw(made: Made, path: Path, n: int) -> None:
    import numpy as np
    import torch

    from napari_flowsr.data.degrade import upscale_bicubic
    from napari_flowsr.figures import overview, save_figure

    lr = torch.from_numpy(made.image.astype(np.float32))
    arrays = _arrays(made)
    card = made.post.model.card
    figure = overview(
        made.image,
        upscale_bicubic(lr, _scale(made)).numpy(),
        arrays["samples"],
        arrays["mean"],
        arrays["std"],
        pixel_size=PIXEL_UM,
        title=f"A cell, upscaled {_scale(made):g}× with {card.name}",
        caption=(
            f"{n} samples at temperature {card.temperature:g}. Every sample is one "
            "plausible image; the uncertainty is how much they differ."
        ),
    )
    save_figure(figure, path)


def _tell(made: Made, files: dict[str, str], n: int) -> None:
    height, width = made.image.shape
    s = _scale(made)
    psnr = made.result.report.get("lr_psnr") or []
    finite = [value for value in psnr if isinstance(value, (int, float))]
    what = {
        "input": f"the image of a cell, {width} × {height} pixels of {PIXEL_UM} µm",
        "samples": f"{n} plausible versions, {width * s:g} × {height * s:g} pixels of "
        f"{PIXEL_UM / s:g} µm, as channels",
        "mean": "their mean: the safest guess at each pixel",
        "std": "their standard deviation: where they disagree",
        "overview": "all of it in one picture: look at this first",
    }
    say(f"Made with {MODEL} in {humanly(made.seconds)} on {made.post.device}:")
    for kind, path in files.items():
        say(f"  {path}\n      {what[kind]}")
    if finite:
        say(
            f"Reduced again, each sample gives the input back within {min(finite):.1f} "
            "dB (LR-PSNR)."
        )
    say("Fine detail is inferred by the model, not measured; the files say so too.")
    for text in made.result.report.get("notices", ()):
        say(f"Note: {text}")
    say("\nWhat to try next:")
    say("  napari-flowsr demo --napari                  the same in napari")
    say("  napari-flowsr upscale YOUR.tif --outputs samples,mean,std -n 8")
    say("  napari-flowsr models list                    which models there are")
    say("  napari-flowsr upscale --help                 every option, with examples")


def _open(made: Made, n: int) -> None:
    """Show the layers in napari and return when its window is closed."""
    from copy import deepcopy

    try:
        import napari

        viewer = napari.Viewer(title="napari-flowsr demo")
    except (ImportError, RuntimeError) as error:
        raise OptionError(
            f"napari cannot open a window: {error}. {_QT_REMEDY}"
        ) from None
    geometry = {
        "scale": (PIXEL_UM, PIXEL_UM),
        "units": ("micrometer", "micrometer"),
    }
    viewer.add_image(made.image, name="cell", **geometry)
    s = _scale(made)
    # The outer corner of the first pixel stays where it is; napari's translate is the
    # centre of that pixel.
    pixel, shift = PIXEL_UM / s, (PIXEL_UM / s - PIXEL_UM) / 2
    limits = [float(made.image.min()), float(made.image.max())]
    for kind, array in _arrays(made).items():
        lead = array.ndim - 2
        viewer.add_image(
            array,
            name=f"cell {kind} (detail inferred)",
            scale=(*(1.0,) * lead, pixel, pixel),
            translate=(*(0.0,) * lead, shift, shift),
            units=(*("pixel",) * lead, "micrometer", "micrometer"),
            axis_labels=(*("sample",) * lead, "y", "x"),
            contrast_limits=None if kind == "std" else limits,
            colormap="magma" if kind == "std" else "gray",
            visible=kind == "samples",
            rgb=False,
            metadata={"napari-flowsr": deepcopy(_record(made, kind, n))},
        )
    viewer.window.add_plugin_dock_widget("napari-flowsr", "Upscale")
    with signals_end_at_once():
        napari.run()
