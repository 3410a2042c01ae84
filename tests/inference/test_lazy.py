"""Tiles of one sample, computed alone, and an image of which only parts are there."""

from __future__ import annotations

import threading

import dask.array as dask_array
import numpy as np
import pytest

from every_family import CASES
from napari_flowsr.core.interrupt import until_cancelled
from napari_flowsr.errors import Cancelled, OptionError, OutOfMemoryError
from napari_flowsr.inference import lazy_image
from napari_flowsr.inference.events import Progress, TileDone, TileFailed
from napari_flowsr.inference.lazy import fill
from napari_flowsr.inference.lazy_image import LazyImage
from napari_flowsr.inference.posterior import posterior


def lazily(image, model, *, budget=None, **options):
    """A posterior, its tiles, and an image that nothing is computed of."""
    post = posterior(image, model, device="cpu", **options)
    array = post.intensities.source.array
    return post, post.tiles(), LazyImage(array, post.geometry, budget)


def everything(lazy):
    height, width = lazy.geometry.hr_size
    return 0, height, 0, width


def filled(image, model, **options):
    """All planes computed; the largest size."""
    post, tiles, lazy = lazily(image, model, **options)
    for plane in range(post.geometry.planes):
        lazy.want(plane, everything(lazy))
        list(fill(lazy, tiles))
    assert lazy.is_complete(tiles)
    return post, np.asarray(lazy.levels[0])


def nearest(image, size):
    y, x = (
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(size, image.shape, strict=True)
    )
    return image[y[:, None], x]


def test_an_image_on_disk_is_shown_by_an_overview(image, model, monkeypatch):
    """Read in whole chunks, once a plane; before that nothing is shown."""
    read = []
    on_disk = dask_array.from_array(image, (16, 29)).map_blocks(
        lambda block: read.append(block.shape) or block, meta=image[:0, :0]
    )
    monkeypatch.setattr(lazy_image, "_AT_ONCE", 0)
    lazy = LazyImage(on_disk, posterior(image, model, device="cpu").geometry)
    smallest = lazy.levels[-1]
    assert not np.any(smallest[...])
    read.clear()
    lazy.prepare()
    assert sorted(read) == [(5, 29), (16, 29), (16, 29)]
    np.testing.assert_array_equal(smallest[...], nearest(image, smallest.shape))
    lazy.prepare()
    assert len(read) == 3


def test_a_view_of_an_image_on_disk_is_read_once(image, model):
    """Not again for each tile that is drawn into it."""
    read = []
    on_disk = dask_array.from_array(image, (16, 29)).map_blocks(
        lambda block: read.append(block.shape) or block, meta=image[:0, :0]
    )
    post, tiles, _ = lazily(image, model)
    lazy = LazyImage(on_disk, post.geometry)
    before = lazy.levels[0][:20, :20]
    read.clear()
    tile = tiles.tiles[0]
    lazy.put(0, tile, tiles.box(tile), tiles.pixels(0, tile))
    after = lazy.levels[0][:20, :20]
    assert read == []
    assert np.any(before != after)
    lazy.levels[0][20:40, :20]
    assert read != []


# --- values -------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_tiles_equal_a_run_in_the_same_tiles_bit_for_bit(image, model, temperature):
    post, found = filled(image, model, tile=16, temperature=temperature, seed=4)
    np.testing.assert_array_equal(found, post.sample(1)[0])


def test_tiles_equal_the_whole_to_rounding(image, model):
    whole = posterior(image, model, device="cpu", tile=None, seed=4).sample(1)[0]
    _, found = filled(image, model, tile=16, seed=4)
    assert found.dtype == whole.dtype == np.float32
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sample", [0, 3])
def test_a_tile_alone_is_that_of_the_run(image, model, sample):
    post = posterior(image, model, device="cpu", tile=16, seed=1)
    tiles, whole = post.tiles(sample), post.sample(sample + 1)[sample]
    tile = tiles.tiles[4]
    y0, y1, x0, x1 = tiles.box(tile)
    alone = tiles.pixels(0, tile)[:, :, 0]
    # A batch of several samples adds up in another order.
    np.testing.assert_allclose(alone, whole[y0:y1, x0:x1], rtol=0, atol=1e-4)


