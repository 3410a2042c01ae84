"""Which networks a configuration trains, and which model they start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from napari_flowsr.errors import TrainingError
from napari_flowsr.io.collection import load_model
from napari_flowsr.models._registry import build, config_dict
from napari_flowsr.models.card import Normalisation
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior
from napari_flowsr.training.config import LEARNED_PRIOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.prior import LatentModule
    from napari_flowsr.models.card import Model
    from napari_flowsr.training.config import TrainConfig

__all__ = ["networks"]

Made = TypeVar("Made", bound=nn.Module)


def _seeded(config: TrainConfig, make: Callable[[], Made]) -> Made:
    """A network whose start values depend on the seed alone."""
    # The caller's random numbers are left as they were.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return make()


def networks(
    config: TrainConfig, *, is_new: bool
) -> tuple[ConditionalFlow, LatentModule | None, Model | None]:
    """Untrained flow, or trained flow and untrained prior; the model to start from.

    Parameters
    ----------
    config : TrainConfig
        A validated one.
    is_new : bool
        Whether no earlier run goes on, whose weights would replace those of the model.

    Raises
    ------
    FlowSRError
        `TrainingError`, `OptionError` or `ModelNotFoundError`: no such network, or the
        model does not fit it.
    """
    if config.family == LEARNED_PRIOR:
        return _prior(config)
    scale = config.model.get("scale")
    if not isinstance(scale, int | float) or scale != int(scale) or scale < 2:
        raise TrainingError(
            f"The model's scale is {scale!r}; training needs a whole number of at "
            "least 2, such as model={'scale': 2}."
        )
    flow = _seeded(config, lambda: build(config.family, config.model))
    return flow, None, _origin(config, flow) if is_new else None


def _prior(config: TrainConfig) -> tuple[ConditionalFlow, LatentModule, Model]:
    """A learned prior for the flow of ``start_from``, whose channels it takes over."""
    if not config.start_from:
        raise TrainingError(
            "A learned prior belongs to a trained model, and none is given. Name it, "
            "or its file: start_from."
        )
    model = load_model(config.start_from, device="cpu")
    flow, card = model.flow, model.card
    if flow.deterministic or flow.encodes_lr:
        raise TrainingError(
            f"start_from is '{config.start_from}' of the {flow.family} family, whose "
            "images a learned prior cannot give. Choose a flow that is conditioned on "
            "the LR image, such as one of the compact family."
        )
    own = Normalisation(config.normalisation, *config.percentiles)
    same = own.kind == "dtype" == card.normalisation.kind or own == card.normalisation
    if not same or config.degradation != card.degradation:
        raise TrainingError(
            f"'{config.start_from}' was trained with the degradation "
            f"'{card.degradation}' and {card.normalisation}; a learned prior needs the "
            f"same, but has '{config.degradation}' and {own}. Set degradation, "
            "normalisation and percentiles to those of the model."
        )
    prior = _seeded(config, lambda: build_prior(_sizes(config, flow)))
    prior.check_fits(flow)
    return flow, prior, model


def _sizes(config: TrainConfig, flow: ConditionalFlow) -> LearnedPriorConfig:
    """The prior's configuration, with the channels of the flow."""
    spec = flow.latent_spec((4 * flow.multiple_of, 4 * flow.multiple_of))
    sizes = {
        "level_channels": tuple(shape[0] for shape in spec.shapes),
        "channels": flow.channels,
    }
    try:
        fields = {**sizes, **config.model}
        return TypeAdapter(LearnedPriorConfig).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise TrainingError(
            f"Learned prior: {'.'.join(map(str, first['loc']))} was given as "
            f"{first['input']!r}. {first['msg']}."
        ) from error


def _origin(config: TrainConfig, flow: ConditionalFlow) -> Model | None:
    """The model to start from, if one was asked for and is the same network."""
    if not config.start_from:
        return None
    model = load_model(config.start_from, device="cpu")
    if model.card.family != config.family:
        raise TrainingError(
            f"start_from is '{config.start_from}' of the {model.card.family} family; "
            f"this recipe trains {config.family}. Choose a model of that family."
        )
    theirs, ours = config_dict(model.flow.config), config_dict(flow.config)
    other = [
        f"{key} ({theirs.get(key)} there, {ours.get(key)} here)"
        for key in sorted({*theirs, *ours})
        if theirs.get(key) != ours.get(key)
    ]
    if other:
        raise TrainingError(
            f"start_from is '{config.start_from}', whose network differs from the one "
            f"to be trained: {', '.join(other)}. Set these fields of `model` to its "
            "values, or choose another model."
        )
    return model
