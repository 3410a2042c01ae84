"""What docks that run a computation have in common: form, run, cancel, the end."""

from __future__ import annotations

import contextlib
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.inference.rescale_usual import TOOL
from napari_flowsr.inference.restore_usual import TOOL as RESTORE
from napari_flowsr.widgets._calibration import (
    calibrate,
    left_in_pixels,
    takes_pixel_size,
)
from napari_flowsr.widgets._devices import are_known, news
from napari_flowsr.widgets._ending import LeavingWidget, when_destroyed
from napari_flowsr.widgets._geometry import resolve_roi
from napari_flowsr.widgets._layers import UPSCALE, Source, own_layers
from napari_flowsr.widgets._run import Failed, Job, Stopped
from napari_flowsr.widgets._session import Session
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.compare import Compare, same_view
from napari_flowsr.widgets.parts.run_bar import RunBar, counted

__all__ = ["RunDock"]

_CHANGED = "'{}' was changed meanwhile: this is of the image as it was."


class _Tenure:
    """What is to be ended with a dock; apart from it, for Qt's half may go first."""

    def __init__(self, viewer: weakref.ref[Any]) -> None:
        self._viewer = viewer
        self.job: Job | None = None
        self.preview: Any = None
        self.is_over = False

    def drop_preview(self) -> None:
        """Remove the preview, if it is still there."""
        viewer, preview = self._viewer(), self.preview
        self.preview = None
        if viewer is not None and preview is not None and preview in viewer.layers:
            with same_view(viewer):
                viewer.layers.remove(preview)

    def end(self, *_: Any) -> None:
        """Cancel the run and take its preview away."""
        self.is_over = True
        if self.job is not None:
            self.job.cancel()
        self.drop_preview()


