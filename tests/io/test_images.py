"""Reading and writing of image files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import psutil
import pytest
import tifffile

from napari_flowsr.errors import AxesError, ExportError, ImageError
from napari_flowsr.io import tiff_pixels
from napari_flowsr.io.images import open_image, read_image, write_image
from napari_flowsr.io.png import chunks
from napari_flowsr.io.provenance import record

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def provenance() -> dict:
    return record(
        "samples",
        model='a "model" <x>',
        model_sha256="ab" * 32,
        family="compact",
        source_sha256="cd" * 32,
        source_name="µ & cell",
        seed=3,
        temperature=0.8,
        n=4,
        report={"lr_psnr": [61.5, float("inf")], "unstable": 0},
    )


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- OME-TIFF -----------------------------------------------------------------


def test_pixel_size_axes_and_provenance_survive_a_round_trip(tmp_path, rng, provenance):
    array = rng.integers(0, 60000, (2, 3, 5, 16, 18), np.uint16)
    path = tmp_path / "a.ome.tif"
    written = write_image(
        path,
        array,
        axes="TCZYX",
        pixel_size={"Z": 300, "Y": 65, "X": 65},
        unit="nm",
        channel_names=["DAPI", "a<b>&", "GFP"],
        provenance=provenance,
    )
    assert written == [path]
    back = read_image(path)
    np.testing.assert_array_equal(back.data, array)
    assert back.data.dtype == np.uint16
    assert back.axes == "TCZYX"
    assert back.unit == "µm"
    assert back.pixel_size == pytest.approx({"Z": 0.3, "Y": 0.065, "X": 0.065})
    assert back.channel_names == ("DAPI", "a<b>&", "GFP")
    assert back.metadata["napari-flowsr"] == json.loads(json.dumps(provenance))
    assert back.metadata["napari-flowsr"]["detail_inferred"] is True
    assert leftovers(tmp_path) == ["a.ome.tif"]


def test_samples_become_named_channels(tmp_path, rng, provenance):
    array = rng.random((4, 9, 7)).astype(np.float32)
    path = tmp_path / "a.ome.tiff"
    write_image(path, array, axes="NYX", pixel_size=0.1, provenance=provenance)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "CYX"
        root = ElementTree.fromstring(tif.ome_metadata)
    names = [channel.get("Name") for channel in root.iter(f"{OME}Channel")]
    assert names == ["sample 0", "sample 1", "sample 2", "sample 3"]
    pixels = next(root.iter(f"{OME}Pixels"))
    assert float(pixels.get("PhysicalSizeX")) == 0.1
    assert pixels.get("PhysicalSizeXUnit") == "µm"
    entries = {m.get("K"): m.text for m in root.iter(f"{OME}M")}
    assert entries["detail_inferred"] == "true"
    assert entries["seed"] == "3"
    assert entries["source_name"] == "µ & cell"
    assert json.loads(entries["report"])["lr_psnr"] == [61.5, "inf"]
    assert "inferred" in next(root.iter(f"{OME}Description")).text
    np.testing.assert_array_equal(read_image(path).data, array)


def test_the_image_is_called_as_the_file(tmp_path, rng):
    """Not as the temporary one that it was written to."""
    path = tmp_path / "µ & cell.restored.ome.tif"
    for _ in range(2):
        write_image(path, rng.random((9, 7)), axes="YX", overwrite=True)
        with tifffile.TiffFile(path) as tif:
            root = ElementTree.fromstring(tif.ome_metadata)
        names = [image.get("Name") for image in root.iter(f"{OME}Image")]
        assert names == ["µ & cell.restored.ome.tif"]


def test_samples_of_channels_are_sample_by_sample(tmp_path, rng):
    array = rng.integers(0, 255, (2, 5, 3, 8, 6), np.uint8)
    path = tmp_path / "a.ome.tif"
    write_image(path, array, axes="NTCYX", channel_names=["r", "g", "b"])
    back = read_image(path)
    assert back.axes == "TCYX"
    assert back.channel_names[3:] == ("sample 1, r", "sample 1, g", "sample 1, b")
    np.testing.assert_array_equal(back.data[:, 4], array[1, :, 1])


def test_one_sample_is_no_axis(tmp_path, rng):
    path = tmp_path / "a.ome.tif"
    write_image(path, rng.random((1, 6, 5)), axes="NYX")
    assert read_image(path).axes == "YX"


def test_samples_of_rgb(tmp_path, rng):
    array = rng.integers(0, 255, (3, 8, 6, 3), np.uint8)
    path = tmp_path / "a.ome.tif"
    write_image(path, array, axes="NYXS")
    back = read_image(path)
    assert back.axes == "CYXS"
    assert back.rgb
    np.testing.assert_array_equal(back.data, array)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "?", ">u2", ">f4"]
)
def test_values_of_every_type_are_kept(tmp_path, rng, dtype):
    array = (rng.random((5, 12, 11)) * 100).astype(dtype)
    path = tmp_path / "a.ome.tif"
    write_image(path, array, axes="ZYX")
    back = read_image(path).data
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(back, array)


def test_types_that_ome_lacks_are_widened_or_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    half = np.linspace(0, 1, 30, dtype=np.float16).reshape(5, 6)
    write_image(path, half)
    back = read_image(path).data
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, half)
    write_image(path, np.full((3, 4), -7, np.int64))
    assert read_image(path).data.dtype == np.int32
    with pytest.raises(ExportError, match="32 bits"):
        write_image(path, np.array([[0, 2**40]]))
    with pytest.raises(ExportError, match="complex128"):
        write_image(path, np.zeros((3, 3), complex))


def test_unknown_axes_take_a_free_letter_and_too_many_are_refused(tmp_path, rng):
    path = tmp_path / "a.ome.tif"
    array = rng.random((2, 3, 7, 5)).astype("f4")
    write_image(path, array, axes="QZXY")
    back = read_image(path)
    assert back.axes == "TZYX"
    np.testing.assert_array_equal(back.data, array.swapaxes(2, 3))
    with pytest.raises(ExportError, match="more than the format has"):
        write_image(path, np.zeros((2, 2, 2, 2, 3, 3)), axes="QTZCYX")


def test_dask_and_numpy_give_the_same_file_content(tmp_path, rng):
    array = rng.integers(0, 255, (3, 40, 30), np.uint8)
    lazy = da.from_array(array, chunks=(2, 16, 30))
    for name, data in (("n.ome.tif", array), ("d.ome.tif", lazy)):
        write_image(tmp_path / name, data, axes="NYX")
    np.testing.assert_array_equal(
        read_image(tmp_path / "d.ome.tif").data, read_image(tmp_path / "n.ome.tif").data
    )


def test_large_files_are_bigtiff(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        tifffile, "imwrite", lambda path, *a, **k: (Path(path).touch(), seen.update(k))
    )
    huge = da.zeros((3, 40_000, 40_000), dtype=np.uint8, chunks=(1, 4000, 4000))
    write_image(tmp_path / "a.ome.tif", huge, axes="NYX")
    assert seen["bigtiff"] is True
    write_image(tmp_path / "a.ome.tif", huge[0, :100, :100])
    assert seen["bigtiff"] is False


# --- other TIFF ---------------------------------------------------------------


def test_imagej_files_tell_pixel_size_and_depth(tmp_path, rng):
    array = rng.integers(0, 255, (3, 2, 8, 9), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        imagej=True,
        resolution=(1 / 0.25, 1 / 0.5),
        metadata={"axes": "ZCYX", "spacing": 1.5, "unit": "um"},
    )
    back = read_image(tmp_path / "a.tif")
    assert back.axes == "ZCYX"
    assert back.pixel_size == pytest.approx({"X": 0.25, "Y": 0.5, "Z": 1.5})
    assert back.metadata["format"] == "ImageJ"


def test_resolution_tags_count_unless_they_are_for_printing(tmp_path):
    path, array = tmp_path / "a.tif", np.zeros((4, 5), np.uint8)
    tifffile.imwrite(
        path, array, resolution=(50_000, 50_000), resolutionunit="CENTIMETER"
    )
    assert read_image(path).pixel_size == pytest.approx({"X": 0.2, "Y": 0.2})
    tifffile.imwrite(path, array, resolution=(72, 72), resolutionunit="INCH")
    assert read_image(path).pixel_size is None
    assert read_image(path).unit == "pixel"


def test_planar_rgb_gets_its_colours_last(tmp_path, rng):
    array = rng.integers(0, 255, (3, 10, 12), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="rgb", planarconfig="separate")
    back = read_image(path)
    assert back.axes == "YXS"
    np.testing.assert_array_equal(back.data, np.moveaxis(array, 0, -1))


def test_palette_images_are_read_as_colours(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[0] = np.arange(256) * 257
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.arange(20, dtype=np.uint8).reshape(4, 5),
        photometric="palette",
        colormap=colours,
    )
    back = read_image(path)
    assert back.axes == "YXS"
    np.testing.assert_array_equal(back.data[0, :, 0], np.arange(5) * 257)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"rowsperstrip": 5}])
@pytest.mark.parametrize("part", [0.02, 0.4, 0.999])
def test_truncated_files_are_refused(tmp_path, rng, options, part):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rng.integers(0, 9999, (64, 64), np.uint16), **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        read_image(path)


def test_a_file_that_lost_only_its_metadata_is_refused_too(tmp_path):
    """The pixels are whole, the description with the pixel size behind them is not."""
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, np.zeros((20, 20), np.uint8), ome=True, metadata={"PhysicalSizeX": 0.1}
    )
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)


# --- PNG, JPEG, npy -----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_keeps_grey_levels_size_and_provenance(tmp_path, rng, dtype, provenance):
    array = rng.integers(0, np.iinfo(dtype).max, (300, 41), dtype, endpoint=True)
    path = tmp_path / "a.png"
    write_image(path, array, pixel_size=0.05, provenance=provenance)
    back = read_image(path)
    assert back.data.dtype == dtype
    np.testing.assert_array_equal(back.data, array)
    assert back.pixel_size == pytest.approx({"X": 0.05, "Y": 0.05})
    assert back.metadata["napari-flowsr"]["detail_inferred"] is True
    assert back.metadata["napari-flowsr"]["source_name"] == "µ & cell"
    texts = {b.split(b"\0")[0]: b for k, b in chunks(path) if k == b"iTXt"}
    assert b"not measured" in texts[b"Description"]


def test_png_of_colour(tmp_path, rng):
    array = rng.integers(0, 255, (20, 30, 3), np.uint8)
    write_image(tmp_path / "a.png", array, axes="YXS")
    back = read_image(tmp_path / "a.png")
    assert back.axes == "YXS"
    np.testing.assert_array_equal(back.data, array)


def test_png_of_16_bit_colour_is_never_cut_to_8_bits(tmp_path, rng):
    path = tmp_path / "a.png"
    write_image(path, rng.integers(0, 60000, (20, 30, 3), np.uint16), axes="YXS")
    with pytest.raises(ImageError, match="16-bit colour"):
        read_image(path)


def test_png_stretches_all_samples_alike_and_says_how(tmp_path, provenance):
    array = np.stack([np.full((4, 5), v, np.float32) for v in (-1.0, 0.0, 3.0)])
    array[0, 0, 0] = np.nan
    written = write_image(tmp_path / "a.png", array, axes="NYX", provenance=provenance)
    assert [path.name for path in written] == ["a-0.png", "a-1.png", "a-2.png"]
    levels = [read_image(path).data[3, 3] for path in written]
    assert levels == [0, round(65535 / 4), 65535]
    facts = read_image(written[2]).metadata["napari-flowsr"]
    assert facts["png_intensity_range"] == [-1.0, 3.0]
    assert facts["sample"] == 2


def test_png_of_8_bits_on_request(tmp_path):
    array = np.array([[0, 32768, 65535]], np.uint16)
    write_image(tmp_path / "a.png", array, bits=8)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, [[0, 128, 255]])


def test_png_refuses_stacks(tmp_path):
    with pytest.raises(ExportError, match="one plane"):
        write_image(tmp_path / "a.png", np.zeros((3, 4, 5)), axes="ZYX")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_damaged_image_is_closed_again(tmp_path, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"\xff\xd8\xff\xe0 no image")
    # Held, as by a caller that reports it: collecting the error would close the file.
    with pytest.raises(ImageError) as _held:
        read_image(path)
    assert str(path) not in {file.path for file in psutil.Process().open_files()}


def test_damaged_png_and_unknown_formats_are_refused(tmp_path, rng):
    path = tmp_path / "a.png"
    write_image(path, rng.integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)
    (tmp_path / "b.txt").write_text("no image")
    with pytest.raises(ImageError, match=r"\.ome\.tif"):
        read_image(tmp_path / "b.txt")
    with pytest.raises(ImageError, match="no file"):
        read_image(tmp_path / "c.tif")


def test_npy_is_read_without_pickle(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12).reshape(3, 4))
    assert read_image(tmp_path / "a.npy").axes == "YX"
    np.save(tmp_path / "b.npy", np.zeros((4, 5, 3)))
    assert read_image(tmp_path / "b.npy").axes is None
    np.save(tmp_path / "c.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="objects"):
        read_image(tmp_path / "c.npy")


# --- refusals and failures ----------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (3, 4, 5)), ("YYX", (3, 4, 5)), ("ZCX", (3, 4, 5)), ("SYX", (3, 4, 5)),
     ("YXS", (4, 5, 2)), (None, (3, 4, 5))],
)  # fmt: skip
def test_axes_that_do_not_fit_are_refused(tmp_path, axes, shape):
    with pytest.raises(AxesError, match="expected"):
        write_image(tmp_path / "a.ome.tif", np.zeros(shape), axes=axes)


@pytest.mark.parametrize(
    ("size", "unit"), [(0.1, "furlong"), (-1.0, "µm"), (float("nan"), "µm")]
)
def test_impossible_pixel_sizes_are_refused(tmp_path, size, unit):
    with pytest.raises(ExportError, match="pixel size"):
        write_image(
            tmp_path / "a.ome.tif", np.zeros((3, 4)), pixel_size=size, unit=unit
        )
    assert leftovers(tmp_path) == []


def test_no_pixel_size_is_written_for_pixels(tmp_path):
    write_image(tmp_path / "a.ome.tif", np.zeros((3, 4)), pixel_size=1.0, unit="pixel")
    assert read_image(tmp_path / "a.ome.tif").pixel_size is None


@pytest.mark.parametrize("name", ["a.ome.tif", "a.png", "a.ome.zarr"])
def test_overwriting_is_a_choice(tmp_path, name):
    old, new = np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
    write_image(tmp_path / name, old)
    with pytest.raises(ExportError, match="exists already"):
        write_image(tmp_path / name, new, overwrite=False)
    np.testing.assert_array_equal(read_image(tmp_path / name).data, old)
    write_image(tmp_path / name, new)
    np.testing.assert_array_equal(read_image(tmp_path / name).data, new)
    assert leftovers(tmp_path) == [name]


class Failing:
    """Array whose second plane cannot be had."""

    shape = (2, 64, 64)
    ndim = 3
    dtype = np.dtype(np.uint8)
    __dask_graph__ = None

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def transpose(self, order):
        return self

    def __getitem__(self, index):
        if index[0] == 1:
            raise self.error
        return np.zeros((64, 64), np.uint8)[index[1:]]


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ExportError, "disk is full"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_write_that_ends_half_way_leaves_the_old_file(
    tmp_path, name, error, expected, said
):
    path = tmp_path / name
    write_image(path, np.full((3, 4), 5, np.uint8))
    with pytest.raises(expected, match=said):
        write_image(path, Failing(error), axes="ZYX")
    assert leftovers(tmp_path) == [name]
    np.testing.assert_array_equal(read_image(path).data, np.full((3, 4), 5))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit")
@pytest.mark.parametrize("name", ["a.ome.tif", "a.png"])
def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path, name):
    """The kernel itself refuses to let the file grow."""
    code = f"""
