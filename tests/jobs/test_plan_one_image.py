"""One image in: as a folder that holds nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io.images import read_image, write_image
from napari_flowsr.jobs.plan import plan_folder


@pytest.mark.parametrize("name", ["stack.ome.tif", "stack.ome.zarr"])
def test_one_image_is_a_batch(stack, order, tmp_path, name):
    source = tmp_path / "in" / name
    source.parent.mkdir()
    image = read_image(stack)
    write_image(source, image.data, axes=image.axes)
    image = read_image(source)  # the formats have their own orders of axes
    (outcome,) = flowsr.upscale_files(
        source, tmp_path / "out", order.model, outputs=("mean",), n=2, device="cpu",
        file_format="ome.zarr",
    )  # fmt: skip
    assert outcome.error == ""
    back = read_image(tmp_path / "out" / "stack-mean.ome.zarr")
    post = flowsr.posterior(image.data, order.load(), axes=image.axes, device="cpu")
    got = back.data.transpose([back.axes.index(a) for a in image.axes])
    np.testing.assert_array_equal(got, post.mean(2))


def test_what_is_no_image_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(OptionError, match="no folder or image"):
        plan_folder(tmp_path / "none", tmp_path / "o", ["mean"])
    with pytest.raises(OptionError, match="neither a folder nor an image"):
        plan_folder(tmp_path / "notes.txt", tmp_path / "o", ["mean"])
    write_image(tmp_path / "a.ome.zarr", np.zeros((4, 4), np.uint8))
    with pytest.raises(OptionError, match="inside of it"):
        plan_folder(tmp_path / "a.ome.zarr", tmp_path / "a.ome.zarr" / "o", ["mean"])
