"""Outputs lie where their input lies; regions are those that were meant."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_flowsr.errors import ImageError, OptionError
from napari_flowsr.widgets._geometry import (
    Box,
    in_pixels,
    layer_array,
    layer_axes,
    output_geometry,
    resolve_roi,
    shapes_box,
    visible_box,
    whole_box,
)

# napari's own, for layers that are turned out of the slice.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

C, S = np.cos(0.6), np.sin(0.6)
TURN_3D = np.array([[C, 0, -S], [0, 1, 0], [S, 0, C]])  # Z and X, as in a tilted stack
AFFINE = np.array([[1.1, 0.2, 4.0], [-0.3, 0.9, -2.0], [0, 0, 1]])

PLANES = {
    "plain": {},
    "scaled": {"scale": (0.5, 0.25)},
    "translated": {"scale": (0.5, 0.25), "translate": (7, -3)},
    "rotated": {"scale": (0.5, 0.25), "translate": (7, -3), "rotate": 30},
    "sheared": {"scale": (2, 3), "translate": (1, 2), "shear": [0.4]},
    "sheared below": {"scale": (2, 3), "shear": np.array([[1, 0], [0.4, 1]])},
    "affine": {"affine": AFFINE},
    "everything": {
        "scale": (0.5, 0.25),
        "translate": (7, -3),
        "rotate": 20,
        "shear": [0.2],
        "affine": AFFINE,
    },
}
VOLUMES = {
    "plain": {},
    "rotated": {"scale": (2, 0.5, 0.25), "translate": (1, 2, 3), "rotate": TURN_3D},
    "everything": {
        "scale": (2, 0.5, 0.25),
        "translate": (1, 2, 3),
        "rotate": TURN_3D,
        "shear": [0.1, 0.2, 0.3],
        "affine": np.array(
            [[1, 0.1, 0, 2], [0, 1, 0.3, 0], [0.2, 0, 1.5, 1], [0, 0, 0, 1]]
        ),
    },
}


def corners(layer, box=None, leading=0):
    """World positions of the outer corners of the first and the last pixel.

    Y and X to the outer edge of the pixels, all other axes at their centres.
    """
    start = np.zeros(layer.ndim) if box is None else np.array(box.start, float)
    stop = np.array(layer_array(layer).shape[: layer.ndim] if box is None else box.stop)
    low, high = start.copy(), stop - 1.0
    low[-2:] -= 0.5
    high[-2:] += 0.5
    points = [low, high, np.append(low[:-1], high[-1])]
    return [np.asarray(layer.data_to_world(p))[leading:] for p in points]


def assert_same_place(source, output, box=None, leading=0):
    wanted, found = corners(source, box), corners(output, leading=leading)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-9)


def upscaled(layer, factor=2, box=None, **options):
    """Image layer of the upscaled shape, placed."""
    box = box or whole_box(layer)
    shape = list(box.shape)
    shape[-2:] = [round(n * factor) for n in shape[-2:]]
    if layer.rgb:
        shape.append(3)
    leading = tuple(options.get("leading", ()))
    placed = output_geometry(layer, box, shape, **options)
    data = np.zeros([2] * len(leading) + shape, "uint8")
    return Image(data, rgb=layer.rgb, **placed)


# --- outputs ------------------------------------------------------------------


@pytest.mark.parametrize("options", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("factor", [2, 4])
def test_outer_corners_stay_in_a_plane(options, factor):
    layer = Image(np.zeros((9, 12)), **options)
    assert_same_place(layer, upscaled(layer, factor))


@pytest.mark.parametrize("options", VOLUMES.values(), ids=VOLUMES)
def test_outer_corners_stay_in_a_volume_whose_planes_do_not_move(options):
    layer = Image(np.zeros((4, 9, 12)), **options)
    out = upscaled(layer)
    assert out.data.shape == (4, 18, 24)
    assert out.scale[0] == layer.scale[0]
    assert_same_place(layer, out)


@pytest.mark.parametrize("options", PLANES.values(), ids=PLANES)
def test_outer_corners_stay_behind_a_sample_axis(options):
    layer = Image(np.zeros((9, 12)), **options)
    out = upscaled(layer, leading=("sample",))
    assert out.ndim == 3
    assert_same_place(layer, out, leading=1)
    # The sample axis is its own: sample i lies at i, and moves nothing else.
    step = np.array(out.data_to_world((1, 0, 0))) - out.data_to_world((0, 0, 0))
    np.testing.assert_allclose(step, (1, 0, 0), atol=1e-12)


def test_a_rotated_layer_needs_a_rotated_shift():
    """The plain formula, which many plugins use, would miss the corner."""
    layer = Image(np.zeros((9, 12)), scale=(0.5, 0.25), rotate=30)
    fine = layer.scale / 2
    naive = Image(
        np.zeros((18, 24)),
        scale=fine,
        translate=layer.translate - layer.scale / 2 + fine / 2,
        rotate=30,
    )
    with pytest.raises(AssertionError):
        assert_same_place(layer, naive)
    assert_same_place(layer, upscaled(layer))


def test_effective_scale_need_not_be_whole():
    layer = Image(np.zeros((33, 10)), scale=(0.3, 0.3), translate=(5, 6))
    out = upscaled(layer, 3.3)  # 33 -> 109
    assert out.data.shape == (109, 33)
    np.testing.assert_allclose(out.scale, (0.3 * 33 / 109, 0.3 * 10 / 33))
    assert_same_place(layer, out)


def test_colour_axis_is_no_axis_of_the_world():
    layer = Image(np.zeros((9, 12, 3), "uint8"), rgb=True, scale=(2, 3), rotate=10)
    out = upscaled(layer)
    assert (out.ndim, out.rgb, out.data.shape) == (2, True, (18, 24, 3))
    assert_same_place(layer, out)


def test_multiscale_counts_in_its_first_level():
    levels = [np.zeros((16, 12)), np.zeros((8, 6))]
    layer = Image(levels, multiscale=True, scale=(0.5, 0.5), translate=(1, 2))
    assert layer_array(layer).shape == (16, 12)
    assert_same_place(layer, upscaled(layer))


def test_axes_elsewhere_are_found_by_their_labels():
    layer = Image(np.zeros((12, 9, 4)), axis_labels=("y", "x", "z"), scale=(1, 2, 3))
    assert layer_axes(layer) == "YXZ"
    placed = output_geometry(layer, whole_box(layer), (24, 18, 4))
    np.testing.assert_allclose(placed["scale"], (0.5, 1, 3))
    np.testing.assert_allclose(placed["translate"], (-0.25, -0.5, 0))


def test_units_and_labels_are_kept():
    layer = Image(
        np.zeros((4, 9, 12)), units=("s", "um", "um"), axis_labels=("t", "y", "x")
    )
    out = upscaled(layer, leading=("sample",))
    assert out.axis_labels == ("sample", "t", "y", "x")
    expected = ["pixel", "second", "micrometer", "micrometer"]
    assert [str(unit) for unit in out.units] == expected
    # Some plugins share the arrays of their input; ours has its own.
    out.scale = (1, 1, 1, 1)
    np.testing.assert_allclose(layer.scale, (1, 1, 1))


@pytest.mark.parametrize("options", PLANES.values(), ids=PLANES)
def test_a_pixel_size_makes_the_world_micrometres(options):
    layer = Image(np.zeros((9, 12)), **options)
    out = upscaled(layer, pixel_size_um=0.2)
    assert [str(unit) for unit in out.units] == ["micrometer"] * 2
    assert out.scale[1] == pytest.approx(0.1)
    # All lengths and positions by one factor: similar to the input, nothing distorted.
    zoom = 0.2 / layer.scale[1]
    for a, b in zip(corners(layer), corners(out), strict=True):
        np.testing.assert_allclose(b, a * zoom, atol=1e-9)


def test_a_pixel_size_leaves_other_axes_alone():
    layer = Image(np.zeros((4, 9, 12)), scale=(3, 1, 1), translate=(5, 1, 1))
    out = upscaled(layer, pixel_size_um=0.2)
    assert [str(u) for u in out.units] == ["pixel", "micrometer", "micrometer"]
    assert (out.scale[0], out.translate[0]) == (3, 5)


def test_in_pixels():
    assert in_pixels(Image(np.zeros((4, 4))))
    assert not in_pixels(Image(np.zeros((4, 4)), units=("um", "um")))
    # Time has a unit, the plane has none.
    assert in_pixels(Image(np.zeros((2, 4, 4)), units=("s", "pixel", "pixel")))


# --- axes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "labels", "axes"),
    [
        ((4, 5), None, "YX"),
        ((4, 5), ("y", "x"), "YX"),
        ((4, 5), ("x", "y"), "XY"),
        ((4, 5), ("rows", "columns"), "YX"),
        ((3, 4, 5), ("Time", "Y", "X"), "TYX"),
        ((3, 4, 5), ("channel", "height", "width"), "CYX"),
        ((2, 3, 4, 5), ("t", "z", "y", "x"), "TZYX"),
        ((2, 3, 4, 5), ("z", "z", "y", "x"), None),
        ((2, 3, 4, 5), None, None),
    ],
)
def test_letters_of_the_axes(shape, labels, axes):
    layer = Image(np.zeros(shape), axis_labels=labels)
    found = layer_axes(layer)
    assert len(set(found)) == len(shape)
    assert found == axes if axes else found.endswith("YX")


def test_leading_axes_without_labels_are_not_channels():
    """Channels are normalised one by one; a nameless axis must not be."""
    assert "C" not in layer_axes(Image(np.zeros((2, 3, 4, 5))))


def test_rgb_has_a_colour_letter():
    assert layer_axes(Image(np.zeros((4, 5, 3), "uint8"), rgb=True)) == "YXS"


# --- regions ------------------------------------------------------------------


@pytest.fixture
def viewer():
    return ViewerModel()


def test_whole(viewer):
    layer = viewer.add_image(np.zeros((4, 9, 12)))
    assert resolve_roi(layer, "whole", None) == Box((0, 0, 0), (4, 9, 12))
    rgb = viewer.add_image(np.zeros((9, 12, 3), "uint8"), rgb=True)
    assert resolve_roi(rgb, "whole", None) == Box((0, 0), (9, 12))


def test_numbers(viewer):
    layer = viewer.add_image(np.zeros((4, 9, 12)))
    box = resolve_roi(layer, (2, 3, 5, 4), None)
    assert box == Box((0, 2, 3), (4, 7, 7))
    assert layer.data[box.slices].shape == box.shape
    # What reaches beyond the image is cut.
    assert resolve_roi(layer, (-2, 10, 5, 40), None) == Box((0, 0, 10), (4, 3, 12))
    with pytest.raises(ImageError, match="does not overlap"):
        resolve_roi(layer, (20, 0, 5, 5), None)


@pytest.mark.parametrize("roi", ["view", "shapes"])
def test_only_a_viewer_knows_the_rest(viewer, roi):
    layer = viewer.add_image(np.zeros((9, 12)))
    roi = viewer.add_shapes() if roi == "shapes" else roi
    with pytest.raises(OptionError, match="only a viewer"):
        resolve_roi(layer, roi, None)


@pytest.mark.parametrize("options", PLANES.values(), ids=PLANES)
def test_the_output_of_a_region_lies_on_the_region(options):
    layer = Image(np.zeros((9, 12)), **options)
    box = resolve_roi(layer, (2, 3, 5, 4), None)
    assert_same_place(layer, upscaled(layer, box=box), box)


@pytest.mark.parametrize("options", VOLUMES.values(), ids=VOLUMES)
def test_the_output_of_a_slice_lies_in_its_slice(options):
    layer = Image(np.zeros((4, 9, 12)), **options)
    box = Box((2, 1, 3), (3, 7, 9))
    assert_same_place(layer, upscaled(layer, box=box), box)


def draw(viewer, layer, top_left, bottom_right, **options):
    """Shapes layer with a rectangle at these data coordinates of the image."""
    (y0, x0), (y1, x1) = top_left, bottom_right
    shapes = viewer.add_shapes(ndim=2, name="region", **options)
    world = [layer.data_to_world(p) for p in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))]
    own = np.array([shapes.world_to_data(p) for p in world])
    shapes.add(own, shape_type="polygon")
    return shapes


SHAPE_LAYERS = {
    "plain": {},
    "moved and scaled": {"scale": (0.1, 0.1), "translate": (3, 4)},
    "rotated": {"scale": (0.5, 0.5), "rotate": 40},
    "affine": {"affine": AFFINE},
}


@pytest.mark.parametrize("options", SHAPE_LAYERS.values(), ids=SHAPE_LAYERS)
@pytest.mark.parametrize("placed", ["plain", "translated", "affine"])
def test_a_shape_is_taken_through_the_world(viewer, options, placed):
    layer = viewer.add_image(np.zeros((20, 30)), **PLANES[placed])
    # From the outer corner of pixel (3, 5) to that of pixel (9, 14).
    shapes = draw(viewer, layer, (2.51, 4.51), (9.49, 14.49), **options)
    assert shapes_box(layer, shapes, viewer.dims) == Box((3, 5), (10, 15))
    assert resolve_roi(layer, shapes, viewer.dims) == Box((3, 5), (10, 15))


def test_a_shape_takes_pixels_whose_centres_it_encloses(viewer):
    layer = viewer.add_image(np.zeros((20, 30)))
    shapes = draw(viewer, layer, (2.9, 4.2), (7.1, 9.9))
    assert shapes_box(layer, shapes, viewer.dims) == Box((3, 5), (8, 10))
    # On the border: the first counts, the last does not.
    even = draw(viewer, layer, (8, 4), (16, 12))
    assert shapes_box(layer, even, viewer.dims) == Box((8, 4), (16, 12))
    tiny = draw(viewer, layer, (3.2, 4.8), (3.3, 4.9))
    assert shapes_box(layer, tiny, viewer.dims) == Box((3, 5), (4, 6))


def test_the_selected_shape_or_else_the_last(viewer):
    layer = viewer.add_image(np.zeros((20, 30)))
    shapes = draw(viewer, layer, (1, 1), (4, 4))
    shapes.add(np.array([[10, 10], [14, 12]]), shape_type="rectangle")
    shapes.selected_data = set()
    assert shapes_box(layer, shapes, viewer.dims).start == (10, 10)
    shapes.selected_data = {0}
    assert shapes_box(layer, shapes, viewer.dims).start == (1, 1)
    shapes.selected_data = {0, 1}
    assert shapes_box(layer, shapes, viewer.dims) == Box((1, 1), (14, 12))


def test_a_shape_that_is_not_there_or_not_on_the_image(viewer):
    layer = viewer.add_image(np.zeros((20, 30)))
    with pytest.raises(OptionError, match="'region' is empty"):
        shapes_box(layer, viewer.add_shapes(name="region"), viewer.dims)
    away = draw(viewer, layer, (100, 100), (120, 120))
    with pytest.raises(ImageError, match="does not overlap"):
        shapes_box(layer, away, viewer.dims)


def test_a_shape_on_a_stack_means_the_present_slice(viewer):
    layer = viewer.add_image(np.zeros((7, 20, 30)), scale=(2, 1, 1))
    flat = viewer.add_shapes([[[3, 5], [9, 14]]], shape_type="rectangle")
    viewer.dims.set_point(0, 8)  # world: slice 4
    assert shapes_box(layer, flat, viewer.dims) == Box((4, 3, 5), (5, 9, 14))


@pytest.mark.parametrize("placed", ["plain", "translated"])
def test_a_shape_on_a_plane_below_a_stack(viewer, placed):
    """The viewer has more axes than the image; the image's own are the last."""
    viewer.add_image(np.zeros((7, 20, 30)))
    layer = viewer.add_image(np.zeros((20, 30)), **PLANES[placed])
    shapes = draw(viewer, layer, (2.6, 4.6), (9.4, 14.4))
    assert shapes_box(layer, shapes, viewer.dims) == Box((3, 5), (10, 15))


