"""The Upscale dock: choose image and model, run, look, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

from napari_flowsr.widgets._dock import RunDock
from napari_flowsr.widgets._layers import PREVIEW, UPSCALE, Source, add_outputs
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
        super().__init__(napari_viewer, Session(**_defaults()))

    def _make_form(self, viewer: Any) -> UpscaleForm:
        return UpscaleForm(self.session, viewer)

    def _defaults(self) -> dict[str, Any]:
        return _defaults()

    def _prepare(self, source: Source) -> Callable[[], Iterable[Any]]:
        colormap = read_preferences().uncertainty_colormap
        return Request.of(self.session, source, colormap).events

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
