"""PSNR and SSIM: known values, borders, tiny images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_flowsr.errors import SizeError
from napari_flowsr.metrics.fidelity import crop_border, psnr, ssim


def test_psnr_of_a_known_error_and_border() -> None:
    a = np.zeros((1, 20, 20), np.float32)
    b = np.full_like(a, 0.1)
    assert psnr(a, b) == pytest.approx(20.0, abs=1e-5)
    b[:, :2] = 9.0
    assert psnr(a, b, border=2) == pytest.approx(20.0, abs=1e-5)
    assert psnr(a, a) == math.inf


def test_ssim_is_one_for_equal_images_and_nan_below_its_window() -> None:
    a = np.random.default_rng(0).random((3, 24, 24), np.float32)
    assert ssim(a, a, border=2) == pytest.approx(1.0)
    assert abs(ssim(a, a[:, ::-1])) < 0.2  # unrelated noise
    assert math.isnan(ssim(a[:, :8, :8], a[:, :8, :8]))


def test_a_border_is_left_out_or_refused_never_kept() -> None:
    a = np.zeros((1, 5, 9), np.float32)
    assert crop_border(a, 2).shape == (1, 1, 5)
    assert crop_border(a, 0).shape == a.shape
    with pytest.raises(SizeError, match="leaves nothing"):
        crop_border(a[:, :4], 2)