def test_stacks_channels_and_constants(model):
    y, x = np.mgrid[:20, :18]
    stack = np.random.default_rng(0).integers(0, 4000, (2, 3, 20, 18), np.uint16)
    stack[1] = 7
    stack[0] += (50 * np.sin(y / 3) * np.cos(x / 4) + 60).astype(np.uint16)
    post, found = filled(stack, model, axes="CZYX", tile=8)
    np.testing.assert_array_equal(found, post.sample(1)[0])
    assert np.unique(found[1]).tolist() == [7]


@pytest.mark.parametrize("which", ["model", "rgb_model"])
def test_rgba(which, request):
    rgba = np.random.default_rng(0).integers(0, 255, (20, 18, 4), np.uint8)
    post, found = filled(rgba, request.getfixturevalue(which), axes="YXS", tile=8)
    np.testing.assert_array_equal(found, post.sample(1)[0])


def test_x_before_y(image, model):
    post, found = filled(image, model, axes="XY", tile=16)
    np.testing.assert_array_equal(found, post.sample(1)[0])


TILED = [p for p in CASES if not p.values[0].model().flow.needs_whole]


@pytest.mark.parametrize("case", TILED)
def test_every_family(case, image):
    image = image[:24, :20]
    post, tiles, lazy = lazily(image, case.model(), tile=8, temperature=0.2)
    lazy.want(0, everything(lazy))
    failed = [e for e in fill(lazy, tiles) if isinstance(e, TileFailed)]
    assert failed == []
    np.testing.assert_array_equal(lazy.levels[0][...], post.sample(1)[0])


def test_bright_pixels_are_added_as_in_a_run(image, model):
    image[10, 12] = 400
    post, found = filled(image, model, tile=16)
    np.testing.assert_array_equal(found, post.sample(1)[0])


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"consistent": True}, "whole planes"), ({"prior": "learned"}, "learned prior")],
)
def test_what_needs_the_whole_plane_is_refused(image, options, reason):
    (case,) = next(c.values for c in CASES if c.id == "srflow-2")
    with pytest.raises(OptionError, match=reason):
        posterior(image, case.with_prior(), device="cpu", **options).tiles()


# --- what is there ------------------------------------------------------------


def test_what_is_not_computed_is_the_nearest_input_pixel(image, model):
    _, tiles, lazy = lazily(image, model, tile=16)
    plain = nearest(image, lazy.geometry.hr_size)
    np.testing.assert_array_equal(lazy.levels[0][...], plain)
    lazy.want(0, (0, 4, 0, 4))
    done = [e for e in fill(lazy, tiles) if isinstance(e, TileDone)]
    assert len(done) == 1
    y0, y1, x0, x1 = tiles.box(done[0].tile)
    now = lazy.levels[0][...]
    assert (now[y0:y1, x0:x1] != plain[y0:y1, x0:x1]).any()
    now[y0:y1, x0:x1] = plain[y0:y1, x0:x1]
    np.testing.assert_array_equal(now, plain)
    assert not lazy.is_complete(tiles)


@pytest.mark.parametrize(
    "index",
    [
        np.s_[...], np.s_[3:17, 5], np.s_[:, ::3], np.s_[-4, 2], np.s_[2:9], 5,
        np.s_[np.int64(4), np.int32(3):8], np.s_[..., 1], np.s_[::-2, 4:4],
    ],
)  # fmt: skip
def test_indexing_is_numpys(image, model, index):
    _, _, lazy = lazily(image, model)
    level, array = lazy.levels[0], nearest(image, lazy.geometry.hr_size)
    assert (level.shape, level.ndim, level.size) == (array.shape, 2, array.size)
    np.testing.assert_array_equal(level[index], array[index])


