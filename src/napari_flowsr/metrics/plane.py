"""Figures of one HR image; what they mean is told in `metrics.evaluate`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flowsr.core.places import Place, hr_side, lr_side
from napari_flowsr.data.degradation import OWN_NETWORK, PAIRED
from napari_flowsr.data.degrade import add_noise, downscale, upscale_bicubic
from napari_flowsr.errors import ImageError, OptionError, OutOfMemoryError, SizeError
from napari_flowsr.inference.events import Finished, Result
from napari_flowsr.inference.memory import is_out_of_memory
from napari_flowsr.inference.options import ProgressCallback, check_count, check_scale
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.metrics.calibration import coverage, diversity, fair_crps
from napari_flowsr.metrics.fidelity import crop_border, psnr, ssim
from napari_flowsr.models.card import Model, Normalisation

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.data.source import Plane

__all__ = ["COMPARED", "SINGLE", "VERSIONS", "Evaluated", "Sampler", "compare"]
__all__ += ["evaluate_plane", "reduction"]

COMPARED = ("psnr", "ssim", "lr_psnr")
"""Figures that are given for each of `VERSIONS`."""
VERSIONS = ("bicubic", "mode", "sample", "mean")
SINGLE = (
    "crps",
    "mae_mode",
    "diversity",
    "coverage_50",
    "coverage_90",
    "nonfinite",
    "bpd",
)
"""Figures that are one number."""

Image = NDArray[np.float32]
_LEVELS = 255.0
# LR pixels: a border of one on each side is left out of LR-PSNR.
_SMALLEST_LR = 3


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
    scale: float
    seed: int


def _central_crop(
    plane: Plane, model: Model, scale: float, side: int | None
) -> tuple[Image, Image | None]:
    """The largest part that is whole LR pixels, and as many as the flow takes.

    With its part of the LR image, where that was given.
    """
    if side is not None and side < 1:
        raise OptionError(f"side is {side}; it is a number of HR pixels, at least 1.")
    multiple = model.flow.multiple_of
    small = [
        lr_side(n if side is None else min(n, side), scale, multiple)
        for n in plane.pixels.shape[1:]
    ]
    height, width = (hr_side(n, scale) for n in small)
    if min(small) < _SMALLEST_LR:
        least = hr_side(-(-_SMALLEST_LR // multiple) * multiple, scale)
        raise SizeError(
            f"'{plane.name}' has {plane.pixels.shape[1]} x {plane.pixels.shape[2]} "
            f"pixels{'' if side is None else f', of which {side} on a side are used'}; "
            f"at {scale:g}x at least {least} on each side are needed, for a border is "
            "left out. Give larger images."
        )
    top = (plane.pixels.shape[1] - height) // 2
    left = (plane.pixels.shape[2] - width) // 2
    if plane.lr is None:
        crop = plane.pixels[:, top : top + height, left : left + width]
        return np.ascontiguousarray(crop), None
    y, x = int(top / scale), int(left / scale)
    given = plane.lr[:, y : y + small[0], x : x + small[1]]
    top, left = hr_side(y, scale), hr_side(x, scale)
    crop = plane.pixels[:, top : top + height, left : left + width]
    return np.ascontiguousarray(crop), np.ascontiguousarray(given)


def _check_detail(plane: Plane, hr: Image, scale: float) -> None:
    """Refuse what is easily met exactly: one infinite PSNR would be the mean of all."""
    compared = crop_border(hr, math.ceil(scale))
    if float(compared.min()) == float(compared.max()):
        raise ImageError(
            f"'{plane.name}': the central {hr.shape[1]} x {hr.shape[2]} pixels that "
            "would be compared are constant; PSNR means nothing there. Use a larger "
            "part of the image, or leave it out."
        )


def _bits_per_dimension(
    model: Model, hr: Image, lr: Image, scale: float, seed: int
) -> float:
    """Bits per dimension of the 8-bit image: uniform noise, density per grey level.

    NaN for a deterministic network, which has no density.
    """
    flow = model.flow
    if flow.deterministic:
        return math.nan
    rng = np.random.default_rng(seed)
    noisy = hr + (rng.random(hr.shape, np.float32) - 0.5) / np.float32(_LEVELS)
    try:
        with torch.inference_mode():
            cond = flow.condition(torch.from_numpy(lr)[None].to(flow.device))
            cond = cond.at(Place.all_of(cond.lr_size, scale))
            inside = torch.from_numpy(noisy)[None].to(flow.device)
            log_prob = float(flow.log_prob(inside, cond))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"Memory does not suffice for the density of {hr.shape[1]} x "
            f"{hr.shape[2]} pixels, which cannot be tiled. Evaluate a central crop "
            "(side=256, or --crop 256)."
        ) from error
    return -log_prob / math.log(2.0) / hr.size + math.log2(_LEVELS)


@dataclass(frozen=True)
class Sampler:
    """How samples of an LR image ``(C, h, w)`` in ``[0, 1]`` are drawn."""

    model: Model
    lr: Image
    scale: float
    seed: int
    progress: ProgressCallback | None

    def draw(
        self, temperature: float, n: int, prior: str = "gaussian"
    ) -> tuple[Image, Result]:
        """Samples ``(n, C, H, W)``, and the result with its report."""
        # The images are normalised already: "dtype" takes floats as they are.
        card = self.model.card.with_(normalisation=Normalisation("dtype"))
        grey = len(self.lr) == 1
        bound = posterior(
            self.lr[0] if grey else np.moveaxis(self.lr, 0, -1),
            replace(self.model, card=card),
            temperature=temperature,
            seed=self.seed,
            scale=self.scale,
            axes="YX" if grey else "YXS",
            prior=prior,
            device=self.model.flow.device,
            progress=self.progress,
        )
        for event in bound.stream(n, ("samples",), preview=False):
            if isinstance(event, Finished) and event.result.samples is not None:
                samples = event.result.samples
                last = samples[:, None] if grey else np.moveaxis(samples, -1, 1)
                return last, event.result
        raise RuntimeError("The run ended without samples.")


def evaluate_plane(
    plane: Plane,
    model: Model,
    *,
    n: int = 8,
    temperature: float = 1.0,
    scale: float | None = None,
    seed: int = 0,
    side: int | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluated:
    """Evaluate one normalised HR image by the protocol of `metrics.evaluate`.

    Parameters
    ----------
    plane : Plane
        HR image, ``(C, H, W)`` in ``[0, 1]``; its LR image is used if it has one.
    model : Model
        With as many channels as the plane.
    n : int
        Samples.
    temperature : float
        Standard deviation of the samples' latents.
    scale : float, optional
        One of the model's; its first if not given.
    seed : int
        Of samples, of dequantisation and of the noise of the degradation.
    side : int, optional
        Evaluate the central crop of at most this many HR pixels.
    progress : callable, optional
        Called with tiles done and in all of a run of samples; may raise `Cancelled`.

    Raises
    ------
    OptionError
        The model was trained on given pairs, and no LR image was given.
    SizeError
        Nothing of the image would be left without its border.
    ImageError
        What would be compared is constant.
    UnstableDecodeError
        Redrawing did not make a sample finite.
    """
    n, factor = check_count(n), check_scale(scale, model.flow)
    hr, given = _central_crop(plane, model, factor, side)
    _check_detail(plane, hr, factor)
    reduce = reduction(model, factor)
    lr = _small(model, hr, reduce, seed) if given is None else torch.from_numpy(given)
    bicubic = upscale_bicubic(lr, factor).numpy()
    sampler = Sampler(model, lr.numpy(), factor, seed, progress)
    mode = sampler.draw(0.0, 1)[0][0]
    samples, result = sampler.draw(temperature, n)
    mean = samples.mean(0, dtype=np.float64).astype(np.float32)
    found = Evaluated(
        plane.name, hr, lr.numpy(), bicubic, mode, samples, mean, {}, factor, seed
    )
    figures = compare(found, reduce)
    figures["nonfinite"] = len(result.report["redrawn_samples"]) / n
    figures["bpd"] = _bits_per_dimension(model, hr, found.lr, factor, seed)
    return replace(found, figures=figures)


def _small(
    model: Model,
    hr: Image,
    reduce: Callable[[torch.Tensor], torch.Tensor],
    seed: int,
) -> torch.Tensor:
    """The LR image of an HR image, with the noise of the card's degradation."""
    degradation = model.card.degradation
    if degradation.name == PAIRED:
        raise OptionError(
            f"The model '{model.card.name}' was trained on given pairs, so that LR "
            "images cannot be made from HR images. Give them too (lr_source; --lr)."
        )
    rng = np.random.default_rng((seed, 1))
    return add_noise(reduce(torch.from_numpy(hr)), degradation, rng)


