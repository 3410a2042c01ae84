"""Undo and redo of edits, without Qt."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from napari_flowsr.errors import OptionError, SizeError
from napari_flowsr.widgets._history import Change, History


def edits(count: int, shape=(40, 50), seed=0):
    """Images after 0, 1, ... edits, each of which changed a random box."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 255, shape).astype(np.uint8)]
    for _ in range(count):
        image = images[-1].copy()
        y, x = rng.integers(0, shape[0] - 5), rng.integers(0, shape[1] - 5)
        image[y : y + 5, x : x + 4] += 1
        images.append(image)
    return images


def filled(images, **options) -> History:
    history = History(**options)
    for i, (before, after) in enumerate(itertools.pairwise(images)):
        history.push(Change.between(before, after, f"edit {i}"))
    return history


def test_any_number_of_edits_goes_there_and_back():
    images = edits(60)
    history, shown = filled(images), images[-1].copy()
    for expected in images[-2::-1]:
        history.undo().undo_in(shown)
        np.testing.assert_array_equal(shown, expected)
    assert history.undo() is None
    assert not history.can_undo
    assert history.can_redo
    for expected in images[1:]:
        history.redo().redo_in(shown)
        np.testing.assert_array_equal(shown, expected)
    assert history.redo() is None
    assert not history.can_redo


def test_only_the_box_that_changed_is_kept():
    before = np.zeros((3, 100, 200), np.float32)
    after = before.copy()
    after[1, 10:13, 150] = np.nan
    change = Change.between(before, after)
    assert change.box == (slice(1, 2), slice(10, 13), slice(150, 151))
    assert change.nbytes == 2 * 3 * 4
    # A NaN that stays is no change, and what is kept is no view.
    assert Change.between(after, after.copy()) is None
    after[...] = 7
    assert np.isnan(change.after).all()


def test_an_edit_after_an_undo_drops_what_was_undone():
    images = edits(4)
    history = filled(images)
    history.undo()
    history.undo()
    assert history.labels == ("edit 0", "edit 1")
    assert history.undone_labels == ("edit 2", "edit 3")
    history.push(Change.between(images[2], images[0], "another"))
    assert history.labels == ("edit 0", "edit 1", "another")
    assert not history.can_redo


def test_over_the_limit_the_oldest_go_and_it_says_so():
    images = edits(10)
    history, told = History(limit_bytes=3 * 2 * 20), []
    history.dropped.connect(told.append)
    for i, (before, after) in enumerate(itertools.pairwise(images)):
        history.push(Change.between(before, after, f"edit {i}"))
    assert history.labels == ("edit 7", "edit 8", "edit 9")
    assert history.nbytes <= history.limit_bytes
    assert history.forgotten == sum(told) == 7
    assert "7 edits were dropped" in history.told()
    history.clear()
    assert history.told() == ""
    assert len(history) == 0


def test_one_edit_larger_than_the_limit_can_still_be_undone():
    before, after = np.zeros((20, 20)), np.ones((20, 20))
    history = History(limit_bytes=10)
    history.push(Change.between(before, after))
    assert history.can_undo
    assert history.told() == ""
    history.push(Change.between(after, before))
    assert len(history) == 1
    assert "The first edit was dropped" in history.told()


def test_what_belongs_to_an_edit_is_counted_and_kept():
    before, after = np.zeros(8, np.uint8), np.ones(8, np.uint8)
    mask = np.ones(100, bool)
    change = Change.between(
        before, after, extra=mask, record_before={"a": 1}, record_after={"a": 2}
    )
    assert change.nbytes == 16 + 100
    assert (change.record_before, change.record_after) == ({"a": 1}, {"a": 2})
    assert change.extra is mask


def test_a_dock_can_follow():
    images = edits(2)
    history, seen = History(), []
    history.changed.connect(lambda: seen.append((history.can_undo, history.can_redo)))
    history.push(Change.between(images[0], images[1]))
    history.undo()
    history.redo()
    history.clear()
    assert seen == [(True, False), (False, True), (True, False), (False, False)]
    history.undo()  # nothing happened, nothing is told
    assert len(seen) == 4


def test_another_image_is_not_written_into():
    change = Change.between(np.zeros((9, 9)), np.ones((9, 9)), "paste")
    for other in (np.zeros((5, 9)), np.zeros((9, 9), np.uint8)):
        with pytest.raises(SizeError, match="'paste'"):
            change.undo_in(other)
        assert not other.any()
    with pytest.raises(SizeError, match="keeps both"):
        Change.between(np.zeros((9, 9)), np.zeros((9, 9), np.uint8))
    with pytest.raises(OptionError, match="limit_bytes is 0"):
        History(0)


def test_it_needs_no_qt():
    code = (
        "import sys, napari_flowsr.widgets._history as _;"
        "print([m for m in ('qtpy', 'napari', 'torch') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
