"""The hierarchy of levels of HCFlow: the LR image is what is left after the last.

References
----------
HCFlow: Hierarchical Conditional Flow (Liang et al., 2021), arXiv:2108.05301, section
3.3, Figs. 2 and 3, eq. (5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_flowsr.core.encoders.trunks import TwoTrunks
from napari_flowsr.core.folding import Prepared, Program, fold
from napari_flowsr.core.latents import LatentLevel, LatentSpec
from napari_flowsr.core.scales import LogScale, arctan_scale
from napari_flowsr.core.step import coupling_step
from napari_flowsr.core.transforms.base import Compose, Transform, zero_per_image
from napari_flowsr.core.transforms.head import GaussianHead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DetailSizes", "Hierarchy"]


@dataclass(frozen=True)
class DetailSizes:
    """Sizes of what models the detail of a level, given the coarser image."""

    width: int
    growth: int
    blocks: tuple[int, int]
    hidden: int
    with_early: bool
    head_scale: LogScale | None


class _Level(nn.Module):
    """Squeeze and steps; then detail leaves, and is modelled given what goes on."""

    def __init__(
        self,
        squeeze: Transform,
        steps: Compose,
        encoder: TwoTrunks,
        conditional: Compose,
        kept: int,
    ) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.steps = steps
        self.encoder = encoder
        self.conditional = conditional
        self.kept = kept

    @property
    def reach(self) -> int:
        """Cells that its detail, and so its output, sees of the image that is kept.

        The steps and couplings, the convolution of the head, and the encoder.
        """
        return self.steps.reach + self.conditional.reach + 1 + self.encoder.reach


class Hierarchy(nn.Module):
    """Levels at HR/2, HR/4, ..., each of which halves the image it is given.

    Level *l* turns ``y`` into a coarser ``y_l`` and detail ``a_l``; the last ``y`` is
    the LR image. Detail is mapped to white latents by a conditional flow and a Gaussian
    head, on features of ``y_l`` and of all coarser levels.

    Parameters
    ----------
    channels : int
        Image channels.
    squeeze, main : callable
        From a number of channels to the squeeze before, from channels after it and the
        level's number to the unconditional steps.
    conditional_steps : sequence of int
        Steps of the conditional flow of each level, finest first.
    sizes : DetailSizes
    """

    def __init__(
        self,
        channels: int,
        squeeze: Callable[[int], Transform],
        main: Callable[[int, int], Compose],
        conditional_steps: Sequence[int],
        sizes: DetailSizes,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        self._gone: list[int] = []
        count = len(conditional_steps)
        here = channels
        for number, steps in enumerate(conditional_steps):
            squeezed = 4 * here
            kept = squeezed // 2 if number < count - 1 else channels
            features = sizes.width * (2 if sizes.with_early else 1)
            encoder = TwoTrunks(
                kept,
                features * (count - 1 - number),
                sizes.width,
                sizes.growth,
                sizes.blocks,
                with_early=sizes.with_early,
            )
            gone = squeezed - kept
            couplings = [
                coupling_step(
                    gone, features, hidden=sizes.hidden, log_scale=arctan_scale
                )
                for _ in range(steps)
            ]
            head = GaussianHead(gone, features, sizes.head_scale)
            conditional = Compose([*couplings, head])
            own = squeeze(here), main(squeezed, number), encoder, conditional, kept
            self.levels.append(_Level(*own))
            self._gone.append(gone)
            here = kept

    def _ordered(self) -> list[_Level]:
        return list(self.levels)  # type: ignore[arg-type]

    def spec(self, lr_size: tuple[int, int]) -> LatentSpec:
        """Sizes of the latents, finest first, for an LR image of ``lr_size``."""
        (h, w), count = lr_size, len(self._gone)
        levels = []
        for number, gone in enumerate(self._gone):
            rate = 2 ** (count - 1 - number)
            levels.append(LatentLevel(gone, h * rate, w * rate, Fraction(rate)))
        scale = 2**count
        return LatentSpec(tuple(levels), lr_size, (h * scale, w * scale))

    def features(self, lr: Tensor) -> Tensor:
        """Features of the last level, the only ones that an LR image alone gives."""
        features: Tensor = self._ordered()[-1].encoder(lr)
        return features

    def forward(self, hr: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Map an HR image to its LR image, white latents, and ``logdet (B,)``."""
        x, logdet = hr, zero_per_image(hr)
        images, details = [], []
        for level in self._ordered():
            x, of_squeeze = level.squeeze(x)
            x, of_steps = level.steps(x)
            logdet = logdet + of_squeeze + of_steps
            images.append(x[:, : level.kept])
            details.append(x[:, level.kept :])
            x = images[-1]
        latents: list[Tensor] = []
        coarser: list[Tensor] = []  # features, the nearest level first
        for level in reversed(self._ordered()):
            coarser = [level.encoder(images.pop(), coarser), *coarser]
            z, term = level.conditional(details.pop(), coarser[0])
            latents.append(z)
            logdet = logdet + term
        return x, tuple(reversed(latents)), logdet

    def inverse(
        self, latents: Sequence[Tensor], lr: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map LR image, its `features` and white latents to an image, and ``logdet``.

        ``lr`` and ``features`` may have batch 1 for any batch of latents.
        """
        x = lr.expand(latents[0].shape[0], -1, -1, -1)
        logdet = zero_per_image(x)
        coarser: list[Tensor] = []
        levels = zip(reversed(self._ordered()), reversed(latents), strict=True)
        for level, z in levels:
            own = level.encoder(x, coarser) if coarser else features
            coarser = [own, *coarser]
            detail, of_detail = level.conditional.inverse(z, own)
            x, of_steps = level.steps.inverse(torch.cat((x, detail), 1))
            x, of_squeeze = level.squeeze.inverse(x)
            logdet = logdet + of_detail + of_steps + of_squeeze
        return x, logdet

    def programs(self) -> tuple[Program, ...]:
        """For decoding alone: of each level from the coarsest on, of detail and image.

        The first sees `features`; details of other levels see the sample, images
        nothing.
        """
        found = []
        for level, gone in zip(
            reversed(self._ordered()), reversed(self._gone), strict=True
        ):
            found.append(fold(level.conditional, gone))
            found.append(fold(level.steps, level.kept + gone))
        return tuple(found)

    def decode(
        self,
        latents: Sequence[Tensor],
        lr: Tensor,
        features: Tensor,
        prepared: Prepared,
    ) -> Tensor:
        """As `inverse`, by `programs` and what the first made ready, no ``logdet``."""
        x = lr.expand(latents[0].shape[0], -1, -1, -1)
        coarser: list[Tensor] = []
        parts = iter(prepared)
        levels = zip(reversed(self._ordered()), reversed(latents), strict=True)
        for level, z in levels:
            own = level.encoder(x, coarser) if coarser else features
            coarser = [own, *coarser]
            (of_detail, ready), (of_image, _) = next(parts), next(parts)
            ready = of_detail.ready(own) if ready is None else ready
            detail = of_detail.decode(z, ready)
            x = of_image.decode(torch.cat((x, detail), 1), ())
            x, _ = level.squeeze.inverse(x)
        return x

    @property
    def reach(self) -> int:
        """LR pixels on each side of a pixel that its decoding can see.

        From the finest level on: what is seen in cells of a level is half as many of
        the next, rounded up, and as many more as that level sees.
        """
        total = 0
        for level in self._ordered():
            total = math.ceil(total / 2) + level.reach
        return total
