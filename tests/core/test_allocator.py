"""Freed memory is kept within a run, and given back after it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_flowsr.core import allocator
from napari_flowsr.core.allocator import freed_memory_kept

TRIM, MMAP = -1, -3


class _Library:
    """Stands in for glibc and writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ...]] = []
        self.largest = 1 << 40

    def mallopt(self, what: int, value: int) -> int:
        self.told.append((what, value))
        return int(value <= self.largest)

    def malloc_trim(self, pad: int) -> int:
        self.told.append((pad,))
        return 1


@pytest.fixture
def library(monkeypatch) -> _Library:
    library = _Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    return library


def test_what_is_free_goes_back_at_the_end(library) -> None:
    with freed_memory_kept():
        kept = dict(library.told)
        library.told.clear()
    *usual, trimmed = library.told
    assert kept[MMAP] > dict(usual)[MMAP]
    assert kept[TRIM] > dict(usual)[TRIM]
    assert trimmed == (0,)


def test_also_after_an_error(library) -> None:
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        raise ZeroDivisionError
    assert library.told[-1] == (0,)


def test_runs_side_by_side_are_one(library) -> None:
    first, second = freed_memory_kept(), freed_memory_kept()
    with first:
        begun = len(library.told)
        with second:
            assert len(library.told) == begun
        assert len(library.told) == begun
    assert len(library.told) > begun


@pytest.mark.parametrize(
    "name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"]
)
def test_a_user_who_tuned_it_is_left_alone(monkeypatch, name) -> None:
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=1")
    allocator._glibc.cache_clear()
    try:
        assert allocator._glibc() is None
    finally:
        monkeypatch.undo()
        allocator._glibc.cache_clear()


_REAL = """
import numpy as np
from napari_flowsr.core import allocator

if allocator._glibc() is None:
    print("none")
    raise SystemExit

def resident():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * 4096 >> 20

before = resident()
with allocator.freed_memory_kept():
    np.ones(200 << 20, np.uint8)
    print(resident() - before)
print(resident() - before)
"""


def test_glibc_does_as_it_is_told() -> None:
    # dask.distributed tunes it in whatever process has started a cluster.
    own = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", _REAL]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    if found.stdout.split() == ["none"]:
        pytest.skip("not glibc 2.35 or later")
    within, after = map(int, found.stdout.split())
    assert within > 150
    assert after < 50


def test_one_that_takes_no_large_threshold_is_left_alone(library) -> None:
    assert allocator._takes_large(library)
    assert (TRIM, allocator._USUAL[TRIM]) in library.told
    library.told.clear()
    library.largest = 32 << 20  # glibc before 2.35
    assert not allocator._takes_large(library)
    assert len(library.told) == 1
