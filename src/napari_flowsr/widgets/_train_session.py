"""State behind the Train dock, evented and typed, without Qt."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from napari_flowsr.data.degradation import PAIRED, Degradation
from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.collection import find_model, user_folder
from napari_flowsr.io.names import check_new_name
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.training.config import TrainConfig
from napari_flowsr.training.recipe import recipe
from napari_flowsr.widgets._checks import card_of, check_image_layer, check_whole
from napari_flowsr.widgets._devices import check_device

__all__ = ["HELD_OUT", "SOURCES", "TrainSession", "default_folder"]

SOURCES = {"layers": "layers of the viewer", "folder": "a folder"}
HELD_OUT = {
    "part": "a part, automatically",
    "half": "half of each, or of all",
    "folder": "a folder",
    "none": "nothing",
}
"""What is measured on during the training."""
_OFTEN = 200
"""Steps between two pictures of how it goes, and between two saved states."""
BUDGETS = {"minutes": "minutes", "steps": "steps"}


def default_folder() -> Path:
    """Where states of trainings are kept until the model is complete."""
    return user_folder().parent / "training"


@dataclass(eq=False)
class TrainSession:
    """What to train on, what, and for how long.

    Parameters
    ----------
    source : str
        One of `SOURCES`.
    layers : tuple of napari.layers.Image
        For the source ``"layers"``.
    folder : str
        For the source ``"folder"``.
    lr_folder : str
        Low-resolution images of the same names; empty: they are made.
    held_out : str
        One of `HELD_OUT`.
    validation_folder : str
        For ``held_out="folder"``.
    preset : str
        Name of a recipe.
    degradation : Degradation
        How low-resolution images are made.
    start_from : str
        Model to go on from; empty: from nothing.
    budget : str
        ``"minutes"`` or ``"steps"``: which of the two counts.
    minutes : float
    steps : int
    name : str
        Of the model in the collection.
    domain : str
        What the images show, for the card.
    licence : str
        Of the weights, for the card; empty: that they were trained here.
    seed : int
    batch, patch : int or None
        ``None`` takes the recipe's.
    learning_rate : float or None
        ``None`` takes the recipe's.
    device : str
    checkpoints : str
        Folder of the states; empty: beside the collection of models.
    """

    source: str = "layers"
    layers: tuple[Any, ...] = ()
    folder: str = ""
    lr_folder: str = ""
    held_out: str = "part"
    validation_folder: str = ""
    preset: str = "compact-2x"
    degradation: Degradation = field(default_factory=Degradation)
    start_from: str = ""
    budget: str = "minutes"
    minutes: float = 15.0
    steps: int = 5000
    name: str = "my-2x"
    domain: str = ""
    licence: str = ""
    seed: int = 0
    batch: int | None = None
    patch: int | None = None
    learning_rate: float | None = None
    device: str = "auto"
    checkpoints: str = ""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    # --- what it amounts to -------------------------------------------------------

    def config(self) -> TrainConfig:
        """The configuration of the run.

        Raises
        ------
        FlowSRError
            No such preset or model, or one that does not fit the other.
        """
        changes: dict[str, Any] = {"degradation": self._degradation()}
        if self.budget == "minutes":
            changes["minutes"] = float(self.minutes)
            often = _OFTEN
        else:
            changes["steps"] = self.steps
            often = max(10, min(_OFTEN, self.steps // 20))
        return recipe(
            self.preset,
            start_from=self.start_from,
            batch=self.batch,
            patch=self.patch,
            learning_rate=self.learning_rate,
            seed=self.seed,
            device=self.device,
            name=self.name,
            domain=self.domain,
            licence=self._licence(),
            validate_every=often,
            checkpoint_every=often,
            **changes,
        )

    def _licence(self) -> str:
        """For the card: nobody is to be warned of their own weights."""
        if self.licence:
            return self.licence
        card = card_of(self.start_from) if self.start_from else None
        begun = f", from {card.name} ({card.licence})" if card is not None else ""
        return f"the trainer's own{begun}"

    def _degradation(self) -> Degradation:
        return Degradation(PAIRED) if self.lr_folder else self.degradation

    @property
    def output(self) -> Path:
        """The model file; its state lies beside it."""
        folder = Path(self.checkpoints).expanduser() if self.checkpoints else None
        return (folder or default_folder()) / f"{self.name}.safetensors"

    def restore(self, defaults: Mapping[str, Any] | None = None) -> None:
        """Set all but the images back to the defaults given, or the built-in."""
        fresh, given = TrainSession(), dict(defaults or {})
        for one in fields(self):
            if one.name not in ("source", "layers", "folder"):
                value = given.get(one.name, getattr(fresh, one.name))
                setattr(self, one.name, value)

    # --- validation ---------------------------------------------------------------

    def problems(self) -> dict[str, str]:
        """Field name to the reason why its value cannot be used; empty if all can."""
        found = {}
        for one in fields(self):
            check = getattr(self, f"_check_{one.name}", None)
            try:
                if check is not None:
                    check()
            except FlowSRError as error:
                found[one.name] = str(error)
        return found

    def warnings(self) -> dict[str, str]:
        """Field name to what is to be known of its value, which can be used."""
        found = {}
        own = [layer.name for layer in self.layers if NAMESPACE in layer.metadata]
        if own and self.source == "layers":
            found["layers"] = (
                f"Detail in '{own[0]}' was inferred by a model: a model trained on it "
                "learns that model's guesses."
            )
        if self.held_out == "none":
            found["held_out"] = (
                "Nothing is held out, so that nothing tells how good the model is, or "
                "when it stops learning."
            )
        return found

    def _check_source(self) -> None:
        _check_known("The source", self.source, SOURCES)

    def _check_layers(self) -> None:
        if self.source != "layers":
            return
        if not self.layers:
            raise OptionError(
                "No image is chosen to train on. Check one or more layers, or choose "
                "a folder."
            )
        for layer in self.layers:
            check_image_layer(layer, "trained on")

    def _check_folder(self) -> None:
        if self.source == "folder":
            _check_folder("the images to train on", self.folder)

    def _check_lr_folder(self) -> None:
        if self.lr_folder:
            _check_folder("the low-resolution images", self.lr_folder)

    def _check_held_out(self) -> None:
        _check_known("What is held out", self.held_out, HELD_OUT)

    def _check_validation_folder(self) -> None:
        if self.held_out == "folder":
            _check_folder("the images for validation", self.validation_folder)

    def _check_preset(self) -> None:
        if self.config().family == "learned-prior" and not self.start_from:
            raise OptionError(
                f"'{self.preset}' trains a learned prior for a model that is there. "
                "Choose that model under 'Start from'."
            )

    def _check_degradation(self) -> None:
        self.degradation.checked()

    def _check_start_from(self) -> None:
        if self.start_from:
            find_model(self.start_from)

    def _check_budget(self) -> None:
        _check_known("The budget", self.budget, BUDGETS)

    def _check_minutes(self) -> None:
        if self.budget == "minutes":
            _check_positive("The time in minutes", self.minutes)

    def _check_steps(self) -> None:
        if self.budget == "steps":
            check_whole("The number of steps", self.steps, 1)

    def _check_name(self) -> None:
        check_new_name(self.name, "model")

    def _check_seed(self) -> None:
        check_whole("The seed", self.seed, 0)

    def _check_batch(self) -> None:
        if self.batch is not None:
            check_whole("The batch", self.batch, 1)

    def _check_patch(self) -> None:
        if self.patch is not None:
            check_whole("The side of a patch", self.patch, 1)

    def _check_learning_rate(self) -> None:
        if self.learning_rate is not None:
            _check_positive("The learning rate", self.learning_rate)

    def _check_device(self) -> None:
        check_device(self.device)


def _check_known(what: str, value: Any, known: Mapping[str, str]) -> None:
    if value not in known:
        raise OptionError(f"{what} is {value!r}; choose one of {', '.join(known)}.")


def _check_positive(what: str, value: Any) -> None:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 < value < math.inf:
        raise OptionError(f"{what} is {value!r}; give a positive number.")


def _check_folder(what: str, path: str) -> None:
    if not path:
        raise OptionError(f"No folder is chosen for {what}. Choose one.")
    if not Path(path).expanduser().exists():
        raise OptionError(
            f"The folder for {what} is '{path}', which does not exist. Choose another."
        )
