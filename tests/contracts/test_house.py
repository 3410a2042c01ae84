"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "napari_flowsr"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Import name -> distribution name, where they differ.
DISTRIBUTIONS = {
    "bioimageio": "bioimageio-spec",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
BINDINGS = {"pyqt5", "pyqt6", "pyside2", "pyside6"}
MAX_LINES = 400
REGISTRY_HOSTS = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("download", "pytorch", "org"),
]


@cache
def settings() -> dict:
    """Return what ``pyproject.toml`` says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def project() -> dict:
    """Return the ``[project]`` table."""
    return settings()["project"]


def import_contract(name: str) -> dict:
    """Return one import contract."""
    contracts = settings()["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["id"] == name)


def names(requirements: list[str]) -> set[str]:
    """Return the distribution names of some requirements."""
    return {
        re.split(r"[^A-Za-z0-9._-]", row)[0].lower().replace("_", "-")
        for row in requirements
    }


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds afterwards."""
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.splitlines()}


def test_what_the_source_archive_holds_exists():
    """A recipe that is not in it, or a folder that is not there, helps nobody."""
    listed = settings()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert not [path for path in listed if not (ROOT / path.lstrip("/")).exists()]
    wanted = {"benchmarks", "docs", "recipes", "src", "tests"}
    assert wanted <= {path.strip("/") for path in listed}


# --- what an import costs -----------------------------------------------------


def test_importing_the_package_is_cheap():
    heavy = {"torch", "napari", "qtpy", "numpy", "skimage", "dask", "pydantic"}
    assert not heavy & loaded_by("import napari_flowsr")


def test_public_names_are_listed_without_importing_them():
    loaded = loaded_by("import napari_flowsr; dir(napari_flowsr)")
    assert not {"torch", "napari", "qtpy"} & loaded


def test_errors_can_be_caught_without_importing_torch():
    loaded = loaded_by("import napari_flowsr; napari_flowsr.errors.ImageError")
    assert not {"torch", "numpy", "napari", "qtpy"} & loaded


def test_the_core_needs_torch_alone():
    modules = [
        ".".join(("napari_flowsr", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in sorted((PACKAGE / "core").rglob("*.py"))
    ]
    modules = [name.removesuffix(".__init__") for name in modules]
    assert modules
    loaded = loaded_by("\n".join(f"import {name}" for name in modules))
    assert "torch" in loaded
    ours = {"napari", "qtpy", "magicgui", "psygnal", "dask", "pydantic", "skimage"}
    assert not ours & loaded


@pytest.mark.parametrize("module", ["api", "cli"])
def test_scripts_and_the_command_line_need_no_qt(module):
    loaded = loaded_by(f"import napari_flowsr.{module}")
    assert not {"napari", "qtpy", "PySide6", "PyQt6"} & loaded


def test_the_import_contracts_cover_every_part():
    parts = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    parts |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    inside = {f"napari_flowsr.{part}" for part in parts}
    guarded = set(import_contract("qt")["source_modules"])
    assert guarded == inside - {"napari_flowsr.widgets"}
    below = {"napari_flowsr.core", "napari_flowsr.errors"}
    assert inside - below <= set(import_contract("core")["forbidden_modules"])


def test_the_import_contract_names_every_family():
    from napari_flowsr.models._registry import families, family_module

    modules = {family_module(family).__name__ for family in families()}
    assert set(import_contract("families")["modules"]) == modules


# --- manifest -----------------------------------------------------------------


def test_both_manifests_are_one():
    packaged = (PACKAGE / "napari.yaml").read_text("utf-8")
    assert (ROOT / "napari.yaml").read_text("utf-8") == packaged


# --- dependencies -------------------------------------------------------------


def test_no_qt_binding_and_no_torchvision_is_required():
    required = names(project()["dependencies"])
    assert not required & (BINDINGS | {"torchvision"})
    assert not any("napari[" in row for row in project()["dependencies"])
    assert not any(row.startswith(("nvidia", "cu")) for row in required)


def test_every_promised_extra_exists():
    extras = project()["optional-dependencies"]
    assert {"all", "test", "dev", "zarr", "distributed", "hub", "metrics"} <= set(
        extras
    )
    assert extras["all"] == ["napari[all]"]


def test_what_is_imported_is_declared():
    """A package that only another one brings may be gone with its next release."""
    optional = project()["optional-dependencies"]
    declared = names(project()["dependencies"])
    for extra in ("zarr", "distributed", "hub", "bioimageio", "metrics"):
        declared |= names(optional[extra])
    undeclared = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module or ""]
            else:
                continue
            for name in found:
                top = name.partition(".")[0]
                if top in sys.stdlib_module_names or top == "napari_flowsr":
                    continue
                distribution = DISTRIBUTIONS.get(top, top).lower().replace("_", "-")
                if distribution not in declared:
                    undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    assert not undeclared


def test_constraints_pin_every_requirement():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    rows = [row for row in text.splitlines() if row and not row.startswith("#")]
    assert "torch==2.13.0" in rows
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", row) for row in rows)
    wanted = names(project()["dependencies"])
    for extra in project()["optional-dependencies"].values():
        wanted |= names(extra)
    assert wanted - {"napari-flowsr"} <= {row.partition("==")[0] for row in rows}


# --- text ---------------------------------------------------------------------


def written_files() -> list[Path]:
    """Return the text files of the project, generated and hidden folders left out."""
    folders = ("src", "tests", "docs", "examples", "benchmarks", ".ci", ".github")
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in folders:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".cff", ".json", ""}
    return [
        path
        for path in found
        if path.suffix in suffixes
        and "_out" not in path.parts
        and path.name not in {".git", ".coverage"}
    ]


