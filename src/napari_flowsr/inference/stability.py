"""Redrawing latents where the inverse flow explodes, the same way for any tiling.

The plane is divided into blocks on a grid that is fixed in the image. A block is bad if
the decode of the *whole plane* is not finite (or absurdly large) anywhere in it. Bad
blocks get the noise of their next attempt at a lower temperature, the plane is decoded
again where these latents reach, and so on until no block is bad. Tiles only say in
which order this is computed.

References
----------
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), section 3: the exploding inverse of SRFlow's family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_flowsr.errors import UnstableDecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_flowsr.core.latents import LatentSpec, Window

__all__ = ["COOLING", "DRAWN", "GIVEN", "RedrawGrid", "cooling", "exploded"]
__all__ += ["explosion_limit", "redraw_report"]

COOLING = (0.7, 0.4, 0.2, 0.0)
"""Factor of the temperature in each further attempt; the last one is the mode."""
DRAWN, GIVEN = 3.0, 20.0
"""Multiples of the LR image's magnitude that drawn and given latents may reach."""
_BLOCK = 32


def cooling(attempt: int) -> float:
    """Factor of the temperature in an attempt; 1 in attempt 0, the first draw."""
    return COOLING[attempt - 1] if attempt else 1.0


def explosion_limit(*planes: Tensor, factor: float = DRAWN) -> float:
    """Magnitude of an HR value, in network units, that no image has.

    For drawn latents that is two ranges beyond the LR image's own. Taken over whole
    planes, so that it is the same for any tiling.
    """
    return factor * max(1.0, *(float(plane.abs().max()) for plane in planes))


def exploded(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.bool_]:
    """Which samples of ``(B, C, H, W)`` have a value not finite or too large."""
    peak = np.abs(values).max(axis=(1, 2, 3))
    return np.asarray(~(peak <= limit))  # a NaN is not below the limit either


@dataclass(frozen=True)
class RedrawGrid:
    """Attempt number of each block of latents, for one sample of one plane.

    Parameters
    ----------
    attempts : ndarray
        ``(rows, columns)`` of blocks; 0 is the first draw.
    block : int
        Side of a block in LR pixels.
    """

    attempts: npt.NDArray[np.int64]
    block: int

    @classmethod
    def empty(cls, size: tuple[int, int], align: int) -> RedrawGrid:
        """No redraws, for a padded plane of ``size`` LR pixels.

        Blocks are whole cells of every latent level.
        """
        block = -(-_BLOCK // align) * align
        rows, columns = (-(-side // block) for side in size)
        return cls(np.zeros((rows, columns), np.int64), block)

    def _span(self, window: Window) -> tuple[slice, slice]:
        return (
            slice(window.y // self.block, -(-(window.y + window.height) // self.block)),
            slice(window.x // self.block, -(-(window.x + window.width) // self.block)),
        )

    def within(self, window: Window) -> list[int]:
        """Attempt numbers above 0 that occur in a window."""
        found = np.unique(self.attempts[self._span(window)])
        return [int(a) for a in found if a > 0]

    def touches(self, window: Window, blocks: npt.NDArray[np.bool_]) -> bool:
        """Whether a window contains latents of the given blocks."""
        return bool(blocks[self._span(window)].any())

    def mask(self, spec: LatentSpec, attempt: int) -> Tensor:
        """``(H, W)`` on a placed spec's HR box: 1 where latents are of this attempt.

        A cell that lies in two blocks belongs to the one under its centre, the same for
        any tiling.
        """
        rows, columns = (spec.lr_under(i).numpy() // self.block for i in (0, 1))
        chosen = self.attempts[rows[:, None], columns] == attempt
        return torch.from_numpy(chosen.astype(np.float32))

    def bad_blocks(
        self,
        values: npt.NDArray[np.float32],
        under: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        limit: float,
    ) -> npt.NDArray[np.bool_]:
        """Blocks with a bad value in HR content ``(C, H, W)``.

        ``under`` is the LR row of each of its rows, and the LR column of each column,
        as `LatentSpec.lr_under` tells them.
        """
        bad = np.zeros(self.attempts.shape, bool)
        ok = (np.abs(values) <= limit).all(axis=0)
        y, x = np.nonzero(~ok)
        bad[under[0][y] // self.block, under[1][x] // self.block] = True
        return bad

    def raised(self, bad: npt.NDArray[np.bool_], sample: int) -> RedrawGrid:
        """Next attempt in the bad blocks.

        Raises
        ------
        UnstableDecodeError
            If a block is still bad in its last attempt.
        """
        attempts = self.attempts + bad
        if attempts.max() > len(COOLING):
            row, column = (int(i[0]) for i in np.nonzero(attempts > len(COOLING)))
            raise UnstableDecodeError(
                f"Sample {sample} is not finite, or far outside of the image's range, "
                f"around LR row {row * self.block}, column {column * self.block}, even "
                f"at temperature 0 there ({len(COOLING)} redraws). Lower the "
                "temperature, or use another model."
            )
        return RedrawGrid(attempts, self.block)


def redraw_report(grids: Iterable[tuple[int, RedrawGrid]]) -> dict[str, object]:
    """Facts for the provenance: which samples, how many blocks, how many attempts."""
    found = [(sample, grid) for sample, grid in grids if grid.attempts.any()]
    return {
        "redrawn_blocks": int(sum(np.count_nonzero(g.attempts) for _, g in found)),
        "redrawn_samples": sorted({sample for sample, _ in found}),
        "redraw_attempts": max((int(g.attempts.max()) for _, g in found), default=0),
    }
