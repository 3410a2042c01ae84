"""Arrays in, arrays out: the functions that scripts, commands and docks share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from napari_flowsr.inference.measured import line_profile, region_measurement
from napari_flowsr.inference.posterior import Posterior
from napari_flowsr.inference.posterior import posterior as _bind
from napari_flowsr.inference.reduced import scale_between
from napari_flowsr.inference.rescaled import load_latents, save_latents
from napari_flowsr.inference.rescaling import rescale_down, rescale_up
from napari_flowsr.inference.restore import restore
from napari_flowsr.inference.styling import transfer_style
from napari_flowsr.inference.temperature_maps import (
    best_temperature,
    temperature_by_uncertainty,
    temperature_from_labels,
)
from napari_flowsr.inference.transfer import transfer_content
from napari_flowsr.io.collection import list_models, load_model
from napari_flowsr.io.flowsr_file import load_edit, save_edit
from napari_flowsr.io.provenance import provenance_script
from napari_flowsr.jobs.folder import upscale_files
from napari_flowsr.models.card import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    import torch

    from napari_flowsr.data.files import Images
    from napari_flowsr.inference.options import ProgressCallback
    from napari_flowsr.training.events import TrainEvent

__all__ = [
    "best_temperature",
    "evaluate",
    "line_profile",
    "list_models",
    "load_edit",
    "load_latents",
    "load_model",
    "posterior",
    "provenance_script",
    "region_measurement",
    "resample",
    "rescale_down",
    "rescale_up",
    "restore",
    "save_edit",
    "save_latents",
    "temperature_by_uncertainty",
    "temperature_from_labels",
    "train",
    "transfer_content",
    "transfer_style",
    "upscale",
    "upscale_files",
]

Array = npt.NDArray[Any]
_DEFAULT = "micro-2x"


def _model(model: str | Path | Model, device: str | torch.device) -> Model:
    return model if isinstance(model, Model) else load_model(model, device=str(device))


def posterior(
    image: Any,
    model: str | Path | Model = _DEFAULT,
    *,
    temperature: float | Array | None = None,
    seed: int = 0,
    scale: float | None = None,
    axes: str | None = None,
    prior: str = "gaussian",
    noise: str = "per-plane",
    consistent: bool = False,
    tile: int | Literal["auto"] | None = "auto",
    device: str | torch.device = "auto",
    nan: str = "raise",
    precision: str = "float32",
    progress: ProgressCallback | None = None,
) -> Posterior:
    """Bind an image to a model, for samples, statistics, densities and edits.

    Parameters
    ----------
    image : array-like
        At least 2-D; integer, bool or real float; NumPy, dask, zarr, lists.
    model : str, Path or Model
        Name of a built-in or imported model, path of a model file, or a loaded model.
    temperature, seed, scale, axes, prior, noise, consistent, tile, device
        And ``nan``, ``precision``, ``progress``: as in
        `napari_flowsr.inference.posterior.posterior`.

    Returns
    -------
    Posterior
        Computes when asked: ``sample``, ``mean``, ``std``, ``quantile``, ``encode``, …

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.
    """
    return _bind(
        image,
        _model(model, device),
        temperature=temperature,
        seed=seed,
        scale=scale,
        axes=axes,
        prior=prior,
        noise=noise,
        consistent=consistent,
        tile=tile,
        device=device,
        nan=nan,
        precision=precision,
        progress=progress,
    )


def upscale(
    image: Any,
    model: str | Path | Model = _DEFAULT,
    *,
    n: int = 1,
    temperature: float | Array | None = None,
    seed: int = 0,
    scale: float | None = None,
    axes: str | None = None,
    prior: str = "gaussian",
    noise: str = "per-plane",
    consistent: bool = False,
    tile: int | Literal["auto"] | None = "auto",
    device: str | torch.device = "auto",
    nan: str = "raise",
    precision: str = "float32",
    progress: ProgressCallback | None = None,
) -> Array:
    """Draw plausible high-resolution versions of an image.

    Parameters
    ----------
    image, model
        As in `posterior`.
    n : int
        Samples.
    temperature, seed, scale, axes, prior, noise, consistent, tile, device
        And ``nan``, ``precision``, ``progress``: as in
        `napari_flowsr.inference.posterior.posterior`.

    Returns
    -------
    ndarray
        ``(n, *upscaled shape)``, dtype and range of ``image``. Its fine detail is
        inferred by the model, not measured.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.
    """
    bound = posterior(
        image,
        model,
        temperature=temperature,
        seed=seed,
        scale=scale,
        axes=axes,
        prior=prior,
        noise=noise,
        consistent=consistent,
        tile=tile,
        device=device,
        nan=nan,
        precision=precision,
        progress=progress,
    )
    return bound.sample(n)


def resample(
    image: Any,
    hr: Any,
    mask: Any,
    model: str | Path | Model,
    *,
    seed: int = 0,
    temperature: float | Array | None = None,
    axes: str | None = None,
) -> Array:
    """Draw new content inside a mask of an HR image; the rest stays bit for bit.

    Parameters
    ----------
    image : array-like
        The LR image.
    hr : array-like
        Its upscaled version, for example a sample.
    mask : array-like
        Bool, or float from 0 (keep) to 1 (replace), on the HR or LR grid.
    model, seed, temperature, axes
        As in `posterior`; the seed and temperature of the new content.

    Returns
    -------
    ndarray
        Shape and dtype of ``hr``.
    """
    loaded = _model(model, "auto")
    scale = scale_between(image, hr, loaded, axes)
    bound = posterior(image, loaded, axes=axes, scale=scale)
    return bound.resample(hr, mask, seed, temperature)


def evaluate(
    paths: str | Path | Iterable[str | Path],
    model: str | Path | Model = _DEFAULT,
    *,
    n: int = 8,
    temperature: float = 1.0,
    scale: float | None = None,
    lr_source: Images | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure a model on HR images, next to bicubic interpolation.

    Parameters
    ----------
    paths : path, glob pattern, or list of these
        HR images; LR images are made from them by the degradation of the model's card.
    model : str, Path or Model
        As in `posterior`.
    n : int
        Samples per image.
    temperature : float
        Standard deviation of the samples' latents.
    scale : float, optional
        One of the model's scales.
    lr_source : path, glob pattern, or list of these, optional
        LR images of the same names, in place of those made; a model that was trained on
        given pairs needs them.
    progress : callable, optional
        Called with images done and in all.

    Returns
    -------
    dict
        Per image and mean; see `napari_flowsr.metrics.evaluate.evaluate`.
    """
    from napari_flowsr.metrics.evaluate import evaluate as measure

    return measure(
        paths,
        _model(model, "auto"),
        n=n,
        temperature=temperature,
        scale=scale,
        lr_source=lr_source,
        progress=progress,
    )


