"""Every ``file:name`` of docs/maths.md exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "maths.md"
NAMES = sorted(set(re.findall(r"`([\w/]+)\.py:([\w.]+)`", PAGE.read_text("utf-8"))))


@pytest.mark.parametrize(("file", "name"), NAMES, ids=[f"{f}:{n}" for f, n in NAMES])
def test_named_code_exists(file: str, name: str) -> None:
    found: object = import_module("napari_flowsr." + file.replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)


def test_the_page_is_not_empty() -> None:
    assert len(NAMES) > 25
