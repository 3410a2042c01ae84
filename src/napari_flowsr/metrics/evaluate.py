"""Evaluation protocol: what the figures of cards and notes mean.

HR is scaled to its 0.1-99.9 percentile range and clipped to ``[0, 1]``; the LR image is
its MATLAB-style antialiased bicubic reduction in floating point, not rounded. RGB is
compared per channel, one-channel models see the luminance. A border of ``scale``
pixels is left out, the peak is 1, and figures are means over images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flowsr.data.degrade import downscale, upscale_bicubic
from napari_flowsr.data.source import Plane, find_files, load_planes
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.posterior import Posterior, posterior
from napari_flowsr.metrics.calibration import coverage, diversity, fair_crps
from napari_flowsr.metrics.fidelity import crop_border, psnr, ssim
from napari_flowsr.models.card import Model, Normalisation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Evaluated", "evaluate", "evaluate_plane"]

Image = NDArray[np.float32]
_LEVELS = 255.0


@dataclass(frozen=True)
class Evaluated:
    """Images and figures of one HR image; images are ``(C, H, W)`` in ``[0, 1]``."""

    name: str
    hr: Image
    lr: Image
    bicubic: Image
    mode: Image
    samples: Image
    mean: Image
    figures: dict[str, Any]


def _central_crop(image: Image, multiple: int, side: int | None) -> Image:
    height, width = (
        (n if side is None else min(n, side)) // multiple * multiple
        for n in image.shape[1:]
    )
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return np.ascontiguousarray(image[:, top : top + height, left : left + width])


def _bits_per_dimension(model: Model, hr: Image, lr: Image, seed: int) -> float:
    """Bits per dimension of the 8-bit image: uniform noise, density per grey level."""
    flow = model.flow
    rng = np.random.default_rng(seed)
    noisy = hr + (rng.random(hr.shape, np.float32) - 0.5) / np.float32(_LEVELS)
    with torch.inference_mode():
        cond = flow.condition(torch.from_numpy(lr)[None].to(flow.device))
        log_prob = flow.log_prob(torch.from_numpy(noisy)[None].to(flow.device), cond)
    return float(-log_prob / math.log(2.0) / hr.size + math.log2(_LEVELS))


def _posterior(model: Model, lr: Image, temperature: float, seed: int) -> Posterior:
    # The images are normalised already: "dtype" takes floats as they are.
    plain = replace(model, card=model.card.with_(normalisation=Normalisation("dtype")))
    image, axes = (lr[0], "YX") if len(lr) == 1 else (np.moveaxis(lr, 0, -1), "YXS")
    return posterior(image, plain, temperature=temperature, seed=seed, axes=axes)


def _channels_first(images: Image, channels: int) -> Image:
    """``(n, H, W)`` or ``(n, H, W, C)`` to ``(n, C, H, W)``."""
    return images[:, None] if channels == 1 else np.moveaxis(images, -1, 1)


def evaluate_plane(
    plane: Plane,
    model: Model,
    *,
    n: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    side: int | None = None,
) -> Evaluated:
    """Evaluate one normalised HR image; see the module's protocol.

    Parameters
    ----------
    plane : Plane
        HR image, ``(C, H, W)`` in ``[0, 1]``.
    model : Model
        Of a fixed scale.
    n : int
        Samples.
    temperature : float
        Standard deviation of the samples' latents.
    seed : int
        Of samples and dequantisation.
    side : int, optional
        Evaluate the central crop of at most this many HR pixels.
    """
    flow, scale = model.flow, model.flow.scales[0]
    hr = _central_crop(plane.pixels, int(scale) * flow.multiple_of, side)
    if hr.size == 0:
        raise OptionError(
            f"'{plane.name}' is {plane.pixels.shape[1]} x {plane.pixels.shape[2]} "
            f"pixels; the model needs at least {int(scale) * flow.multiple_of} on each "
            "side. Leave the image out."
        )
    tensor = torch.from_numpy(hr)
    lr = downscale(tensor, scale, model.card.degradation.name)
    bicubic = upscale_bicubic(lr, scale).numpy()
    low = lr.numpy()
    channels = hr.shape[0]
    mode = _channels_first(_posterior(model, low, 0.0, seed).sample(1), channels)[0]
    drawn = _posterior(model, low, temperature, seed).sample(n)
    samples = _channels_first(drawn, channels)
    mean = samples.mean(0, dtype=np.float64).astype(np.float32)
    figures = _figures(hr, low, bicubic, mode, samples, mean, model)
    figures["bpd"] = _bits_per_dimension(model, hr, low, seed)
    return Evaluated(plane.name, hr, low, bicubic, mode, samples, mean, figures)


def _figures(
    hr: Image,
    lr: Image,
    bicubic: Image,
    mode: Image,
    samples: Image,
    mean: Image,
    model: Model,
) -> dict[str, Any]:
    scale = model.flow.scales[0]
    border = int(scale)

    def consistency(image: Image) -> float:
        reduced = downscale(torch.from_numpy(image), scale, model.card.degradation.name)
        return psnr(reduced.numpy(), lr, 1)

    def over_all(measure: Callable[[Image], float]) -> dict[str, float]:
        of_samples = [measure(s) for s in samples]
        return {
            "bicubic": measure(bicubic),
            "mode": measure(mode),
            "sample": float(np.mean(of_samples)),
            "mean": measure(mean),
        }

    truth, inner = crop_border(hr, border), crop_border(samples, border)
    return {
        "psnr": over_all(lambda image: psnr(image, hr, border)),
        "ssim": over_all(lambda image: ssim(image, hr, border)),
        "lr_psnr": over_all(consistency),
        "crps": fair_crps(inner, truth),
        "mae_mode": float(np.mean(np.abs(crop_border(mode, border) - truth))),
        "diversity": diversity(inner),
        "coverage_50": coverage(inner, truth, 0.5),
        "coverage_90": coverage(inner, truth, 0.9),
        "nonfinite": float(np.mean([not np.isfinite(s).all() for s in samples])),
    }


def _mean(figures: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in figures[0].items():
        if isinstance(value, dict):
            out[key] = _mean([f[key] for f in figures])
        else:
            # Images too small for SSIM's window have NaN there and do not count.
            out[key] = float(np.nanmean([f[key] for f in figures]))
    return out


def evaluate(
    paths: str | Path | Iterable[str | Path],
    model: Model,
    *,
    n: int = 8,
    temperature: float = 1.0,
    scale: float | None = None,
    seed: int = 0,
    side: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    keep: Callable[[Evaluated], None] | None = None,
) -> dict[str, Any]:
    """Figures of a model on HR images, next to bicubic interpolation.

    Parameters
    ----------
    paths : path, glob pattern, or list of these
        HR images.
    model : Model
        As `load_model` gives it.
    n, temperature, seed, side
        As for `evaluate_plane`.
    scale : float, optional
        Must be one of the model's.
    progress : callable, optional
        Called with images done and in all.
    keep : callable, optional
        Receives each `Evaluated`, for pictures.

    Returns
    -------
    dict
        ``model``, ``n``, ``temperature``, ``scale``, ``images`` (name and figures of
        each) and ``mean``. Figures: ``psnr``, ``ssim``, ``lr_psnr`` (each a dict with
        ``bicubic``, ``mode``, ``sample``, ``mean``), ``crps``, ``mae_mode``,
        ``diversity``, ``bpd``, ``coverage_50``, ``coverage_90``, ``nonfinite``.
    """
    model.flow.check_scale(scale)
    if n < 1:
        raise OptionError(f"n is {n}; evaluation needs at least one sample.")
    planes = load_planes(find_files(paths), model.flow.channels)
    images = []
    for number, plane in enumerate(planes):
        result = evaluate_plane(
            plane, model, n=n, temperature=temperature, seed=seed + number, side=side
        )
        images.append({"name": plane.name, **result.figures})
        if keep is not None:
            keep(result)
        if progress is not None:
            progress(number + 1, len(planes))
    return {
        "model": model.card.name,
        "sha256": model.card.sha256,
        "n": n,
        "temperature": temperature,
        "scale": model.flow.scales[0],
        "images": images,
        "mean": _mean([{k: v for k, v in i.items() if k != "name"} for i in images]),
    }
