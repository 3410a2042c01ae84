"""Very large results are shown as pyramids."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.widgets import _layers, _pyramid
from napari_flowsr.widgets._geometry import whole_box
from napari_flowsr.widgets._pyramid import pyramid


def test_what_can_be_shown_is_not_copied():
    data = np.zeros((2, 30, 40))
    levels = pyramid(data, rgb=False)
    assert len(levels) == 1
    assert levels[0] is data


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_levels_are_means(monkeypatch, rgb, dtype):
    monkeypatch.setattr(_pyramid, "LARGEST_SIDE", 16)
    monkeypatch.setattr(_pyramid, "_SMALLEST_SIDE", 10)
    monkeypatch.setattr(_pyramid, "_STRIP", 60)  # several strips
    shape = (3, 37, 24, 3) if rgb else (3, 37, 24)
    data = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    levels = pyramid(data, rgb=rgb)
    rest = (3,) if rgb else ()
    assert [x.shape for x in levels] == [
        (3, 37, 24, *rest), (3, 18, 12, *rest), (3, 9, 6, *rest)
    ]  # fmt: skip
    assert all(x.dtype == dtype for x in levels)
    blocks = data[:, :36].astype(float).reshape(3, 18, 2, 12, 2, *rest)
    assert np.abs(levels[1] - blocks.mean((2, 4))).max() <= 0.5


def test_a_large_output_becomes_one_layer_of_several_levels(monkeypatch):
    import napari

    monkeypatch.setattr(_pyramid, "LARGEST_SIDE", 16)
    viewer = napari.components.ViewerModel()
    layer = viewer.add_image(np.random.default_rng(0).random((700, 600)))
    source = _layers.Source.of(layer, whole_box(layer))
    data = np.random.default_rng(1).random((1400, 1200)).astype(np.float32)
    output = _layers.make_output(source, "mean", data, {"kind": "mean"}, model="m")
    (added,) = _layers.add_outputs(viewer, source, [output])
    assert added.multiscale
    assert [x.shape for x in added.data] == [(1400, 1200), (700, 600), (350, 300)]
    assert _layers.layer_array(added) is data
    np.testing.assert_allclose(added.scale, (0.5, 0.5))
    spread = _layers.make_output(source, "std", data, {"kind": "std"}, model="m")
    assert spread.options["multiscale"]
