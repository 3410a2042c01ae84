"""What is kept from training, of many images and of few."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.data.files import ArrayImage
from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.images import write_image
from napari_flowsr.training.held_out import hold_out, in_words


def image(shape, axes="YX", name="a"):
    return ArrayImage(np.arange(np.prod(shape)).reshape(shape), axes, name)


@pytest.mark.parametrize(
    ("shape", "axes", "before", "after"),
    [
        ((200, 100), "YX", (150, 100), (50, 100)),
        ((100, 200), "YX", (100, 150), (100, 50)),
        ((3, 100, 200), "ZYX", (3, 100, 150), (3, 100, 50)),
        ((200, 100, 3), "YXS", (150, 100, 3), (50, 100, 3)),
        ((1, 200, 2, 100), "TXCY", (1, 150, 2, 100), (1, 50, 2, 100)),
    ],
)
def test_of_one_image_a_strip_of_the_longer_side_is_held_out(
    shape, axes, before, after
):
    whole = image(shape, axes)
    split = hold_out([whole])
    [kept], [held] = split.training, split.validation
    assert (kept.data.shape, held.data.shape) == (before, after)
    assert (kept.axes, held.axes) == (axes, axes)
    # Nothing is in both, nothing is lost.
    side = int(np.argmax(np.subtract(shape, before)))
    joined = np.concatenate([kept.data, held.data], side)
    np.testing.assert_array_equal(joined, whole.data)
    assert split.words == "The last 25 % of the longer side are held out."


def test_of_a_stack_a_few_planes_are_held_out():
    split = hold_out([image((50, 4, 200, 100), "TZYX")])
    assert split.training[0].data.shape == (50, 4, 150, 100)
    assert split.validation[0].data.shape == (10, 1, 50, 100)
    assert in_words(1000) == "12 of the 1000 images are held out."


def test_pairs_are_cut_at_the_same_place():
    hr, lr = image((201 * 4, 40)), image((201, 10))
    split = hold_out([hr], lr=[lr], scale=4)
    assert split.training[0].data.shape[0] == 4 * split.lr_training[0].data.shape[0]
    assert split.validation[0].data.shape[0] == 4 * split.lr_validation[0].data.shape[0]
    for one, two in zip(
        (*split.training, *split.validation),
        (*split.lr_training, *split.lr_validation),
        strict=True,
    ):
        assert one.name == two.name
    # Pairs are matched by name: the two parts must not be mixed up.
    assert split.training[0].name != split.validation[0].name


def test_of_many_images_some_are_held_out_as_the_seed_says():
    images = [image((64, 64), name=f"{i:02}") for i in range(20)]
    pairs = [image((32, 32), name=f"{i:02}") for i in range(20)]
    split = hold_out(images, 0.2, lr=pairs, scale=2, seed=1)
    assert len(split.validation) == 4
    assert {*split.training, *split.validation} == set(images)
    assert [x.name for x in split.lr_validation] == [x.name for x in split.validation]
    again = hold_out(images, 0.2, seed=1)
    assert again.validation == split.validation
    assert hold_out(images, 0.2, seed=2).validation != split.validation
    assert split.words == in_words(20, 0.2) == "4 of the 20 images are held out."
    assert in_words(6) == "1 of the 6 images is held out."


def test_files_are_read_where_a_strip_is_cut_off(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((160, 90), np.uint8))
    split = hold_out([str(tmp_path)], 0.5)
    assert split.training[0].data.shape == split.validation[0].data.shape == (80, 90)
    for number in range(5):
        write_image(tmp_path / f"b{number}.png", np.zeros((9, 9), np.uint8))
    # Of many the files themselves are divided, and none is read.
    assert all(one.suffix == ".png" for one in hold_out([tmp_path]).training)


def test_what_cannot_be_held_out_is_said():
    with pytest.raises(TrainingError, match="40 pixels long: 25 % of it is too little"):
        hold_out([image((40, 30))])
    with pytest.raises(TrainingError, match="does not name its axes"):
        hold_out([ArrayImage(np.zeros((9, 99, 99)), None, "stack")])
    with pytest.raises(OptionError, match="more than 0 and less than 1"):
        hold_out([image((400, 300))], 1.5)