def train(
    source: Images,
    *,
    preset: str,
    output: str | Path,
    **config: Any,
) -> Generator[TrainEvent, None, None]:
    """Train a model or a learned prior, or go on with a run, yielding events.

    What was asked for is checked at once; training goes on while the events are
    iterated. To stop, stop iterating: the state is saved in a folder beside
    ``output``, and the same call goes on from it.

    Parameters
    ----------
    source : path, glob pattern, `napari_flowsr.data.source.ArrayImage`, or several
        Training images.
    preset : str
        Name of a recipe, see `napari_flowsr.training.presets.PRESETS`.
    output : path
        The ``.safetensors`` to write: a model, or of a learned prior what
        ``load_model(model, prior=output)`` takes.
    **config
        Fields of `napari_flowsr.training.config.TrainConfig` that differ from the
        recipe, such as ``minutes`` or ``start_from`` (a trained model: its network and
        conventions are taken over); ``validation``, images for the figures during
        training; and ``control``, a `napari_flowsr.training.control.Control` to pause
        it, or to have the model written before the end. Images are given as ``source``
        is, ``lr_source`` too.

    Returns
    -------
    generator of TrainEvent
        See `napari_flowsr.training.events`; the last one is ``Finished``.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.
    """
    from napari_flowsr.training.recipe import recipe
    from napari_flowsr.training.trainer import train as run

    validation = config.pop("validation", None)
    lr_source = config.pop("lr_source", None)
    control = config.pop("control", None)
    if config.get("start_from") is not None:
        config["start_from"] = os.fspath(config["start_from"])
    return run(
        source,
        recipe(preset, **config),
        output,
        validation=validation,
        lr_source=lr_source,
        control=control,
    )
