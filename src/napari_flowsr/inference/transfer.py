"""Content and style from other images, in agreement with the LR image.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, sections 4.2 (style) and 4.4 (content).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from napari_flowsr.core.normalise import check_collections
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.changes import Normalise
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.editing import check_flow, check_mask
from napari_flowsr.inference.editing import edited as _edited
from napari_flowsr.inference.maps import parse_temperature
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.reduced import check_reduces, reduced, scale_between
from napari_flowsr.inference.transplant import Transplant, reconciled
from napari_flowsr.io.collection import load_model
from napari_flowsr.models.card import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from napari_flowsr.inference.decoder import UnitDecoder
    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.inference.events import Edited, Progress
    from napari_flowsr.inference.maps import FieldMap
    from napari_flowsr.inference.source import Source

__all__ = ["changed_mask", "transfer_content", "transferring"]

Array = npt.NDArray[Any]


def changed_mask(hr: Array, edited: Array, axes: str) -> npt.NDArray[np.bool_]:
    """Where two HR images differ: looped axes, then Y and X."""
    differs = np.asarray(hr != edited)
    if "S" in axes:
        differs = np.asarray(differs.any(-1))
    return np.moveaxis(differs, (axes.index("Y"), axes.index("X")), (-2, -1))


def transfer_content(
    hr: Any,
    edited: Any,
    mask: Any,
    model: str | Path | Model,
    *,
    image: Any = None,
    normalisation: str | Sequence[str] = "local",
    temperature: Any = None,
    seed: int = 0,
    axes: str | None = None,
) -> Array:
    """Harmonise content that was inserted into an HR image with its LR image.

    Parameters
    ----------
    hr : array-like
        HR image, a sample or a real one.
    edited : array-like
        The same with content pasted or painted in; of its shape and dtype. See
        `napari_flowsr.inference.paste.paste`.
    mask : array-like or None
        Where the content of ``edited`` is wanted: bool, or float from 0 to 1, on the HR
        or LR grid. ``None``: where ``edited`` differs from ``hr``.
    model : str, Path or Model
        As in `napari_flowsr.posterior`.
    image : array-like, optional
        The LR image. Without, ``hr`` reduced with the degradation of the model's card
        (of any size: padded by mirroring, and cropped back).
    normalisation : str or sequence of str
        ``"local"``, ``"spatial"`` or ``"global"``, or several, one after the other.
    temperature : float or array, optional
        Of the new statistics; that of the card if not given.
    seed : int
        Of the new statistics.
    axes : str, optional
        As in `napari_flowsr.posterior`.

    Returns
    -------
    ndarray
        Shape and dtype of ``hr``. Beyond the model's reach of the mask its pixels are
        those of ``hr``, bit for bit.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.

    Notes
    -----
    What the LR image does not show cannot be inserted: the result reduces to it. To
    insert a new object give as ``image`` an LR image that shows it.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    if image is not None:
        scale = scale_between(image, hr, loaded, axes)
        post = posterior(image, loaded, axes=axes, scale=scale)
        given, other, where = hr, edited, mask
    else:
        pair = reduced(hr, loaded, axes=axes)
        post = posterior(pair.lr, loaded, axes=pair.axes, scale=pair.scale)
        given, other = pair.hr, pair.fitted(edited, "edited")
        where = None if mask is None else pair.fitted_map(mask)
    steps = transferring(
        post,
        given,
        other,
        where,
        normalisation=normalisation,
        temperature=temperature,
        seed=seed,
    )
    found = post.finish(steps).array
    return found if image is not None else pair.cropped(found)


def transferring(
    post: Posterior,
    hr: Any,
    edited: Any,
    mask: Any = None,
    *,
    normalisation: str | Sequence[str] = "local",
    temperature: Any = None,
    seed: int = 0,
    reconcile: bool = True,
) -> Iterator[Progress | Edited]:
    """`transfer_content` under a posterior, step by step.

    Parameters
    ----------
    post : Posterior
        Of the LR image.
    hr, edited, mask, normalisation, temperature, seed
        As there; ``hr`` of the upscaled shape.
    reconcile : bool
        Bring the pasted pixels to the LR image before they are encoded
        (`inference.transplant.reconciled`); the paper does not.
    """
    bound = post._bound
    if bound.options.prior == "learned":
        raise OptionError(
            "A learned prior predicts one image and has no statistics to normalise to. "
            "Choose the Gaussian prior for content transfer."
        )
    check_flow(bound)
    check_reduces(post.model)
    source, other = bound.hr_source(hr), bound.hr_source(edited, "edited")
    if other.dtype != source.dtype:
        raise OptionError(
            f"edited has dtype {other.dtype}, hr has {source.dtype}; both must have "
            "the same, with the same range. Paste into a copy of hr, or convert edited."
        )
    if mask is None:
        given = np.asarray(source.array), np.asarray(other.array)
        mask = changed_mask(*given, bound.geometry.axes)
        if not mask.any():
            raise OptionError(
                "edited is the same as hr, so that there is nothing to harmonise. "
                "Paste something into a copy of hr, or give a mask."
            )
    where = check_mask(mask, bound)
    tau = bound.temperature
    if temperature is not None:
        tau = parse_temperature(temperature, bound.geometry)
    checked = replace(bound.options, seed=seed).seed
    then = Normalise(check_collections(normalisation), checked, tau)
    pixels = _Pasted(post, source, other, where, reconcile)
    return _edited(bound, hr, where, Transplant(pixels, then))


class _Pasted:
    """Pixels of the edited image inside a mask, of the other one outside."""

    def __init__(
        self,
        post: Posterior,
        source: Source,
        other: Source,
        mask: FieldMap,
        reconcile: bool,
    ) -> None:
        self._bound = post._bound
        self._source, self._other, self._mask = source, other, mask
        self._reconcile = reconcile
        self._latest: tuple[int, Tensor] | None = None

    def __call__(self, decoder: UnitDecoder) -> tuple[UnitDecoder, Tensor]:
        unit = decoder.unit
        if self._latest is None or self._latest[0] != unit.index:
            self._latest = unit.index, self._made(decoder)
        return decoder, self._latest[1]

    def _made(self, decoder: UnitDecoder) -> Tensor:
        unit, bound = decoder.unit, self._bound
        values = bound.normalised_hr(self._source, unit)
        pasted = bound.normalised_hr(self._other, unit, "edited")
        small, large = self._grids(decoder)
        values = torch.where(large, pasted, values)
        if self._reconcile:
            values = reconciled(
                values,
                bound.workload.normalised(unit),
                small.numpy(),
                bound.geometry.scale,
                bound.card.degradation,
            )
        return UnitCoder(decoder.setup, unit).padded_hr(values)

    def _grids(self, decoder: UnitDecoder) -> tuple[Tensor, Tensor]:
        """Pixels of the mask on the LR grid and on the HR grid."""
        geometry = self._bound.geometry
        given = self._mask.plane(decoder.unit.plane)
        if isinstance(given, float):
            given = np.full(geometry.lr_size, given, np.float32)
        found = torch.from_numpy(np.ascontiguousarray(given > 0))
        if self._mask.is_hr:
            small = F.adaptive_max_pool2d(found.float()[None], geometry.lr_size)[0]
            return small > 0, found
        rows, columns = decoder.setup.under
        height, width = geometry.hr_size
        return found, found[rows[:height, None], columns[:width]]
