"""Whole or not at all, and known beforehand where that is possible."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from napari_flowsr.errors import ExportError
from napari_flowsr.io.atomic import atomic_path, check_writable, make_folder
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.images import write_image
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "file"
    path.write_text("mine")
    return path


# --- folders ------------------------------------------------------------------


def test_folders_are_made_and_kept(tmp_path):
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == folder
    assert make_folder(str(folder)).is_dir()


@pytest.mark.parametrize("inside", [".", "sub"])
def test_a_file_in_the_place_of_a_folder_is_named(file, inside):
    with pytest.raises(ExportError, match=r"file.*choose another folder"):
        make_folder(file / inside)


# --- beforehand ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["new.tif", "not/yet/there.tif", "file"])
def test_what_can_be_written_is_not_touched(tmp_path, file, name):
    check_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "mine"


def test_what_cannot_be_written_is_known_beforehand(tmp_path, file, monkeypatch):
    (tmp_path / "dir.tif").mkdir()
    (tmp_path / "old.ome.zarr").mkdir()
    check_writable(tmp_path / "old.ome.zarr")
    with pytest.raises(ExportError, match="folder of this name"):
        check_writable(tmp_path / "dir.tif")
    for inside in ("x.tif", "sub/x.tif"):
        with pytest.raises(ExportError, match="choose another folder"):
            check_writable(file / inside)
    with pytest.raises(ExportError, match="shorter name"):
        check_writable(tmp_path / f"{'x' * 300}.tif")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ExportError, match="may not write there"):
        check_writable(tmp_path / "x.tif")


# --- a full disk --------------------------------------------------------------


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Let the system refuse what goes beyond ``limit`` bytes of a file."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of this kind")
@pytest.mark.parametrize("name", ["a.ome.tif", "a.png", "a.ome.zarr", "a.safetensors"])
def test_a_write_that_is_cut_short_leaves_nothing(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 2**16, (512, 512), np.uint16)
    flow = build("compact", {"scale": 2, "width": 48, "blocks": 2, "steps": 2})

    def write(path: Path) -> None:
        if path.suffix == ".safetensors":
            save_model(path, flow, ModelCard("m", "compact", (2.0,), 1))
        else:
            write_image(path, noise)

    if name.endswith(".zarr"):
        pytest.importorskip("zarr")
    with small_disk(64 * 1024), pytest.raises(ExportError, match="Nothing was left"):
        write(tmp_path / name)
    assert not list(tmp_path.iterdir())
    write(tmp_path / name)  # enough to have met the limit
    files = [p for p in (tmp_path / name).rglob("*") if p.is_file()]
    sizes = [p.stat().st_size for p in [*files, tmp_path / name]]
    assert max(sizes) > 64 * 1024


def test_the_old_file_outlives_a_failed_write(file):
    def fill_the_disk() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ExportError, match="disk is full"):
        fill_the_disk()
    assert file.read_text() == "mine"
    assert list(file.parent.iterdir()) == [file]
