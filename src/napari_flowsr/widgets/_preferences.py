"""The plugin's page in napari's Preferences, with defaults where there is none."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Preferences", "keep_brush", "read_preferences"]

_NAME = "napari-flowsr"
_MODELS_OWN = "the model's"


@dataclass(frozen=True)
class Preferences:
    """What new docks start from; the defaults equal those in ``napari.yaml``."""

    device: str = "auto"
    tile: int = 0
    """Side in pixels of the input; 0 for automatic."""
    precision: str = "float32"
    samples: int = 4
    temperature_from: str = _MODELS_OWN
    """Whether the model's card or ``temperature`` says it."""
    temperature: float = 1.0
    brush_size: int = 12
    feather: float = 0.0
    uncertainty_colormap: str = "magma"

    @property
    def tile_option(self) -> int | str:
        """``tile`` as `napari_flowsr.posterior` takes it."""
        return self.tile or "auto"

    @property
    def temperature_option(self) -> float | None:
        """Temperature as `napari_flowsr.posterior` takes it: ``None`` is the card's."""
        return None if self.temperature_from == _MODELS_OWN else self.temperature


def _page() -> Any:
    """Settings of this plugin in napari, or ``None`` where there are none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(_NAME)
    except KeyError:
        return None


def _saved() -> Preferences | None:
    """Preferences as napari saved them; ``None`` where napari has to be asked.

    Its first answer takes a tenth of a second, for it reads all manifests again. That
    is left out while it has the page in a file, or not at all, and nowhere else.
    """
    from napari import settings

    built = getattr(settings, "_PLUGIN_SETTINGS", None)
    file = getattr(settings, "_CFG_PATH", None)
    if built is None or built or not file or any(map(_may_set, os.environ)):
        return None
    try:
        text = (Path(file).parent / f"{_NAME}.yaml").read_text("utf-8")
        pages = yaml.safe_load(text) or {}
        found = {name: value for page in pages.values() for name, value in page.items()}
    except FileNotFoundError:
        return Preferences()
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None  # napari says what is wrong with it
    known = {one.name: type(one.default) for one in fields(Preferences)}
    found = {name: found[name] for name in found if name in known}
    limits = _limits() if found else {}
    for name, value in found.items():
        if type(value) is not known[name] or not _is_within(value, limits[name]):
            return None
    return Preferences(**found)


def _limits() -> dict[str, dict[str, Any]]:
    """What the manifest says of each preference."""
    text = files("napari_flowsr").joinpath("napari.yaml").read_text("utf-8")
    pages = yaml.safe_load(text)["contributions"]["configurations"]
    return {k: v for page in pages.values() for k, v in page["properties"].items()}


def _is_within(value: Any, limits: dict[str, Any]) -> bool:
    if "enum" in limits:
        return value in limits["enum"]
    return bool(limits["minimum"] <= value <= limits["maximum"])


def _may_set(variable: str) -> bool:
    """Whether an environment variable may set a preference of a plugin."""
    name = variable.upper()
    ours = name.startswith("NAPARI_FLOWSR_") or name == "NAPARI_CONFIG"
    return name.startswith("NAPARI_") and not ours


def keep_brush(name: str, value: float) -> None:
    """Start from this ``brush_size`` or ``feather`` next time; napari saves it."""
    found = _page()
    if found is not None and getattr(found.editing, name) != value:
        setattr(found.editing, name, value)


def read_preferences() -> Preferences:
    """Preferences as they are now.

    napari has pages for plugins from 0.9 on; before that the defaults hold.
    """
    saved = _saved()
    if saved is not None:
        return saved
    found = _page()
    if found is None:
        return Preferences()
    return Preferences(
        device=str(found.inference.device),
        tile=int(found.inference.tile),
        precision=str(found.inference.precision),
        samples=int(found.inference.samples),
        temperature_from=str(found.inference.temperature_from),
        temperature=float(found.inference.temperature),
        brush_size=int(found.editing.brush_size),
        feather=float(found.editing.feather),
        uncertainty_colormap=str(found.display.uncertainty_colormap),
    )
