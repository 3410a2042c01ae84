"""Sample data: bundled, described truthfully, and as layers."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Layer

from napari_flowsr.widgets import sample_data


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("sample data must not be downloaded")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cell", (660, 550)),
        ("retina", (1411, 1411, 3)),
        ("microaneurysms", (102, 102)),
    ],
)
def test_each_sample_is_one_image_layer(no_network, name, shape):
    [(data, options, kind)] = getattr(sample_data, name)()
    layer = Layer.create(data, options, kind)
    assert layer.name == name
    assert layer.data.shape == shape
    assert layer.data.dtype == np.uint8
    assert layer.rgb == (len(shape) == 3)


def test_only_the_cell_has_a_pixel_size():
    """scikit-image states it for this image alone; none is made up."""
    [(data, options, _)] = sample_data.cell()
    layer = Layer.create(data, options, "image")
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    np.testing.assert_allclose(layer.scale, 0.107)
    for name in ("retina", "microaneurysms"):
        [(_, options, _)] = getattr(sample_data, name)()
        assert not {"scale", "units"} & set(options)