def test_several_planes_are_read_when_they_are_needed(image, model):
    _, _, lazy = lazily(np.stack([image, image + 1, image + 2]), model, axes="ZYX")
    level = lazy.levels[0]
    cut = level[:, 4:10, 6:9]
    assert not isinstance(cut, np.ndarray)
    assert cut.shape == (3, 6, 3)
    plain = nearest(image, lazy.geometry.hr_size)[4:10, 6:9]
    np.testing.assert_array_equal(cut[1], plain + 1)
    np.testing.assert_array_equal(np.asarray(cut)[2], plain + 2)


def test_too_many_or_odd_indices_are_refused(image, model):
    _, _, lazy = lazily(image, model)
    with pytest.raises(IndexError):
        lazy.levels[0][0, 0, 0]
    with pytest.raises(TypeError):
        lazy.levels[0][[1, 2]]


def test_smaller_sizes_show_means_of_what_is_there(model):
    image = np.random.default_rng(0).normal(size=(300, 301)).astype(np.float32)
    _, tiles, lazy = lazily(image, model, tile=100)
    assert [level.shape for level in lazy.levels] == [(600, 602), (300, 301)]
    before = lazy.levels[1][...]
    lazy.want(0, (0, 200, 0, 200))
    list(fill(lazy, tiles))
    full, half = lazy.levels[0][...], lazy.levels[1][...]
    means = full[:200, :200].reshape(100, 2, 100, 2).mean((1, 3))
    np.testing.assert_allclose(half[:100, :100], means, atol=1e-5)
    np.testing.assert_array_equal(half[120:, 120:], before[120:, 120:])


def test_the_smallest_size_is_one_array_that_follows(model):
    """napari asks once for it, and keeps what it got."""
    image = np.random.default_rng(0).normal(size=(300, 301)).astype(np.float32)
    _, tiles, lazy = lazily(image, model, tile=100)
    kept = np.asarray(lazy.levels[-1])
    before = kept.copy()
    lazy.want(0, (0, 200, 0, 200))
    list(fill(lazy, tiles))
    assert np.asarray(lazy.levels[-1]) is kept
    assert (kept != before).any()
    np.testing.assert_array_equal(kept, lazy.levels[-1][...])
    lazy.give_up(0, tiles.tiles[0])
    np.testing.assert_array_equal(kept, lazy.levels[-1][...])


def test_an_input_on_disk_is_read_in_parts(model, tmp_path, monkeypatch):
    from napari_flowsr.inference import lazy_image

    monkeypatch.setattr(lazy_image, "_AT_ONCE", 1000)
    data = np.random.default_rng(0).integers(1, 255, (300, 301), np.uint8)
    held = np.memmap(tmp_path / "x", np.uint8, "w+", shape=data.shape)
    held[...] = data
    post, tiles, _ = lazily(held, model)
    lazy = LazyImage(held, post.geometry)
    assert not lazy.levels[-1][...].any()  # until the worker has looked at it
    assert lazy.has_work(tiles)
    list(fill(lazy, tiles))
    np.testing.assert_array_equal(lazy.levels[-1][...], nearest(data, (300, 301)))
    near = lazy.levels[0][100:110, 40:50]
    np.testing.assert_array_equal(near, nearest(data, (600, 602))[100:110, 40:50])


# --- what is wanted -----------------------------------------------------------


def test_the_nearest_to_the_centre_comes_first_and_nothing_else(image, model):
    _, tiles, lazy = lazily(image, model, tile=8)
    view = (16, 48, 16, 48)
    lazy.want(0, view)
    done = [e.tile for e in fill(lazy, tiles) if isinstance(e, TileDone)]
    boxes = [tiles.box(tile) for tile in done]
    far = [abs(a + b - 64) + abs(c + d - 64) for a, b, c, d in boxes]
    assert far[0] == min(far)
    assert far[-1] == max(far)
    assert 4 <= len(done) < len(tiles.tiles)
    for y0, y1, x0, x1 in boxes:
        assert y0 < 48
        assert y1 > 16
        assert x0 < 48
        assert x1 > 16


