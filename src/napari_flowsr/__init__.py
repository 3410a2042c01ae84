"""Super-resolution with conditional normalizing flows: samples, uncertainty, edits.

Importing the package is cheap: torch comes with the first use of a public name, napari
and Qt only with the widgets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_flowsr import errors

if TYPE_CHECKING:
    from napari_flowsr.api import (
        best_temperature,
        evaluate,
        line_profile,
        list_models,
        load_edit,
        load_latents,
        load_model,
        posterior,
        provenance_script,
        region_measurement,
        resample,
        rescale_down,
        rescale_up,
        restore,
        save_edit,
        save_latents,
        temperature_by_uncertainty,
        temperature_from_labels,
        train,
        transfer_content,
        transfer_style,
        upscale,
        upscale_files,
    )
    from napari_flowsr.inference.events import Finished, Progress, Result, SampleReady
    from napari_flowsr.inference.posterior import Posterior
    from napari_flowsr.models.card import Model, ModelCard

__version__ = "0.1.0"

__all__ = [
    "Finished",
    "Model",
    "ModelCard",
    "Posterior",
    "Progress",
    "Result",
    "SampleReady",
    "__version__",
    "best_temperature",
    "errors",
    "evaluate",
    "line_profile",
    "list_models",
    "load_edit",
    "load_latents",
    "load_model",
    "posterior",
    "provenance_script",
    "region_measurement",
    "resample",
    "rescale_down",
    "rescale_up",
    "restore",
    "save_edit",
    "save_latents",
    "temperature_by_uncertainty",
    "temperature_from_labels",
    "train",
    "transfer_content",
    "transfer_style",
    "upscale",
    "upscale_files",
]

_EVENTS = "napari_flowsr.inference.events"
_CARD = "napari_flowsr.models.card"
_HOMES = {
    "Finished": _EVENTS,
    "Model": _CARD,
    "ModelCard": _CARD,
    "Posterior": "napari_flowsr.inference.posterior",
    "Progress": _EVENTS,
    "Result": _EVENTS,
    "SampleReady": _EVENTS,
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "napari_flowsr.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
