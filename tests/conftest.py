"""What every test gets: isolated settings, a usable Qt platform, fixed seeds."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# Read by napari and by the package while they are imported, so they are set here,
# before any test module is, and not in a fixture: a test run must neither read nor
# write the settings, models and caches of the person who runs it.
_SCRATCH = tempfile.TemporaryDirectory(
    prefix="flowsr-tests-", ignore_cleanup_errors=True
)
os.environ["NAPARI_CONFIG"] = str(Path(_SCRATCH.name, "napari", "settings.yaml"))
os.environ["NAPARI_FLOWSR_HOME"] = str(Path(_SCRATCH.name, "flowsr"))
os.environ.setdefault("MPLBACKEND", "Agg")
if sys.platform.startswith("linux") and not (
    os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

# A run in the background, or under nohup, inherits that signals are ignored, and so
# would the commands that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Repeatable, and patient with a busy machine. Loaded here because a test's settings are
# fixed when its module is imported.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")

WIDGETS = Path(__file__).parent / "widgets"
_QT_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qapp", "qtbot"}
_QT_REMEDY = (
    "On Debian and Ubuntu: apt-get install libgl1 libegl1 libopengl0 libglib2.0-0 "
    "libdbus-1-3 libfontconfig1 libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 "
    "libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 "
    "libxcb-shape0 libxcb-xkb1"
)


# --- options and markers ------------------------------------------------------


def pytest_addoption(
    parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager
) -> None:
    """Add the options, and only the plugins that can be imported here.

    pytest-qt imports Qt when pytest starts, and napari's plugin imports vispy, which
    wants fontconfig. Without those system libraries they would end the run of all
    tests, those without Qt included; so pyproject.toml switches napari's plugin off,
    and it is loaded here where it can be.
    """
    group = parser.getgroup("napari-flowsr")
    group.addoption("--device", default="cpu", help="torch device (default: cpu)")
    group.addoption(
        "--dtype",
        default="float64",
        choices=("float32", "float64"),
        help="dtype of the numerical tests of the core (default: float64)",
    )
    if pluginmanager.hasplugin("pytest-qt"):
        try:
            importlib.import_module("qtpy.QtWidgets")
        except (ImportError, RuntimeError):
            pluginmanager.unregister(name="pytest-qt")
    with contextlib.suppress(ImportError, OSError):
        importlib.import_module("napari.utils._testsupport")
        pluginmanager.import_plugin("napari.utils._testsupport")


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Skip the modules of ``tests/widgets`` whole: they import Qt at their top."""
    if WIDGETS in module_path.parents and (reason := _why_no_qt()):
        module: _SkippedModule = _SkippedModule.from_parent(parent, path=module_path)
        module.reason = reason
        return module
    return None


class _SkippedModule(pytest.Module):
    """A module that is not imported and says why."""

    reason = ""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(self.reason, allow_module_level=True)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark the Qt tests, and deselect ``gpu`` ones while the device is the CPU."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if WIDGETS in item.path.parents or _QT_FIXTURES.intersection(names):
            item.add_marker("qt")
    if config.getoption("--device") == "cpu":
        on_gpu = [item for item in items if item.get_closest_marker("gpu")]
        if on_gpu:
            config.hook.pytest_deselected(items=on_gpu)
            items[:] = [item for item in items if item not in on_gpu]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a Qt test with the reason why Qt does not start here."""
    if item.get_closest_marker("qt") and (reason := _why_no_qt()):
        pytest.skip(reason)
    if item.get_closest_marker("display") and _nothing_is_drawn():
        pytest.skip("needs a display with OpenGL: Qt's offscreen platform draws none")


def _nothing_is_drawn() -> bool:
    """Tell whether Qt's offscreen platform runs without an X server's OpenGL."""
    offscreen = os.environ.get("QT_QPA_PLATFORM") == "offscreen"
    return offscreen and not os.environ.get("DISPLAY")


@cache
def _why_no_qt() -> str:
    """Return why a ``QApplication`` cannot be made here, empty if it can.

    Asked in a process of its own: Qt aborts the process when a platform plugin does
    not load. vispy loads libGL and fontconfig even where nothing is drawn.
    """
    probe = """
import importlib, importlib.util
# The binding itself first: qtpy would only say that it found none.
for binding in ("PySide6", "PyQt6"):
    if importlib.util.find_spec(binding):
        importlib.import_module(binding + ".QtWidgets")
        break
from qtpy.QtWidgets import QApplication
app = QApplication([])
import qtpy.QtOpenGLWidgets, vispy.gloo
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Qt does not start here: no answer in two minutes. {_QT_REMEDY}"
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    # Qt's abort names the cause first, a Python traceback last.
    causes = [line for line in said if "could not" in line.lower()] or said[-1:]
    why = causes[0].strip(" .") if causes else f"exit status {done.returncode}"
    return f"Qt does not start here: {why}. {_QT_REMEDY}"


# --- every test ---------------------------------------------------------------


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    """Fix the global seeds: a test that forgets its generator is still repeatable."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - it is the global state that is being fixed
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _two_threads() -> None:
    """Hold torch to two threads: more only fight each other on a small machine."""
    import torch

    torch.set_num_threads(2)


# napari's pytest plugin has these two act on every test, which imports all of napari's
# Qt side even for a test of a squeeze. Same names, same effect, for Qt tests only.
@pytest.fixture(autouse=True)
def _clean_themes() -> None:
    """Stand in for napari's fixture: no test here adds a theme."""


@pytest.fixture(autouse=True)
def _disable_qt_warnings(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep Qt's own warnings out of napari's notifications."""
    if request.node.get_closest_marker("qt"):
        main_window = importlib.import_module("napari._qt.qt_main_window")
        monkeypatch.setattr(main_window, "SHOW_QT_WARNING", False, raising=False)


@pytest.fixture(autouse=True)
def _no_gl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer for OpenGL on Qt's offscreen platform, which has none.

    napari asks a context for two facts before it adds a layer. They are answered here
    so that docks, layers and workers can be tested without any display; nothing is
    drawn. With an X server the real answers are used.
    """
    if not (request.node.get_closest_marker("qt") and _nothing_is_drawn()):
        return
    answers = {
        "get_gl_extensions": "texture_float",
        "get_max_texture_sizes": (16384, 2048),
    }
    for name in ("utils.gl", "layers.image", "layers.base", "layers.labels", "canvas"):
        module = importlib.import_module(f"napari._vispy.{name}")
        for function, answer in answers.items():
            if hasattr(module, function):
                monkeypatch.setattr(module, function, lambda answer=answer: answer)


# --- what a test may ask for --------------------------------------------------


@pytest.fixture(scope="session")
def reference() -> Path:
    """Return the folder of reference data that ``FLOWSR_REFERENCE`` names."""
    named = os.environ.get("FLOWSR_REFERENCE")
    if not named:
        pytest.skip("needs reference data: FLOWSR_REFERENCE is not set")
    folder = Path(named).expanduser().resolve()
    if not folder.is_dir():
        pytest.skip(f"needs reference data: FLOWSR_REFERENCE={named} is not a folder")
    return folder


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """Return the torch device that ``--device`` names."""
    return str(pytestconfig.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(pytestconfig: pytest.Config) -> object:
    """Return the torch dtype that ``--dtype`` names."""
    import torch

    return getattr(torch, pytestconfig.getoption("--dtype"))
