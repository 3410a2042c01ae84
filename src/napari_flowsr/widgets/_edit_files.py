"""Edited images in ``.flowsr`` files: written from the Edit dock, and gone on with."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.inference.intensity import cast
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.provenance import NAMESPACE, image_hash
from napari_flowsr.io.suffixes import EDITED
from napari_flowsr.models.card import Model
from napari_flowsr.widgets._edit_page import EditContext
from napari_flowsr.widgets._edit_session import is_edit_layer
from napari_flowsr.widgets._geometry import layer_array

if TYPE_CHECKING:
    from napari_flowsr.io.flowsr_file import Edit

__all__ = ["EditFiles"]

_PATTERN = f"Edited image (*{EDITED});;All files (*)"


@dataclass(frozen=True)
class _Saved:
    path: Path


@dataclass(frozen=True)
class _Opened:
    """A file's content, decoded."""

    path: Path
    edit: Edit
    array: npt.NDArray[Any]
    model: Model


class EditFiles(QObject):
    """Writes and reads the image that its dock edits.

    Parameters
    ----------
    dock : EditDock
        Owner; held weakly.

    Attributes
    ----------
    is_unfinished : bool
        A file is being written or read.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self.is_unfinished = False
        self._dock = weakref.ref(dock)

    def save_clicked(self) -> None:
        """Ask for a name, and write."""
        path, _ = QFileDialog.getSaveFileName(
            self._dock(), "Edited image", f"edited{EDITED}", _PATTERN
        )
        self._try(self.save, path)

    def open_clicked(self) -> None:
        """Ask for a file, and read."""
        path, _ = QFileDialog.getOpenFileName(
            self._dock(), "Edited image", "", _PATTERN
        )
        self._try(self.open, path)

    def _try(self, action: Callable[[str], Any], path: str) -> None:
        dock = self._dock()
        if not path or dock is None:
            return
        try:
            action(path)
        except FlowSRError as error:
            dock.bar.say(str(error), bad=True)
            show_error(str(error))

    # --- writing ----------------------------------------------------------------------

    def save(self, path: str | Path) -> Any:
        """Write the edited target; return the worker.

        Parameters
        ----------
        path : path
            ``.flowsr`` is appended where it is missing.

        Raises
        ------
        FlowSRError
            There is nothing edited, or another run is going on.
        """
        dock, file = self._there(), Path(path)
        layer = dock.session.target
        if not is_edit_layer(layer):
            raise OptionError(
                "The target was not edited yet, so that there is nothing to write. "
                "Edit it first, or export it with the Export dock."
            )
        if file.suffix.lower() != EDITED:
            file = file.with_name(file.name + EDITED)
        if problem := dock.session.problems_of("image").get("image"):
            raise OptionError(problem)
        context, device = dock.context(), dock.session.device
        binding = context._binding
        binding.fix()
        hr, facts = context.target_array(), _facts(context)
        record, name = dict(layer.metadata[NAMESPACE]), layer.name

        def events() -> Iterator[Any]:
            from napari_flowsr.io.flowsr_file import Edit, save_edit

            # As the edits were made, whatever is chosen meanwhile: it is what the
            # latents will be decoded in.
            precision = _precision_of(record, name, device)
            post = context.posterior(precision=precision)
            known = {**context.record(post, "edited"), **record}
            small = binding.lr_array(post.model)
            edit = Edit(
                latents=post.encode(hr), image=np.asarray(small), record=known,
                layer=facts,
            )  # fmt: skip
            yield _Saved(save_edit(file, edit))

        return self._start(dock, events, file)

    # --- reading ----------------------------------------------------------------------

    def open(self, path: str | Path) -> Any:
        """Add the image of a file and choose it as target; return the worker.

        Raises
        ------
        OptionError
            Another run is going on. What is wrong with the file the dock tells, as
            errors of any run.
        """
        dock, file = self._there(), Path(path)
        session = dock.session
        chosen, device = session.model, session.device

        def events() -> Iterator[Any]:
            from napari_flowsr.io.flowsr_file import load_edit

            edit = load_edit(file)
            _precision_of(edit.record, file.name, device)
            model = _model_of(edit, chosen, device)
            yield _Opened(file, edit, _decoded(edit, model, device), model)

        return self._start(dock, events, file)

    def _start(self, dock: Any, make: Callable[[], Iterator[Any]], file: Path) -> Any:
        worker = dock._start(make, file.name).worker
        self.is_unfinished = True
        return worker

    def _there(self) -> Any:
        dock = self._dock()
        if dock is None or dock._tenure.is_over:
            raise OptionError("This dock was closed. Open it anew from the menu.")
        return dock

    # --- in the main thread -----------------------------------------------------------

    def show(self, event: Any) -> bool:
        """Take an event of its runs; whether it was one."""
        dock = self._dock()
        if dock is None or not isinstance(event, _Saved | _Opened):
            return False
        self.is_unfinished = False
        if isinstance(event, _Saved):
            size = event.path.stat().st_size
            dock.bar.say(f"Written to {event.path} ({size / 2**20:.1f} MiB).")
        elif dock.viewer is not None:
            with dock._work_kept(dock.viewer):
                self._add(dock, event)
            dock.bar.say(f"Opened {event.path.name}; go on editing.")
        return True

    def _add(self, dock: Any, event: _Opened) -> None:
        viewer, edit = dock.viewer, event.edit
        reduced = edit.record.get("lr") == "downscale"
        image = None if reduced else _lr_layer(viewer, edit)
        options = {k: edit.layer[k] for k in ("name", *_LOOKS) if k in edit.layer}
        options |= _geometry(edit.layer.get("placed", {}), event.array, options)
        layer = dock.layers.add_opened(viewer, event.array, options, edit.record, image)
        if reduced:
            dock._kept.keep_reduced(layer, edit.image)
        session = dock.session
        card = session._card()
        if card is None or card.sha256 != event.model.card.sha256:
            session.model = event.model.card.name
        session.precision = edit.record.get("precision", "float32")
        session.target = layer
        session.image = image


_LOOKS = ("rgb", "contrast_limits", "gamma", "colormap")


def _facts(context: EditContext) -> dict[str, Any]:
    """What is needed to show the target, and its LR image, again."""
    layer = context.target
    facts: dict[str, Any] = {
        "name": layer.name,
        "dtype": np.dtype(layer.data.dtype).name,
        "rgb": bool(layer.rgb),
        "placed": _plain(context.placed()),
        "lr_placed": _plain(context.placed(on_lr=True)),
    }
    if not layer.rgb:
        facts["contrast_limits"] = [float(v) for v in layer.contrast_limits]
        facts["gamma"] = float(layer.gamma)
        facts["colormap"] = _known_colormap(str(layer.colormap.name))
    if context.image is not None:
        facts["lr_name"] = context.image.name
        facts["lr_rgb"] = bool(context.image.rgb)
    return facts


def _known_colormap(name: str) -> str:
    """Name of a colormap that any napari has; a custom one is grey when opened."""
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    return name if name in AVAILABLE_COLORMAPS else "gray"


def _plain(placed: Mapping[str, Any]) -> dict[str, Any]:
    """Geometry as lists."""
    numbers = ("scale", "translate", "rotate", "shear", "affine")
    found: dict[str, Any] = {k: np.asarray(placed[k], float).tolist() for k in numbers}
    for name in ("units", "axis_labels"):
        found[name] = [str(v) for v in placed[name]]
    return found


def _geometry(
    placed: Mapping[str, Any], array: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Geometry of a file, or none if it is not one of this array."""
    n = array.ndim - bool(options.get("rgb"))
    lengths = {k: len(v) for k, v in placed.items() if isinstance(v, list | tuple)}
    expected = {k: n + (k == "affine") for k in lengths}
    return dict(placed) if lengths == expected else {}


