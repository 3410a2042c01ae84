"""What the worker of a training does: images, trainer, import. No Qt."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_flowsr.data.files import ArrayImage
from napari_flowsr.errors import FlowSRError, TrainingError
from napari_flowsr.inference.events import Progress
from napari_flowsr.io.catalogue import Entry
from napari_flowsr.training.control import Control
from napari_flowsr.training.events import Finished, Step, TrainEvent
from napari_flowsr.training.held_out import hold_out
from napari_flowsr.widgets._train_record import Record, forget

__all__ = ["Kept", "Request", "Steps", "Words", "in_words"]

_INTERVAL = 0.25  # seconds between two messages about steps; more slow the window

Source = str | Path | ArrayImage


@dataclass(frozen=True)
class Request:
    """All that a run needs; nothing is read before the worker does."""

    record: Record
    source: tuple[Source, ...]
    scale: float
    """HR pixels per LR pixel."""

    def events(self, control: Control) -> Generator[Any, None, None]:
        """What the worker calls: events of the trainer, steps gathered; then the card.

        The finished model, or learned prior, is imported into the collection, and its
        state is deleted.
        """
        from napari_flowsr.training.trainer import train

        record = self.record
        yield Words("reading the images …")
        training, validation, lr, words = self._images()
        if words:
            yield Words(words)
        events = train(
            training,
            record.config,
            record.output,
            validation=validation or None,
            lr_source=lr or None,
            control=control,
        )
        finished: Finished | None = None
        with closing(_gathered(events)) as gathered:
            for event in gathered:
                if isinstance(event, Finished):
                    finished = event
                yield event
        if finished is not None:
            yield Kept(self._keep(), finished)

    def _images(self) -> tuple[list[Source], list[Source], list[Source], str]:
        """Images to train on and to measure with, LR images, and a word on them."""
        record = self.record
        lr: list[Source] = [record.lr_folder] if record.lr_folder else []
        if record.held_out in ("part", "half"):
            share = 0.5 if record.held_out == "half" else None
            split = hold_out(
                self.source, share, lr=lr, scale=self.scale, seed=record.config.seed
            )
            lr = [*split.lr_training, *split.lr_validation]
            return [*split.training], [*split.validation], lr, split.words
        folder = record.validation_folder
        measured: list[Source] = [folder] if record.held_out == "folder" else []
        return [*self.source], measured, lr, ""

    def _keep(self) -> Entry:
        from napari_flowsr.io.importing import import_file

        record = self.record
        try:
            entry = import_file(record.output, record.name)
        except FlowSRError as error:
            raise TrainingError(
                f"The model is complete and in {record.output}, but could not be taken "
                f"into the collection: {error} The Models dock imports the file."
            ) from error
        # It is in the collection now; what is left would be taken for interrupted.
        forget(record)
        record.output.unlink(missing_ok=True)
        return entry


@dataclass(frozen=True)
class Words:
    """What is going on, for the status line."""

    text: str


@dataclass(frozen=True)
class Steps:
    """Steps since the last message."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Kept:
    """The model is in the collection."""

    entry: Entry
    finished: Finished


def _gathered(events: Generator[TrainEvent, None, None]) -> Generator[Any, None, None]:
    """Pass on events, several steps as one."""
    steps: list[Step] = []
    last = time.monotonic()
    with closing(events) as source:
        for event in source:
            if isinstance(event, Step):
                steps.append(event)
                if time.monotonic() - last < _INTERVAL:
                    continue
            if steps:
                yield Steps(tuple(steps))
                newest = steps[-1]
                yield Progress(newest.step, newest.total, newest.stage)
                steps, last = [], time.monotonic()
            if not isinstance(event, Step):
                yield event


def in_words(error: Exception) -> str:
    """What went wrong and what to do."""
    if isinstance(error, FlowSRError):
        return str(error)
    if isinstance(error, ImportError):
        return f"{error}. Install napari-flowsr anew."
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}. Check the disk."
    from napari_flowsr.inference.memory import is_out_of_memory

    if is_out_of_memory(error):
        return (
            "Out of memory while the images were prepared. Train on fewer or smaller "
            "layers, or close other programs."
        )
    return f"{type(error).__name__}: {error}"
