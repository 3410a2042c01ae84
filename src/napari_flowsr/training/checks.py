"""What can be wrong with a training is found before it begins."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.prior import LatentModule
from napari_flowsr.data.degradation import DEGRADATIONS, PAIRED
from napari_flowsr.data.pairs import Pairs
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.data.source import ArrayImage, find_images
from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.atomic import check_writable
from napari_flowsr.models.card import Model
from napari_flowsr.training.check_losses import check_losses
from napari_flowsr.training.config import TrainConfig, validated
from napari_flowsr.training.losses import LOSSES
from napari_flowsr.training.networks import networks
from napari_flowsr.training.paths import state_path
from napari_flowsr.training.perceptual import Features, read_features
from napari_flowsr.training.schedule import SCHEDULES, weights_of

if TYPE_CHECKING:
    from napari_flowsr.data.source import Images
    from napari_flowsr.training.config import Stage

__all__ = ["Job", "check"]


@dataclass(frozen=True)
class Job:
    """A training whose options, files and paths were found usable."""

    config: TrainConfig
    flow: ConditionalFlow
    """The untrained network; with a ``prior`` the trained one."""
    prior: LatentModule | None
    """The untrained learned prior, where one is to be trained."""
    images: list[Path | ArrayImage]
    validation: list[Path | ArrayImage]
    pairs: Pairs | None
    """LR images, where these are given."""
    output: Path
    state_file: Path
    origin: Model | None
    """The model that a new run starts from."""
    min_side: int
    """Smallest usable side of an image, pixels."""
    features: Features | None = None
    """Of the perceptual loss."""


def check(
    source: Images,
    config: TrainConfig,
    output: str | Path,
    validation: Images | None,
    lr_source: Images | None = None,
) -> Job:
    """Check everything that does not need the images themselves.

    Raises
    ------
    FlowSRError
        `OptionError`, `TrainingError`, `ExportError`, `DeviceError` or
        `ModelNotFoundError`, saying what was given, what was expected, what to do.
    """
    config = _naming(validated(config), lr_source)
    _check_run(config)
    _check_data(config)
    for stage in config.stages:
        _check_numbers(stage)
    output = _checked_output(output)
    state_file = state_path(output)
    flow, prior, origin = networks(config, is_new=not state_file.exists())
    _check_range(config, flow)
    _check_start(config, flow)
    for stage in config.stages:
        _check_patch(stage, flow)
        check_losses(stage, weights_of(config, stage), flow, prior)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        resolve_device(config.device)
    images = find_images(source)
    held_out = find_images(validation) if validation else []
    sides = (
        PatchSampler(
            (),
            flow.scales[0],
            stage.patch,
            stage.batch,
            degradation=config.degradation,
            misalignment=config.misalignment,
            scale_range=config.scale_range,
        ).min_side
        for stage in config.stages
    )
    return Job(
        config,
        flow,
        prior,
        images,
        held_out,
        _pairs(config, flow, lr_source, [*images, *held_out]),
        output,
        state_file,
        origin,
        max(sides),
        _features(config),
    )


def _require(condition: bool, what: str, value: object, expected: str) -> None:
    if not condition:
        raise TrainingError(f"{what} is {value!r}; it must be {expected}.")


def _check_run(config: TrainConfig) -> None:
    _require(bool(config.stages), "stages", config.stages, "one stage or more")
    _require(config.seed >= 0, "seed", config.seed, "0 or more")
    _require(0 <= config.ema < 1, "ema", config.ema, "at least 0 and below 1")
    low, high = config.percentiles
    _require(
        0 <= low < high <= 100,
        "percentiles",
        config.percentiles,
        "two rising numbers from 0 to 100",
    )
    if config.minutes is not None:
        _require(0 < config.minutes < math.inf, "minutes", config.minutes, "positive")
    for name, weight in config.loss_weights.items():
        _require(name in LOSSES, "loss_weights", name, f"of {', '.join(LOSSES)}")
        _require(0 <= weight < math.inf, f"loss_weights of {name}", weight, "0 or more")
    for name in ("adversary_width", "validate_every", "checkpoint_every"):
        _require(getattr(config, name) >= 1, name, getattr(config, name), "1 or more")
    if config.manifest and not Path(config.manifest).is_file():
        raise TrainingError(
            f"manifest is '{config.manifest}', where there is no file. Give the path "
            "of a CSV file, or leave it out."
        )


def _check_data(config: TrainConfig) -> None:
    """How LR images arise, and what is drawn of the images."""
    degradation, name = config.degradation.checked(), config.degradation.name
    _require(
        degradation.has_operator or name == PAIRED,
        "degradation",
        name,
        f"one of {', '.join((*DEGRADATIONS, PAIRED))}",
    )
    of_lr = [n for s in config.stages for n in s.losses if n.endswith("_lr_log_mse")]
    if name == PAIRED and of_lr:
        raise TrainingError(
            f"The loss {of_lr[0]} needs to know how LR images arise, but of "
            f"given pairs (degradation '{PAIRED}') nobody does. Leave it out."
        )
    _require(config.misalignment >= 0, "misalignment", config.misalignment, "0 or more")
    if config.scale_range is not None:
        low, high = config.scale_range
        expected = "two rising numbers, the lower one at least 1, such as (1.0, 4.0)"
        _require(1 <= low < high, "scale_range", config.scale_range, expected)


def _check_range(config: TrainConfig, flow: ConditionalFlow) -> None:
    """A range of scales needs a family that takes any, and computed LR images."""
    if config.scale_range is None:
        return
    if flow.scale_range is None:
        raise TrainingError(
            f"scale_range is {config.scale_range}, but a network of the {flow.family} "
            "family has one scale. Leave scale_range out, or train the linf family."
        )
    if config.degradation.name == PAIRED:
        raise TrainingError(
            f"scale_range is {config.scale_range}, but given pairs of images have one "
            f"scale. Leave it out, or choose one of {', '.join(DEGRADATIONS)}."
        )
    for scale in config.scale_range:
        flow.check_scale(scale)


def _check_start(config: TrainConfig, flow: ConditionalFlow) -> None:
    """An encoder that is never trained needs to have been."""
    first = config.stages[0]
    frozen = first.encoder_frozen_until >= 1 and bool(flow.encoder_parameters())
    if frozen and not config.start_from:
        raise TrainingError(
            f"The first stage, '{first.name}', does not train the encoder, and no "
            "trained model is given to start from. Name one: start_from; or set "
            "encoder_frozen_until below 1."
        )


def _naming(config: TrainConfig, lr_source: Images | None) -> TrainConfig:
    """With the names of LR images that were given beside it, for the record."""
    if not lr_source:
        return config
    if isinstance(lr_source, str | Path | ArrayImage):
        lr_source = [lr_source]
    names = [x.name if isinstance(x, ArrayImage) else str(x) for x in lr_source]
    return config.with_(lr_source=tuple(names))


def _pairs(
    config: TrainConfig,
    flow: ConditionalFlow,
    given: Images | None,
    images: list[Path | ArrayImage],
) -> Pairs | None:
    """Given LR images, one for each HR image by its name."""
    source = given or config.lr_source
    if bool(source) != (config.degradation.name == PAIRED):
        given_so = "LR images were given" if source else "No LR images were given"
        raise TrainingError(
            f"{given_so} (lr_source, --lr), but the degradation is "
            f"'{config.degradation}'. With LR images it is '{PAIRED}'; without, one of "
            f"{', '.join(DEGRADATIONS)}."
        )
    if not source:
        return None
    pairs = Pairs(find_images(source), float(flow.scales[0]))
    for image in images:
        pairs.of(image)
    return pairs


def _check_numbers(stage: Stage) -> None:
    world = int(os.environ.get("WORLD_SIZE", 1))
    rate = stage.learning_rate
    rules = (
        ("learning_rate", 0 < rate < math.inf, "positive"),
        ("schedule", stage.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
        ("warmup", stage.warmup >= 0, "0 or more steps"),
        (
            "encoder_frozen_until",
            0 <= stage.encoder_frozen_until <= 1,
            "a fraction from 0 to 1",
        ),
        ("betas", all(0 <= b < 1 for b in stage.betas), "two numbers in [0, 1)"),
        ("clip_norm", stage.clip_norm > 0, "positive"),
        ("temperature", 0 <= stage.temperature < math.inf, "0 or more"),
        (
            "adversary_learning_rate",
            0 < stage.adversary_learning_rate < math.inf,
            "positive",
        ),
        ("dequantisation_levels", stage.dequantisation_levels > 0, "positive"),
        ("hr_noise", 0 <= stage.hr_noise < math.inf, "0 or more"),
        ("unusual", 0 <= stage.unusual <= 1, "a fraction from 0 to 1"),
        (
            "batch",
            stage.batch % world == 0,
            f"a multiple of the {world} processes, so that each has an equal part",
        ),
    )
    for name, fine, expected in rules:
        what = f"{name} of stage '{stage.name}'"
        _require(fine, what, getattr(stage, name), expected)


def _features(config: TrainConfig) -> Features | None:
    """Network of the perceptual loss, if that counts anywhere."""
    if not any("perceptual" in weights_of(config, stage) for stage in config.stages):
        return None
    return read_features(config.perceptual_weights)


def _check_patch(stage: Stage, flow: ConditionalFlow) -> None:
    if stage.patch % flow.multiple_of:
        raise TrainingError(
            f"patch of stage '{stage.name}' is {stage.patch}; this network needs a "
            f"multiple of {flow.multiple_of}."
        )


def _checked_output(output: str | Path) -> Path:
    """The output path, if it can be written; makes no file and no folder."""
    if not isinstance(output, str | os.PathLike):
        raise OptionError(f"output is {output!r}; give a path.")
    path = Path(output).expanduser()
    if path.suffix != ".safetensors":
        raise OptionError(f"output is '{output}'; it must end in .safetensors.")
    for target in (path, state_path(path)):
        check_writable(target)
    return path
