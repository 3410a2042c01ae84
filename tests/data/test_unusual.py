"""Unusual patches stay images: right shape, range and type, and varied."""

from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.data import unusual as module
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.data.source import Plane
from napari_flowsr.data.unusual import unusual

PATCH = np.linspace(0, 1, 2 * 20 * 30, dtype=np.float32).reshape(2, 20, 30)


@pytest.mark.parametrize("kind", module._KINDS)
def test_each_kind_has_the_shape_of_its_patch_and_detail(kind: object) -> None:
    made = kind(np.random.default_rng(0), PATCH)  # type: ignore[operator]
    assert made.shape == PATCH.shape
    assert np.std(made) > 0.01


def test_they_are_in_range_and_a_function_of_the_generator() -> None:
    made = [unusual(np.random.default_rng(i), PATCH) for i in range(60)]
    again = [unusual(np.random.default_rng(i), PATCH) for i in range(60)]
    for a, b in zip(made, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
        assert a.min() >= 0
        assert a.max() <= 1
    assert len({a.tobytes() for a in made}) == 60
    assert any(np.ptp(a) < 0.5 for a in made)  # faint ones too


def test_the_sampler_replaces_the_share_that_was_asked_for() -> None:
    black = Plane(np.zeros((1, 64, 64), np.float32), "black")
    for share in (0.0, 0.5, 1.0):
        sampler = PatchSampler((black,), 2, patch=6, batch=100, unusual=share)
        _, hr = sampler.draw(0)
        # Shot noise and masks of a black patch are black or white themselves.
        changed = sum(float(h.std()) > 0 for h in hr)
        assert share * 40 <= changed <= share * 95
