"""Windows of a plane are parts of the plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_flowsr.core.latents import Window
from napari_flowsr.data.degradation import Degradation
from napari_flowsr.data.degrade import downscale
from napari_flowsr.inference import consistency, intensity, plane_input, source
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.consistency import strips
from napari_flowsr.inference.excess import split_excess
from napari_flowsr.inference.intensity import survey
from napari_flowsr.inference.plane_input import PlaneInput
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.inference.source import Source
from napari_flowsr.inference.stability import explosion_limit
from napari_flowsr.inference.units import Workload
from napari_flowsr.io.collection import load_model
from napari_flowsr.models.card import Normalisation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class Sliced:
    """A lazy array that notes what is read of it."""

    def __init__(self, array):
        self._array, self.read = array, []
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index):
        found = self._array[index]
        self.read.append(found.size)
        return found


def plane_of(array, axes="YX", *, padded=None, channels=1, nan="raise"):
    geometry = Geometry(axes, array.shape, 2.0)
    intensities = survey(
        Source(array, geometry), Normalisation(), joint=channels > 1, nan=nan
    )
    work = Workload(intensities, channels)
    unit = next(iter(work))
    return PlaneInput(work, unit, padded or geometry.lr_size)


@pytest.mark.parametrize("axes", ["YX", "XY"])
@pytest.mark.parametrize("bright", [False, True])
def test_windows_are_parts_of_the_whole(rng, axes, bright, monkeypatch):
    monkeypatch.setattr(intensity, "_STRIP", 40)  # several strips
    image = rng.random((13, 17))
    if bright:
        image[3, 4] = 60
    size = image.shape if axes == "YX" else image.shape[::-1]
    padded = (size[0] + 3, size[1] + 5)
    plane = plane_of(image, axes, padded=padded)
    whole, excess = split_excess(plane.whole, plane.excess.hr_size)
    width = ((0, 0), (0, 3), (0, 5))
    everything = torch.from_numpy(np.pad(whole.numpy(), width, mode="reflect"))[None]
    assert torch.equal(plane.window(), everything)
    for w in (Window(0, 0, 4, 5), Window(7, 9, 6, 8), Window(9, 7, 7, 8)):
        part = everything[..., w.y : w.y + w.height, w.x : w.x + w.width]
        assert torch.equal(plane.window(w), part)
    assert plane.limit == explosion_limit(whole)
    assert (plane.excess.read is not None) == bright
    hr = plane.excess.hr_size
    for box in ((0, hr[0], 0, hr[1]), (3, 9, 5, 20), (hr[0] - 2, hr[0], 0, 3)):
        got, expected = plane.excess.on_hr(box), excess.on_hr(box)
        assert (got is None) == (expected is None)
        if got is not None:
            assert torch.equal(got, expected)


def test_a_large_lazy_plane_is_read_in_parts(rng, monkeypatch):
    image = Sliced(rng.random((60, 50)).astype(np.float32))
    plane = plane_of(image)
    for limit, largest in ((1, 8 * 9), (1 << 20, 60 * 50)):
        monkeypatch.setattr(plane_input, "READ_AT_ONCE", limit)
        fresh = PlaneInput(plane.workload, plane.unit, plane.padded)
        image.read.clear()
        found = fresh.window(Window(20, 10, 8, 9))
        assert max(image.read) == largest
        assert torch.equal(found, plane.window()[..., 20:28, 10:19])


def test_filled_pixels_do_not_depend_on_the_window(rng):
    image = rng.random((20, 20))
    image[5:15, 5:15] = np.nan
    plane = plane_of(image, nan="fill")
    assert torch.equal(
        plane.window(Window(8, 8, 3, 3)), plane.window()[..., 8:11, 8:11]
    )


@pytest.mark.parametrize("scale", [2.0, 3.0, 4.0, 2.5])
@pytest.mark.parametrize("name", ["matlab-bicubic", "area", "gaussian:sigma=2.3"])
def test_reductions_of_strips_are_parts_of_the_reduction(scale, name, monkeypatch):
    monkeypatch.setattr(consistency, "_STRIP", 30)
    how = Degradation.parse(name)
    lr_size = (24, 10)
    hr = torch.rand(1, *(round(scale * side) for side in lr_size)).double()
    expected = downscale(hr, scale, how)
    found = list(strips(lr_size, scale, how))
    assert len(found) == (8 if scale == int(scale) else 1)
    parts = [downscale(hr[:, s.hr_rows], scale, how)[:, s.within] for s in found]
    together = torch.cat(parts, 1)
    assert (together - expected).abs().max() < 1e-12
    assert [s.rows.stop for s in found][-1] == lr_size[0]


def test_a_run_never_reads_a_large_plane_as_a_whole(rng, monkeypatch) -> None:
    """Neither for its tiles nor for what it tells besides: range, agreement, doubt."""
    for module in (source, plane_input):
        monkeypatch.setattr(module, "READ_AT_ONCE", 0)
    for module in (intensity, consistency):
        monkeypatch.setattr(module, "_STRIP", 1 << 14)
    image = Sliced((1000 * rng.random((400, 360))).astype(np.uint16))
    model = load_model("micro-2x", device="cpu")
    post = posterior(image, model, axes="YX", tile=96)
    *_, finished = post.stream(2)
    assert finished.result.report["typicality"]["score"] > 0
    assert finished.result.report["lr_psnr"]
    assert max(image.read) < image.shape[0] * image.shape[1] / 3
