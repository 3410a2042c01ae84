from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_flowsr.core.latents import Window
from napari_flowsr.inference.tiles import Tile, TilePlan, padded_size

sides = st.integers(1, 90)


@st.composite
def plans(draw) -> tuple[TilePlan, int]:
    multiple = draw(st.sampled_from([1, 2, 4]))
    align = multiple * draw(st.sampled_from([1, 3]))
    size = padded_size((draw(sides), draw(sides)), multiple)
    halo = draw(st.integers(0, 12))
    own = draw(st.none() | st.integers(0, halo))
    plan = TilePlan(size, draw(st.integers(1, 64)), halo, align, latent_halo=own)
    return plan, multiple


def coverage(plan: TilePlan, tiles: list[Tile]) -> np.ndarray:
    count = np.zeros(plan.size, int)
    for tile in tiles:
        c = tile.core
        count[c.y : c.y + c.height, c.x : c.x + c.width] += 1
    return count


def check_tile(plan: TilePlan, tile: Tile, multiple: int) -> None:
    own = plan.halo if plan.latent_halo is None else plan.latent_halo
    for window, halo in ((tile.window, own), (tile.seen or tile.window, plan.halo)):
        check_window(plan, tile.core, window, halo, multiple)


def check_window(
    plan: TilePlan, core: Window, window: Window, halo: int, multiple: int
) -> None:
    for start, side, first, length, whole in (
        (core.y, core.height, window.y, window.height, plan.size[0]),
        (core.x, core.width, window.x, window.width, plan.size[1]),
    ):
        assert side > 0
        assert start % plan.align == 0
        assert first % plan.align == 0
        assert length % multiple == 0
        assert 0 <= first <= max(0, start - halo)
        assert min(whole, start + side + halo) <= first + length <= whole


@given(plans())
def test_cores_partition_and_windows_hold_the_halo(drawn) -> None:
    plan, multiple = drawn
    tiles = list(plan)
    assert len(tiles) == len(plan)
    assert (coverage(plan, tiles) == 1).all()
    for tile in tiles:
        check_tile(plan, tile, multiple)


@given(plans())
def test_split_keeps_the_partition(drawn) -> None:
    plan, multiple = drawn
    pending, leaves = list(plan), []
    while pending:
        tile = pending.pop()
        parts = plan.split(tile)
        assert all(p.area <= tile.area for p in parts)
        (pending.extend(parts)) if parts else leaves.append(tile)
    assert (coverage(plan, leaves) == 1).all()
    for tile in leaves:
        check_tile(plan, tile, multiple)
        assert max(tile.core.height, tile.core.width) <= max(16, plan.align)


def test_sides_are_as_equal_as_may_be() -> None:
    plan = TilePlan((520, 520), 512, 8)
    assert {t.core.height for t in plan} == {260}


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [((1, 1), 1, (1, 1)), ((1, 7), 4, (4, 8)), ((16, 33), 16, (16, 48))],
)
def test_padded_size(size, multiple, expected) -> None:
    assert padded_size(size, multiple) == expected