def reduction(model: Model, scale: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """How HR images ``(C, H, W)`` are made small: by a rescaling model itself.

    Without noise. Of a model of given pairs nobody knows: NaN, and so its LR-PSNR.
    """
    degradation, flow = model.card.degradation, model.flow
    if degradation.name == PAIRED:
        return lambda hr: upscale_bicubic(hr, 1 / scale) * math.nan
    if degradation.name != OWN_NETWORK:
        return lambda hr: downscale(hr, scale, degradation)

    @torch.inference_mode()
    def by_network(hr: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = flow.downscale(hr[None].to(flow.device))[0]  # type: ignore[operator]
        return made[0].cpu().clone()

    return by_network


def compare(
    found: Evaluated, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, Any]:
    """All figures but those that need the model."""
    border = math.ceil(found.scale)

    def consistency(image: Image) -> float:
        reduced = reduce(torch.from_numpy(image))
        return psnr(reduced.numpy(), found.lr, 1)

    def over_all(measure: Callable[[Image], float]) -> dict[str, float]:
        of_samples = [measure(np.ascontiguousarray(s)) for s in found.samples]
        return {
            "bicubic": measure(found.bicubic),
            "mode": measure(np.ascontiguousarray(found.mode)),
            "sample": float(np.mean(of_samples)),
            "mean": measure(found.mean),
        }

    truth, inner = crop_border(found.hr, border), crop_border(found.samples, border)
    mode = crop_border(found.mode, border)
    return {
        "psnr": over_all(lambda image: psnr(image, found.hr, border)),
        "ssim": over_all(lambda image: ssim(image, found.hr, border)),
        "lr_psnr": over_all(consistency),
        "crps": fair_crps(inner, truth),
        "mae_mode": float(np.mean(np.abs(mode - truth), dtype=np.float64)),
        "diversity": diversity(inner),
        "coverage_50": coverage(inner, truth, 0.5),
        "coverage_90": coverage(inner, truth, 0.9),
    }
