"""One sample, tile by tile as they are asked for, and nothing else of it.

Noise is a function of position and a tile sees its halo, so that a tile that is
computed alone has the values that it has in a whole run, with one exception: a run
redraws latents where a decode explodes, after it has seen the whole plane. Here such a
tile, and those that see the same latents, are refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.interrupt import interruptible
from napari_flowsr.errors import (
    Cancelled,
    OutOfMemoryError,
    UnstableDecodeError,
)
from napari_flowsr.inference.decoder import Exploded, UnitDecoder
from napari_flowsr.inference.events import Progress, TileDone, TileFailed
from napari_flowsr.inference.options import check_tileable
from napari_flowsr.inference.stability import RedrawGrid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.lazy_image import LazyImage
    from napari_flowsr.inference.tiles import Tile

__all__ = ["SampleTiles", "fill"]

Array = npt.NDArray[Any]

# Side of a tile in LR pixels, unless one is asked for. Smaller ones come sooner but
# spend more on halos.
_LARGEST = {"cpu": 128}
_LARGEST_ELSEWHERE = 256


class SampleTiles:
    """Any tile of one sample.

    Parameters
    ----------
    bound : Bound
        Image, model and options.
    sample : int
        Its number.

    Raises
    ------
    OptionError
        An option needs whole planes.
    """

    def __init__(self, bound: Bound, sample: int = 0) -> None:
        check_tileable(consistent=bound.options.consistent, prior=bound.options.prior)
        setup = bound.setup(1)
        largest = _LARGEST.get(setup.flow.device.type, _LARGEST_ELSEWHERE)
        if bound.options.tile == "auto" and setup.plan.tile > largest:
            options = replace(bound.options, tile=largest)
            setup = replace(bound, options=options).setup(1)
        self._setup, self._work = setup, setup.workload
        self._samples = range(sample, sample + 1)
        self.tiles = tuple(setup.plan)
        """Those of one plane; all planes have the same."""
        self._boxes = {tile: setup.box(tile.core) for tile in self.tiles}
        self._plane = -1
        self._decoders: list[UnitDecoder] = []
        self._alpha: Array | None = None
        self._bad: dict[int, npt.NDArray[np.bool_]] = {}

    def facts(self) -> dict[str, Any]:
        """For the provenance: how the plane is divided, and what that may change."""
        plan = self._setup.plan
        error = self._setup.seam_error
        return {"tile": plan.tile, "halo": plan.halo, "seam_error": error}

    def box(self, tile: Tile) -> tuple[int, int, int, int]:
        """HR rows and columns ``(y0, y1, x0, x1)`` of a tile."""
        return self._boxes[tile]

    def pixels(self, plane: int, tile: Tile) -> Array:
        """Pixels ``(H, W, S)`` of a tile, in the dtype and range of the image.

        Raises
        ------
        OutOfMemoryError
            Not even parts of the tile fit.
        UnstableDecodeError
            It explodes, or sees latents that do.
        """
        self._go_to(plane)
        if self.is_bad(plane, tile):
            raise _unstable(tile)
        y0, y1, x0, x1 = self.box(tile)
        components = self._work.geometry.components
        dtype = self._work.intensities.source.dtype
        out = np.empty((y1 - y0, x1 - x0, components), dtype)
        for decoder in self._decoders:
            if self._work.constant(decoder.unit):
                self._work.fill_with_constant(out, decoder.unit)
            else:
                self._work.fill(out, decoder.unit, self._decoded(decoder, tile))
        if self._alpha is not None:
            out[:, :, 3] = self._alpha[y0:y1, x0:x1]
        return out

    def is_bad(self, plane: int, tile: Tile) -> bool:
        """Whether a tile sees latents that are known to explode."""
        bad = self._bad.get(plane)
        return bad is not None and self._grid.touches(tile.window, bad)

    @property
    def _grid(self) -> RedrawGrid:
        return RedrawGrid.empty(self._setup.plan.size, self._setup.plan.align)

    def _go_to(self, plane: int) -> None:
        """Have the decoders of a plane; only those of one are held."""
        if plane == self._plane:
            return
        units = [unit for unit in self._work if unit.plane == plane]
        self._decoders = [UnitDecoder(self._setup, unit) for unit in units]
        if self._work.alpha:
            dtype = self._work.intensities.source.dtype
            self._alpha = self._work.enlarged_alpha(plane, dtype)
        self._plane = plane

    def _decoded(self, decoder: UnitDecoder, tile: Tile) -> npt.NDArray[np.float32]:
        try:
            values: npt.NDArray[np.float32] = decoder.checked(tile, self._samples)[0]
            return values
        except Exploded:
            self._mark(decoder, tile)
        finally:
            decoder.forget(tile)
        raise _unstable(tile)

    def _mark(self, decoder: UnitDecoder, tile: Tile) -> None:
        """Remember which blocks of latents explode."""
        values = decoder.decode(tile, self._samples)[0]
        y0, y1, x0, x1 = self.box(tile)
        rows, columns = self._setup.under
        under = rows[y0:y1], columns[x0:x1]
        bad = self._grid.bad_blocks(values, under, decoder.input.limit)
        plane = decoder.unit.plane
        self._bad[plane] = bad | self._bad.get(plane, np.zeros_like(bad))


def _unstable(tile: Tile) -> UnstableDecodeError:
    core = tile.core
    return UnstableDecodeError(
        "The sample is not finite, or far outside of the image's range, around LR row "
        f"{core.y}, column {core.x} ({core.height} x {core.width} pixels). A run of "
        "the whole image draws such places again at a lower temperature; or lower the "
        "temperature."
    )


def fill(image: LazyImage, tiles: SampleTiles) -> Iterator[Any]:
    """Compute what is wanted of an image, the nearest to the centre first.

    What is wanted may be another at any time: a tile at work that is not wanted any
    more is given up. Ends when nothing is left to do.

    Yields
    ------
    TileDone, TileFailed, Progress
        A failure concerns one tile; the others go on.
    """
    image.prepare()
    while (found := image.next(tiles)) is not None:
        plane, tile = found
        done, total = image.progress(tiles)
        yield Progress(done, total, f"in view: tile {done + 1} of {total}")
        try:
            with interruptible(_no_more_wanted(image, tiles, plane, tile)):
                pixels = tiles.pixels(plane, tile)
        except Cancelled:
            if image.wants(plane, tiles.box(tile)):
                raise  # by whoever iterates
            continue
        except (OutOfMemoryError, UnstableDecodeError) as error:
            image.give_up(plane, tile)
            _withdraw(image, tiles, plane)
            yield TileFailed(plane, tile, error)
            continue
        image.put(plane, tile, tiles.box(tile), pixels)
        yield TileDone(plane, tile)
        image.prepare()


def _no_more_wanted(
    image: LazyImage, tiles: SampleTiles, plane: int, tile: Tile
) -> Any:
    box = tiles.box(tile)
    return lambda: not image.wants(plane, box)


def _withdraw(image: LazyImage, tiles: SampleTiles, plane: int) -> None:
    """Take back what saw latents that are now known to explode."""
    for tile in tiles.tiles:
        if tiles.is_bad(plane, tile):
            image.give_up(plane, tile)
