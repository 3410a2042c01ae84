from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.errors import AxesError, ImageError
from napari_flowsr.inference.axes import Geometry, parse_axes


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (None, (5, 6), "YX"),
        (None, (2, 5, 6), "ZYX"),
        (None, (2, 2, 5, 6), "TZYX"),
        (None, (1, 2, 2, 5, 6), "QTZYX"),
        ("yxs", (5, 6, 3), "YXS"),
        ("TZCYX", (1, 2, 3, 4, 5), "TZCYX"),
        ("YX", (5, 3), "YX"),
        ("CYX", (2, 5, 3), "CYX"),
        (None, (7, 3), "YX"),
        (None, (30, 2), "YX"),
        (None, (3, 5, 1), "ZYX"),
        (None, (9, 1, 1), "ZYX"),
        (None, (9, 8, 5), "ZYX"),
    ],
)
def test_axes(axes, shape, expected) -> None:
    assert parse_axes(axes, shape) == expected


@pytest.mark.parametrize(
    ("axes", "shape", "say"),
    [
        (None, (5, 6, 3), "axes='...YXS'"),
        (None, (2, 5, 6, 4), "last axis of length 4"),
        ("TZCY", (1, 2, 3, 4, 5), "4 letters"),
        ("YY", (5, 6), "different letters"),
        ("ZX", (5, 6), "without Y"),
        ("TZ", (5, 6), "without Y and X"),
        ("Y1", (5, 6), "different letters"),
        ("SYX", (3, 5, 6), "must be the last"),
        ("YXS", (5, 6, 2), "has length 2"),
        (None, (24, 20, 1), "axes='YXC' for channels .* axes='ZYX'"),
        (None, (24, 20, 2), "last axis of length 2"),
        (None, (3, 24, 20, 1), "axes='ZYXC' for channels .* axes='TZYX'"),
        (("Y", "X"), (5, 6), "must be a string. Pass axes='YX'"),
        (["Y", "X"], (5, 6), "must be a string. Pass axes='YX'"),
        (("Y", 1), (5, 6), "must be a string. Give one letter"),
        (5, (5,) * 2, "of type int"),
        (b"YX", (5, 6), "of type bytes"),
        ("", (5, 6), "0 letters"),
    ],
)
def test_bad_axes_say_what_to_do(axes, shape, say) -> None:
    with pytest.raises(AxesError, match=say):
        parse_axes(axes, shape)


@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (2, 0, 4)])
def test_no_plane(shape) -> None:
    with pytest.raises(ImageError):
        parse_axes(None, shape)


def test_geometry_scales_only_y_and_x() -> None:
    geometry = Geometry("TCYX", (2, 3, 5, 7), 4.0)
    assert geometry.scales == (1.0, 1.0, 4.0, 4.0)
    assert geometry.output_shape == (2, 3, 20, 28)
    assert geometry.planes == 6
    assert [geometry.channel(p) for p in range(6)] == [0, 1, 2, 0, 1, 2]


def test_plane_index_is_c_order_of_the_looped_axes() -> None:
    geometry = Geometry("XTYC", (5, 2, 4, 3), 2.0)
    array = np.arange(np.prod(geometry.input_shape)).reshape(geometry.input_shape)
    planes = np.moveaxis(array, (1, 3), (0, 1)).reshape(6, 5, 4)
    for plane in range(6):
        np.testing.assert_array_equal(array[geometry.index(plane)], planes[plane])
    assert geometry.transposed
