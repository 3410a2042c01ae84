"""The Upscale dock: choose image and model, run, look, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

from napari_flowsr.errors import OptionError
from napari_flowsr.widgets._dock import RunDock
from napari_flowsr.widgets._ending import when_destroyed
from napari_flowsr.widgets._geometry import resolve_roi
from napari_flowsr.widgets._layers import (
    PREVIEW,
    UPSCALE,
    Output,
    Source,
    add_outputs,
)
from napari_flowsr.widgets._lazy import LazyPreview
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._session import OUTPUT_KINDS, Session
from napari_flowsr.widgets._upscale import Notice, Preview, Ready, Request
from napari_flowsr.widgets.parts.run_bar import counted, human_seconds
from napari_flowsr.widgets.parts.upscale_form import UpscaleForm

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["UpscaleDock"]


def _defaults() -> dict[str, Any]:
    """Fields of a session that the preferences determine."""
    wanted = read_preferences()
    return {
        "device": wanted.device,
        "tile": wanted.tile_option,
        "precision": wanted.precision,
        "samples": wanted.samples,
        "temperature": wanted.temperature_option,
        # One sample has no spread.
        "outputs": OUTPUT_KINDS[:3] if wanted.samples > 1 else OUTPUT_KINDS[:1],
    }


class UpscaleDock(RunDock):
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

    title = "Upscale"
    tool = UPSCALE
    doubt = (
        "Fine detail is <b>inferred, not measured</b>. Where the samples disagree "
        "(bright in the uncertainty layer), believe none of them."
    )

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self._in_view: list[LazyPreview] = []
        super().__init__(napari_viewer, Session(**_defaults()))
        when_destroyed(self, partial(_end_all, self._in_view))

    def _make_form(self, viewer: Any) -> UpscaleForm:
        return UpscaleForm(self.session, viewer)

    def _defaults(self) -> dict[str, Any]:
        return _defaults()

    def _prepare(self, source: Source) -> Callable[[], Iterable[Any]]:
        colormap = read_preferences().uncertainty_colormap
        return Request.of(self.session, source, colormap).events

    # --- only what is in view -----------------------------------------------------

    @property
    def in_view(self) -> LazyPreview | None:
        """The layer that is computed where it is looked at, while it is."""
        return self._in_view[0] if self._in_view else None

    def run(self) -> Any:
        """Start; return the worker. See `RunDock.run`."""
        if not self.session.lazy:
            return super().run()
        self._check_ready()
        if self.is_running:
            raise OptionError("A run is still going on. Wait for it, or cancel it.")
        layer, viewer = self.session.image, self.viewer
        dims = None if viewer is None else viewer.dims
        source = Source.of(layer, resolve_roi(layer, self.session.roi, dims)).held()
        self.end_in_view()
        self.compare.end_beside()
        self._pixel_size_um = self.session.pixel_size_um
        self.bar.start("loading the model …")
        colormap = read_preferences().uncertainty_colormap
        preview = LazyPreview(self, Request.of(self.session, source, colormap))
        self._in_view[:] = [preview]
        return preview.worker

    def add_in_view(self, source: Source, output: Output, tool: str) -> Any:
        """Add the layer in place of an older one of its kind."""
        self._calibrate(self.viewer, source)
        with self._work_kept(self.viewer):
            (layer,) = add_outputs(self.viewer, source, [output], tool)
        return layer

    def cancel(self) -> None:
        """Stop the run, or else what is computed in view; what is there stays."""
        if self.is_running or self.in_view is None:
            super().cancel()
        else:
            self.cancel_in_view()

    def cancel_in_view(self) -> None:
        """Compute no more of what is in view, and say so."""
        self.end_in_view()
        self.bar.say("Stopped. What is not computed shows the enlarged input.")

    def end_in_view(self) -> None:
        """Compute no more of what is in view."""
        if self.in_view is None:
            return
        _end_all(self._in_view)
        self.bar.watch(False)
        if not self.is_running:
            self.bar.stop()

    def leave(self) -> None:
        """As of all docks; what is in view is computed no more."""
        _end_all(self._in_view)
        super().leave()

    # --- what a run gives ---------------------------------------------------------

    def _on_result(self, event: Any) -> None:
        if isinstance(event, Notice):
            self._show_notice(event)
        elif isinstance(event, Preview):
            self._show_preview(event)
        elif isinstance(event, Ready):
            self._show(event)

    def _show_notice(self, event: Notice) -> None:
        # What the form says all the time is not said again.
        model, more = self.form.input.model, self.form.advanced
        told = model.texts if model.warning.isVisibleTo(self) else ()
        told += more.prior_warning.texts if more.isExpanded() else ()
        for text in event.texts:
            if text not in told:
                show_warning(text)

    def _show_preview(self, event: Preview) -> None:
        viewer = self.viewer
        if viewer is None:
            return
        options = dict(event.output.options)
        options["name"] = f"{options['name']} (first of several)"
        # Not yet a result: a preview left over by a crash must not pass for one.
        options["metadata"] = {PREVIEW: True}
        with self._work_kept(viewer):
            self._tenure.preview = viewer.add_image(event.output.data, **options)

    def _show(self, event: Ready) -> None:
        viewer, source = self.viewer, self._source
        self._tenure.drop_preview()
        if viewer is None or source is None:
            return
        self._source = None
        self.compare.reset()
        placed = self._calibrate(viewer, source)
        with self._work_kept(viewer):
            layers = add_outputs(viewer, source, event.outputs)
        self._tell(event, len(layers), placed)

    def _tell(self, event: Ready, count: int, placed: str) -> None:
        device = str(event.report.get("device")).upper()
        took = f"{counted(count, 'layer')} in {human_seconds(event.seconds)}"
        doubts = event.doubts
        for doubt in doubts:
            show_warning(doubt)
        said = [f"{took} on the {device}.", *(doubts or [event.agreement]), placed]
        self.bar.say(" ".join(filter(None, said)), warning=bool(doubts))
        self._tell_exceptions(event.report)


def _end_all(previews: list[LazyPreview]) -> None:
    """Apart from the dock, whose Qt half may be gone."""
    while previews:
        previews.pop().end()
