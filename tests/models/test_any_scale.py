"""What families of any scale promise besides, over all registered ones."""

from __future__ import annotations

import math

import pytest
import torch
from test_contract import EXAMPLES, largest, lr_image, randomised
from torch import Tensor

from napari_flowsr.core.flow import ConditionalFlow, scale_between
from napari_flowsr.core.latents import Latents, LatentSpec, Place, Window
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.errors import OptionError, SizeError
from napari_flowsr.models._registry import build

ANY_SCALE = [p for p in EXAMPLES if build(*p.values[0]).scale_range is not None]


@pytest.fixture
def flow(request: pytest.FixtureRequest) -> ConditionalFlow:
    return randomised(*request.param).double()


over_examples = pytest.mark.parametrize("flow", ANY_SCALE, indirect=True)
at_scales = pytest.mark.parametrize("scale", [2.0, 3.3])


def draw(spec: LatentSpec, seed: int = 8) -> Latents:
    return NoiseField(seed).draw(spec).map(lambda t: t.double())


def unit(flow: ConditionalFlow) -> int:
    return math.lcm(flow.alignment, flow.multiple_of)


def reach(flow: ConditionalFlow) -> int:
    return -(-flow.receptive_field // unit(flow)) * unit(flow)


@over_examples
@pytest.mark.parametrize("scale", [1, 1.0, 1.7, 2.5, 3.3, 4, 6, 8])
@torch.no_grad()
def test_real_scales(flow: ConditionalFlow, scale: float) -> None:
    m = flow.multiple_of
    cond = flow.condition(lr_image(flow, 3, 2))
    hr = flow.sample(cond, 2, scale=scale)
    expected = (round(3 * m * scale), round(2 * m * scale))
    assert hr.shape == (2, flow.channels, *expected)
    encoded = flow.encode(hr[:1], cond)
    assert encoded.latents.spec.hr_size == expected
    assert largest(flow.decode(encoded.latents, cond), hr[:1]) < 1e-9
    assert bool(flow.log_prob(hr, cond).isfinite().all())


@over_examples
def test_scales_out_of_range_are_refused(flow: ConditionalFlow) -> None:
    low, high = flow.scale_range
    assert low == 1
    assert high >= 8
    assert all(low <= scale <= high for scale in flow.scales)
    cond = flow.condition(lr_image(flow, 2, 2))
    for scale in (0.5, 0, -2, high + 1, math.nan, math.inf):
        with pytest.raises(OptionError, match="Choose one of them"):
            flow.latent_spec(cond.lr_size, scale)


def test_scale_from_sizes() -> None:
    assert scale_between((10, 12), (33, 40)) == 3.3
    assert scale_between((7, 7), (28, 28)) == 4
    assert scale_between((100, 33), (217, 72)) == 2.17
    assert scale_between((1, 1), (3, 3)) == 3
    with pytest.raises(SizeError, match="one scale for both sides"):
        scale_between((10, 10), (20, 22))


# --- places -----------------------------------------------------------------------


def _placed(
    flow: ConditionalFlow, lr: Tensor, window: Window, scale: float
) -> tuple[Tensor, LatentSpec]:
    """Decode of a window, and where it lies."""
    place = Place(window, (int(lr.shape[-2]), int(lr.shape[-1])), scale)
    rows = slice(window.y, window.y + window.height)
    columns = slice(window.x, window.x + window.width)
    cond = flow.condition(lr[..., rows, columns]).at(place)
    spec = flow.window_spec(place)
    return flow.decode(draw(spec), cond), spec


def _windows(flow: ConditionalFlow, side: int) -> list[tuple[Window, Window]]:
    """A core with its window in each corner and in the middle of a square image."""
    u, r = unit(flow), reach(flow)
    out = []
    for at in (0, r + 2 * u, side - 2 * u):
        core = Window(at, side - 2 * u - at, 2 * u, 2 * u)
        y0, x0 = max(0, core.y - r), max(0, core.x - r)
        y1, x1 = (min(side, a + 2 * u + r) for a in (core.y, core.x))
        out.append((core, Window(y0, x0, y1 - y0, x1 - x0)))
    return out


@over_examples
@at_scales
@torch.no_grad()
def test_a_window_gives_what_the_whole_gives(
    flow: ConditionalFlow, scale: float
) -> None:
    side = 2 * reach(flow) + 6 * unit(flow)
    lr = lr_image(flow, side // flow.multiple_of, side // flow.multiple_of)
    whole, _ = _placed(flow, lr, Window(0, 0, side, side), scale)
    plain = flow.latent_spec((side, side), scale)
    assert torch.equal(whole, flow.decode(draw(plain), flow.condition(lr)))
    for core, window in _windows(flow, side):
        tile, spec = _placed(flow, lr, window, scale)
        top, bottom, left, right = spec.hr_box
        assert tile.shape[-2:] == (bottom - top, right - left)
        y0, y1 = round(core.y * scale), round((core.y + core.height) * scale)
        x0, x1 = round(core.x * scale), round((core.x + core.width) * scale)
        got = tile[..., y0 - top : y1 - top, x0 - left : x1 - left]
        assert got.shape[-2:] == (y1 - y0, x1 - x0)
        assert largest(got, whole[..., y0:y1, x0:x1]) < 1e-9
    # The comparison can fail: the core alone, without a halo.
    core, _ = _windows(flow, side)[1]
    tile, spec = _placed(flow, lr, core, scale)
    top, bottom, left, right = spec.hr_box
    assert largest(tile, whole[..., top:bottom, left:right]) > 1e-4


@over_examples
@at_scales
@torch.no_grad()
def test_a_window_is_encoded_as_in_the_whole(
    flow: ConditionalFlow, scale: float
) -> None:
    side = 2 * reach(flow) + 6 * unit(flow)
    lr = lr_image(flow, side // flow.multiple_of, side // flow.multiple_of)
    cond = flow.condition(lr)
    hr = flow.sample(cond, scale=scale)
    whole = flow.encode(hr, cond).latents
    for core, window in _windows(flow, side):
        place = Place(window, (side, side), scale)
        spec = flow.window_spec(place)
        rows = slice(window.y, window.y + window.height)
        crop = lr[..., rows, window.x : window.x + window.width]
        y0, y1, x0, x1 = spec.hr_box
        part = flow.encode(hr[..., y0:y1, x0:x1], flow.condition(crop).at(place))
        expected = whole.crop(spec)
        for level, got, wanted in zip(
            spec.cells(core), part.latents.levels, expected.levels, strict=True
        ):
            assert got[(..., *level)].numel() > 0
            assert largest(got[(..., *level)], wanted[(..., *level)]) < 1e-8
    place = Place(Window(0, 0, side, unit(flow)), (side, side))
    cond = flow.condition(lr[..., : unit(flow)]).at(place)
    with pytest.raises(OptionError, match="unknown scale"):
        flow.encode(hr, cond)


@over_examples
@pytest.mark.parametrize("scale", [1.0, 1.37, 2.0, 3.3, 5.9])
def test_cores_partition_the_latents(flow: ConditionalFlow, scale: float) -> None:
    u = unit(flow)
    size = (5 * u, 7 * u)
    whole = flow.latent_spec(size, scale)
    for level, (_, height, width) in enumerate(whole.shapes):
        count = torch.zeros(height, width)
        for y in range(0, size[0], 2 * u):
            for x in range(0, size[1], 2 * u):
                sides = (min(2 * u, size[0] - y), min(2 * u, size[1] - x))
                core = Window(y, x, *sides)
                count[whole.cells(core)[level]] += 1
                # A tile's own spec names the same cells, counted from its start.
                spec = flow.window_spec(Place(core, size, scale))
                rows, columns = spec.cells(core)[level]
                start = spec.levels[level].start
                absolute = whole.cells(core)[level]
                assert rows.start + start[0] == absolute[0].start
                assert columns.stop + start[1] == absolute[1].stop
        assert bool((count == 1).all())


@over_examples
@at_scales
def test_noise_and_maps_depend_on_the_absolute_cell(
    flow: ConditionalFlow, scale: float
) -> None:
    u = unit(flow)
    size = (6 * u, 8 * u)
    whole = flow.latent_spec(size, scale)
    window = Window(2 * u, u, 3 * u, 4 * u)
    part = flow.window_spec(Place(window, size, scale))
    noise = draw(whole)
    for got, wanted in zip(draw(part).levels, noise.crop(part).levels, strict=True):
        assert torch.equal(got, wanted)
    generator = torch.Generator().manual_seed(0)
    lr_map = torch.rand(size, generator=generator, dtype=torch.float64)
    hr_map = torch.rand(whole.hr_size, generator=generator, dtype=torch.float64)
    y0, y1, x0, x1 = part.hr_box
    in_lr = lr_map[window.y : window.y + 3 * u, window.x : window.x + 4 * u]
    in_hr = hr_map[y0:y1, x0:x1]
    other = draw(whole, seed=9)
    # The last patches' centres may lie on LR pixels beyond the window: in the halo.
    core = Window(window.y, window.x, 2 * u, 3 * u)
    for all_of_it, cut, exact in (
        (lr_map, in_lr, part.cells(core)),
        (hr_map, in_hr, part.cells(window)),
    ):
        tempered = noise.tempered(all_of_it).crop(part)
        mixed = noise.where(all_of_it, other).crop(part)
        here, there = draw(part), draw(part, seed=9)
        for i, cells in enumerate(exact):
            at = (..., *cells)
            assert torch.equal(here.tempered(cut).levels[i][at], tempered.levels[i][at])
            again = here.where(cut, there)
            assert torch.equal(again.levels[i][at], mixed.levels[i][at])


@over_examples
def test_places_that_do_not_fit_are_refused(flow: ConditionalFlow) -> None:
    u = unit(flow)
    lr = lr_image(flow, 2, 3)
    cond = flow.condition(lr)
    with pytest.raises(SizeError, match="does not lie in"):
        Place(Window(0, 1, u, 2 * u), (2 * u, 2 * u))
    with pytest.raises(SizeError, match="that the LR image was cut from"):
        cond.at(Place(Window(0, 0, u, u), (9 * u, 9 * u)))
    spec = flow.window_spec(Place(Window(u, u, u, u), (4 * u, 4 * u)), 2.0)
    with pytest.raises(SizeError, match=r"flow\.window_spec"):
        NoiseField(0).draw(spec, window=Window(0, 0, u, u))
    with pytest.raises(SizeError, match="do not fit a condition"):
        flow.decode(draw(flow.latent_spec((5 * u, 5 * u))), cond)


@over_examples
@torch.no_grad()
def test_what_samples_share_is_computed_once(flow: ConditionalFlow) -> None:
    cond = flow.condition(lr_image(flow, 2, 3))
    spec = flow.latent_spec(cond.lr_size, 3.3)
    bare = cond.nbytes
    first = flow.decode(draw(spec), cond)
    prepared = cond.nbytes
    assert prepared > bare
    assert torch.equal(flow.decode(draw(spec), cond), first)
    assert cond.nbytes == prepared
    ready = flow.prepare(flow.condition(cond.lr), spec)
    assert ready.nbytes == prepared
    assert torch.equal(flow.decode(draw(spec), ready), first)
    # Nothing without gradients is kept where they are recorded.
    with torch.enable_grad():
        hr = flow.decode(draw(spec), cond)
    assert hr.requires_grad
    assert largest(hr, first) < 1e-12
