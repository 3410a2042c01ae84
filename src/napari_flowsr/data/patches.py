"""Training patches, a pure function of seed and step: restarts are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_flowsr.data.degrade import downscale, margin
from napari_flowsr.data.source import Plane
from napari_flowsr.data.unusual import unusual

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["PatchSampler"]

_CANDIDATES = 3


@dataclass(frozen=True)
class PatchSampler:
    """Aligned LR and HR patches from planes, sampled by group and by detail.

    Groups are drawn with the square root of their image counts, so that the most
    common modality does not rule; images within a group with the square root of their
    area; of a few candidate positions one is drawn in proportion to its mean gradient,
    so that black background is rare but not absent.

    Parameters
    ----------
    planes : sequence of Plane
        ``(C, H, W)`` in ``[0, 1]``.
    scale : int
        HR pixels per LR pixel.
    patch : int
        LR side of a patch.
    batch : int
        Patches of a (global) batch.
    seed : int
        Of the data order.
    degradation : str
        One of `data.degrade.DEGRADATIONS`.
    unusual : float
        Share of patches replaced by unusual ones, see `data.unusual`.
    """

    planes: Sequence[Plane]
    scale: int
    patch: int
    batch: int
    seed: int = 0
    degradation: str = "matlab-bicubic"
    unusual: float = 0.0

    def _probabilities(self) -> NDArray[np.float64]:
        counts = Counter(p.group for p in self.planes)
        area = np.array([np.sqrt(p.pixels[0].size) for p in self.planes])
        total = Counter[str]()
        for p, a in zip(self.planes, area, strict=True):
            total[p.group] += a
        weight = np.array(
            [
                np.sqrt(counts[p.group]) * a / total[p.group]
                for p, a in zip(self.planes, area, strict=True)
            ]
        )
        out: NDArray[np.float64] = weight / weight.sum()
        return out

    def _window(self, rng: np.random.Generator, plane: Plane) -> NDArray[np.float32]:
        """HR patch with the degradation's margin: chosen by detail, flipped."""
        side = (self.patch + 2 * margin(self.scale, self.degradation)) * self.scale
        _, height, width = plane.pixels.shape
        tops = rng.integers(0, height - side + 1, _CANDIDATES)
        lefts = rng.integers(0, width - side + 1, _CANDIDATES)
        windows = [
            plane.pixels[:, y : y + side, x : x + side]
            for y, x in zip(tops, lefts, strict=True)
        ]
        detail = np.array([np.abs(np.diff(w, axis=-1)).mean() for w in windows]) + 1e-4
        window = windows[rng.choice(_CANDIDATES, p=detail / detail.sum())]
        if rng.random() < 0.5:
            window = window[:, ::-1]
        if rng.random() < 0.5:
            window = window[:, :, ::-1]
        if rng.random() < 0.5:
            window = window.swapaxes(1, 2)
        if rng.random() < self.unusual:
            window = unusual(rng, window)
        return window

    def draw(self, step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """LR ``(b, C, p, p)`` and HR ``(b, C, p s, p s)`` of a step.

        ``part`` selects patches of the global batch, for one process of several: each
        patch depends on seed, step and its own number alone.
        """
        probabilities = self._probabilities()
        windows = []
        for index in range(*part.indices(self.batch)):
            rng = np.random.default_rng((self.seed, step, index))
            plane = self.planes[rng.choice(len(self.planes), p=probabilities)]
            windows.append(np.ascontiguousarray(self._window(rng, plane)))
        wide = torch.from_numpy(np.stack(windows))
        lr = downscale(wide, self.scale, self.degradation)
        m = margin(self.scale, self.degradation)
        lr = lr[..., m:-m, m:-m]
        hr = wide[
            ..., m * self.scale : -m * self.scale, m * self.scale : -m * self.scale
        ]
        return lr.contiguous(), hr.contiguous()

    @property
    def min_side(self) -> int:
        """Smallest usable plane side in HR pixels."""
        return (self.patch + 2 * margin(self.scale, self.degradation)) * self.scale
