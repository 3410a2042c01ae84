"""Style of another image: its latents, decoded given this LR image.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.data.degrade import upscale_bicubic
from napari_flowsr.errors import AxesError
from napari_flowsr.inference.axes import parse_axes
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.editing import check_flow, check_mask
from napari_flowsr.inference.editing import edited as _edited
from napari_flowsr.inference.events import Finished, Progress
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.reduced import check_reduces, reduced
from napari_flowsr.inference.source import open_array
from napari_flowsr.inference.transplant import Transplant
from napari_flowsr.io.collection import load_model
from napari_flowsr.models.card import Model

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from torch import Tensor

    from napari_flowsr.inference.axes import Geometry
    from napari_flowsr.inference.decoder import UnitDecoder
    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.inference.events import Edited
    from napari_flowsr.inference.maps import FieldMap

__all__ = ["styling", "transfer_style"]

Array = npt.NDArray[Any]


def transfer_style(
    image: Any,
    source_hr: Any,
    model: str | Path | Model,
    *,
    mask: Any = None,
    axes: str | None = None,
) -> Array:
    """Enlarge an image with the latents of another, high-resolution one.

    Parameters
    ----------
    image : array-like
        The LR image.
    source_hr : array-like
        HR image whose latents, given its own reduction, are used. With the axes of
        ``image``, or one plane (``YX``, in colour ``YXS``) for all of its planes. A
        larger one is cropped to its centre, a smaller one goes on mirrored on all
        sides, both before it is encoded.
    model : str, Path or Model
        As in `napari_flowsr.posterior`.
    mask : array-like, optional
        Where the style is wanted: bool, or float from 0 to 1, on the HR or LR grid;
        default: everywhere. Elsewhere the result is sample 0 of seed 0.
    axes : str, optional
        Of ``image``.

    Returns
    -------
    ndarray
        Upscaled shape, dtype and range of ``image``.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    post = posterior(image, loaded, axes=axes)
    return post.finish(styling(post, source_hr, mask=mask)).array


def styling(
    post: Posterior, source_hr: Any, *, mask: Any = None, hr: Any = None
) -> Iterator[Progress | Edited]:
    """`transfer_style` under a posterior, step by step.

    Parameters
    ----------
    post : Posterior
        Of the LR image.
    source_hr, mask
        As there.
    hr : array-like, optional
        HR image to keep outside of the mask; default: sample 0 of the posterior.
    """
    bound = post._bound
    check_flow(bound)
    check_reduces(post.model)
    where = check_mask(mask, bound)
    source = _fitted(source_hr, post.geometry)
    if hr is not None:
        bound.hr_source(hr)
    return _steps(post, source, where, mask is None, hr)


def _steps(
    post: Posterior, source: Array, where: FieldMap, whole: bool, hr: Any
) -> Generator[Progress | Edited, None, None]:
    pixels = _Styled(post, source)
    if hr is None and whole:
        hr = _enlarged(post)
    elif hr is None:
        hr = yield from _sample(post)
    change = Transplant(pixels, given_lr=whole)
    yield from _edited(post._bound, hr, where, change)


def _sample(post: Posterior) -> Generator[Progress, None, Array]:
    """Sample 0, with the progress of drawing it."""
    for event in post.stream(1, ("samples",), preview=False):
        if isinstance(event, Progress):
            yield event
        elif isinstance(event, Finished) and event.result.samples is not None:
            found: Array = event.result.samples[0]
            return found
    raise RuntimeError("The run did not give the sample that was asked for.")


def _enlarged(post: Posterior) -> Array:
    """Bicubic enlargement: of what is edited everywhere only constant channels stay."""
    bound = post._bound
    work = bound.workload
    out = work.new(bound.intensities.source.dtype)
    for unit in work:
        if work.constant(unit):
            work.fill_constant(out, unit)
        else:
            large = upscale_bicubic(work.normalised(unit), post.geometry.scale)
            work.write(out, unit, (0, 0), large.numpy())
    if work.alpha:
        for plane in range(post.geometry.planes):
            work.write_alpha(out, plane)
    return out


class _Styled:
    """Pixels of the source, and the conditions of its own reduction."""

    def __init__(self, post: Posterior, source: Array) -> None:
        pair = reduced(
            source, post.model, axes=post.geometry.axes, scale=post.geometry.scale
        )
        own = posterior(
            pair.lr,
            post.model,
            axes=pair.axes,
            scale=pair.scale,
            tile=post.options.tile,
            device=post.device,
            precision=post.options.precision,
        )
        self._bound, self._source = own._bound, own._bound.hr_source(pair.hr)
        self._setup = self._bound.setup(1)
        self._latest: tuple[int, UnitDecoder, Tensor] | None = None

    def __call__(self, decoder: UnitDecoder) -> tuple[UnitDecoder, Tensor]:
        unit = decoder.unit
        if self._latest is None or self._latest[0] != unit.index:
            coder = UnitCoder(self._setup, unit)
            values = self._bound.normalised_hr(self._source, unit)
            self._latest = unit.index, coder.decoder, coder.padded_hr(values)
        return self._latest[1:]


# --- sizes and axes ---------------------------------------------------------------


def _fitted(source_hr: Any, geometry: Geometry) -> Array:
    """The source with the axes and the shape of the upscaled image."""
    source = np.asarray(open_array(source_hr, "source_hr"))
    axes = _axes(source, geometry)
    source = _coloured(source, axes, geometry)
    for letter, side in zip("YX", geometry.hr_size, strict=True):
        source = _sized(source, axes.index(letter), side)
    if axes == geometry.axes:
        return source
    # One plane for all: its axes in the order of the image, others of length 1.
    order = [axes.index(a) for a in geometry.axes if a in axes]
    lengths = iter(np.transpose(source, order).shape)
    shape = [next(lengths) if a in axes else 1 for a in geometry.axes]
    plane = np.transpose(source, order).reshape(shape)
    return np.broadcast_to(plane, geometry.output_shape)


def _axes(source: Array, geometry: Geometry) -> str:
    """Letters of the source: those of the image, or those of one plane."""
    wanted, shape = geometry.output_shape, source.shape
    if source.ndim == len(geometry.axes):
        axes = parse_axes(geometry.axes, shape)
        if all(shape[i] == wanted[i] for i in geometry.loop_axes):
            return axes
    if source.ndim == 2:
        return parse_axes("YX", shape)
    if source.ndim == 3 and "S" in geometry.axes and shape[-1] in (3, 4):
        return parse_axes("YXS", shape)
    raise AxesError(
        f"source_hr has shape {shape}; for an image with the axes {geometry.axes}, "
        f"shape {geometry.input_shape}, it must have these axes with as many planes, "
        "or be one plane" + (", in grey or in colour." if "S" in geometry.axes else ".")
    )


def _coloured(source: Array, axes: str, geometry: Geometry) -> Array:
    """As many colour components as the image has; alpha is not used."""
    if "S" not in geometry.axes or "S" not in axes:
        return source
    colours, wanted = source[..., :3], geometry.components
    if wanted > 3:
        return np.concatenate((colours, colours[..., :1]), -1)
    return colours


def _sized(array: Array, axis: int, side: int) -> Array:
    """Crop an axis to its centre, or go on mirrored at both ends."""
    have = array.shape[axis]
    if have > side:
        first = (have - side) // 2
        return np.take(array, range(first, first + side), axis)
    before = (side - have) // 2
    width = [(0, 0)] * array.ndim
    width[axis] = before, side - have - before
    return np.pad(array, width, mode="symmetric")
