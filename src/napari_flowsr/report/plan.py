"""What an evaluation report measures, and of which models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError
from napari_flowsr.inference.options import check_count, check_scale
from napari_flowsr.models.card import Model

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["TEMPERATURES", "Plan", "Subject", "subjects"]

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Of the curves; the last three are those of table 3 of Tsao et al. (2024)."""


@dataclass(frozen=True)
class Plan:
    """Options of a report.

    Parameters
    ----------
    n : int
        Samples of each image.
    temperature : float
        Of these samples.
    temperatures : tuple of float
        Of the curves; sorted, none twice.
    sweep : int
        Samples of each image at each temperature of the curves.
    seed : int
        Image ``i`` has seed ``seed + i``.
    side : int, optional
        Only the central part of images, HR pixels.
    limit : int, optional
        At most so many images, evenly spaced.
    pictures : int
        Images that are shown.
    lr : tuple of str
        Paths of given LR images; without, they are made.
    """

    n: int = 8
    temperature: float = 1.0
    temperatures: tuple[float, ...] = TEMPERATURES
    sweep: int = 8
    seed: int = 0
    side: int | None = None
    limit: int | None = None
    pictures: int = 3
    lr: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for count in (self.n, self.sweep):
            check_count(count)
        for value in (self.temperature, *self.temperatures):
            if not 0 <= value < math.inf:
                raise OptionError(
                    f"A temperature is {value:g}; give numbers from 0, such as "
                    f"{', '.join(f'{t:g}' for t in TEMPERATURES)}."
                )
        if self.pictures < 0:
            raise OptionError(
                f"pictures is {self.pictures}; it is the number of images to show, "
                "from 0."
            )
        ordered = tuple(sorted({float(t) for t in self.temperatures}))
        object.__setattr__(self, "temperatures", ordered)

    def options(self, subject: Subject) -> dict[str, Any]:
        """Options of `metrics.evaluate.evaluate` for a subject."""
        return {
            "n": self.n,
            "temperature": self.temperature,
            "scale": subject.scale,
            "seed": self.seed,
            "side": self.side,
            "limit": self.limit,
            "lr_source": self.lr or None,
        }


@dataclass(frozen=True)
class Subject:
    """A model at one of its scales."""

    model: Model
    scale: float

    @property
    def title(self) -> str:
        """For headings and legends."""
        prior = self.model.card.prior.get("name", "")
        return f"{self.model.card.name}, {self.scale:g}×" + (
            f", with {prior}" if prior else ""
        )

    @property
    def has_prior(self) -> bool:
        """Whether a learned prior was loaded with it."""
        return self.model.flow.latent_module is not None

    @property
    def has_prediction(self) -> bool:
        """Whether its encoder alone predicts an image."""
        flow = self.model.flow
        return bool(flow.encoder_parameters()) and not flow.deterministic

    @property
    def rescales(self) -> bool:
        """Whether it makes the small images itself."""
        return hasattr(self.model.flow, "downscale")


def subjects(
    models: Sequence[Model], scales: Sequence[float], *, every: bool
) -> list[Subject]:
    """Each model at those of the scales that it has.

    Without scales, a model is measured at its first; one of any scale at all that its
    card suggests, if ``every``.

    Raises
    ------
    OptionError
        A model has none of the scales, or one scale was given that no model has.
    """
    found: list[Subject] = []
    refused: dict[float, OptionError] = {}
    for model in models:
        wanted: Sequence[float | None] = list(dict.fromkeys(scales)) or [None]
        if not scales and every and model.flow.scale_range is not None:
            wanted = sorted(model.flow.scales)
        own = []
        for scale in wanted:
            try:
                own.append(Subject(model, check_scale(scale, model.flow)))
            except OptionError as error:
                refused[float(scale or 0)] = error
        if not own:
            raise next(reversed(refused.values()))
        found += own
    measured = {subject.scale for subject in found}
    for asked, refusal in refused.items():
        if asked not in measured:
            raise refusal
    return found
