"""The pyramid of levels that SRFlow and AdFlow share: squeeze, steps, split.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, section 3.3 and Fig. 2; the multi-scale
architecture is that of Real NVP (Dinh et al., 2017), arXiv:1605.08803, section 3.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from torch import Tensor, nn

from napari_flowsr.core.latents import LatentLevel, LatentSpec
from napari_flowsr.core.transforms.base import Compose, Transform, zero_per_image
from napari_flowsr.core.transforms.split import SplitGaussian
from napari_flowsr.core.transforms.squeeze import Squeeze

__all__ = ["Pyramid"]

MakeStep = Callable[[int], Transform]


class _Level(nn.Module):
    """Squeeze, steps, and the split that half of the channels leave by."""

    def __init__(self, steps: Compose, split: SplitGaussian | None) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        self.steps = steps
        self.split = split

    @property
    def reach(self) -> int:
        return self.steps.reach + (0 if self.split is None else self.split.reach)


class Pyramid(nn.Module):
    """Levels at HR/2, HR/4, ...; channels grow by 4 each, and are halved by each split.

    Splits follow every level but the last two: the published networks pass the last
    but one whole.

    Parameters
    ----------
    channels : int
        Image channels.
    levels : int
        Number of levels ``L``.
    transition, step : callable
        From a number of channels to an unconditional and to a conditional flow step.
    transitions, steps : int
        How many of each a level has.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        transition: MakeStep,
        step: MakeStep,
        *,
        transitions: int,
        steps: int,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        self._gone: list[int] = []
        for number in range(1, levels + 1):
            channels *= 4
            body = Compose(
                [
                    *(transition(channels) for _ in range(transitions)),
                    *(step(channels) for _ in range(steps)),
                ]
            )
            split = SplitGaussian(channels) if number < levels - 1 else None
            self.levels.append(_Level(body, split))
            if split is not None:
                self._gone.append(channels - split.kept)
                channels = split.kept
        self._last = channels

    def _ordered(self) -> list[_Level]:
        return list(self.levels)  # type: ignore[arg-type]

    def spec(self, lr_size: tuple[int, int], scale: int) -> LatentSpec:
        """Sizes of the latents, finest first, for an LR image of ``lr_size``."""
        count = len(self.levels)
        numbers = [*range(1, len(self._gone) + 1), count]
        (h, w) = lr_size
        hr_size = (h * scale, w * scale)
        out = []
        for channels, number in zip([*self._gone, self._last], numbers, strict=True):
            size = (hr_size[0] >> number, hr_size[1] >> number)
            out.append(LatentLevel(channels, *size, Fraction(scale, 2**number)))
        return LatentSpec(tuple(out), lr_size, hr_size)

    def forward(
        self, x: Tensor, us: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Map an image to white latents, finest first, and ``logdet (B,)``.

        ``us`` holds one condition a level, ``(B or 1, C_u, H / 2^l, W / 2^l)``.
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

    @property
    def reach(self) -> int:
        """HR pixels on each side of a pixel that its decoding can see.

        Each level adds its reach in its own cells, and up to half a cell more, because
        neighbouring pixels share one cell of the level above.
        """
        return sum(
            level.reach * 2**number + 2 ** (number - 1)
            for number, level in enumerate(self._ordered(), 1)
        )