def _precision_of(record: Mapping[str, Any], name: str, device: str) -> str:
    """Of an edited image, which cannot be chosen; an error if the device lacks it."""
    from napari_flowsr.core.device import resolve_device
    from napari_flowsr.core.precision import check_precision
    from napari_flowsr.inference.options import Options

    options = Options(precision=record.get("precision", "float32"))
    there, _ = resolve_device(device)
    check_precision(options.precision, there, f"'{name}' was edited")
    return options.precision


def _model_of(edit: Edit, chosen: Any, device: str) -> Model:
    """The model of the latents: the chosen one, or that of its name."""
    if isinstance(chosen, Model) and chosen.card.sha256 == edit.record["model_sha256"]:
        return chosen
    model = load_model(edit.model, device=device)
    edit.check_model(model.card)
    return model


def _decoded(edit: Edit, model: Model, device: str) -> npt.NDArray[Any]:
    """Pixels of the latents, of the data type that the image had."""
    from napari_flowsr.inference.posterior import posterior

    edit.check_model(model.card)
    options = edit.options | {"device": device}
    post = posterior(edit.image, model, **options)
    found = post.decode(edit.latents)
    dtype = np.dtype(str(edit.layer.get("dtype", found.dtype.name)))
    if dtype != found.dtype:
        found = cast(found.astype(np.float64), dtype)
    return np.ascontiguousarray(found)


def _lr_layer(viewer: Any, edit: Edit) -> Any:
    """The layer that holds the LR image, if there is one; else a new one."""
    wanted = edit.record.get("source_sha256")
    for layer in viewer.layers:
        if layer._type_string == "image" and layer.name == edit.layer.get("lr_name"):
            array = layer_array(layer)
            if image_hash(array) == wanted:
                return layer
    rgb = bool(edit.layer.get("lr_rgb", edit.layer.get("rgb", False)))
    placed = _geometry(edit.layer.get("lr_placed", {}), edit.image, {"rgb": rgb})
    name = str(edit.layer.get("lr_name") or edit.record.get("source_name") or "LR")
    return viewer.add_image(edit.image, name=name, rgb=rgb, **placed)
