"""What a training leaves behind: a model file or a learned prior's, with its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_flowsr.errors import ExportError, TrainingError
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.priors import write_prior
from napari_flowsr.models.card import NOT_STATED, ModelCard, Normalisation

if TYPE_CHECKING:
    from napari_flowsr.training.run import TrainingRun

__all__ = ["write_product"]


def _record(run: TrainingRun, seconds: float) -> dict[str, Any]:
    """Recipe and circumstances; names no folders."""
    recipe = run.config.to_dict()
    for field in ("manifest", "start_from", "perceptual_weights"):
        recipe[field] = Path(recipe[field]).name
    recipe["lr_source"] = [Path(each).name for each in recipe["lr_source"]]
    record = {
        "config": recipe,
        "images": len(run.planes),
        "steps": run.step,
        "seconds_of_last_run": round(seconds),
        "torch": str(torch.__version__),
    }
    planned = [stage.steps for stage in run.stages]
    if run.config.minutes is not None:
        record["planned_steps"] = planned
    if run.step < sum(planned):
        record["steps_of_whole_recipe"] = sum(planned)
    return record


def _card(run: TrainingRun, seconds: float) -> ModelCard:
    config, flow = run.config, run.flow
    return ModelCard(
        name=config.name or run.state_file.parent.stem,
        family=config.family,
        scales=flow.scales,
        scale_range=flow.scale_range,
        channels=flow.channels,
        domain=config.domain or "unknown",
        licence=config.licence or NOT_STATED,
        description=config.description,
        not_for=config.not_for,
        parameters=flow.parameter_count,
        temperature=config.temperature,
        training=_record(run, seconds)
        | ({"start_from": run.origin} if run.origin else {}),
        degradation=config.degradation,
        normalisation=Normalisation(config.normalisation, *config.percentiles),
    )


def write_product(run: TrainingRun, output: Path, seconds: float) -> None:
    """Write what was trained, in one process of several.

    Raises
    ------
    TrainingError
        If the file cannot be written; the state is kept.
    """
    run.network.eval()
    if run.rank:
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if run.prior is None:
            save_model(output, run.flow, _card(run, seconds))
        else:
            about = {"flow": run.origin, "training": _record(run, seconds)}
            for field in ("name", "description", "not_for"):
                about[field] = getattr(run.config, field)
            licence = run.config.licence or NOT_STATED
            write_prior(output, run.prior, licence=licence, about=about)
    except (ExportError, OSError) as error:
        raise TrainingError(
            f"The training is complete, but its model was not written: {error} "
            f"{run.kept} The same command then writes the model."
        ) from error
