"""``napari-flowsr doctor``: what is installed, and what works here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from napari_flowsr.cli._options import JsonOption
from napari_flowsr.cli._show import facts, say, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["doctor", "examine"]

_PACKAGES = ("napari-flowsr", "torch", "numpy", "napari", "npe2", "scikit-image",
             "tifffile", "zarr", "dask", "safetensors")  # fmt: skip
_BINDINGS = ("PySide6", "PyQt6", "PyQt5", "PySide2")
_PROBE_SECONDS = 60
# Later versions do not count references to None, True and False.
_COUNTS_NONE = sys.version_info < (3, 12)

# Run in a process of its own: Qt and OpenGL abort the process when they do not work.
_PROBE = """
import json, sys
out = {}
from qtpy import API_NAME, QT_VERSION
out["binding"], out["version"] = API_NAME, QT_VERSION
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication(sys.argv[:1])
out["platform"] = app.platformName()
print(json.dumps(out), flush=True)
context = QOpenGLContext()
if context.create():
    surface = QOffscreenSurface()
    surface.setFormat(context.format())
    surface.create()
    if context.makeCurrent(surface):
        got = context.format()
        out["opengl"] = f"{got.majorVersion()}.{got.minorVersion()}"
        try:
            from OpenGL.GL import GL_RENDERER, glGetString
            out["renderer"] = glGetString(GL_RENDERER).decode()
        except Exception:
            pass
print(json.dumps(out), flush=True)
"""


def doctor(as_json: JsonOption = False) -> None:
    """Tell versions, device and why, memory, Qt, OpenGL, folders and models.

    Paste its output into a report of a problem.

    For example:

    - `napari-flowsr doctor`
    - `napari-flowsr doctor --json`
    """
    found = examine()
    if as_json:
        show_json(found)
        return
    for title, section in found.items():
        say(title.capitalize())
        rows = section
        if title == "models":
            rows = {row["name"]: _model_line(row) for row in section}
        show_table(facts({f"  {key}": value for key, value in rows.items()}))
        say()


def _model_line(row: dict[str, Any]) -> str:
    return f"{row['family']}, {row['origin']}, SHA-256 {row['sha256']}"


def examine() -> dict[str, Any]:
    """All facts, JSON-able, found without starting Qt in this process."""
    return {
        "versions": _versions(),
        "computing": _computing(),
        "display": _qt(),
        "folders": _folders(),
        "models": _models(),
    }


def _versions() -> dict[str, str]:
    out = {"python": platform.python_version(), "system": platform.platform()}
    for name in (*_PACKAGES, *_BINDINGS):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name in _PACKAGES:
                out[name] = "not installed"
    from napari_flowsr import __version__

    out["napari-flowsr"] = __version__
    return out


def _computing() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {
            "torch": f"does not load: {error}. On Windows install the current Visual "
            "C++ redistributable."
        }
    import psutil

    from napari_flowsr.core.device import resolve_device
    from napari_flowsr.errors import OptionError
    from napari_flowsr.inference.free_memory import LIMIT, free_memory

    device, reason = resolve_device("auto")
    memory = psutil.virtual_memory()
    out: dict[str, Any] = {
        "device": str(device),
        "why": reason,
        "threads": torch.get_num_threads(),
        "memory": f"{memory.available / 2**30:.1f} GiB free of "
        f"{memory.total / 2**30:.1f} GiB",
        LIMIT: os.environ.get(LIMIT, "").strip() or "not set",
    }
    try:
        out["planned with"] = f"{free_memory() / 2**30:.1f} GiB"
    except OptionError as error:
        out["planned with"] = str(error)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        out["gpu memory"] = f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB"
        out["cuda"] = str(torch.version.cuda)
    return out


def _qt() -> dict[str, Any]:
    environment = dict(os.environ)
    display = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    out: dict[str, Any] = {}
    if sys.platform.startswith("linux"):
        out["display"] = display or "none"
        if not display:
            # Without a display only Qt's own drawing works; asking the usual platform
            # would merely abort.
            environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    said, why = _probe(environment)
    if "binding" not in said:
        out["qt"] = f"does not start: {why}"
        out["remedy"] = (
            "pip install 'napari-flowsr[all]'; on Debian and Ubuntu see the apt line "
            "in the README. Command line and Python functions work without."
        )
        return out
    out["qt"] = f"{said['binding']} {said['version']}, platform {said['platform']}"
    problem = _known_problem(said["binding"], said["version"])
    if problem:
        out["known problem"] = problem
    out["opengl"] = said.get("opengl", f"no context here ({why or 'none offered'})")
    if "renderer" in said:
        out["renderer"] = said["renderer"]
    return out


def _known_problem(binding: str, version: str) -> str:
    """Faults of a Qt binding that end a viewer, with the remedy; empty if none."""
    if (binding, version) == ("PySide6", "6.12.0") and _COUNTS_NONE:
        return (
            "PySide6 6.12.0 miscounts references to None and True, and Python before "
            "3.12 aborts after some thousand calls. Remedy: pip install "
            "'PySide6==6.10.3', or Python 3.12."
        )
    return ""


def _probe(environment: dict[str, str]) -> tuple[dict[str, str], str]:
    """What a separate process found out about Qt, and why it ended if it did."""
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout or b""
        text = said.decode() if isinstance(said, bytes) else str(said)
        return _last_json(text), f"no answer in {_PROBE_SECONDS} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    why = ""
    if done.returncode:
        why = lines[-1] if lines else f"exit status {done.returncode}"
    return _last_json(done.stdout), why


def _last_json(text: str) -> dict[str, str]:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            found: dict[str, str] = json.loads(line)
            return found
    return {}


def _folders() -> dict[str, str]:
    from napari_flowsr.inference.store import FOLDER, scratch_folder
    from napari_flowsr.io.collection import builtin_folder, user_folder

    home = os.environ.get("NAPARI_FLOWSR_HOME")
    return {
        "built-in models": str(builtin_folder()),
        "imported models": str(user_folder()),
        "NAPARI_FLOWSR_HOME": home or "not set",
        "large results": _writable(scratch_folder),
        FOLDER: os.environ.get(FOLDER) or "not set",
    }


def _writable(find: Callable[[], str]) -> str:
    """A folder, and what is wrong with it."""
    try:
        folder = find()
    except FileNotFoundError as error:  # there is none for temporary files
        return str(error)
    if not os.path.isdir(folder):
        return f"{folder} (there is no such folder)"
    return folder if os.access(folder, os.W_OK) else f"{folder} (cannot be written to)"


def _models() -> list[dict[str, str]]:
    from napari_flowsr.io.collection import builtin_folder, list_models

    built_in = {path.stem for path in builtin_folder().glob("*.safetensors")}
    return [
        {
            "name": card.name,
            "family": card.family,
            "origin": "built in" if card.name in built_in else "imported",
            "sha256": card.sha256,
        }
        for card in list_models()
    ]
