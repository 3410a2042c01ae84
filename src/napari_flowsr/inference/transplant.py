"""Latents of other pixels in place of those in a mask: what both transfers do.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, sections 4.2 to 4.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.core.normalise import faded
from napari_flowsr.data.degrade import margin
from napari_flowsr.inference.changes import Normalise
from napari_flowsr.inference.consistency import Projection, lr_residual
from napari_flowsr.inference.decoder import UnitDecoder
from napari_flowsr.inference.encoding import encode_steps, fitting
from napari_flowsr.inference.regions import lone_tile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_flowsr.core.latents import Latents, Window
    from napari_flowsr.data.degradation import Degradation
    from napari_flowsr.inference.tiles import TilePlan

__all__ = ["Transplant", "reconciled"]

_TAIL = 8
"""LR pixels after which what the projection adds has died away (below 1e-4)."""


@dataclass(frozen=True)
class Transplant:
    """Encode other pixels, and take their latents where the mask is above 0.

    Outside, the latents stay those of the image that is edited, so that nothing of the
    other one is seen there. Where the mask is soft both are mixed: latents of an image
    of its own so that they stay white; normalised ones, which are those of the edited
    image and depend on the old ones, linearly, which amplifies nothing.

    Parameters
    ----------
    pixels : callable
        From the decoder of a unit to the decoder that gives conditions, and the pixels
        ``(1, channels, H, W)`` of the padded plane to encode under these.
    then : Normalise, optional
        What becomes of their latents.
    given_lr : bool
        Decode under the given LR image, also where the flow found another one in the
        image that is edited.
    """

    pixels: Callable[[UnitDecoder], tuple[UnitDecoder, Tensor]]
    then: Normalise | None = None
    given_lr: bool = False

    @property
    def attempts(self) -> int:
        """As often as the normalisation may be tried."""
        return 1 if self.then is None else self.then.attempts

    def __call__(
        self,
        decoder: UnitDecoder,
        own: Sequence[Latents],
        weights: Sequence[Tensor],
        attempt: int,
    ) -> list[Latents]:
        reader, pixels = self.pixels(decoder)
        new = [_encoded(reader, pixels, z.spec.window, reader is decoder) for z in own]
        if self.then is not None:
            # A cell that is but partly in the mask is normalised like the others.
            inside = [(w > 0).float() for w in weights]
            new = self.then(decoder, new, inside, attempt)
        parts = zip(own, new, weights, strict=True)
        found = [self._mixed(*part) for part in parts]
        return [replace(z, lr=None) for z in found] if self.given_lr else found

    def _mixed(self, own: Latents, new: Latents, weight: Tensor) -> Latents:
        if self.then is None:
            return own.where(weight, new)
        # Of the same image but for what was put in, so that both depend on each other.
        return faded(own, new, weight)


def _encoded(
    decoder: UnitDecoder, hr: Tensor, window: Window, decodes: bool
) -> Latents:
    """Latents of a window of the padded plane ``hr``.

    If ``decodes``, the condition of a window that is one tile is needed again.
    """

    def work(plan: TilePlan) -> Latents:
        # As it is where the window was encoded before: at once, if it can be.
        alone = lone_tile(window, decoder.setup, plan)
        tiles = plan.over(window) if alone is None else [alone]
        keep = decodes and len(tiles) == 1
        steps = encode_steps(decoder, hr, tiles, window=window, keep=keep)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Latents = end.value
                return found

    with torch.no_grad():
        return fitting(decoder, work)


def reconciled(
    hr: Tensor,
    lr: Tensor,
    mask: npt.NDArray[np.bool_],
    scale: float,
    degradation: Degradation,
) -> Tensor:
    """The nearest image whose downscale, where a mask is, is the LR image.

    Latents of pixels that contradict the LR image are an order of magnitude too large,
    along the directions of the contradiction. Normalised as they are they keep these,
    and the detail that was to be transferred shrinks by as much. Without the
    contradiction it keeps its size.

    Parameters
    ----------
    hr : Tensor
        ``(components, H, W)``, network units.
    lr : Tensor
        ``(components, h, w)``.
    mask : ndarray of bool
        ``(h, w)``: LR pixels in whose HR pixels there may be other content.
    scale : float
        HR pixels per LR pixel.
    degradation : Degradation
        Of the model's card.

    Returns
    -------
    Tensor
        Of the shape of ``hr``.
    """
    reach = margin(scale, degradation)
    (top, bottom), (left, right) = (
        _span(np.asarray(mask.any(1 - axis)), reach + _TAIL, float(scale).is_integer())
        for axis in (0, 1)
    )
    s = hr.shape[-2] / lr.shape[-2], hr.shape[-1] / lr.shape[-1]
    rows = slice(round(top * s[0]), round(bottom * s[0]))
    columns = slice(round(left * s[1]), round(right * s[1]))
    part, small = hr[..., rows, columns], lr[..., top:bottom, left:right]
    here = torch.from_numpy(mask[top:bottom, left:right])
    near = torch.nn.functional.max_pool2d(
        here.float()[None], 2 * reach + 1, 1, padding=reach
    )
    missing = -lr_residual(part, small, scale, degradation) * near
    run = Projection(torch.zeros_like(part), missing, scale, degradation)
    while not run.finished:
        run.step()
    out = hr.clone()
    out[..., rows, columns] += run.hr
    return out


def _span(along: npt.NDArray[np.bool_], by: int, crops: bool) -> tuple[int, int]:
    """First and last LR row (or column) of a mask and ``by`` more on each side.

    At a scale that is not whole the reduction of a crop is not a crop of the reduction.
    """
    if not crops:
        return 0, len(along)
    (found,) = np.nonzero(along)
    return max(0, int(found[0]) - by), min(len(along), int(found[-1]) + 1 + by)