class RunDock(LeavingWidget):
    """A form, a line of doubt, buttons to compare, Run and Cancel.

    A kind of dock gives its name and form, prepares a run (`_prepare`) and shows what
    comes of it (`_on_result`).

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.
    session : Session
        State; its fields drive the dock.
    """

    title: ClassVar[str]
    """Display name, for the activity dock and errors."""
    tool: ClassVar[str]
    """As in the records of its layers."""
    doubt: ClassVar[str]
    """What is to be seen at all times."""

    def __init__(self, napari_viewer: Any, session: Session) -> None:
        super().__init__()
        self._viewer = viewer_reference(napari_viewer)
        self.session = session
        self._tenure = _Tenure(self._viewer)
        self._source: Source | None = None
        self._is_device_due = False  # to be replaced, if it turns out not to be here
        self._pixel_size_um: float | None = None
        viewer = self.viewer
        self.form = self._make_form(viewer)
        self.bar = RunBar()
        self.compare = Compare(viewer)
        self._build()
        self.bar.run_clicked.connect(self._run_clicked)
        self.bar.cancel_clicked.connect(self.cancel)
        self.form.restore_clicked.connect(self.restore_defaults)
        self.session.events.connect(self._validate)
        # Also where its name is the same: the model may have come or gone.
        self.form.input.model.changed.connect(self._validate)
        # Held weakly.
        news.found.connect(self._devices_found)
        when_destroyed(self, self._tenure.end)
        self._validate()

    # --- of each kind -------------------------------------------------------------

    @abstractmethod
    def _make_form(self, viewer: Any) -> Any:
        """The fields, with ``restore_clicked``, ``show_problems`` and ``release``."""

    @abstractmethod
    def _defaults(self) -> dict[str, Any]:
        """Fields of a session that the preferences determine."""

    @abstractmethod
    def _prepare(self, source: Source) -> Callable[[], Iterable[Any]]:
        """What the worker calls; everything it needs is fixed now."""

    @abstractmethod
    def _on_result(self, event: Any) -> None:
        """Show what the worker yielded besides progress."""

    # --- construction -------------------------------------------------------------

    def _build(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.addWidget(self.form)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(scroll, 1)
        # Below what scrolls: it is to be seen at all times.
        doubt = QLabel(self.doubt)
        doubt.setWordWrap(True)
        layout.addWidget(doubt)
        layout.addWidget(self.compare)
        layout.addWidget(self.bar)
        self.setMinimumWidth(300)

    @property
    def viewer(self) -> Any:
        """The viewer, or ``None`` when it has gone."""
        return self._viewer()

    # --- state --------------------------------------------------------------------

    def _validate(self, *_: Any) -> dict[str, str]:
        problems = self.session.problems()
        self.form.show_problems(problems)
        warnings = self.session.warnings()
        self.bar.set_ready(
            next(iter(problems.values()), ""), next(iter(warnings.values()), "")
        )
        self.compare.set_source(self.session.image)
        return problems

    def restore_defaults(self) -> None:
        """All fields but the image as in the preferences, where these can be used."""
        self.session.restore(self._defaults())
        self._is_device_due = not are_known()
        self._replace_device()

    def _replace_device(self) -> None:
        """Let the device be chosen where that of the preferences is not to be had."""
        if "device" in self.session.problems_of("device"):
            device, self.session.device = self.session.device, "auto"
            self.bar.say(
                f"The preferred device '{device}' is not to be had here; the device "
                "is chosen automatically instead.",
                warning=True,
            )

    def _devices_found(self) -> None:
        """Look anew at a device whose name alone could be checked till now."""
        if self._tenure.is_over:
            return
        if self._is_device_due and self.session.device == self._defaults()["device"]:
            self._replace_device()
        self._is_device_due = False
        self._validate()

    # --- running ------------------------------------------------------------------

    def run(self) -> Any:
        """Start; return the worker.

        Raises
        ------
        FlowSRError
            A field has a value that cannot be used, or another run is going on.
        """
        self._check_ready()
        layer, viewer = self.session.image, self.viewer
        dims = None if viewer is None else viewer.dims
        source = Source.of(layer, resolve_roi(layer, self.session.roi, dims)).held()
        job = self._start(self._prepare(source), layer.name)
        self._source = source
        self._pixel_size_um = self.session.pixel_size_um
        return job.worker

    def _check_ready(self) -> None:
        """Raise `OptionError` unless a run can begin."""
        if self._tenure.is_over:
            raise OptionError("This dock was closed. Open it anew from the menu.")
        problems = self._validate()
        if problems:
            raise OptionError(" ".join(problems.values()))

    def _start(self, make: Callable[[], Iterable[Any]], name: str) -> Job:
        """Begin a run that is told by the name of a layer."""
        self.compare.end_beside()
        job = Job(
            make,
            on_event=self._on_event,
            on_progress=self._on_progress,
            on_end=self._on_end,
            description=f"{self.title} {name}",
        )
        self._tenure.job = job
        self.bar.start("loading the model …")
        return job

    def cancel(self) -> None:
        """Stop the run within a tile; what was there before stays."""
        if self._tenure.job is not None and self.is_running:
            self._tenure.job.cancel()
            self.bar.say("cancelling …")

    @property
    def is_running(self) -> bool:
        """Whether a run of this dock is going on."""
        return self._tenure.job is not None and self._tenure.job.is_running

    def _run_clicked(self) -> None:
        try:
            self.run()
        except FlowSRError as error:
            self.bar.refuse(str(error))
            show_error(str(error))

    def _on_progress(
        self, done: int, total: int, left: float | None, message: str
    ) -> None:
        cancelled = self._tenure.job is not None and self._tenure.job.is_cancelled
        if not self._tenure.is_over and not cancelled:
            self.bar.advance(done, total, left, message)

    def _on_event(self, event: Any) -> None:
        if self._tenure.is_over:
            return
        if isinstance(event, Stopped):
            if self._is_unfinished():
                self.bar.say("Cancelled. Nothing was changed.")
        elif isinstance(event, Failed):
            self._show_error(event.error)
        else:
            source = self._source
            self._on_result(event)
            if source is not None and self._source is None and source.is_changed:
                self.bar.add(_CHANGED.format(source.name))

    def _is_unfinished(self) -> bool:
        """Whether the run has not shown its result yet."""
        return self._source is not None

    def _show_error(self, error: Exception) -> None:
        text = str(error)
        if not isinstance(error, FlowSRError):
            text = f"{type(error).__name__}: {error}"
        self.bar.say(text, bad=True)
        show_error(f"{self.title} failed. {text}")

    def _on_end(self) -> None:
        if not self._tenure.is_over:
            self._tenure.drop_preview()
            # Before the bar stops: the last word about the run stays.
            self._validate()
            self.bar.stop()

    # --- layers -------------------------------------------------------------------

    @staticmethod
    def _tell_exceptions(report: Mapping[str, Any]) -> None:
        """Say what was done otherwise than usual."""
        if blocks := report.get("redrawn_blocks"):
            show_warning(
                f"{counted(blocks, 'block')} {'was' if blocks == 1 else 'were'} "
                "unstable and drawn again at a lower temperature; see the layers' "
                "metadata."
            )
        if pixels := report.get("filled_pixels"):
            show_info(
                f"{counted(pixels, 'pixel')} without a value "
                f"{'was' if pixels == 1 else 'were'} filled."
            )

    @contextlib.contextmanager
    def _work_kept(self, viewer: Any) -> Iterator[None]:
        """Leave the user's selected layers, view and chosen image as they are."""
        chosen, follow = set(viewer.layers.selection), self.form.input.image.follow
        self.form.input.image.follow = False
        try:
            with same_view(viewer):
                yield
            kept = chosen.intersection(viewer.layers)
            if kept:
                viewer.layers.selection = kept
        finally:
            self.form.input.image.follow = follow

    def _calibrate(self, viewer: Any, source: Source) -> str:
        """Give the input the pixel size of its outputs; say so if it had none."""
        size, layer = self._pixel_size_um, source.layer
        if size is None or layer not in viewer.layers or not takes_pixel_size(layer):
            return ""
        alike = [
            x
            for tool in (UPSCALE, TOOL, RESTORE)
            for x in own_layers(viewer.layers, source, tool)
        ]
        if not isinstance(self.session.roi, str | tuple):
            alike.append(self.session.roi)
        zoom = calibrate(layer, size, alike)
        if zoom == 1.0:
            return ""
        if viewer.dims.ndisplay == 2:
            self.compare.follow_zoom(zoom)
        else:
            viewer.reset_view()
        left = [x.name for x in left_in_pixels(viewer.layers, layer)]
        others = f" Still in pixels: {', '.join(left)}." if left else ""
        return f"'{layer.name}' got pixels of {size:g} µm as well.{others}"

    def outputs(self) -> list[Any]:
        """Layers in the viewer that this kind of dock made from the present image."""
        viewer, layer = self.viewer, self.session.image
        if viewer is None or layer is None:
            return []
        source = Source.of(layer, resolve_roi(layer, "whole", None))
        return own_layers(viewer.layers, source, self.tool)

    # --- the end ------------------------------------------------------------------

    def leave(self) -> None:
        """Stop the run and let go of the viewer; for good."""
        if not self._tenure.is_over:
            self._tenure.end()
            self.form.release()
            if self.viewer is not None:
                self.compare.release()