import resource, signal
import numpy as np
from napari_flowsr.errors import ExportError
from napari_flowsr.io.images import write_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
noise = np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_image({str(tmp_path / name)!r}, noise)
except ExportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Could not write" in done.stdout
    assert "choose another" in done.stdout
    assert leftovers(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ExportError, match="folder exists"):
        write_image(tmp_path / "none" / "a.ome.tif", np.zeros((3, 4)))


# --- OME-Zarr -----------------------------------------------------------------


def test_zarr_round_trip(tmp_path, rng, provenance):
    array = rng.integers(0, 255, (3, 2, 40, 50), np.uint8)
    path = tmp_path / "a.ome.zarr"
    write_image(
        path,
        array,
        axes="NZYX",
        pixel_size={"Z": 0.5, "Y": 0.1, "X": 0.1},
        provenance=provenance,
    )
    back = read_image(path)
    assert back.axes == "CZYX"
    assert back.channel_names == ("sample 0", "sample 1", "sample 2")
    assert back.pixel_size == pytest.approx({"Z": 0.5, "Y": 0.1, "X": 0.1})
    assert back.metadata["napari-flowsr"]["detail_inferred"] is True
    np.testing.assert_array_equal(back.data, array)


def test_zarr_levels_cover_the_same_area(tmp_path):
    """A ramp over the world must be the same ramp at every level."""
    import zarr

    y, x = np.mgrid[:600, :1101].astype(np.float32)
    write_image(tmp_path / "a.ome.zarr", 10 * y + x, pixel_size=0.2)
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="r")
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    datasets = ome["multiscales"][0]["datasets"]
    shapes = [group[d["path"]].shape for d in datasets]
    assert shapes == [(600, 1101), (300, 551), (150, 276), (75, 138)]
    assert [a.get("unit") for a in ome["multiscales"][0]["axes"]] == ["micrometer"] * 2
    for dataset, shape in zip(datasets, shapes, strict=True):
        scale, shift = dataset["coordinateTransformations"]
        level = group[dataset["path"]][...]
        world = [
            np.arange(n) * s + t
            for n, s, t in zip(shape, scale["scale"], shift["translation"], strict=True)
        ]
        expected = (10 * world[0][:, None] + world[1]) / 0.2
        # The last column repeats an edge pixel and so is off the ramp.
        np.testing.assert_allclose(level[:, :-1], expected[:, :-1], rtol=1e-5)