def test_nothing_points_at_one_machine():
    # Put together here, so that this file does not contain what it looks for.
    folders = "|".join(("work", "farm", "home", "Users", "root"))
    patterns = [
        rf"(?<![\w.~-])/(?:{folders})/\w",
        r"(?<!\w)\.lib" + r"rary\b",
        r"127\.0\.0\.1:\d+/simple",
        *(re.escape(".".join(host)) for host in REGISTRY_HOSTS),
    ]
    forbidden = re.compile("|".join(patterns))
    hits = []
    for path in written_files():
        text = path.read_text("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if found := forbidden.search(line):
                hits.append(f"{path.relative_to(ROOT)}:{number}: {found.group()}")
    assert not hits


def linked_files(page: Path) -> set[str]:
    """Return the relative targets of links and images of a Markdown page."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    found += re.findall(r"<(?:a|img)\s[^>]*?(?:href|src)=[\"']([^\"']+)", text)
    found += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    outside = re.compile(r"[a-z][a-z0-9+.-]*:|#")
    return {link.partition("#")[0] for link in found if not outside.match(link)}


def test_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '![a](images/a.png "title") [b](b.md#part) [c](https://c.org) [d](#here)\n'
        "<img width='3' src='e.png'> [f]\n\n[f]: f.md\n```\n[no](no.md)\n```\n"
    )
    assert linked_files(page) == {"images/a.png", "b.md", "e.png", "f.md"}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)  # fmt: skip
def test_links_lead_somewhere(page):
    links = linked_files(page)
    assert not [link for link in links if not (page.parent / link).exists()]


def test_pictures_of_the_documentation_are_small():
    sizes = {p.name: p.stat().st_size for p in (ROOT / "docs" / "images").glob("*.*")}
    assert not {name: size for name, size in sizes.items() if size > 500_000}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_that_everyone_is_afraid_of(path):
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: it has grown past one subject"


def test_no_large_file_in_the_package():
    large = [p.name for p in PACKAGE.rglob("*") if p.stat().st_size > 4 * 2**20]
    assert not large
