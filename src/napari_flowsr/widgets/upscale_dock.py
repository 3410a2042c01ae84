"""The Upscale dock: choose image and model, run, look, compare."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.widgets._geometry import resolve_roi
from napari_flowsr.widgets._layers import PREVIEW, Source, add_outputs, own_layers
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._run import Failed, Job, Stopped
from napari_flowsr.widgets._session import Session
from napari_flowsr.widgets._upscale import Preview, Ready, Request
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.compare import Compare
from napari_flowsr.widgets.parts.run_bar import RunBar, human_seconds
from napari_flowsr.widgets.parts.upscale_form import UpscaleForm

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["UpscaleDock"]

_DOUBT = (
    "Fine detail is <b>inferred, not measured</b>. Where the samples disagree (bright "
    "in the uncertainty layer), believe none of them."
)


def _defaults() -> dict[str, Any]:
    """Fields of a session that the preferences determine."""
    wanted = read_preferences()
    return {
        "device": wanted.device,
        "tile": wanted.tile_option,
        "samples": wanted.samples,
        "temperature": wanted.temperature_option,
    }


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
            viewer.layers.remove(preview)

    def end(self, *_: Any) -> None:
        """Cancel the run and take its preview away."""
        self.is_over = True
        if self.job is not None:
            self.job.cancel()
        self.drop_preview()


class UpscaleDock(QWidget):
    """Samples, mean and uncertainty of the high-resolution images behind an image.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.

    Attributes
    ----------
    session : Session
        State; set its fields to drive the dock.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer_reference(napari_viewer)
        self.session = Session(**_defaults())
        self._tenure = _Tenure(self._viewer)
        self._source: Source | None = None
        viewer = self.viewer
        self.form = UpscaleForm(self.session, viewer)
        self.bar = RunBar()
        self.compare = Compare(viewer)
        self._build()
        self.bar.run_clicked.connect(self._run_clicked)
        self.bar.cancel_clicked.connect(self.cancel)
        self.form.restore_clicked.connect(self.restore_defaults)
        self.session.events.connect(self._validate)
        self.destroyed.connect(partial(_Tenure.end, self._tenure))
        self._validate()

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
        doubt = QLabel(_DOUBT)
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
        self.bar.set_ready(next(iter(problems.values()), ""))
        self.compare.set_source(self.session.image)
        return problems

    def restore_defaults(self) -> None:
        """All fields but the image as in the preferences."""
        self.session.restore(_defaults())

    # --- running ------------------------------------------------------------------

    def run(self) -> Any:
        """Start; return the worker.

        Raises
        ------
        FlowSRError
            A field has a value that cannot be used, or another run is going on.
        """
        if self._tenure.is_over:
            raise OptionError("This dock was closed. Open it anew from the menu.")
        problems = self._validate()
        if problems:
            raise OptionError(" ".join(problems.values()))
        layer, viewer = self.session.image, self.viewer
        dims = None if viewer is None else viewer.dims
        box = resolve_roi(layer, self.session.roi, dims)
        source = Source.of(layer, box)
        colormap = read_preferences().uncertainty_colormap
        request = Request.of(self.session, source, colormap)
        job = Job(
            request.events,
            on_event=self._on_event,
            on_progress=self._on_progress,
            on_end=self._on_end,
            description=f"Upscale {layer.name}",
        )
        self._tenure.job, self._source = job, source
        self.bar.start("loading the model …")
        return job.worker

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
            self.bar.say(str(error), bad=True)
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
        if isinstance(event, Preview):
            self._show_preview(event)
        elif isinstance(event, Ready):
            self._show(event)
        elif isinstance(event, Stopped) and self._source is not None:
            self.bar.say("Cancelled. Nothing was changed.")
        elif isinstance(event, Failed):
            self._show_error(event.error)

    def _show_error(self, error: Exception) -> None:
        text = str(error)
        if not isinstance(error, FlowSRError):
            text = f"{type(error).__name__}: {error}"
        self.bar.say(text, bad=True)
        show_error(f"Upscale failed. {text}")

    def _on_end(self) -> None:
        if not self._tenure.is_over:
            self._tenure.drop_preview()
            self.bar.stop()
            self._validate()

    # --- layers -------------------------------------------------------------------

    def _show_preview(self, event: Preview) -> None:
        viewer = self.viewer
        if viewer is None:
            return
        options = dict(event.output.options)
        options["name"] = f"{options['name']} (first of several)"
        # Not yet a result: a preview left over by a crash must not pass for one.
        options["metadata"] = {PREVIEW: True}
        with self._selection_kept(viewer):
            self._tenure.preview = viewer.add_image(event.output.data, **options)

    @contextlib.contextmanager
    def _selection_kept(self, viewer: Any) -> Iterator[None]:
        """Leave the user's selected layers and chosen image as they are."""
        chosen, follow = set(viewer.layers.selection), self.form.input.image.follow
        self.form.input.image.follow = False
        try:
            yield
            kept = chosen.intersection(viewer.layers)
            if kept:
                viewer.layers.selection = kept
        finally:
            self.form.input.image.follow = follow

    def _show(self, event: Ready) -> None:
        viewer, source = self.viewer, self._source
        self._tenure.drop_preview()
        if viewer is None or source is None:
            return
        self._source = None
        self.compare.reset()
        with self._selection_kept(viewer):
            layers = add_outputs(viewer, source, event.outputs)
        self._tell(event, len(layers))

    def _tell(self, event: Ready, count: int) -> None:
        report = event.report
        device = str(report.get("device")).upper()
        text = f"{count} layers in {human_seconds(event.seconds)} on the {device}."
        doubt = event.doubt
        if doubt:
            show_warning(doubt)
        self.bar.say(f"{text} {doubt or event.agreement}".strip(), warning=bool(doubt))
        if report.get("redrawn_blocks"):
            show_warning(
                f"{report['redrawn_blocks']} blocks were unstable and drawn again at a "
                "lower temperature; see the layers' metadata."
            )
        if report.get("filled_pixels"):
            show_info(f"{report['filled_pixels']} pixels without a value were filled.")

    def outputs(self) -> list[Any]:
        """Layers in the viewer that the plugin made from the present image."""
        viewer, layer = self.viewer, self.session.image
        if viewer is None or layer is None:
            return []
        return own_layers(
            viewer.layers, Source.of(layer, resolve_roi(layer, "whole", None))
        )

    # --- the end ------------------------------------------------------------------

    def leave(self) -> None:
        """Stop the run and let go of the viewer; for good."""
        if not self._tenure.is_over:
            self._tenure.end()
            self.form.release()

    def closeEvent(self, event: Any) -> None:
        self.leave()
        super().closeEvent(event)

    def event(self, event: Any) -> bool:
        # napari does not close the widget of a dock that is closed: it takes it out.
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.leave()
        return bool(super().event(event))
