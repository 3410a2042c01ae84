"""Files become normalised planes: axes, colour, ranges, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage import io as skio

from napari_flowsr.data.source import (
    ArrayImage,
    find_files,
    find_images,
    groups_from_manifest,
    load_planes,
    read_planes,
)
from napari_flowsr.errors import AxesError, ImageError, OptionError, TrainingError
from napari_flowsr.io.images import read_image

RNG = np.random.default_rng(0)


@dataclass
class Pixels:
    data: np.ndarray
    axes: str | None


def planes(data: np.ndarray, axes: str | None, channels: int = 1) -> list[np.ndarray]:
    found = read_planes(Path("a.tif"), channels, read=lambda _: Pixels(data, axes))
    assert all(p.pixels.dtype == np.float32 for p in found)
    assert all(p.pixels.shape[0] == channels for p in found)
    return [p.pixels for p in found]


def expected(image: np.ndarray) -> np.ndarray:
    """Contract, section 8: the 0.1-99.9 percentile range, clipped to [0, 1]."""
    image = image.astype(np.float64)
    low, high = np.percentile(image, (0.1, 99.9))
    return np.clip((image - low) / (high - low), 0, 1)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "uint64", "f2", "f4", "f8", ">u2"]
)
def test_the_percentile_range_becomes_zero_to_one(dtype: str) -> None:
    # Above 2**24 a float32 would not tell these integers apart any more.
    offset = 2**30 if np.dtype(dtype).itemsize >= 4 and dtype != "f4" else 0
    data = (RNG.integers(0, 120, (40, 50)) + offset).astype(dtype)
    (found,) = planes(data, "YX")
    np.testing.assert_allclose(found[0], expected(data), atol=1e-7)
    assert found.min() == 0
    assert found.max() == 1


def test_bool_is_zero_and_one() -> None:
    data = RNG.random((20, 20)) > 0.5
    np.testing.assert_array_equal(planes(data, "YX")[0][0], data)


def test_rgb_becomes_its_luminance_and_alpha_has_no_part() -> None:
    rgba = RNG.integers(0, 100, (30, 30, 4)).astype(np.uint8)
    rgba[..., 3] = 255  # would stretch the range
    grey = rgba[..., :3] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(planes(rgba, "YXS")[0][0], expected(grey), atol=1e-6)
    (joint,) = planes(rgba, "YXS", channels=3)
    whole = np.moveaxis(expected(rgba[..., :3]), -1, 0)
    np.testing.assert_allclose(joint, whole, atol=1e-6)
    np.testing.assert_array_equal(planes(rgba[..., :3], "YXS", channels=3)[0], joint)


def test_every_plane_counts_and_each_channel_has_its_own_range() -> None:
    data = RNG.random((3, 2, 4, 20, 24))  # T C Z
    data[:, 1] *= 1000
    found = planes(data, "TCZYX")
    assert len(found) == 24
    for c in range(2):
        whole = expected(data[:, c]).reshape(-1, 20, 24)
        np.testing.assert_allclose(np.stack(found)[c * 12 : c * 12 + 12, 0], whole)
    names = [
        p.name
        for p in read_planes(Path("d/a.tif"), 1, read=lambda _: Pixels(data, "TCZYX"))
    ]
    assert names[0] == "a.tif [C0 T0 Z0]"
    assert names[-1] == "a.tif [C1 T2 Z3]"


def test_grey_planes_are_replicated_for_a_model_of_three_channels() -> None:
    data = RNG.random((2, 16, 16))
    found = planes(data, "CYX", channels=3)
    assert len(found) == 2
    for image, raw in zip(found, data, strict=True):
        np.testing.assert_allclose(image, np.stack([expected(raw)] * 3), atol=1e-6)


def test_axes_of_files_are_heeded(tmp_path: Path) -> None:
    """Channels first and a width of 3 used to be taken for colour."""
    data = RNG.integers(0, 999, (2, 20, 3)).astype(np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, data, ome=True, photometric="minisblack", metadata={"axes": "CYX"}
    )
    found = read_planes(path, 1, read=read_image)
    assert [p.name for p in found] == ["a.ome.tif [C0]", "a.ome.tif [C1]"]
    for plane, raw in zip(found, data, strict=True):
        np.testing.assert_allclose(plane.pixels[0], expected(raw), atol=1e-6)
    rgb = RNG.integers(0, 255, (3, 20, 24)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "p.tif", rgb, photometric="rgb", planarconfig=2)
    (plane,) = read_planes(tmp_path / "p.tif", 3, read=read_image)
    np.testing.assert_allclose(plane.pixels, expected(rgb), atol=1e-6)


@pytest.mark.parametrize(
    ("data", "axes", "said"),
    [
        (np.ones((9, 9), complex), "YX", "complex128"),
        (np.full((9, 9), "a"), "YX", "integers, bool or real"),
        (np.array([[0.0, np.nan], [1.0, np.inf]]), "YX", "2 pixels that are NaN"),
        (np.ones((0, 9)), "YX", "no pixels"),
        (np.ones(9), None, "Y and X"),
        (np.ones((9, 9, 3)), None, "colour or X"),
        (np.ones((9, 9, 2)), "YXS", "2 colour components"),
        (np.ones((9, 9)), "ZX", "Y and X"),
        (np.array([[-1.7e308, 1.7e308]]), "YX", "range"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_files_name(
    data: np.ndarray, axes: str | None, said: str
) -> None:
    with pytest.raises(ImageError, match=said) as error:
        planes(data, axes)
    assert "'a.tif'" in str(error.value)
    assert isinstance(error.value, AxesError) == (said in _AXES)


_AXES = {"Y and X", "colour or X", "2 colour components"}


# imageio tries all of its plugins, some of which are deprecated.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.npy"])
@pytest.mark.parametrize("length", [0, 30, 400])
def test_broken_files_are_named(tmp_path: Path, name: str, length: int) -> None:
    path = tmp_path / name
    data = RNG.integers(0, 255, (64, 64)).astype(np.uint8)
    if name == "a.npy":
        np.save(path, data)
    elif name == "a.tif":
        tifffile.imwrite(path, data)
    else:
        skio.imsave(path, data, check_contrast=False)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ImageError, match=name):
        load_planes([path], 1, read=read_image)


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = RNG.integers(0, 255, (2, 20, 20)).astype(np.uint8)
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "CYX"})
    path.write_bytes(path.read_bytes().replace(b"<Pixels ", b"<<ixels "))
    with pytest.raises(ImageError, match=r"a\.ome\.tif"):
        load_planes([path], 1, read=read_image)


def test_small_and_flat_planes_are_left_out_of_training(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (3, 40, 40)).astype(np.uint8)
    np.save(tmp_path / "a.npy", data)
    np.save(tmp_path / "b.npy", data[0, :9])
    np.save(tmp_path / "c.npy", data[0] * 0)
    groups = {"a.npy": "many"}
    found, left_out = load_planes(
        find_files(tmp_path), 1, read=read_image, groups=groups, min_side=20
    )
    assert [p.name for p in found] == [f"a.npy [{i}]" for i in range(3)]
    assert {p.group for p in found} == {"many"}
    assert [(one.name, one.reason) for one in left_out] == [
        ("b.npy", "9 x 40 px, at least 20 needed on each side"),
        ("c.npy", "constant within its percentile range"),
    ]
    with pytest.raises(TrainingError, match=r"41 pixels.*'a\.npy.*': 40 x 40 px"):
        load_planes(find_files(tmp_path), 1, read=read_image, min_side=41)


def test_files_are_found_in_folders_patterns_and_lists(tmp_path: Path) -> None:
    for name in ("b.png", "a.TIF", "sub/c.npy", ".hidden.png", "._a.tif", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "v.ome.zarr" / "0").mkdir(parents=True)
    (tmp_path / "v.ome.zarr" / "0" / "inner.png").touch()
    (tmp_path / "folder.png").mkdir()
    everything = ["a.TIF", "b.png", "c.npy", "v.ome.zarr"]
    assert sorted(f.name for f in find_files(tmp_path)) == everything
    assert [f.name for f in find_files(tmp_path / "*.png")] == ["b.png"]
    listed = find_files([tmp_path / "b.png", str(tmp_path), tmp_path / "v.ome.zarr"])
    assert sorted(f.name for f in listed) == everything
    for bad, said in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "note.txt", "no image that can be read"),
        (tmp_path / "*.jpg", r"\*\.jpg"),
        (tmp_path / "folder.png", "No image was found"),
        ([], "No images were given"),
    ):
        with pytest.raises(TrainingError, match=said):
            find_files(bad)


def test_a_bad_manifest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with pytest.raises(TrainingError, match=r"m\.csv"):
        groups_from_manifest(path, "kind")
    path.write_bytes(b"file,kind\n\xff\xfe,b\n")
    with pytest.raises(TrainingError, match=r"m\.csv"):
        groups_from_manifest(path, "kind")
    path.write_text("file,kind\nd/a.png,cell\n")
    assert groups_from_manifest(path, "kind") == {"a.png": "cell"}
    with pytest.raises(TrainingError, match="modality"):
        groups_from_manifest(path, "modality")


# --- ranges by dtype ------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("int16", -32768, 32767), ("uint32", 0, 2**32 - 1)],
)
def test_integers_by_the_limits_of_their_type(dtype: str, low: int, high: int) -> None:
    data = RNG.integers(low, high, (20, 24), dtype=dtype, endpoint=True)
    (plane,) = read_planes(ArrayImage(data), 1, read=read_image, kind="dtype")
    exact = (data.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(plane.pixels[0], exact, atol=1e-7)


def test_luminance_keeps_the_limits_of_the_integers() -> None:
    data = RNG.integers(90, 110, (20, 24, 3)).astype(np.uint8)
    image = ArrayImage(data, rgb=True)
    (plane,) = read_planes(image, 1, read=read_image, kind="dtype")
    grey = data @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(plane.pixels[0], grey, atol=1e-6)


def test_floats_are_taken_as_they_are_if_they_can_be() -> None:
    data = RNG.random((20, 24)).astype(np.float32)
    (plane,) = read_planes(ArrayImage(data), 1, read=read_image, kind="dtype")
    np.testing.assert_array_equal(plane.pixels[0], data)
    far = ArrayImage(255 * data, "YX", "far")
    with pytest.raises(ImageError, match=r"'far'.*'dtype'.*full scale"):
        read_planes(far, 1, read=read_image, kind="dtype")


@pytest.mark.parametrize("kind", ["percentile", "dtype"])
def test_masks_with_few_pixels_are_not_empty(kind: str) -> None:
    mask = np.zeros((100, 100), bool)
    mask[3, 4] = True  # 0.01 % of the pixels
    (plane,) = read_planes(ArrayImage(mask), 1, read=read_image, kind=kind)
    np.testing.assert_array_equal(plane.pixels[0], mask)
    (plane,) = read_planes(ArrayImage(~mask & mask), 1, read=read_image, kind=kind)
    assert not plane.pixels.any()


# --- arrays -----------------------------------------------------------------------


def test_arrays_and_files_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        np.save(tmp_path / f"{name}.npy", np.eye(9))
    first, second = ArrayImage(np.eye(9), name="z"), ArrayImage(np.eye(9), name="y")
    found = find_images([tmp_path, first, tmp_path / "a.npy", second])
    assert found == [first, second, tmp_path / "a.npy", tmp_path / "b.npy"]
    assert find_images(first) == [first]
    assert find_images(str(tmp_path / "*.npy")) == found[2:]
    with pytest.raises(TrainingError, match="No images were given"):
        find_images([])
    with pytest.raises(OptionError, match=r"ndarray.*ArrayImage\(data, axes\)"):
        find_images([np.eye(9)])


def test_planes_of_arrays_are_named(tmp_path: Path) -> None:
    data = RNG.random((2, 3, 20, 24, 3))
    image = ArrayImage(data, name="stack", rgb=True)
    planes = read_planes(image, 3, read=read_image)
    assert image.axes == "QQYXS"
    assert [p.name for p in planes][:2] == ["stack [0 0]", "stack [0 1]"]
    assert planes[0].pixels.shape == (3, 20, 24)
    with pytest.raises(AxesError, match=r"'stack'.*colour or X.*give axes"):
        read_planes(ArrayImage(data, name="stack"), 3, read=read_image)


def test_constant_images_are_not_told_to_be_too_small() -> None:
    flat = ArrayImage(np.full((80, 80), 7, np.uint8), axes="YX", name="flat")
    with pytest.raises(TrainingError, match="something in them"):
        load_planes([flat], 1, read=read_image, min_side=40)
    small = ArrayImage(np.eye(20), axes="YX", name="small")
    with pytest.raises(TrainingError, match="larger images"):
        load_planes([flat, small], 1, read=read_image, min_side=40)
