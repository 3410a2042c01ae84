"""The Rescale dock: make an image small, bring it back, see what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari_flowsr.inference.rescale_usual import TOOL
from napari_flowsr.widgets._dock import RunDock
from napari_flowsr.widgets._layers import Source, add_outputs
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._rescale import Ready, Request
from napari_flowsr.widgets._rescale_session import (
    RescaleSession,
    first_rescaling_model,
)
from napari_flowsr.widgets.parts.rescale_form import RescaleForm
from napari_flowsr.widgets.parts.run_bar import counted, human_seconds

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["RescaleDock"]


class RescaleDock(RunDock):
    """A small version of an image that is still a picture, and the way back.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Held weakly.

    Attributes
    ----------
    session : RescaleSession
        State; set its fields to drive the dock.
    """

    title = "Rescale"
    tool = TOOL
    doubt = (
        "Brought back without its latents, an image has fine detail that is "
        "<b>inferred, not measured</b>; the error map shows where it is wrong."
    )
    session: RescaleSession
    form: RescaleForm

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer, RescaleSession(**self._defaults()))

    def _make_form(self, viewer: Any) -> RescaleForm:
        return RescaleForm(self.session, viewer)

    def _defaults(self) -> dict[str, Any]:
        wanted = read_preferences()
        return {
            "model": first_rescaling_model(),
            "device": wanted.device,
            "tile": wanted.tile_option,
            "temperature": wanted.temperature_option,
        }

    def _prepare(self, source: Source) -> Callable[[], Iterable[Any]]:
        colormap = read_preferences().uncertainty_colormap
        return Request.of(self.session, source, colormap).events

    def _on_result(self, event: Any) -> None:
        if isinstance(event, Ready):
            self._show(event)

    def _show(self, event: Ready) -> None:
        viewer, source = self.viewer, self._source
        if viewer is None or source is None:
            return
        self._source = None
        self.compare.reset()
        placed = self._calibrate(viewer, source)
        with self._work_kept(viewer):
            layers = add_outputs(viewer, source, event.outputs, self.tool)
        if event.latents is not None:
            self.session.latents = event.latents
        self._tell(event, len(layers), placed)

    def _tell(self, event: Ready, count: int, placed: str) -> None:
        device = str(event.report.get("device")).upper()
        took = f"{counted(count, 'layer')} in {human_seconds(event.seconds)}"
        self.bar.say(f"{event.said} {took} on the {device}. {placed}".strip())
        self._tell_exceptions(event.report)
