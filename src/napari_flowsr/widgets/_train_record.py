"""What a training needs to be taken up another day, kept beside its state. No Qt."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.training.config import TrainConfig, validated
from napari_flowsr.training.paths import state_path
from napari_flowsr.widgets._train_curves import Curves

__all__ = ["Layer", "Record", "forget", "interrupted"]

_FILE = "run.json"
# The main thread notes a checkpoint while the worker may forget the finished run.
_lock = threading.Lock()


@dataclass(frozen=True)
class Layer:
    """A layer that was trained on, as it can be found again."""

    name: str
    path: str = ""
    """File that it was opened from, if it is known."""


@dataclass(frozen=True)
class Record:
    """A run: what it was asked for, and how far it came.

    Parameters
    ----------
    config : TrainConfig
        The same one is needed to go on.
    output : Path
        The model file to be; the state lies beside it.
    layers : tuple of Layer
        Those trained on; empty if files were.
    folder, lr_folder, validation_folder : str
        As in the session.
    held_out : str
        As in the session.
    step, total : int
        When this was written.
    curves : Curves
        Likewise.
    """

    config: TrainConfig
    output: Path
    layers: tuple[Layer, ...] = ()
    folder: str = ""
    lr_folder: str = ""
    held_out: str = "part"
    validation_folder: str = ""
    step: int = 0
    total: int = 0
    curves: Curves = field(default_factory=Curves)

    @property
    def name(self) -> str:
        """Of the model to be."""
        return self.output.stem

    @property
    def has_state(self) -> bool:
        """Whether there is a state to go on from."""
        return state_path(self.output).is_file()

    def write(self) -> None:
        """Write it beside the state; not at all where there is none (any more).

        Raises
        ------
        ExportError
            The folder cannot be written.
        """
        data = {
            "config": self.config.to_dict(),
            "layers": [[one.name, one.path] for one in self.layers],
            "folder": self.folder,
            "lr_folder": self.lr_folder,
            "held_out": self.held_out,
            "validation_folder": self.validation_folder,
            "step": self.step,
            "total": self.total,
            "curves": self.curves.to_dict(),
        }
        with _lock:
            if self.has_state:
                place = state_path(self.output).parent / _FILE
                with atomic_path(place) as temporary:
                    temporary.write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """Of a folder of a state; ``None`` if it holds no run that can be taken up."""
        try:
            data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            record = cls(
                config=validated(data["config"]),
                output=folder.with_suffix(".safetensors"),
                layers=tuple(Layer(*one) for one in data["layers"]),
                folder=data["folder"],
                lr_folder=data["lr_folder"],
                held_out=data["held_out"],
                validation_folder=data["validation_folder"],
                step=int(data["step"]),
                total=int(data["total"]),
                curves=Curves.from_dict(data["curves"]),
            )
        # A damaged note costs the offer, not the state: the command goes on from that.
        except Exception:  # noqa: BLE001
            return None
        return record if record.has_state else None

    def layers_in(self, layers: Iterable[Any]) -> tuple[Any, ...]:
        """The layers of a viewer that were trained on.

        Raises
        ------
        OptionError
            Some are not there.
        """
        there = {layer.name: layer for layer in layers}
        missing = [one for one in self.layers if one.name not in there]
        if missing:
            told = [
                f"'{one.name}'" + (f" ({one.path})" if one.path else "")
                for one in missing
            ]
            raise OptionError(
                f"The training '{self.name}' was on layers that are not in the viewer: "
                f"{', '.join(told)}. Open them again under these names, then resume."
            )
        return tuple(there[one.name] for one in self.layers)

    def with_(self, **changes: Any) -> Record:
        """Copy with fields changed."""
        return replace(self, **changes)


def interrupted(folder: Path) -> list[Record]:
    """Runs whose states lie in a folder, the latest first."""
    with contextlib.suppress(OSError):
        places = [p for p in folder.glob("*.training") if (p / _FILE).is_file()]
        places.sort(key=lambda p: (p / _FILE).stat().st_mtime, reverse=True)
        found = [Record.read(place) for place in places]
        return [one for one in found if one is not None]
    return []


def forget(record: Record) -> None:
    """Delete the state of a run and what was noted of it; a model file stays.

    Raises
    ------
    ExportError
        A file cannot be deleted.
    """
    state = state_path(record.output)
    try:
        with _lock:
            for path in (state, state.parent / _FILE):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there is something else in it
                state.parent.rmdir()
    except OSError as error:
        raise ExportError(
            f"'{state.parent}' could not be deleted: {error.strerror or error}. "
            "Delete it in the file manager."
        ) from error
