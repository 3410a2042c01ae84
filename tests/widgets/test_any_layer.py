"""Real layers of napari, hard ones among them: the right result, or a clear refusal."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from docks import edges, prepare, run
from napari.components import ViewerModel

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets.upscale_dock import UpscaleDock

RAMP = np.linspace(0, 200, 9 * 11).reshape(9, 11).astype(np.uint8)
STACK = np.stack([RAMP, RAMP // 2, RAMP[::-1]])
RGB = np.stack([RAMP, RAMP[::-1], RAMP // 2], -1)
RGBA = np.concatenate([RGB, np.full((9, 11, 1), 255, np.uint8)], -1)
TURN = np.array([[0.8, -0.6, 3], [0.6, 0.8, -2], [0, 0, 1]])


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def stored(array):
    zarr = pytest.importorskip("zarr")
    found = zarr.create_array({}, shape=array.shape, chunks=(4, 4), dtype=array.dtype)
    found[...] = array
    return found


# What is shown, and the options of the layer.
PLACED = {
    "one pixel": (np.array([[7]], np.uint8), {}),
    "a row": (RAMP[:1], {}),
    "a column": (RAMP[:, :1], {}),
    "bool": (RAMP > 90, {}),
    "int8": (RAMP.astype(np.int8), {}),
    "uint16, big-endian": (RAMP.astype(">u2"), {}),
    "int64": (RAMP.astype(np.int64), {}),
    "float16": (RAMP.astype(np.float16), {}),
    "float64, big-endian": (RAMP.astype(">f8"), {}),
    "constant": (np.full((9, 11), 7, np.uint16), {}),
    "saturated": (np.where(RAMP > 90, 255, 0).astype(np.uint8), {}),
    "every second pixel": (np.repeat(np.repeat(RAMP, 2, 0), 2, 1)[::2, ::2], {}),
    "backwards": (RAMP[::-1, ::-1], {}),
    "column by column": (np.asfortranarray(RAMP), {}),
    "read-only": (frozen(RAMP), {}),
    "dask": (dask.array.from_array(RAMP, chunks=4), {}),
    "zarr": (stored, {}),
    "RGB": (RGB, {"rgb": True}),
    "RGBA": (RGBA, {"rgb": True}),
    "multiscale": ([RAMP, RAMP[::2, ::2]], {"multiscale": True}),
    "stack": (STACK, {}),
    "rotated": (RAMP, {"scale": (0.5, 0.25), "rotate": 30, "translate": (7, -3)}),
    "sheared": (RAMP, {"scale": (2, 3), "shear": [0.4], "translate": (1, 2)}),
    "affine": (RAMP, {"affine": TURN, "scale": (0.5, 0.5)}),
    "mirrored": (RAMP, {"scale": (-1, 2)}),
    "tiny pixels": (RAMP, {"scale": (1e-9, 1e-9)}),
    "units": (RAMP, {"scale": (0.1, 0.1), "units": ("um", "um")}),
    "two units": (RAMP, {"units": ("nm", "um"), "axis_labels": ("y", "x")}),
    "a very long name": (RAMP, {"name": "cells " * 2000}),
    "an odd name": (RAMP, {"name": '<b>"\\n\n\u202e../../{x}</b>\0'}),
}


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def dock(qtbot, viewer, model):
    widget = prepare(UpscaleDock(viewer), model)
    qtbot.addWidget(widget)
    return widget


@pytest.mark.parametrize("case", PLACED)
def test_any_layer_is_upscaled_where_it_lies(qtbot, viewer, dock, case):
    data, options = PLACED[case]
    data = data(RAMP) if callable(data) else data
    layer = viewer.add_image(data, **{"name": case, **options})
    finest = layer.data[0] if layer.multiscale else layer.data
    before = np.array(finest)
    made = run(qtbot, dock)
    assert made, dock.bar.status.text()
    np.testing.assert_array_equal(np.asarray(finest), before)
    kinds = {one.metadata[NAMESPACE]["kind"]: one for one in made}
    sample = kinds["sample"]
    at = layer.ndim - 2  # of Y
    expected = tuple(s * 2 if i in (at, at + 1) else s
                     for i, s in enumerate(finest.shape))  # fmt: skip
    assert sample.data.shape == (2, *expected)
    assert sample.data.dtype == finest.dtype.newbyteorder("=")
    assert np.isfinite(np.asarray(sample.data, float)).all()
    if case == "constant":
        assert (np.asarray(sample.data) == 7).all()
    if not layer.rgb:
        for a, b in zip(edges_of(layer, finest), edges(kinds["std"]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
    assert [str(u) for u in sample.units[-2:]] == [str(u) for u in layer.units[-2:]]


def edges_of(layer, finest):
    """World positions of the outer corners of a layer's finest data, Y and X."""
    size, zero = np.array(finest.shape[-2:]), np.zeros(layer.ndim - 2)
    return [
        np.array(layer.data_to_world((*zero, *corner)))[-2:]
        for corner in ((-0.5, -0.5), size - 0.5)
    ]


# napari itself shows no image without pixels and none of complex numbers.
REFUSED = {
    "NaN": np.where(RAMP > 90, np.nan, RAMP),
    "infinity": np.where(RAMP > 90, np.inf, RAMP),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # napari's own, while it shows
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_upscaled_is_told(qtbot, viewer, dock, case):
    viewer.add_image(REFUSED[case], name=case, contrast_limits=(0, 1))
    if dock.bar.run.isEnabled():
        assert run(qtbot, dock) == []
        said = dock.bar.status.text()
    else:
        said = dock.bar.run.toolTip()
    assert len(said) > 40, said
    assert "Traceback" not in said