def test_another_view_takes_over(image, model):
    _, tiles, lazy = lazily(image, model, tile=8)
    lazy.want(0, everything(lazy))
    done = []
    for event in fill(lazy, tiles):
        if isinstance(event, TileDone):
            done.append(event.tile)
            lazy.want(0, (0, 1, 0, 1) if len(done) == 1 else None)
    assert [tile.core.y for tile in done[1:]] == [0]
    assert len(done) == 2


def test_a_tile_at_work_is_given_up_when_it_goes_out_of_view(image, model, monkeypatch):
    _, tiles, lazy = lazily(image, model, tile=8)
    real, asked = model.flow.decode, []

    def decode(*args, **kwargs):
        asked.append(threading.current_thread())
        lazy.want(0, None)
        return real(*args, **kwargs)

    monkeypatch.setattr(model.flow, "decode", decode)
    lazy.want(0, everything(lazy))
    assert not [e for e in fill(lazy, tiles) if isinstance(e, TileDone)]
    assert len(asked) == 1


def test_cancelling_is_passed_on(image, model):
    _, tiles, lazy = lazily(image, model, tile=8)
    lazy.want(0, everything(lazy))
    stop = threading.Event()
    events = until_cancelled(fill(lazy, tiles), stop.is_set)
    assert isinstance(next(events), Progress)
    stop.set()
    with pytest.raises(Cancelled):
        next(events)


def test_memory_is_bounded_and_what_is_in_view_stays(image, model):
    _, tiles, lazy = lazily(image, model, tile=8, budget=3 * 16 * 16 * 4)
    for tile in tiles.tiles:
        lazy.want(0, tiles.box(tile))
        list(fill(lazy, tiles))
        assert lazy._held <= 3 * 16 * 16 * 4
        assert lazy.progress(tiles) == (1, 1)
    lazy.want(0, everything(lazy))  # more than the budget, all of it in view
    list(fill(lazy, tiles))
    assert lazy.is_complete(tiles)


# --- errors -------------------------------------------------------------------


def test_lack_of_memory_leaves_the_input_there_and_goes_on(image, model, monkeypatch):
    _, tiles, lazy = lazily(image, model, tile=16)
    real = tiles.pixels

    def pixels(plane, tile):
        if tile is tiles.tiles[0]:
            raise OutOfMemoryError("Too little.")
        return real(plane, tile)

    monkeypatch.setattr(tiles, "pixels", pixels)
    lazy.want(0, everything(lazy))
    events = list(fill(lazy, tiles))
    failed = [e for e in events if isinstance(e, TileFailed)]
    assert [(e.tile, str(e.error)) for e in failed] == [(tiles.tiles[0], "Too little.")]
    assert len([e for e in events if isinstance(e, TileDone)]) == len(tiles.tiles) - 1
    y0, y1, x0, x1 = tiles.box(tiles.tiles[0])
    plain = nearest(image, lazy.geometry.hr_size)[y0:y1, x0:x1]
    np.testing.assert_array_equal(lazy.levels[0][y0:y1, x0:x1], plain)
    assert not lazy.has_work(tiles)


def test_what_explodes_and_what_sees_it_stays_the_input(image, make_pyramid):
    """A run redraws such places; what is shown is what a run gives, or the input."""
    image = np.tile(image, (3, 3))[:96, :80]
    post, tiles, lazy = lazily(image, make_pyramid(threshold=4.0), tile=16, seed=2)
    lazy.want(0, everything(lazy))
    failed = [e for e in fill(lazy, tiles) if isinstance(e, TileFailed)]
    assert failed
    assert "lower the temperature" in str(failed[0].error)
    whole, found = post.sample(1)[0], lazy.levels[0][...]
    plain = nearest(image, lazy.geometry.hr_size)
    done = 0
    for tile in tiles.tiles:
        y0, y1, x0, x1 = tiles.box(tile)
        if tiles.is_bad(0, tile):
            wanted = plain
        else:
            wanted, done = whole, done + 1
        np.testing.assert_array_equal(
            found[y0:y1, x0:x1], wanted[y0:y1, x0:x1], err_msg=str(tile)
        )
    assert 0 < done < len(tiles.tiles)
