"""A layer that is computed where it is looked at, by workers that come and go.

A worker ends when all that is in view is there: one that waited would keep one of the
few threads of napari's pool. Each change of the view starts another if there is work.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import QTimer

from napari_flowsr.errors import OptionError
from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.events import TileDone, TileFailed
from napari_flowsr.inference.lazy_image import LazyImage
from napari_flowsr.inference.options import check_scale
from napari_flowsr.io.catalogue import notices
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.widgets._checks import PARTIAL, card_of
from napari_flowsr.widgets._geometry import output_geometry
from napari_flowsr.widgets._in_view import shown_part
from napari_flowsr.widgets._layers import Output, look
from napari_flowsr.widgets._run import Failed, Job, Stopped
from napari_flowsr.widgets._upscale import Notice, Request
from napari_flowsr.widgets._viewer import camera_of

if TYPE_CHECKING:
    from napari_flowsr.inference.lazy import SampleTiles

__all__ = ["IN_VIEW", "LazyPreview", "LazyRun", "Opened", "Placed"]

IN_VIEW = "in-view"
"""The tool in records of such layers: they and results never replace each other."""
_REFRESH = 200  # ms between two times that new tiles are drawn
_LOOK = 50  # ms after a change of the view


@dataclass(frozen=True)
class Placed:
    """The layer can be shown; nothing of it is computed."""

    output: Output


@dataclass(frozen=True)
class Opened:
    """The image was read, and tiles can be computed."""

    record: dict[str, Any]
    doubts: tuple[str, ...]


@dataclass
class LazyRun:
    """What workers do, and share.

    Parameters
    ----------
    request : Request
        Of the dock; its samples and outputs do not count.
    """

    request: Request
    image: LazyImage | None = None
    tiles: SampleTiles | None = None

    def events(self) -> Iterator[Any]:
        """Compute, in a worker thread, what is in view."""
        from napari_flowsr.inference.lazy import fill

        if self.image is None or self.tiles is None:
            yield from self._opened()
        if self.image is not None and self.tiles is not None:
            yield from fill(self.image, self.tiles)

    def _opened(self) -> Iterator[Any]:
        from napari_flowsr.inference.posterior import posterior

        request, source = self.request, self.request.source
        array, asked = source.array, request.options["scale"]
        card = _known_card(request.model)
        if card is not None:  # most often: the layer need not wait for the network
            yield self._place(array, card.name, float(asked or card.scales[0]))
        model = request.loaded()
        if warned := notices(model.card):
            yield Notice(warned)
        if self.image is None:
            scale = check_scale(asked, model.flow)
            yield self._place(array, model.card.name, scale)
        post = posterior(array, model, axes=source.axes, **request.options)
        if self.image is None or post.geometry != self.image.geometry:
            raise OptionError(
                f"The card of '{model.card.name}' names other scales than its network "
                f"has, {post.geometry.scale:g}. Give the scale."
            )
        # Small lazy images are in memory now.
        self.image.array = post.intensities.source.array
        tiles = post.tiles()
        doubt = post.doubt()
        facts = {**source.facts(), "stream": 1, **tiles.facts()}
        facts |= {"tool": IN_VIEW, PARTIAL: True, "sample": 0}
        record = request.record(post, "sample", facts)
        self.tiles = tiles
        yield Opened(record, (doubt.text,) if doubt.is_outside else ())

    def _place(self, array: Any, model: str, scale: float) -> Placed:
        request, source = self.request, self.request.source
        shape = tuple(int(side) for side in array.shape)
        image = self.image = LazyImage(array, Geometry(source.axes, shape, scale))
        record = {
            "plugin": NAMESPACE,
            "kind": "sample",
            "sample": 0,
            "detail_inferred": True,
            "model": model,
            "source_name": source.name,
            "tool": IN_VIEW,
            PARTIAL: True,
        }
        size = request.pixel_size_um
        placed = output_geometry(
            source.layer, source.box, image.shape(0), pixel_size_um=size
        )
        options = {
            "name": f"{source.name} · sample 0 where in view · {model}",
            "metadata": {NAMESPACE: record},
            "multiscale": True,
            **placed,
            **look(source, "sample", request.colormap, None),
        }
        levels: list[Any] = [*image.levels]
        return Placed(Output(levels, options))


def _known_card(model: Any) -> ModelCard | None:
    """Card of a model, where it is told without loading the network."""
    return model.card if isinstance(model, Model) else card_of(model)


class LazyPreview:
    """A layer in a viewer, and the worker that is at work on what is in view.

    Parameters
    ----------
    dock : UpscaleDock
        Held weakly; is told what happens.
    request : Request
        What to compute.
    """

    def __init__(self, dock: Any, request: Request) -> None:
        self._dock = weakref.ref(dock)
        self._run = LazyRun(request)
        self.layer: Any = None
        self.is_over = False
        self._is_open = False
        self._failures: dict[tuple[int, Any], str] = {}
        self._drawing = _timer(_REFRESH, self._draw)
        self._looking = _timer(_LOOK, self.look)
        self._job = self._work()

    @property
    def worker(self) -> Any:
        """The present or the last worker."""
        return self._job.worker

    @property
    def is_running(self) -> bool:
        """Whether a worker is at work."""
        return self._job.is_running

    def _work(self) -> Job:
        return Job(
            self._run.events,
            on_event=self._on_event,
            on_progress=self._on_progress,
            on_end=self._on_end,
            description=f"In view of {self._run.request.source.name}",
            kind=f"in view {id(self)}",  # others may go on beside it
        )

    # --- from the worker ----------------------------------------------------------

    def _on_event(self, event: Any) -> None:
        dock = self._dock()
        if self.is_over or dock is None:
            return
        if isinstance(event, Placed):
            self._place(dock, event.output)
        elif isinstance(event, Opened):
            self._open(dock, event)
        elif isinstance(event, TileDone):
            if not self._drawing.isActive():
                self._drawing.start()
        elif isinstance(event, TileFailed):
            if not self._failures:
                show_warning(str(event.error))
            self._failures[event.plane, event.tile] = str(event.error)
        elif isinstance(event, Failed):
            dock.end_in_view()
            dock._show_error(event.error)
        elif isinstance(event, Stopped):
            dock.cancel_in_view()
        else:
            dock._on_result(event)

    def _on_progress(
        self, done: int, total: int, left: float | None, message: str
    ) -> None:
        if not self.is_over and self._is_open:
            self._say(f"Computing what is in view: {done} of {total} tiles …")

    def _on_end(self) -> None:
        # The view may have changed after the worker had looked for the last time.
        if not self.is_over and self._is_open:
            # An overview of an image on disk may have come, without any tile.
            self._drawing.start()
            self.look()

    # --- the layer ----------------------------------------------------------------

    def _place(self, dock: Any, output: Output) -> None:
        viewer = dock.viewer
        if viewer is None:
            return
        self.layer = dock.add_in_view(self._run.request.source, output, IN_VIEW)
        viewer.layers.events.removed.connect(self._removed)
        self.layer.events.set_data.connect(self._moved)
        self.layer.events.visible.connect(self._moved)
        for signal in self._camera(viewer):
            signal.connect(self._moved)
        dock.bar.say("reading the image …")

    @staticmethod
    def _camera(viewer: Any) -> tuple[Any, Any]:
        events = camera_of(viewer).events
        return events.center, events.zoom

    def _open(self, dock: Any, event: Opened) -> None:
        for doubt in event.doubts:
            show_warning(doubt)
        if self.layer is not None:
            self.layer.metadata[NAMESPACE] = event.record
        self._is_open = True
        dock.bar.stop()
        dock.bar.watch(True)
        self._looking.start()

    def _moved(self, *_: Any) -> None:
        if not self.is_over:
            self._looking.start()

    def look(self) -> None:
        """Want what is shown now, and have a worker if there is work."""
        dock, image, tiles = self._dock(), self._run.image, self._run.tiles
        viewer = None if dock is None else dock.viewer
        if self.is_over or viewer is None or image is None or self.layer is None:
            return
        image.want(*shown_part(viewer, self.layer, image.geometry))
        if not self._is_open or tiles is None or self._job.is_running:
            return
        if image.has_work(tiles):
            self._job = self._work()
        else:
            self._tell(image, tiles)

    def _draw(self) -> None:
        if not self.is_over and self.layer is not None:
            self.layer.refresh(extent=False, highlight=False)

    def _removed(self, *_: Any) -> None:
        dock = self._dock()
        if dock is None or dock.viewer is None:
            return
        if self.layer not in dock.viewer.layers:
            dock.end_in_view()
            self._say("The layer was removed, and nothing more is computed.")

    # --- what is said -------------------------------------------------------------

    def _tell(self, image: LazyImage, tiles: SampleTiles) -> None:
        done, total = image.progress(tiles)
        if image.is_complete(tiles):
            self._finish()
            text = "All of the image is computed."
        elif total == 0:
            text = (
                "Zoom in to compute: at this size a pixel of the screen covers an "
                "input pixel or more."
            )
        else:
            text = (
                f"What is in view is computed ({done} of {total} tiles); elsewhere the "
                "layer shows the enlarged input."
            )
        if self._failures:
            last = list(self._failures.values())[-1]
            text += f" Not computed, and the enlarged input: {len(self._failures)} "
            text += f"tiles. {last}"
        self._say(text, warning=bool(self._failures))

    def _finish(self) -> None:
        """The layer is a result like any other."""
        record = self.layer.metadata[NAMESPACE]
        if record.get(PARTIAL):
            self.layer.metadata[NAMESPACE] = {**record, PARTIAL: False}
            self.layer.name = self.layer.name.replace(" where in view", "")

    def _say(self, text: str, *, warning: bool = False) -> None:
        dock = self._dock()
        # The last word about a run of the dock stays until that is over.
        if dock is not None and not dock.is_running:
            dock.bar.say(text, warning=warning)

    # --- the end ------------------------------------------------------------------

    def end(self, *_: Any) -> None:
        """Stop for good. The layer stays as it is, unless nothing could come of it."""
        if self.is_over:
            return
        self.is_over = True
        self._drawing.stop()
        self._looking.stop()
        self._job.cancel()
        if self._run.image is not None:
            self._run.image.want(0, None)
        dock = self._dock()
        viewer = None if dock is None else dock.viewer
        if viewer is not None and self.layer is not None:
            self._let_go(viewer)

    def _let_go(self, viewer: Any) -> None:
        viewer.layers.events.removed.disconnect(self._removed)
        self.layer.events.set_data.disconnect(self._moved)
        self.layer.events.visible.disconnect(self._moved)
        for signal in self._camera(viewer):
            signal.disconnect(self._moved)
        if self.layer not in viewer.layers:
            return
        if self._is_open:
            self.layer.refresh(extent=False, highlight=False)
        else:
            viewer.layers.remove(self.layer)


def _timer(interval: int, function: Callable[[], None]) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(interval)
    timer.timeout.connect(function)
    return timer
