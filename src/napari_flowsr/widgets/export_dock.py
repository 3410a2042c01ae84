"""Export dock: layers to files or to a Python program, and files to files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.widgets._ending import LeavingWidget
from napari_flowsr.widgets._export import Export, named_targets, write_all
from napari_flowsr.widgets._export_questions import (
    FormatBox,
    ask_path,
    may_write,
    said_sizes,
)
from napari_flowsr.widgets._geometry import in_pixels
from napari_flowsr.widgets._layer_list import LayerList, is_own
from napari_flowsr.widgets._run import Failed
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.commands import copy_script

if TYPE_CHECKING:
    from napari_flowsr.widgets._batch_tab import BatchTab

__all__ = ["ExportDock"]

_NOTICE = (
    "Fine detail in super-resolved images is inferred by the model, not measured. "
    "The exported files say so."
)


def _write(exports: list[Export], targets: list[Path], overwrite: bool) -> Any:
    """Write in the worker thread; an error is a value, see `_run`."""
    try:
        return write_all(exports, targets, overwrite=overwrite)
    except Exception as error:  # noqa: BLE001  every error is shown to the user
        return Failed(error)


class ExportDock(LeavingWidget):
    """Choose layers and a format, and write them; or upscale files without a layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # noqa: UP037
        super().__init__()
        self._viewer = viewer_reference(napari_viewer)
        self._is_writing = False
        self._batch: BatchTab | None = None
        self._build(napari_viewer)
        self._connect()
        self._update()

    # --- for scripts --------------------------------------------------------------

    @property
    def batch(self) -> "BatchTab":  # noqa: UP037
        """The tab for files, made when it is asked for or shown."""
        if self._batch is None:
            # It takes a while: many fields, and all models' cards.
            from napari_flowsr.widgets._batch_tab import BatchTab

            self._batch = BatchTab()
            page = QVBoxLayout(self._batch_page)
            page.setContentsMargins(2, 2, 2, 2)
            page.addWidget(self._batch)
        return self._batch

    @property
    def layers(self) -> list[Any]:
        """Image layers to be written."""
        return self._list.checked

    def choose(self, layers: Iterable[Any]) -> None:
        """Choose image layers, any that the viewer has, as such or by name."""
        self._list.check(layers)
        self._all.setChecked(self._list.shows_all)

    @property
    def file_format(self) -> str:
        """Suffix of the format: ``.ome.tif``, ``.png`` or ``.ome.zarr``."""
        return self._format.kind

    @file_format.setter
    def file_format(self, value: str) -> None:
        self._format.kind = value

    @property
    def pixel_size_um(self) -> float | None:
        """Length in µm of one world unit, for layers whose unit is the pixel.

        The plugin's outputs keep the world of their source, so this is the pixel size
        of the original image; their own is that times their ``scale``.
        """
        return self._pixel.value() or None

    @pixel_size_um.setter
    def pixel_size_um(self, value: float | None) -> None:
        self._pixel.setValue(value or 0.0)

    def export(self, path: str | Path, *, overwrite: bool = False) -> Any:
        """Write the chosen layers in a worker thread.

        Parameters
        ----------
        path : path
            A file name whose suffix names the format (for several layers, their names
            are added to it), or a folder for files of the chosen format, named after
            the layers.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        FunctionWorker
            ``returned`` gives the list of paths, or `_run.Failed` with the error. It
            starts when the event loop is next idle, so connect to it at once.

        Raises
        ------
        OptionError
            No layer is chosen, or another export is running.
        """
        if self._is_writing:
            raise OptionError("An export is running already. Wait until it is done.")
        exports = self._exports()
        targets = named_targets(path, [e.name for e in exports], self.file_format)
        worker = create_worker(
            _write,
            exports,
            targets,
            overwrite,
            _start_thread=False,
            _progress={"desc": "FlowSR: exporting"},
        )
        worker.returned.connect(self._on_returned)
        self._is_writing = True
        self._status.setText("Writing…")
        self._update()
        QTimer.singleShot(0, worker.start)
        return worker

    def copy_as_python(self) -> str:
        """Put the program that makes the chosen layer again on the clipboard.

        Raises
        ------
        OptionError
            Not exactly one layer is chosen, or the plugin did not make it.
        """
        chosen = self.layers
        if len(chosen) != 1:
            raise OptionError(
                f"{len(chosen)} layers are chosen; a program makes one. Choose one."
            )
        text = copy_script(chosen[0])
        self._status.setText(f"The program for '{chosen[0].name}' is on the clipboard.")
        return text

    # --- construction -------------------------------------------------------------

    def _build(self, viewer: Any) -> None:
        self._list = LayerList(viewer, self)
        self._list.setMinimumWidth(120)
        self._list.setToolTip("Layers that are written, each to a file of its own.")
        self._all = QCheckBox("List every image layer")
        self._all.setToolTip("Also layers that FlowSR did not make.")
        self._format = FormatBox()
        self._pixel = QDoubleSpinBox()
        self._pixel.setDecimals(6)
        self._pixel.setRange(0.0, 1e6)
        self._pixel.setSuffix(" µm")
        self._pixel.setSpecialValueText("unknown")
        self._pixel.setToolTip(
            "For layers whose unit is the pixel: what one unit of their scale means, "
            "as a rule the pixel size of the original image. The lines below say what "
            "will be written."
        )
        self._sizes = _wrapped("")
        self._export = QPushButton("Export…")
        self._copy = QPushButton("Copy as Python")
        self._status = _wrapped("")
        self._form = QFormLayout()
        self._form.addRow("Format", self._format)
        self._form.addRow("1 pixel unit is", self._pixel)
        buttons = QHBoxLayout()
        buttons.addWidget(self._export)
        buttons.addWidget(self._copy)
        layers = QWidget()
        layout = QVBoxLayout(layers)
        for widget in (_wrapped(_NOTICE), self._list, self._all):
            layout.addWidget(widget)
        layout.addLayout(self._form)
        layout.addWidget(self._sizes)
        layout.addLayout(buttons)
        layout.addWidget(self._status)
        self._tabs = QTabWidget()
        self._tabs.addTab(layers, "Layers")
        self._batch_page = QWidget()
        self._tabs.addTab(self._batch_page, "Batch")
        self._tabs.setTabToolTip(
            1, "Upscale the files of a folder, without opening them"
        )
        whole = QVBoxLayout(self)
        whole.setContentsMargins(2, 4, 2, 2)
        whole.addWidget(self._tabs)

    def _connect(self) -> None:
        self._tabs.currentChanged.connect(self._on_tab)
        self._list.changed.connect(self._update)
        self._all.toggled.connect(self._on_all)
        self._pixel.valueChanged.connect(self._update)
        self._export.clicked.connect(self._on_export)
        self._copy.clicked.connect(self._on_copy)

    # --- what the widgets show ----------------------------------------------------

    def _exports(self) -> list[Export]:
        chosen = self.layers
        if not chosen:
            raise OptionError(
                "No layer is chosen. Run Upscale first, or list every image layer, and "
                "check those to be written."
            )
        return [
            Export.of(
                *layer.as_layer_data_tuple()[:2], world_pixel_um=self.pixel_size_um
            )
            for layer in chosen
        ]

    def _update(self, *_: Any) -> None:
        chosen = self.layers
        self._form.setRowVisible(self._pixel, any(map(in_pixels, chosen)))
        self._sizes.setText(said_sizes(self._exports()) if chosen else "")
        reason = "" if chosen else "Check one or more layers."
        if self._is_writing:
            reason = "An export is running."
        self._export.setEnabled(not reason)
        self._export.setToolTip(reason or "Choose a file or folder, and write.")
        why_not = "" if len(chosen) == 1 else "Check exactly one layer."
        if len(chosen) == 1 and not is_own(chosen[0]):
            why_not = "FlowSR did not make this layer."
        self._copy.setEnabled(not why_not)
        self._copy.setToolTip(why_not or "A program that makes this layer again.")

    # --- what happens on a click --------------------------------------------------

    def _on_tab(self, index: int) -> None:
        if index == 1:
            _ = self.batch

    def _on_all(self, checked: bool) -> None:
        if checked != self._list.shows_all:
            self._list.shows_all = checked

    def _on_copy(self) -> None:
        try:
            self.copy_as_python()
        except FlowSRError as error:
            self._show(error)

    def _on_export(self) -> None:
        try:
            exports, kind = self._exports(), self.file_format
            path = ask_path(self, exports, kind)
            if path and may_write(self, exports, path, kind):
                self.export(path, overwrite=True)
        except FlowSRError as error:
            self._show(error)

    def _on_returned(self, result: list[Path] | Failed) -> None:
        self._is_writing = False
        if isinstance(result, Failed):
            self._show(result.error)
        else:
            names = ", ".join(path.name for path in result)
            self._status.setText(f"Written to {result[0].parent}: {names}")
        self._update()

    def _show(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        self._status.setText(text)
        show_error(text)

    # --- the end ------------------------------------------------------------------

    def leave(self) -> None:
        """Stop the batch; what is complete of it stays."""
        if self._batch is not None:
            self._batch.leave()


def _wrapped(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
