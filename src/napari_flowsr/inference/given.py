"""What can be asked about a given HR image: latents, density, consistency.

The functions behind the methods of the same names of `Posterior`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import OptionError, SizeError, UnstableDecodeError
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.consistency import (
    check_degradation,
    lr_psnr,
    lr_residual,
)
from napari_flowsr.inference.intensity import check_single_precision
from napari_flowsr.inference.source import plane_view

if TYPE_CHECKING:
    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.setup import Setup

__all__ = ["consistency", "decode", "encode", "log_prob"]

Array = npt.NDArray[Any]


def encode(bound: Bound, hr: Any) -> Latents:
    """White latents of ``hr``, one batch entry per unit."""
    source, setup = bound.hr_source(hr), bound.setup(1)
    return Latents.cat(
        [
            UnitCoder(setup, unit).encode(bound.normalised_hr(source, unit))
            for unit in setup.workload
        ]
    )


def decode(bound: Bound, latents: Latents) -> Array:
    """HR image of latents, dtype and range of the image."""
    if not isinstance(latents, Latents):
        raise OptionError(
            f"The latents are of type {type(latents).__name__}; give those that encode "
            "gave, or Latents of core.latents."
        )
    setup = bound.setup(1)
    workload = setup.workload
    if latents.batch != len(workload):
        raise SizeError(
            f"The latents have batch {latents.batch}; this image has {len(workload)} "
            "planes to decode. Use latents of this posterior's encode."
        )
    out = workload.new(bound.intensities.source.dtype)
    for unit in workload:
        coder = UnitCoder(setup, unit)
        decoded = coder.decode(latents[unit.index : unit.index + 1])
        if not coder.finite(decoded):
            raise UnstableDecodeError(
                f"Decoding plane {unit.plane} gave values that are not finite. Scale "
                "the latents down, or use latents that encode gave."
            )
        workload.write(out, unit, (0, 0), coder.with_excess(decoded))
    if workload.alpha:
        for plane in range(bound.geometry.planes):
            workload.write_alpha(out, plane)
    return out


def log_prob(bound: Bound, hr: Any, setup: Setup | None = None) -> Array:
    """Log-density in nats, float64 ``(planes,)``.

    A ``setup`` that is used again keeps the conditions of planes, as far as they fit.
    """
    source, setup = bound.hr_source(hr), setup or bound.setup(1)
    found = np.zeros(bound.geometry.planes)
    for unit in setup.workload:
        values = bound.normalised_hr(source, unit)
        found[unit.plane] += UnitCoder(setup, unit).log_prob(values)
    return found


def consistency(bound: Bound, hr: Any) -> tuple[float, Array]:
    """LR-PSNR in dB, and ``D(hr) - image`` in intensity units."""
    source, workload = bound.hr_source(hr), bound.workload
    degradation, scale = bound.card.degradation, bound.geometry.scale
    check_degradation(degradation)
    check_single_precision(bound.intensities, levels=False)
    residual = np.zeros(bound.geometry.input_shape, np.float32)
    squares, count = 0.0, 0
    for unit in workload:
        values = bound.normalised_hr(source, unit)
        found = lr_residual(values, workload.normalised(unit), scale, degradation)
        squares += float(found.double().square().sum())
        count += found.numel()
        view = plane_view(residual, bound.geometry, unit.plane)
        for i, component in enumerate(unit.components):
            span = bound.intensities.range(unit.plane, component)
            view[..., component] = found[i].numpy() * (span.high - span.low)
    return lr_psnr(squares / count), residual
