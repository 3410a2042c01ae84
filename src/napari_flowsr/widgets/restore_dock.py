"""The Restore dock: noise taken out of an image, and what was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

from napari_flowsr.inference.restore_usual import TOOL
from napari_flowsr.widgets._dock import RunDock
from napari_flowsr.widgets._layers import Source, add_outputs
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._restore import Ready, Request
from napari_flowsr.widgets._restore_session import RestoreSession
from napari_flowsr.widgets._upscale import Notice
from napari_flowsr.widgets.parts.restore_form import RestoreForm
from napari_flowsr.widgets.parts.run_bar import counted, human_seconds

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["RestoreDock"]


class RestoreDock(RunDock):
    """An image without its noise, at its own size.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.

    Attributes
    ----------
    session : RestoreSession
        State; set its fields to drive the dock.
    """

    title = "Restore"
    tool = TOOL
    doubt = (
        "What takes the place of the noise is <b>inferred, not measured</b>. Look at "
        "what was removed: structure in it was content."
    )
    session: RestoreSession
    form: RestoreForm

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer, RestoreSession(**self._defaults()))

    def _make_form(self, viewer: Any) -> RestoreForm:
        return RestoreForm(self.session, viewer)

    def _defaults(self) -> dict[str, Any]:
        wanted = read_preferences()
        return {
            "device": wanted.device,
            "tile": wanted.tile_option,
            "precision": wanted.precision,
        }

    def _prepare(self, source: Source) -> Callable[[], Iterable[Any]]:
        return Request.of(self.session, source).events

    def _on_result(self, event: Any) -> None:
        if isinstance(event, Ready):
            self._show(event)
        elif isinstance(event, Notice):
            for text in event.texts:
                show_warning(text)

    def _show(self, event: Ready) -> None:
        viewer, source = self.viewer, self._source
        if viewer is None or source is None:
            return
        self._source = None
        self.compare.reset()
        placed = self._calibrate(viewer, source)
        with self._work_kept(viewer):
            layers = add_outputs(viewer, source, event.outputs, self.tool)
        device = str(event.report.get("device")).upper()
        took = f"{counted(len(layers), 'layer')} in {human_seconds(event.seconds)}"
        self.bar.say(f"{event.said} {took} on the {device}. {placed}".strip())
        self._tell_exceptions(event.report)
