"""What HCFlow's two networks share: a flow whose latent contains the LR image.

References
----------
HCFlow: Hierarchical Conditional Flow (Liang et al., 2021), arXiv:2108.05301, sections
3.2 and 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_flowsr.core.folding import Program
    from napari_flowsr.core.hierarchy import Hierarchy
    from napari_flowsr.core.latents import Latents, LatentSpec

__all__ = ["HierarchicalFlow", "check_positive", "levels_of", "per_level"]


def levels_of(family: str, scale: int) -> int:
    """Levels of a scale, which must be 2, 4 or 8."""
    if scale not in (2, 4, 8):
        raise OptionError(f"{family} scale is {scale}; it can be 2, 4 or 8.")
    return scale.bit_length() - 1


def per_level(name: str, given: tuple[int, ...], levels: int) -> tuple[int, ...]:
    """Numbers for each level; one number stands for all levels."""
    counts = given * levels if len(given) == 1 else given
    if len(counts) != levels:
        raise OptionError(
            f"{name} is given as {given}; a network of {levels} levels needs {levels} "
            "numbers, finest level first, or one for all."
        )
    return counts


def check_positive(family: str, **values: int) -> None:
    """Raise `OptionError` for a size below 1."""
    for name, value in values.items():
        if value < 1:
            raise OptionError(f"{family} {name} is {value}; give 1 or more.")


class HierarchicalFlow(ConditionalFlow):
    """Decoding from the given LR image; encoding is the family's own."""

    multiple_of = 1
    encodes_lr = True

    def __init__(self, hierarchy: Hierarchy, channels: int, scale: int) -> None:
        super().__init__()
        self.flow = hierarchy
        self.channels = channels
        self.scales = (float(scale),)
        self.receptive_field = hierarchy.reach

    def condition(self, lr: Tensor) -> Condition:
        """Features of the last level; those of finer ones depend on the sample."""
        self.check_lr(lr)
        return Condition(lr, (self.flow.features(lr),))

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One latent level for each level of the flow."""
        self.check_scale(scale)
        return self.flow.spec(lr_size)

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Map latents to an HR image."""
        prepared = self.prepared(cond)
        if prepared is not None:
            (features,) = cond.features
            return self.flow.decode(latents.levels, cond.lr, features, prepared)
        return self.inverse(latents, cond)[0]

    def programs(self) -> tuple[Program, ...]:
        """Two a level; only the first sees the LR image alone."""
        return self.flow.programs()

    def inverse(self, latents: Latents, cond: Condition) -> tuple[Tensor, Tensor]:
        """HR image as `decode`, and the log-determinant ``(B,)`` of that direction."""
        hr, logdet = self.flow.inverse(latents.levels, cond.lr, cond.features[0])
        return hr, logdet
