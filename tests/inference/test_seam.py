"""The halo of networks whose reach is too large for an exact one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_flowsr import posterior
from napari_flowsr.inference import seam
from napari_flowsr.inference.seam import Seam, measure_seam
from napari_flowsr.models.card import Model


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, model: Model) -> Model:
    """A network that counts as one that sees too far, and halos that suit its size."""
    monkeypatch.setattr(type(model.flow), "exact_halo_up_to", 1)
    monkeypatch.setattr(type(model.flow), "practical_halo", 3)
    reach = model.flow.receptive_field
    monkeypatch.setattr(seam, "_HALOS", (0, reach - 1, reach))
    monkeypatch.setattr(seam, "_WIDEST", reach + 4)
    return model


def test_the_smallest_halo_that_is_good_enough_is_taken() -> None:
    curve = ((16, 0.1), (24, 0.9 * seam.TOLERANCE), (32, 0.0))
    assert (Seam(curve, 64).halo, Seam(curve, 64).error) == (24, curve[1][1])
    bad = ((16, 0.1), (24, 0.05))
    assert (Seam(bad, 64).halo, Seam(bad, 64).error) == (64, 0.05)


def test_the_curve_falls_to_nothing_at_the_reach(far: Model) -> None:
    found = measure_seam(far.flow, 2.0)
    errors = [error for _, error in found.curve]
    assert errors[0] > 0
    assert all(later <= error for error, later in pairwise(errors))
    assert errors[-1] < 1e-6


def test_a_run_in_tiles_measures_once_and_tells(
    far: Model, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def measured(flow, scale):
        calls.append(scale)
        return measure_seam(flow, scale)

    monkeypatch.setattr(seam, "measure_seam", measured)
    for _ in range(2):
        events = list(posterior(image, far, tile=8).stream(2))
        report = events[-1].result.report
        assert report["halo"] == far.flow.receptive_field - 1
        told = report["halo"], report["seam_error"]
        assert told == far.flow.seams[2.0]
        assert 0 < report["seam_error"] <= seam.TOLERANCE
    assert calls == [2.0]


def test_one_tile_has_no_seam_and_is_not_measured(
    far: Model, image: np.ndarray
) -> None:
    report = list(posterior(image, far, tile=64).stream(1))[-1].result.report
    assert report["seam_error"] == 0.0
    assert not far.flow.seams


def test_what_a_seam_is_promised_to_be_holds(far: Model, image: np.ndarray) -> None:
    """A halo that is too small is told, and by about as much as it is wrong."""
    seam_of = Seam(((0, 0.02), (2, 0.02)), 2)
    far.flow.seams = {2.0: (seam_of.halo, seam_of.error)}
    events = list(posterior(image, far, tile=8).stream(1))
    assert any("seams" in text for text in events[-1].result.report["notices"])


def test_an_edit_of_an_undivided_plane_measures(far: Model) -> None:
    """Its windows are parts of the plane as tiles are."""
    side = 2 * seam._WIDEST + seam._CORE
    image = np.random.default_rng(0).random((side, side)).astype(np.float32)
    post = posterior(image, far, tile=2 * side)
    hr = post.sample(1)[0]
    mask = np.zeros(hr.shape, np.uint8)
    mask[10:14, 10:14] = 1
    for messages in (["measuring how far the network sees"], []):
        *steps, done = post.resampling(hr, mask, seed=1)
        assert [s.message for s in steps if "how far" in s.message] == messages
        told = done.report["halo"], done.report["seam_error"]
        assert told == far.flow.seams[2.0]
        assert 0 < done.report["seam_error"] <= seam.TOLERANCE


def test_an_edit_of_a_small_plane_does_not_wait(far: Model, image: np.ndarray) -> None:
    post = posterior(image, far, tile=64)
    hr = post.sample(1)[0]
    *_, done = post.resampling(hr, np.eye(len(hr), hr.shape[1]), seed=1)
    assert not far.flow.seams
    assert done.report["halo"] == far.flow.practical_halo
    assert done.report["seam_error"] is None


def test_each_scale_has_its_own_halo_whatever_was_measured_before(
    far: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {2.0: (5, 1e-4), 3.0: (2, 9e-4)}

    def measured(flow, scale):
        if scale == 4.0:
            raise MemoryError
        halo, error = found.pop(scale)  # a second time there is none
        return Seam(((halo, error),), halo)

    monkeypatch.setattr(seam, "measure_seam", measured)
    for scale, halo in ((2.0, 5), (3.0, 2), (2.0, 5), (4.0, far.flow.halo), (3.0, 2)):
        seam.find_halo(far.flow, scale)
        assert far.flow.halo_at(scale) == halo
    assert [far.flow.seams[s][1] for s in (2.0, 3.0, 4.0)] == [1e-4, 9e-4, None]


def test_too_little_memory_to_measure_leaves_the_halo(
    far: Model, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(seam, "measure_seam", lacks)
    report = list(posterior(image, far, tile=8).stream(1))[-1].result.report
    assert report["halo"] == far.flow.practical_halo
    assert report["seam_error"] is None


def test_an_exact_halo_needs_no_measurement(model: Model, image: np.ndarray) -> None:
    report = list(posterior(image, model, tile=8).stream(1))[-1].result.report
    assert report["seam_error"] == 0.0
    assert not model.flow.seams
