"""Small images, and entries that are measured once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tifffile
import torch
from skimage import data

from every_family import Case
from napari_flowsr.models.compact import CompactConfig


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of 24 to 30 pixels."""
    path = tmp_path_factory.mktemp("hr")
    cell = data.cell()
    for i, (y, x) in enumerate(((250, 300), (262, 330), (371, 300))):
        tifffile.imwrite(path / f"{i}.tif", cell[y : y + 24, x : x + 24 + 3 * i])
    return path


@pytest.fixture(scope="session")
def compact() -> Case:
    config = CompactConfig(scale=2, width=6, blocks=1, steps=1, hidden=4)
    return Case("compact", config, 2.0)
