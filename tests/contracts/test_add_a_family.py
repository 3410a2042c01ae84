"""The example of docs/add-a-family.md is a family that passes the contract suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add-a-family.md"

REGISTER = """
from napari_flowsr.models import _registry

_registry._MODULES = {"plain": "plain"}
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's module, and a pytest plugin that registers it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    folder = tmp_path_factory.mktemp("family")
    (folder / "plain.py").write_text(code, "utf-8")
    (folder / "register_plain.py").write_text(REGISTER, "utf-8")
    return folder


def run(example: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(example), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(900)
def test_the_example_passes_the_contract_suite(example: Path) -> None:
    done = run(
        example,
        "pytest",
        "-q",
        "-p",
        "register_plain",
        "-p",
        "no:cacheprovider",
        "tests/models/test_contract.py",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 40, done.stdout
    assert "skipped" not in done.stdout


def test_names_on_the_page_exist() -> None:
    from importlib import import_module

    names = re.findall(r"`(core(?:\.\w+)+)`", PAGE.read_text("utf-8"))
    assert len(names) > 5
    for name in names:
        module, attribute = f"napari_flowsr.{name}".rsplit(".", 1)
        parent = import_module(module)
        if not hasattr(parent, attribute):
            import_module(f"{module}.{attribute}")
