"""The Rescale dock: make an image small, bring it back, see what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning

from napari_flowsr.inference.rescale_record import TOOL
from napari_flowsr.widgets._dock import RunDock
from napari_flowsr.widgets._layers import Source, add_outputs
from napari_flowsr.widgets._preferences import read_preferences
from napari_flowsr.widgets._rescale import Ready, Request
from napari_flowsr.widgets._rescale_session import (
    RescaleSession,
    first_rescaling_model,
)
from napari_flowsr.widgets.parts.rescale_form import RescaleForm
from napari_flowsr.widgets.parts.run_bar import human_seconds

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
        with self._selection_kept(viewer):
            layers = add_outputs(viewer, source, event.outputs, self.tool)
        if event.latents is not None:
            self.session.latents = event.latents
        self._tell(event, len(layers))

    def _tell(self, event: Ready, count: int) -> None:
        device = str(event.report.get("device")).upper()
        layers = "1 layer" if count == 1 else f"{count} layers"
        took = f"{layers} in {human_seconds(event.seconds)} on the {device}."
        self.bar.say(f"{event.said} {took}")
        if event.report.get("redrawn_blocks"):
            show_warning(
                f"{event.report['redrawn_blocks']} blocks were unstable and drawn "
                "again at a lower temperature; see the layers' metadata."
            )
        if event.report.get("filled_pixels"):
            show_info(
                f"{event.report['filled_pixels']} pixels without a value were filled."
            )
