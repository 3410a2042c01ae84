"""Large results in files."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from skimage.data import cell

import napari_flowsr as flowsr
from napari_flowsr.errors import OutOfMemoryError
from napari_flowsr.inference import store


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Everything is too large for memory, and goes here."""
    monkeypatch.setattr(store, "SHARE", 0.0)
    monkeypatch.setenv(store.FOLDER, str(tmp_path))
    return tmp_path


def test_small_results_are_in_memory():
    assert type(store.new_array((3, 4), np.uint8)) is np.ndarray


def test_large_ones_are_in_a_file_that_goes_with_them(folder):
    array = store.new_array((30, 40, 50), np.float32)
    assert isinstance(array, np.memmap)
    array[...] = 7
    part = array[3:5]
    assert os.listdir(folder) == [] or sys.platform == "win32"
    held = len(psutil.Process().open_files()) if sys.platform == "linux" else 0
    del array
    gc.collect()
    assert (part == 7).all()  # a view keeps it
    del part
    gc.collect()
    if sys.platform == "linux":
        assert len(psutil.Process().open_files()) <= held
    assert os.listdir(folder) == []


def test_a_full_disk_is_told_before_the_work(folder, monkeypatch):
    image = cell()[:40, :40]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_reserve", full)
    with pytest.raises(OutOfMemoryError, match=r"No space left.*NAPARI_FLOWSR_SCRATCH"):
        flowsr.upscale(image, "micro-2x", n=1)
    assert os.listdir(folder) == []


def test_results_are_the_same_wherever_they_are_kept(monkeypatch, tmp_path):
    image = cell()[:48, :40]
    post = flowsr.posterior(image, "micro-2x", tile=24)
    near = list(post.stream(n=2))[-1].result
    monkeypatch.setattr(store, "SHARE", 0.0)
    monkeypatch.setenv(store.FOLDER, str(tmp_path))
    far = list(post.stream(n=2))[-1].result
    for name in ("samples", "mean", "std"):
        assert isinstance(getattr(far, name), np.memmap)
        np.testing.assert_array_equal(getattr(near, name), getattr(far, name))
    assert near.report["lr_psnr"] == far.report["lr_psnr"]
