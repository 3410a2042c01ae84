"""The pyramid of levels that SRFlow and AdFlow share: squeeze, steps, split.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 3.3 and Fig. 2; the multi-scale
architecture is that of Real NVP (Dinh et al., 2017), arXiv:1605.08803, section 3.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from napari_flowsr.core.folding import Prepared, Program, fold
from napari_flowsr.core.latents import LatentLevel, LatentSpec
from napari_flowsr.core.transforms.base import Compose, Transform, zero_per_image
from napari_flowsr.core.transforms.split import SplitGaussian
from napari_flowsr.core.transforms.squeeze import Squeeze

__all__ = ["Pyramid"]

MakeStep = Callable[[int], Transform]


class _Level(nn.Module):
    """Squeeze, steps, and the split that half of the channels leave by."""

    def __init__(
        self, factor: int, steps: Compose, split: SplitGaussian | None
    ) -> None:
        super().__init__()
        self.squeeze = Squeeze(factor)
        self.steps = steps
        self.split = split

    @property
    def reach(self) -> int:
        return self.steps.reach + (0 if self.split is None else self.split.reach)


class Pyramid(nn.Module):
    """Levels of ever coarser cells; a squeeze by ``f`` multiplies the channels by f^2.

    With SRFlow's squeezes by 2 the levels lie at HR/2, HR/4, ...

    Splits follow every level but the last two: the published networks pass the last
    but one whole.

    Parameters
    ----------
    channels : int
        Image channels.
    squeezes : sequence of int
        Factor of each level's squeeze, finest first; as many as there are levels.
    transition, step : callable
        From a number of channels to an unconditional and to a conditional flow step.
    transitions, steps : int
        How many of each a level has.
    """

    def __init__(
        self,
        channels: int,
        squeezes: Sequence[int],
        transition: MakeStep,
        step: MakeStep,
        *,
        transitions: int,
        steps: int,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        self._gone: list[int] = []
        self._channels: list[int] = []
        self._cells = tuple(accumulate(squeezes, mul))
        for number, factor in enumerate(squeezes, 1):
            channels *= factor**2
            self._channels.append(channels)
            body = Compose(
                [
                    *(transition(channels) for _ in range(transitions)),
                    *(step(channels) for _ in range(steps)),
                ]
            )
            split = SplitGaussian(channels) if number < len(squeezes) - 1 else None
            self.levels.append(_Level(factor, body, split))
            if split is not None:
                self._gone.append(channels - split.kept)
                channels = split.kept
        self._last = channels

    def _ordered(self) -> list[_Level]:
        return list(self.levels)  # type: ignore[arg-type]

    def spec(self, lr_size: tuple[int, int], scale: int) -> LatentSpec:
        """Sizes of the latents, finest first, for an LR image of ``lr_size``."""
        cells = [*self._cells[: len(self._gone)], self._cells[-1]]
        (h, w) = lr_size
        hr_size = (h * scale, w * scale)
        out = []
        for channels, cell in zip([*self._gone, self._last], cells, strict=True):
            size = (hr_size[0] // cell, hr_size[1] // cell)
            out.append(LatentLevel(channels, *size, Fraction(scale, cell)))
        return LatentSpec(tuple(out), lr_size, hr_size)

    def forward(
        self, x: Tensor, us: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Map an image to white latents, finest first, and ``logdet (B,)``.

        ``us`` holds one condition a level, ``(B or 1, C_u, H / c, W / c)`` with ``c``
        the side of the level's cells.
        """
        latents = []
        logdet = zero_per_image(x)
        for level, u in zip(self._ordered(), us, strict=True):
            x, _ = level.squeeze(x)
            x, term = level.steps(x, u)
            logdet = logdet + term
            if level.split is not None:
                x, eps, term = level.split(x)
                latents.append(eps)
                logdet = logdet + term
        return (*latents, x), logdet

    def inverse(
        self, latents: Sequence[Tensor], us: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Map white latents, finest first, to an image, and ``logdet (B,)``."""
        *finer, x = latents
        logdet = zero_per_image(x)
        for level, u in zip(reversed(self._ordered()), reversed(us), strict=True):
            if level.split is not None:
                x, term = level.split.inverse(x, finer.pop())
                logdet = logdet + term
            x, term = level.steps.inverse(x, u)
            logdet = logdet + term
            x, _ = level.squeeze.inverse(x)
        return x, logdet

    def programs(self) -> tuple[Program, ...]:
        """The steps of each level for decoding alone, finest first."""
        return tuple(
            fold(level.steps, channels)
            for level, channels in zip(self._ordered(), self._channels, strict=True)
        )

    def decode(self, latents: Sequence[Tensor], prepared: Prepared) -> Tensor:
        """As `inverse`, by `programs` and what they made ready, without ``logdet``."""
        *finer, x = latents
        levels = list(zip(self._ordered(), prepared, strict=True))
        for level, (program, tensors) in reversed(levels):
            if level.split is not None:
                x, _ = level.split.inverse(x, finer.pop())
            x = program.decode(x, tensors or ())
            x, _ = level.squeeze.inverse(x)
        return x

    @property
    def reach(self) -> int:
        """HR pixels on each side of a pixel that its decoding can see.

        Each level adds its reach in its own cells, and up to a cell less one of the
        finer level, because neighbouring pixels share one cell of the level above.
        """
        finer = (1, *self._cells)
        return sum(
            level.reach * cell + cell - below
            for level, cell, below in zip(
                self._ordered(), self._cells, finer, strict=False
            )
        )
