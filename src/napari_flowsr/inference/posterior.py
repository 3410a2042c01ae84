"""Posterior: one LR image, one model, and everything that can be asked of the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from napari_flowsr.inference.axes import Geometry, parse_axes
from napari_flowsr.inference.consistency import check_degradation
from napari_flowsr.inference.distribution import Posterior
from napari_flowsr.inference.intensity import survey
from napari_flowsr.inference.maps import parse_temperature
from napari_flowsr.inference.options import (
    Options,
    ProgressCallback,
    check_prior,
    check_progress,
    check_scale,
)
from napari_flowsr.inference.source import Source, open_array

if TYPE_CHECKING:
    import torch

    from napari_flowsr.models.card import Model

__all__ = ["Posterior", "posterior"]

Array = npt.NDArray[Any]


def posterior(
    image: Any,
    model: Model,
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
    """Bind an image to a model; reads the image once, computes nothing else.

    Parameters
    ----------
    image : array-like
        At least 2-D; integer, bool or real float; NumPy, dask, zarr, lists.
    model : Model
        As `load_model` gives it.
    temperature : float or array, optional
        Standard deviation of the latents: a number from 0 (the mode), or a map ``(Y,
        X)`` on the LR or HR grid, or with the looped axes before. Default: the card's.
    seed : int
        Any integer from 0.
    scale : float, optional
        One of the model's scales, or any real number in its ``scale_range``; its first
        if not given. A target pixel size is ``scale = pixel size / target``.
    axes : str, optional
        Such as ``"TZCYX"`` or ``"YXS"``; see `inference.axes.parse_axes`.
    prior : str
        ``"gaussian"``; ``"learned"`` for a model that was loaded with a learned prior:
        one deterministic prediction, all samples the same, no temperature.
    noise : str
        ``"per-plane"``: each plane its own noise (colour components of a plane share
        it); ``"shared"``: all planes the same, so that detail does not flicker.
    consistent : bool
        Back-project each sample so that its downscale gives the image back (LR-PSNR of
        at least 60 dB before rounding to the dtype).
    tile : int, "auto" or None
        Side of a tile in LR pixels; ``None``: the whole plane. Does not change the
        result. A model that takes no crops works on whole planes.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``, …
    nan : str
        ``"raise"``, or ``"fill"``: pixels that are NaN or infinite get the value of the
        nearest finite pixel of their plane, in the output too; the report counts them.
    precision : str
        ``"float32"``; or ``"bfloat16"`` or ``"float16"``, in which only the encoder of
        the LR image is computed (`core.precision`): faster on hardware for it,
        slower on other CPUs, which emulate it; and another result by a little, which
        tiles change by as little.
    progress : callable, optional
        Called as ``progress(done, total)`` from the computing thread; may raise
        `Cancelled`.

    Raises
    ------
    ImageError, AxesError, OptionError, DeviceError
        For whatever cannot be used as it is.
    """
    options = Options(
        seed=seed,
        prior=prior,
        noise=noise,
        consistent=consistent,
        tile=tile,
        nan=nan,
        precision=precision,
    )
    check_prior(options.prior, model.flow)
    check_progress(progress)
    array = open_array(image)
    named = parse_axes(axes, array.shape)
    shape = tuple(int(side) for side in array.shape)
    geometry = Geometry(named, shape, check_scale(scale, model.flow))
    if temperature is None:
        temperature = model.card.temperature
    # Whatever can be refused is refused before the image is read.
    parse_temperature(temperature, geometry)
    if options.consistent:
        check_degradation(model.card.degradation)
    joint = model.flow.channels > 1
    source = Source(array, geometry)
    intensities = survey(source, model.card.normalisation, joint=joint, nan=nan)
    return Posterior(
        model,
        intensities,
        temperature=temperature,
        options=options,
        device=device,
        progress=progress,
    )
