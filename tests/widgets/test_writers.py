"""Writers: axes, pixel size, provenance and names of what napari hands over."""

from __future__ import annotations

import copy
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_flowsr.errors import ExportError
from napari_flowsr.io.images import read_image
from napari_flowsr.io.provenance import NAMESPACE, record
from napari_flowsr.widgets._export import Export, named_targets
from napari_flowsr.widgets._writers import write_layer, write_layers

RECORD = record(
    "samples",
    model="micro-2x",
    model_sha256="ab" * 32,
    family="compact",
    source_sha256="cd" * 32,
    temperature=0.8,
    seed=3,
    n=2,
)


def written(layer, path):
    """Write as napari does, and read back."""
    data, meta, _ = layer.as_layer_data_tuple()
    paths = write_layer(str(path), data, meta)
    assert paths == [str(path)]
    return read_image(path)


def ramp(*shape, dtype="uint16"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_a_stack_of_samples_keeps_everything(tmp_path):
    layer = Image(
        ramp(2, 6, 5),
        name="cell · samples",
        scale=(1, 0.05, 0.04),
        units=("pixel", "um", "um"),
        axis_labels=("sample", "y", "x"),
        metadata={NAMESPACE: copy.deepcopy(RECORD)},
    )
    found = written(layer, tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(found.data, layer.data)
    assert found.axes == "CYX"
    assert found.channel_names == ("sample 0", "sample 1")
    assert found.pixel_size == pytest.approx({"Y": 0.05, "X": 0.04})
    assert found.metadata[NAMESPACE]["detail_inferred"] is True
    assert found.metadata[NAMESPACE]["model_sha256"] == RECORD["model_sha256"]


def test_a_layer_of_another_origin_has_no_mark(tmp_path):
    path = tmp_path / "a.ome.tif"
    found = written(Image(ramp(6, 5)), path)
    assert NAMESPACE not in found.metadata
    assert b"inferred" not in path.read_bytes()


def test_pixels_as_unit_are_no_pixel_size(tmp_path):
    found = written(Image(ramp(6, 5), scale=(0.1, 0.1)), tmp_path / "a.ome.tif")
    assert found.pixel_size is None


def test_other_units_of_length_become_micrometres(tmp_path):
    layer = Image(ramp(6, 5), scale=(50, 2), units=("nm", "inch"))
    found = written(layer, tmp_path / "a.ome.tif")
    assert found.pixel_size == pytest.approx({"Y": 0.05, "X": 50_800})


def test_an_unnamed_axis_in_micrometres_is_depth(tmp_path):
    layer = Image(ramp(3, 6, 5), scale=(0.3, 0.1, 0.1), units=("um",) * 3)
    found = written(layer, tmp_path / "a.ome.tif")
    assert found.axes == "ZYX"
    assert found.pixel_size == pytest.approx({"Z": 0.3, "Y": 0.1, "X": 0.1})


def test_an_affine_that_holds_the_pixel_size_counts():
    layer = Image(ramp(6, 5), affine=np.diag([0.2, 0.3, 1]), units=("um", "um"))
    data, meta, _ = layer.as_layer_data_tuple()
    assert Export.of(data, meta).pixel_size == pytest.approx({"Y": 0.2, "X": 0.3})


def test_rotation_does_not_change_the_pixel_size():
    layer = Image(ramp(6, 5), scale=(0.2, 0.3), rotate=30, units=("um", "um"))
    data, meta, _ = layer.as_layer_data_tuple()
    assert Export.of(data, meta).pixel_size == pytest.approx({"Y": 0.2, "X": 0.3})


def test_colour_multiscale_and_dask(tmp_path):
    colour = Image(ramp(6, 5, 3, dtype="uint8"), rgb=True)
    assert written(colour, tmp_path / "rgb.ome.tif").axes == "YXS"
    pyramid = Image([ramp(64, 64), ramp(32, 32)], multiscale=True)
    assert written(pyramid, tmp_path / "p.ome.tif").data.shape == (64, 64)
    lazy = Image(da.from_array(ramp(3, 6, 5), chunks=(1, 6, 5)), contrast_limits=(0, 9))
    found = written(lazy, tmp_path / "d.ome.tif")
    np.testing.assert_array_equal(found.data, ramp(3, 6, 5))


def test_a_layer_without_the_younger_facts(tmp_path):
    """napari before 0.5 gave neither units nor axis labels."""
    path = tmp_path / "a.ome.tif"
    write_layer(str(path), ramp(6, 5), {"name": "old", "scale": (2, 2)})
    assert read_image(path).pixel_size is None


def test_the_record_is_a_copy():
    layer = Image(ramp(6, 5), metadata={NAMESPACE: copy.deepcopy(RECORD)})
    data, meta, _ = layer.as_layer_data_tuple()
    Export.of(data, meta).provenance["versions"]["torch"] = "changed"
    assert layer.metadata[NAMESPACE]["versions"] == RECORD["versions"]


def test_ome_zarr(tmp_path):
    pytest.importorskip("zarr")
    layer = Image(
        ramp(6, 5),
        scale=(0.1, 0.1),
        units=("um", "um"),
        metadata={NAMESPACE: copy.deepcopy(RECORD)},
    )
    found = written(layer, tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(found.data, layer.data)
    assert found.pixel_size == pytest.approx({"Y": 0.1, "X": 0.1})
    assert found.metadata[NAMESPACE]["detail_inferred"] is True


def test_several_layers_become_a_file_each(tmp_path):
    layers = [
        Image(ramp(6, 5), name="a/b"),
        Image(ramp(4, 4), name="a:b", metadata={NAMESPACE: copy.deepcopy(RECORD)}),
    ]
    tuples = [layer.as_layer_data_tuple() for layer in layers]
    paths = write_layers(str(tmp_path / "out.ome.tif"), tuples)
    assert [p.rpartition("out-")[2] for p in paths] == ["a-b.ome.tif", "a-b-2.ome.tif"]
    first, second = map(read_image, paths)
    assert NAMESPACE not in first.metadata
    assert NAMESPACE in second.metadata
    before = {path: Path(path).read_bytes() for path in paths}
    with pytest.raises(ExportError, match=r"exist already: out-a-b\.ome\.tif"):
        write_layers(str(tmp_path / "out.ome.tif"), tuples)
    assert before == {path: Path(path).read_bytes() for path in paths}


def test_a_failure_names_the_layer_and_leaves_nothing(tmp_path):
    complex_layer = (np.ones((4, 4), complex), {"name": "phase"}, "image")
    good = (ramp(4, 4), {"name": "good"}, "image")
    with pytest.raises(ExportError, match=r"'phase'.*Written before it: o-good"):
        write_layers(str(tmp_path / "o.ome.tif"), [good, complex_layer])
    assert [p.name for p in tmp_path.iterdir()] == ["o-good.ome.tif"]


@pytest.mark.parametrize(
    ("path", "names", "expected"),
    [
        ("d/a.ome.tif", ["x"], ["d/a.ome.tif"]),
        ("d/a.png", ["x", "y"], ["d/a-x.png", "d/a-y.png"]),
        ("d", ["x"], ["d/x.ome.zarr"]),
        ("d", ["A b", "a b", "a-b-2"], ["A-b", "a-b-2", "a-b-2-2"]),
        ("d", ["../../etc", "..", ""], ["etc", "layer", "layer-2"]),
        ("d", ["Zelle µ 1:2 · τ"], ["Zelle-µ-1-2-τ"]),
    ],
)
def test_targets(path, names, expected):
    found = [t.as_posix() for t in named_targets(path, names, ".ome.zarr")]
    if path == "d" and "/" not in expected[0]:
        expected = [f"d/{e}.ome.zarr" for e in expected]
    assert found == expected


def test_png_writes_a_file_for_each_sample(tmp_path):
    layer = Image(ramp(2, 6, 5), axis_labels=("sample", "y", "x"))
    export = Export.of(*layer.as_layer_data_tuple()[:2])
    announced = export.files(tmp_path / "a.png")
    assert export.write(tmp_path / "a.png") == announced
    assert all(path.exists() for path in announced)
    assert len(announced) == 2