@pytest.mark.parametrize("components", [3, 4])
def test_zarr_keeps_colour_as_channels_and_gives_it_back(tmp_path, rng, components):
    import zarr

    array = rng.integers(0, 255, (2, 9, 11, components), dtype=np.uint8)
    write_image(tmp_path / "a.zarr", array, axes="ZYXS")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    assert group["0"].shape == (components, 2, 9, 11)
    back = read_image(tmp_path / "a.zarr")
    assert back.axes == "ZYXS"
    np.testing.assert_array_equal(back.data, array)


def test_zarr_channels_of_other_names_stay_channels(tmp_path, rng):
    array = rng.integers(0, 255, (3, 9, 11), dtype=np.uint8)
    names = ("red", "green", "DAPI")
    write_image(tmp_path / "a.zarr", array, axes="CYX", channel_names=names)
    back = read_image(tmp_path / "a.zarr")
    assert (back.axes, back.channel_names) == ("CYX", names)


def test_a_plain_zarr_array_is_refused_and_left_as_it_is(tmp_path):
    import zarr

    path = tmp_path / "a.zarr"
    zarr.open_array(str(path), mode="w", shape=(4, 4), dtype="u2")[:] = 1
    before = sorted(path.rglob("*"))
    with pytest.raises(ImageError, match=r"it is an array.*as an array in Python"):
        read_image(path)
    assert sorted(path.rglob("*")) == before


def test_a_folder_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.zarr")
    (tmp_path / "b").mkdir()
    with pytest.raises(ImageError, match="a folder"):
        read_image(tmp_path / "b")


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_of_pixels_that_lie_in_the_file_as_they_are_no_more_is_read(
    tmp_path, monkeypatch, byteorder
) -> None:
    """Many programs write a page as one strip, which would be read whole each time."""
    stack = np.random.default_rng(0).integers(0, 60_000, (2, 90, 70)).astype(np.uint16)
    path = tmp_path / "stack.tif"
    options = {"byteorder": byteorder, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    monkeypatch.setattr(tiff_pixels, "_AT_ONCE", 16 * 70 * 2)
    data = open_image(path).data
    assert data.chunksize == (1, 16, 70)
    monkeypatch.setattr(tifffile, "TiffFile", None)  # whose pages are decoded whole
    assert data.dtype == np.dtype(np.uint16)
    np.testing.assert_array_equal(data[1, 20:50, 3:9], stack[1, 20:50, 3:9])
    np.testing.assert_array_equal(data, stack)
    os.truncate(path, 2_000)
    with pytest.raises(ImageError, match=r"stack\.tif.*could not be read"):
        np.asarray(data[1, 20:50])
