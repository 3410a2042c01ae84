"""Arrays in, arrays out: making images small, and bringing them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from napari_flowsr.inference.options import check_progress
from napari_flowsr.inference.rescale import Made, down, load_rescaling
from napari_flowsr.inference.rescale_up import Restored, up
from napari_flowsr.inference.rescale_usual import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_flowsr.core.latents import Latents
    from napari_flowsr.inference.options import ProgressCallback
    from napari_flowsr.inference.rescaled import RescaledLatents
    from napari_flowsr.inference.rescaled_facts import Rescaled
    from napari_flowsr.models.card import Model

__all__ = ["rescale_down", "rescale_up"]

Array = npt.NDArray[Any]


def rescale_down(
    image: Any,
    model: str | Path | Model = DEFAULT_MODEL,
    *,
    bits: int | None = None,
    axes: str | None = None,
    tile: int | Literal["auto"] | None = "auto",
    device: str | torch.device = "auto",
    nan: str = "raise",
    progress: ProgressCallback | None = None,
) -> tuple[Array, RescaledLatents]:
    """Make an image small by a rescaling model, so that it can be brought back.

    Parameters
    ----------
    image : array-like
        As in `napari_flowsr.posterior`; of any size.
    model : str, Path or Model
        As in `napari_flowsr.posterior`; of the family ``hcflow-rescale``.
    bits : int, optional
        8 or 16: round the small image to unsigned integers, whose whole range the
        image's then fills. Without, it is float and not rounded.
    axes, tile, device, nan, progress
        As in `napari_flowsr.posterior`; tiles are counted in pixels of the small image.

    Returns
    -------
    lr : ndarray
        ``ceil(side / scale)`` pixels along Y and X: still a picture.
    latents : RescaledLatents
        What it lacks, more numbers than the image has; `save_latents` keeps them. Their
        ``about`` says how large the image was and which intensities it had.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.
    """
    check_progress(progress)
    loaded = load_rescaling(model, device)
    for event in down(
        image, loaded, bits=bits, axes=axes, tile=tile, device=device, nan=nan
    ):
        if isinstance(event, Made):
            return event.small, event.latents
        if progress is not None:
            progress(event.done, event.total)
    raise RuntimeError("The run ended without its last event.")


def rescale_up(
    lr: Any,
    model: str | Path | Model = DEFAULT_MODEL,
    *,
    latents: Latents | None = None,
    temperature: float | None = None,
    seed: int = 0,
    axes: str | None = None,
    like: Rescaled | None = None,
    tile: int | Literal["auto"] | None = "auto",
    device: str | torch.device = "auto",
    progress: ProgressCallback | None = None,
) -> Array:
    """Bring a small image back that a rescaling model made.

    Parameters
    ----------
    lr : array-like
        As `rescale_down` gave it.
    model : str, Path or Model
        The one that made it.
    latents : Latents, optional
        As `rescale_down` gave them with it: the image is what it was, to 1e-5 of its
        range. Without, the detail is sampled.
    temperature : float, optional
        Of sampled detail, the card's by default; 0 gives the most likely image.
    seed : int
        Of sampled detail.
    axes : str, optional
        Needed without ``latents`` and ``like`` where they are not ``YX``.
    like : Rescaled, optional
        ``latents.about``: sample, but with the size, intensities and data type of the
        original. Without it sides are multiples of the scale; integers span the range
        of their type, and floats are mapped by the card's normalisation.
    tile, device, progress
        As in `rescale_down`.

    Returns
    -------
    ndarray
        Without latents its fine detail is inferred, not measured.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.
    """
    check_progress(progress)
    events = up(
        lr,
        load_rescaling(model, device),
        latents=latents,
        like=like,
        temperature=temperature,
        seed=seed,
        axes=axes,
        tile=tile,
        device=device,
    )
    for event in events:
        if isinstance(event, Restored):
            return event.image
        if progress is not None:
            progress(event.done, event.total)
    raise RuntimeError("The run ended without its last event.")