def test_the_visible_field(viewer):
    layer = viewer.add_image(np.zeros((20, 30)))
    layer.corner_pixels = np.array([[3, 5], [9, 14]])  # as the canvas sets them
    assert visible_box(layer, viewer.dims) == Box((3, 5), (10, 15))


def test_the_visible_field_of_a_stack_is_in_the_present_slice(viewer):
    layer = viewer.add_image(np.zeros((7, 20, 30)), scale=(2, 1, 1))
    viewer.dims.set_point(0, 6)
    layer.corner_pixels = np.array([[0, 3, 5], [0, 9, 14]])
    assert visible_box(layer, viewer.dims) == Box((3, 3, 5), (4, 10, 15))
    # Beside a stack of more axes
    viewer.add_image(np.zeros((4, 7, 20, 30)), scale=(1, 2, 1, 1))
    viewer.dims.set_point(1, 4)
    layer.corner_pixels = np.array([[0, 3, 5], [0, 9, 14]])
    assert visible_box(layer, viewer.dims) == Box((2, 3, 5), (3, 10, 15))


def test_the_visible_field_of_a_pyramid_is_in_its_finest_level(viewer):
    levels = [np.zeros((64, 48)), np.zeros((32, 24)), np.zeros((16, 12))]
    layer = viewer.add_image(levels, multiscale=True)
    layer._data_level = 1  # the canvas chooses it; there is no public setter
    layer.corner_pixels = np.array([[2, 3], [9, 11]])
    assert visible_box(layer, viewer.dims) == Box((4, 6), (20, 24))


def test_nothing_visible(viewer):
    layer = viewer.add_image(np.zeros((20, 30)))
    layer.corner_pixels = np.array([[25, 0], [40, 29]])
    with pytest.raises(ImageError, match="The visible field"):
        visible_box(layer, viewer.dims)
