"""A folder by the Python function."""

from __future__ import annotations

import numpy as np
import pytest

import napari_flowsr as flowsr
from napari_flowsr.errors import OptionError
from napari_flowsr.io.images import read_image, write_image


@pytest.fixture
def folder(tmp_path, stack, order):
    """Two good images, one in a folder inside, and a bad one."""
    source = tmp_path / "raw"
    (source / "day 2").mkdir(parents=True)
    stack.rename(source / "stack.ome.tif")
    write_image(source / "day 2" / "c.png", np.eye(10, dtype=np.uint8) * 100)
    (source / "bad.tif").write_bytes(b"II*\0 no image")
    return source


@pytest.mark.parametrize("file_format", ["ome.tif", "ome.zarr"])
def test_a_folder(folder, tmp_path, order, file_format):
    told = []
    asked = {
        "outputs": ("mean",), "n": 2, "recursive": True, "file_format": file_format,
        "progress": lambda path, done, total: told.append((path.name, done, total)),
    }  # fmt: skip
    outcomes = flowsr.upscale_files(folder, tmp_path / "out", order.model, **asked)
    assert [bool(o.error) for o in outcomes] == [True, False, False]
    assert "bad.tif" in outcomes[0].error
    assert {name for name, done, total in told if done == total} == {
        "stack.ome.tif", "c.png",
    }  # fmt: skip
    found = read_image(tmp_path / "out" / f"stack-mean.{file_format}")
    image = read_image(folder / "stack.ome.tif")
    model = flowsr.load_model(order.model, device="cpu")
    post = flowsr.posterior(image.data, model, axes=image.axes)
    expected = post.mean(2)
    got = found.data.transpose([found.axes.index(a) for a in image.axes])
    np.testing.assert_array_equal(got, expected)
    assert (tmp_path / "out" / "day 2" / f"c-mean.{file_format}").exists()
    again = flowsr.upscale_files(
        folder, tmp_path / "out", order.model, resume=True, **asked
    )
    assert [o.skipped for o in again] == [False, True, True]


def test_a_model_that_takes_its_name_is_noticed(folder, tmp_path, order):
    """Models are kept between tasks, by what their files are and not by their names."""
    from napari_flowsr.io.checkpoint import read_model, save_model

    def mean(name):
        flowsr.upscale_files(
            folder, tmp_path / name, order.model, outputs=("mean",), n=2,
            pattern="*.ome.tif", temperature=0.0,
        )  # fmt: skip
        return read_image(tmp_path / name / "stack-mean.ome.tif").data

    first = mean("a")
    flow = read_model(order.model).flow
    for parameter in flow.parameters():
        parameter.data.add_(0.01)
    card = read_model(order.model).card
    save_model(order.model, flow, card)
    assert np.abs(mean("b") - first).max() > 1e-3


def test_what_cannot_be_done_at_all_is_an_error(folder, tmp_path, order):
    with pytest.raises(OptionError, match="no folder"):
        flowsr.upscale_files(tmp_path / "none", tmp_path / "out", order.model)
    with pytest.raises(OptionError, match="--format"):
        flowsr.upscale_files(folder, tmp_path / "o", order.model, file_format="bmp")
    with pytest.raises(OptionError, match="one number"):
        flowsr.upscale_files(
            folder, tmp_path / "o", order.model, temperature=np.ones((3, 3))
        )
    assert not (tmp_path / "o").exists()
