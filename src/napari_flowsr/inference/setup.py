"""What is common to all units of a run: model, plan, noise, and where things lie."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Window
from napari_flowsr.core.places import LatentSpec, Place, hr_side
from napari_flowsr.core.precision import FULL
from napari_flowsr.inference.drawing import Drawing, LearnedPrior, Samples
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.tiles import Tile, TilePlan
from napari_flowsr.inference.units import Workload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


__all__ = ["ConditionCache", "Limits", "Setup"]


@dataclass
class Limits:
    """What was found to fit into memory while running."""

    batch: int
    area: float = math.inf


@dataclass
class ConditionCache:
    """Conditions of tiles, kept from the first pass to the second while they fit."""

    budget: int
    held: int = 0
    items: OrderedDict[tuple[int, Tile], Condition] = field(default_factory=OrderedDict)

    def get(self, key: tuple[int, Tile]) -> Condition | None:
        """Condition of ``(unit, tile)`` if it is held."""
        return self.items.get(key)

    def put(self, key: tuple[int, Tile], condition: Condition) -> None:
        """Hold a condition if the budget allows it.

        It must be prepared (`ConditionalFlow.prepare`): it may not grow any more.
        """
        if self.held + condition.nbytes <= self.budget:
            self.items[key] = condition
            self.held += condition.nbytes

    def drop(self, key: tuple[int, Tile]) -> None:
        """Forget one that is not needed any more."""
        condition = self.items.pop(key, None)
        self.held -= condition.nbytes if condition else 0

    def clear(self) -> None:
        """Forget all, and hold no more: memory has run out."""
        self.items.clear()
        self.held = self.budget = 0


@dataclass(frozen=True)
class Setup:
    """What is common to all units of a run.

    Windows and cores are boxes of the padded plane, ``plan.size`` LR pixels.
    """

    flow: ConditionalFlow
    workload: Workload
    plan: TilePlan
    seed: int
    shared_noise: bool
    first_plane: int
    temperature: FieldMap
    limits: Limits
    cache: ConditionCache
    peak_bytes: int = 0
    drawing: Drawing = field(default_factory=Samples)
    precision: str = FULL

    @property
    def scale(self) -> float:
        """HR pixels per LR pixel, as asked for."""
        return self.workload.geometry.scale

    @property
    def prior(self) -> str:
        """``"learned"`` or ``"gaussian"``: where latents come from."""
        return "learned" if isinstance(self.drawing, LearnedPrior) else "gaussian"

    @property
    def is_single(self) -> bool:
        """Whether all samples are the same one."""
        return self.drawing.is_single or self.flow.deterministic

    @property
    def seam_error(self) -> float | None:
        """Part of the range by which tiles may differ from the whole: the halo's.

        0 where tiles see all that the network can see, or there is one; ``None`` if it
        was not measured (`inference.seam`).
        """
        is_one = len(self.plan) == 1 and self.limits.area == math.inf
        return 0.0 if is_one else self.border_error

    @property
    def border_error(self) -> float | None:
        """As `seam_error`, of windows that are no tiles: what an edit computes."""
        is_exact = self.plan.is_whole or self.plan.halo >= self.flow.receptive_field
        if is_exact:
            return 0.0
        halo, error = self.flow.seams.get(self.scale, (math.inf, None))
        return error if self.plan.halo >= halo else None

    @property
    def halo(self) -> int:
        """LR pixels around a part that is computed alone."""
        return self.flow.halo if self.plan.is_whole else self.plan.halo

    @property
    def latent_reach(self) -> int:
        """LR pixels around a latent that change with it, as far as parts tell."""
        crops = self.flow.condition_reach is not None
        return self.flow.latent_reach if crops else self.halo

    def place(self, window: Window) -> Place:
        """Where a window lies."""
        return Place(window, self.plan.size, self.scale)

    def spec(self, window: Window) -> LatentSpec:
        """Latents of a window: which cells, and which HR pixels they give."""
        return self.flow.window_spec(self.place(window), self.scale)

    @cached_property
    def whole(self) -> LatentSpec:
        """Latents of the padded plane."""
        return self.spec(Window(0, 0, *self.plan.size))

    @cached_property
    def under(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """LR row of each HR row of the padded plane, and LR columns likewise."""
        return self.whole.lr_under(0).numpy(), self.whole.lr_under(1).numpy()

    def box(self, core: Window) -> tuple[int, int, int, int]:
        """HR rows and columns ``(y0, y1, x0, x1)`` of a core, padding cut off.

        Cores that partition the LR plane partition the HR plane.
        """
        height, width = self.workload.geometry.hr_size
        y0, x0 = hr_side(core.y, self.scale), hr_side(core.x, self.scale)
        y1 = min(height, hr_side(core.y + core.height, self.scale))
        x1 = min(width, hr_side(core.x + core.width, self.scale))
        return y0, y1, x0, x1
