"""Degradation by name: sizes, margins, errors."""

from __future__ import annotations

import pytest
import torch

from napari_flowsr.data.degrade import (
    Degradation,
    downscale,
    margin,
    upscale_bicubic,
    white_noise_gain,
)
from napari_flowsr.errors import OptionError, SizeError


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_margin_covers_the_kernel(scale: int) -> None:
    """An LR pixel does not change with HR content beyond the margin."""
    side = 2 * margin(scale) + 1
    hr = torch.zeros(1, (side + 8) * scale, (side + 8) * scale, dtype=torch.float64)
    changed = hr.clone()
    centre = side // 2 + 4
    lo, hi = (centre - margin(scale)) * scale, (centre + margin(scale) + 1) * scale
    changed[:] = 1.0
    changed[:, lo:hi, lo:hi] = 0.0
    a, b = downscale(hr, scale), downscale(changed, scale)
    assert float(a[0, centre, centre]) == pytest.approx(
        float(b[0, centre, centre]), abs=1e-12
    )


def test_bicubic_enlargement_of_a_ramp_is_the_ramp() -> None:
    x = torch.arange(16, dtype=torch.float64).expand(1, 16, 16)
    up = upscale_bicubic(x, 2)[0, 16, 8:-8]
    expected = (torch.arange(32, dtype=torch.float64) + 0.5) / 2 - 0.5
    torch.testing.assert_close(up, expected[8:-8])


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_what_a_reduction_leaves_of_white_noise(scale: int) -> None:
    noise = torch.randn(300 * scale, 300 * scale, generator=torch.manual_seed(0))
    found = white_noise_gain(scale)
    assert found == pytest.approx(float(downscale(noise, scale).std()), rel=0.02)


def test_errors() -> None:
    with pytest.raises(SizeError, match="divisible by 2"):
        downscale(torch.zeros(5, 6), 2)
    with pytest.raises(OptionError, match="matlab-bicubic"):
        downscale(torch.zeros(4, 4), 2, Degradation("nearest"))
