"""The checkpoint file of a run: written whole or not at all, read with care."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch

from napari_flowsr.errors import ExportError, TrainingError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.training.config import validated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["read_state", "read_step", "write_state"]

# What an interrupted run and its continuation must have in common.
_DETERMINING = (
    "family",
    "model",
    "stages",
    "loss_weights",
    "adversary_width",
    "minutes",
    "seed",
    "ema",
    "degradation",
    "lr_source",
    "normalisation",
    "percentiles",
    "scale_range",
    "misalignment",
    "group_by",
    "start_from",
)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; on failure the former one stays and no other file does.

    Raises
    ------
    ExportError
        When the disk is full or the file is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"Could not make the folder {path.parent}: {error.strerror or error}. "
            "Check the folder and the disk."
        ) from error
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:
            # torch reports a short write in words of its own; the cause lies beneath.
            cause = error.__context__
            raise (cause if isinstance(cause, OSError) else OSError(error)) from error


def _load(path: Path, **how: Any) -> dict[str, Any]:
    try:
        # On the CPU, where Adam keeps its step counters; the rest is moved on loading.
        state: dict[str, Any] = torch.load(
            path, map_location="cpu", weights_only=True, **how
        )
        _ = state["step"], state["config"]
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"The checkpoint '{path}' cannot be read ({type(error).__name__}: "
            f"{error}). Delete the folder '{path.parent}' to start afresh, or give "
            "another output."
        ) from error
    return state


def read_step(path: Path) -> int | None:
    """Step of a checkpoint, without reading its tensors; None if there is none."""
    return int(_load(path, mmap=True)["step"]) if path.exists() else None


def read_state(
    path: Path, config: Mapping[str, Any], images: str
) -> dict[str, Any] | None:
    """Read the checkpoint of an earlier run with this configuration and these images.

    Parameters
    ----------
    path : Path
        The file; None is returned where there is none.
    config : mapping
        `TrainConfig.to_dict` of the present run.
    images : str
        Fingerprint of the training images of the present run.

    Raises
    ------
    TrainingError
        If the file is damaged or belongs to another run; says what differs.
    """
    if not path.exists():
        return None
    state = _load(path)
    # Fields younger than the file get their defaults.
    then = validated(state["config"]).to_dict()
    other = [key for key in _DETERMINING if then[key] != config[key]]
    if other:
        raise TrainingError(
            f"'{path}' belongs to a run with another configuration; different are: "
            f"{', '.join(other)}. Give another output, use the same configuration, or "
            "delete that file."
        )
    if state.get("images", images) != images:
        raise TrainingError(
            f"'{path}' belongs to a run on other images, so the run cannot go on as it "
            "was. Give the same images, or another output; `start_from` takes the "
            "weights of a finished model to new images."
        )
    return state
