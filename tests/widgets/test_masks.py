"""Masks of any layer on the grid of another: through world coordinates, pixel by pixel.

The reference is asked of napari point by point: `data_to_world` and `world_to_data`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes
from skimage.draw import polygon

from napari_flowsr.errors import OptionError
from napari_flowsr.widgets._masks import Grid, feathered, mask_on, values_on

# Off every grid: no centre lies on a border, where rounding would decide.
TURNED = {
    "plain": {"scale": (0.51, 0.47), "translate": (0.013, 0.017)},
    "scaled": {"scale": (0.3, 0.4), "translate": (1.317, 0.211)},
    "turned": {"scale": (0.5, 0.5), "rotate": 31, "translate": (1.903, 0.707)},
    "sheared": {"scale": (0.6, 0.45), "shear": [0.31], "translate": (0.203, 0.101)},
    "affine": {
        "scale": (0.5, 0.5),
        "affine": [[0.91, 0.23, 0.103], [-0.11, 1.07, 0.507], [0, 0, 1]],
    },
}


def expected(target, labels):
    """Point by point."""
    out = np.zeros(target.data.shape, labels.data.dtype)
    for index in itertools.product(*map(range, out.shape)):
        world = target.data_to_world(index)
        at = np.asarray(labels.world_to_data(world))
        at = np.floor(at + 0.5 + 1e-6).astype(int)
        if (at >= 0).all() and (at < labels.data.shape).all():
            out[index] = labels.data[tuple(at)]
    return out


@pytest.mark.parametrize("of_mask", TURNED.values(), ids=TURNED)
@pytest.mark.parametrize("of_target", TURNED.values(), ids=TURNED)
def test_labels_are_found_where_they_lie(of_target, of_mask):
    rng = np.random.default_rng(1)
    target = Image(np.zeros((14, 11)), **of_target)
    labels = Labels(rng.integers(0, 4, (9, 13)).astype(np.uint8), **of_mask)
    found = values_on(Grid.of(target), labels)
    np.testing.assert_array_equal(found, expected(target, labels))
    assert found.any()


def test_a_mask_on_the_lr_grid_covers_whole_blocks():
    target = Image(np.zeros((12, 15)), scale=(1 / 3, 1 / 3), translate=(-1 / 3, -1 / 3))
    small = np.zeros((4, 5), np.uint8)
    small[1, 2], small[3, 4], small[0, 0] = 1, 1, 1
    found = mask_on(Grid.of(target), Labels(small))
    np.testing.assert_array_equal(found, np.kron(small, np.ones((3, 3))) > 0)


def test_units_of_one_kind_are_converted():
    target = Image(np.zeros((8, 8)), scale=(0.1, 0.1), units=("um", "um"))
    values = np.zeros((8, 8), np.uint8)
    values[2:5, 3:7] = 1
    labels = Labels(values, scale=(100, 100), units=("nm", "nm"))
    np.testing.assert_array_equal(mask_on(Grid.of(target), labels), values > 0)
    other = Labels(values, units=("pixel", "pixel"))
    with pytest.raises(OptionError, match=r"in micrometer and 'values' in pixel"):
        mask_on(Grid.of(target), other)
    seconds = Labels(values, units=("s", "s"))
    with pytest.raises(OptionError, match="second"):
        mask_on(Grid.of(target), seconds)


def test_fewer_axes_count_in_every_plane():
    target = Image(np.zeros((3, 8, 6)), scale=(2, 0.5, 0.5))
    values = np.zeros((4, 3), np.uint8)
    values[1, 1] = 1
    labels = Labels(values, translate=(0.25, 0.25))
    found = mask_on(Grid.of(target), labels)
    assert found.shape == (3, 8, 6)
    np.testing.assert_array_equal(found[0], np.kron(values, np.ones((2, 2))) > 0)
    assert (found == found[:1]).all()


def test_planes_are_matched_through_the_world_as_well():
    target = Image(np.zeros((4, 8, 6)), scale=(2, 1, 1), translate=(10, 0, 0))
    values = np.zeros((9, 8, 6), np.uint8)
    values[[2, 5], 3, 3] = 1, 2  # at 12 and 15
    labels = Labels(values, scale=(1, 1, 1), translate=(10, 0, 0))
    found = values_on(Grid.of(target), labels)
    assert found[1, 3, 3] == 1
    # 15 lies half-way between two planes of the target, which see those at 14 and 16.
    assert found.sum() == 1


def test_more_axes_need_one_plane_that_holds_anything():
    target = Image(np.zeros((8, 6)), name="hr")
    values = np.zeros((3, 8, 6), np.uint8)
    values[1, 2:4, 2:4] = 1
    layer = Labels(values, name="deep")
    np.testing.assert_array_equal(mask_on(Grid.of(target), layer), values[1] > 0)
    values[2, 0, 0] = 1
    with pytest.raises(OptionError, match=r"3 axes, .* in 2 of its 3 planes"):
        mask_on(Grid.of(target), Labels(values, name="deep"))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_mask_turned_out_of_the_plane_is_refused():
    target = Image(np.zeros((4, 8, 6)))
    tilted = Labels(np.ones((4, 8, 6), np.uint8), rotate=(20, 0, 30))
    with pytest.raises(OptionError, match="turned out of the plane"):
        mask_on(Grid.of(target), tilted)


# --- shapes ---------------------------------------------------------------------


@pytest.mark.parametrize("of_mask", TURNED.values(), ids=TURNED)
@pytest.mark.parametrize("of_target", TURNED.values(), ids=TURNED)
def test_shapes_cover_the_pixels_whose_centres_they_enclose(of_target, of_mask):
    target = Image(np.zeros((20, 18)), **of_target)
    corners = np.array([[1.21, 1.13], [1.21, 9.37], [7.73, 9.37], [7.73, 1.13]])
    shapes = Shapes([corners], shape_type="rectangle", **of_mask)
    found = mask_on(Grid.of(target), shapes)
    mapped = [target.world_to_data(shapes.data_to_world(c)) for c in corners]
    rows, columns = polygon(*np.transpose(mapped), target.data.shape)
    by_hand = np.zeros(target.data.shape, bool)
    by_hand[rows, columns] = True
    np.testing.assert_array_equal(found, by_hand)


def test_ellipses_and_lines_have_an_area():
    target = Image(np.zeros((40, 40)))
    y, x = np.mgrid[:40, :40]
    shapes = Shapes(
        [[[10, 5], [10, 25], [20, 25], [20, 5]]], shape_type="ellipse", name="e"
    )
    found = mask_on(Grid.of(target), shapes)
    inside = ((y - 15) / 5) ** 2 + ((x - 15) / 10) ** 2
    assert found[inside < 0.95].all()
    assert not found[inside > 1.05].any()
    line = Shapes([[[5, 5], [5, 30]]], shape_type="line", edge_width=4)
    found = mask_on(Grid.of(target), line)
    assert found[4:7, 6:30].all()
    assert not found[9:].any()
    assert not found[:, 33:].any()


def test_a_shape_in_one_plane_marks_that_plane():
    target = Image(np.zeros((4, 10, 10)))
    flat = np.array([[2, 2, 2], [2, 2, 6], [2, 6, 6], [2, 6, 2]])
    found = mask_on(Grid.of(target), Shapes([flat], shape_type="polygon"))
    assert found[2, 2:6, 2:6].all()
    assert not found[[0, 1, 3]].any()
    # On an image without that axis it is the place in the plane that counts.
    plane = mask_on(
        Grid.of(Image(np.zeros((10, 10)))), Shapes([flat], shape_type="polygon")
    )
    np.testing.assert_array_equal(plane, found[2])


# --- what cannot be a mask ---------------------------------------------------------


def test_each_bad_mask_says_what_is_wrong():
    grid = Grid.of(Image(np.zeros((8, 6)), name="hr"))
    cases = {
        "is empty": Labels(np.zeros((8, 6), np.uint8)),
        r"'Shapes' is empty": Shapes(ndim=2),
        "does not cover any pixel of 'hr'": Labels(
            np.ones((8, 6), np.uint8), translate=(50, 0)
        ),
        "is a image layer": Image(np.ones((8, 6))),
    }
    for message, layer in cases.items():
        before = None if layer._type_string == "shapes" else layer.data.copy()
        with pytest.raises(OptionError, match=message):
            mask_on(grid, layer)
        if before is not None:
            np.testing.assert_array_equal(layer.data, before)


# --- feather ----------------------------------------------------------------------


def test_a_feather_fades_outward_by_distance():
    mask = np.zeros((2, 30, 30), bool)
    mask[0, 10:20, 12:18] = True
    soft = feathered(mask, 4)
    assert soft.dtype == np.float32
    assert (soft[mask] == 1).all()
    np.testing.assert_allclose(
        soft[0, 15, 18:24], [0.8, 0.6, 0.4, 0.2, 0, 0], atol=1e-6
    )
    np.testing.assert_allclose(soft[0, 6:10, 15], [0.2, 0.4, 0.6, 0.8], atol=1e-6)
    y, x = np.mgrid[:30, :30]
    distance = np.min([np.hypot(y - a, x - b) for a, b in np.argwhere(mask[0])], axis=0)
    np.testing.assert_allclose(soft[0], np.clip(1 - distance / 5, 0, 1), atol=1e-6)
    assert not soft[1].any()
    np.testing.assert_array_equal(feathered(mask, 0), mask)
