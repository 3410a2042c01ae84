"""From a preset's name to a configuration: what people choose, in one place.

The Train dock and the `train` command make their configurations here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.collection import find_model
from napari_flowsr.io.header import read_header
from napari_flowsr.training.config import LEARNED_PRIOR
from napari_flowsr.training.presets import PRESETS, preset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.io.header import Header
    from napari_flowsr.models.card import ModelCard
    from napari_flowsr.training.config import Stage, TrainConfig

__all__ = ["FINER", "fitting", "named", "of_family", "recipe"]
__all__ += ["scale_of", "sentence", "shared_out", "siblings"]

FINER = 0.3
"""Factor of the learning rates where a trained model is the starting point: the full
ones would first undo what it knows."""

_SCALED = re.compile(r"(?P<stem>.+)-(?P<scale>\d+)x")

# The longest name that a preset begins with counts.
_SENTENCES = {
    "compact": "Small and fast, for a laptop: the mean first, then what is left over.",
    "compact-any": "Small, for any scale from 1 to 4 and beyond; slower to apply.",
    "compact-rescale": "Makes small images that come back better than others do.",
    "compact-prior": "One sharp prediction instead of samples, for a trained flow.",
    "compact-sharp": "Goes on with an adversary: more texture, not all of it true.",
    "srflow": "SRFlow (2020) as published; for a GPU and days.",
    "adflow": "AdFlow (2022): likelihood, then an adversary; for a GPU.",
    "hcflow": "HCFlow (2021), likelihood alone; for a GPU.",
    "hcflow+": "HCFlow+ (2021): with the L1 loss of the image at temperature 0.",
    "hcflow++": "HCFlow++ (2021): with perceptual and adversarial losses too.",
    "rescale": "HCFlow's rescaling (2021): small images that come back; for a GPU.",
    "linf": "LINF (2023): any scale, texture patch by patch; for a GPU.",
    "learned-prior": "Learned prior (2024): one prediction from a trained flow.",
}


def sentence(name: str) -> str:
    """What a preset is for."""
    fitting = [start for start in _SENTENCES if name.startswith(start)]
    return _SENTENCES[max(fitting, key=len)] if fitting else ""


def siblings(name: str) -> dict[int, str]:
    """Scale to name of the presets that differ from this one in the scale alone.

    Empty for a preset that has its scale, or scales, not in its name.
    """
    found = _SCALED.fullmatch(name)
    if found is None:
        return {}
    alike = [_SCALED.fullmatch(one) for one in PRESETS]
    same = [one for one in alike if one is not None and one["stem"] == found["stem"]]
    return {int(one["scale"]): one.string for one in sorted(same, key=_scale)}


def _scale(found: re.Match[str]) -> int:
    return int(found["scale"])


def of_family(family: str, scale: float) -> str | None:
    """The first preset of a family, one of this scale before others."""
    fitting = [name for name in PRESETS if preset(name).family == family]
    exact = [n for n in fitting if float(preset(n).model.get("scale", 0)) == scale]
    return next(iter([*exact, *fitting]), None)


def named(name: str, scale: float | None = None) -> str:
    """Name of a preset, of which people may give the beginning and the scale.

    Raises
    ------
    OptionError
        There is none.
    """
    alike = siblings(name) or siblings(f"{name}-2x")
    if name in PRESETS and (scale is None or not alike):
        own = float(preset(name).model.get("scale", 0)) if scale is not None else None
        if own not in (None, scale):
            raise OptionError(
                f"Scale {scale:g} was asked for; the preset '{name}' has {own:g}. "
                "Leave the scale out, or choose another preset."
            )
        return name
    if not alike:
        raise OptionError(
            f"Preset '{name}' is unknown; known are {', '.join(sorted(PRESETS))}."
        )
    found = min(alike) if scale is None else scale
    if found not in alike:
        raise OptionError(
            f"Scale {found:g} was asked for; '{name}' has presets for "
            f"{', '.join(map(str, alike))}. Choose one of these."
        )
    return alike[int(found)]


def shared_out(stages: Sequence[Stage], steps: int) -> tuple[Stage, ...]:
    """Stages with ``steps`` in all, each with its share and at least one."""
    total = sum(stage.steps for stage in stages)
    return tuple(
        replace(stage, steps=max(1, round(steps * stage.steps / total)))
        for stage in stages
    )


def scale_of(config: TrainConfig) -> float:
    """HR pixels per LR pixel; of a learned prior those of its flow."""
    own = config.model.get("scale")
    if own is None and config.start_from:
        return float(_header(config.start_from).card.scales[0])
    return float(own or 1)


def _header(name_or_path: str) -> Header:
    header = read_header(find_model(name_or_path))
    if header is None:
        raise TrainingError(
            f"'{name_or_path}' was written by another program. Import it first, and "
            "start from the imported model."
        )
    return header


def fitting(start_from: str) -> str:
    """The preset that goes on from a model as it is.

    Raises
    ------
    TrainingError
        There is none for its family.
    """
    card = _header(start_from).card
    found = of_family(card.family, card.scales[0])
    if found is None:
        raise TrainingError(
            f"'{start_from}' is of the {card.family} family, for which there is no "
            "preset. Start from another model, or give a configuration."
        )
    return found


def recipe(
    given: str | TrainConfig,
    *,
    start_from: str = "",
    steps: int | None = None,
    batch: int | None = None,
    patch: int | None = None,
    learning_rate: float | None = None,
    **fields: Any,
) -> TrainConfig:
    """Configuration of a preset, or one's own, with what people change of it.

    Parameters
    ----------
    given : str or TrainConfig
        Name in `training.presets.PRESETS`, or a configuration of one's own.
    start_from : str
        Name or path of a model to go on from. A preset's network is that of the model
        then, as are degradation and intensities unless ``fields`` give others. Of its
        stages only the last is left, its learning rate multiplied by `FINER`.
    steps : int, optional
        Of all stages together.
    batch, patch : int, optional
        Of every stage.
    learning_rate : float, optional
        The highest of all stages; the others keep their ratio to it.
    **fields
        Other fields of `TrainConfig`.

    Raises
    ------
    OptionError, TrainingError, ModelNotFoundError
        No such preset or model, or a model of another family.
    """
    config = preset(given) if isinstance(given, str) else given
    if start_from and isinstance(given, str) and config.family == LEARNED_PRIOR:
        config = _as_seen_by(config, _header(start_from).card)
    elif start_from and isinstance(given, str) and "model" not in fields:
        config = _going_on(config, given, start_from)
    changes = dict(fields)
    if "stages" in fields:
        config = config.with_(stages=fields["stages"])
    if start_from:
        changes["start_from"] = start_from
    stages = config.stages if steps is None else shared_out(config.stages, steps)
    highest = max(stage.learning_rate for stage in stages)
    factor = 1.0 if learning_rate is None else learning_rate / highest
    changes["stages"] = tuple(
        replace(
            stage,
            batch=stage.batch if batch is None else batch,
            patch=stage.patch if patch is None else patch,
            learning_rate=stage.learning_rate * factor,
        )
        for stage in stages
    )
    return config.with_(**changes)


def _going_on(config: TrainConfig, name: str, start_from: str) -> TrainConfig:
    """The recipe with the network and the conventions of the model to start from."""
    header = _header(start_from)
    if header.family != config.family:
        better = of_family(header.family, header.card.scales[0])
        hint = "is no preset here" if better is None else f"is '{better}', for one"
        raise TrainingError(
            f"The preset '{name}' trains the {config.family} family; '{start_from}' is "
            f"of the {header.family} family, for which there {hint}. Choose that, or "
            "another model."
        )
    # The stages before the last bring a network to where this one is already: trained
    # alone, an encoder leaves the flow that goes with it.
    last = config.stages[-1]
    # What begins with an adversary is made for trained models.
    factor = 1.0 if "adversarial" in config.stages[0].losses else FINER
    finer = replace(last, learning_rate=factor * last.learning_rate)
    config = config.with_(model=dict(header.config), stages=(finer,))
    return _as_seen_by(config, header.card)


def _as_seen_by(config: TrainConfig, card: ModelCard) -> TrainConfig:
    """With a model's conventions: how LR images and intensities arise."""
    return config.with_(
        degradation=card.degradation,
        normalisation=card.normalisation.kind,
        percentiles=(card.normalisation.low, card.normalisation.high),
    )
