"""What the Rescale dock computes, apart from how the dock looks. No Qt."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.inference.events import Progress
from napari_flowsr.inference.rescale_error import (
    Loss,
    compare,
    human_bytes,
    pixel_bytes,
)
from napari_flowsr.inference.rescale_record import (
    auto_bits,
    record_of,
    restored_record,
    small_record,
)
from napari_flowsr.io.provenance import NAMESPACE, image_hash
from napari_flowsr.models.card import Model
from napari_flowsr.widgets._geometry import output_geometry
from napari_flowsr.widgets._layers import Output, Source, look, spread_top
from napari_flowsr.widgets._rescale_session import RescaleSession

if TYPE_CHECKING:
    from napari_flowsr.inference.rescale import Made
    from napari_flowsr.inference.rescale_up import Restored
    from napari_flowsr.inference.rescaled import RescaledLatents

__all__ = ["Ready", "Request"]

_TITLES = {"small": "small", "restored": "brought back", "error": "error"}


@dataclass(frozen=True)
class Ready:
    """All outputs, and what was noticed on the way.

    Parameters
    ----------
    outputs : list of Output
        Bottom to top.
    latents : RescaledLatents or None
        Of the small image, where they were asked for.
    before, after : int
        Bytes of the pixels, of what was given and of what was made.
    loss : Loss or None
        Of the image that was brought back, where the original is known.
    way : str
        Where the detail of that comes from, in words.
    report : dict
        Facts of the last run.
    seconds : float
        It took.
    """

    outputs: list[Output]
    latents: RescaledLatents | None
    before: int
    after: int
    loss: Loss | None
    way: str
    report: dict[str, Any]
    seconds: float

    @property
    def said(self) -> str:
        """What was saved and lost, for people."""
        share = ""
        if self.after < self.before:
            share = f" ({100 * self.after / self.before:.2g} %)"
        before, after = human_bytes(self.before), human_bytes(self.after)
        parts = [f"{before} → {after}{share}."]
        if self.latents is not None:
            parts.append(f"Latents: {human_bytes(self.latents.nbytes)} more.")
        if self.loss is not None:
            parts.append(f"Brought back ({self.way}): {self.loss.said()}.")
        return " ".join(parts)


@dataclass(frozen=True)
class Request:
    """Everything a run needs, fixed when it starts.

    Parameters
    ----------
    source : Source
        Image and region.
    session : RescaleSession
        A copy.
    colormap : str
        Of the error.
    """

    source: Source
    session: RescaleSession
    colormap: str

    @classmethod
    def of(cls, session: RescaleSession, source: Source, colormap: str) -> Request:
        """Snapshot of a session."""
        names = [
            *("model", "bits", "direction", "detail", "latents", "outputs", "nan"),
            *("temperature", "seed", "tile", "device", "pixel_size_um"),
        ]
        kept = RescaleSession(**{name: getattr(session, name) for name in names})
        return cls(source, kept, colormap)

    def events(self) -> Iterator[Any]:
        """Compute, in the worker thread; yields progress and `Ready`."""
        if self.session.direction == "down":
            yield from self._there()
        else:
            yield from self._back()

    # --- there, and back to see what it costs --------------------------------------

    def _there(self) -> Iterator[Any]:
        from napari_flowsr.inference.rescale import down, load_rescaling

        began, session = time.perf_counter(), self.session
        model = load_rescaling(session.model, session.device)
        image, wanted = self.source.array, set(session.outputs)
        bits = auto_bits(image.dtype) if session.bits == "auto" else session.bits
        parts = 2 if wanted & {"restored", "error"} else 1
        events = down(
            image,
            model,
            bits=bits,  # type: ignore[arg-type]
            axes=self.source.axes,
            tile=session.tile,
            device=session.device,
            nan=session.nan,
        )
        made: Made = yield from _part(events, 0, parts)
        facts = self.source.facts()
        record = small_record(model, made, nan=session.nan, **facts)
        outputs = [self._small(made, record)] if "small" in wanted else []
        loss, way, report = None, "", dict(made.report)
        if parts == 2:
            found = yield from self._and_back(model, made, image, facts)
            restored, record, loss, error = found
            way, report = _way(record), dict(restored.report)
            if "restored" in wanted:
                outputs.append(self._restored(restored, record))
            if "error" in wanted:
                outputs.append(self._error(error, record | {"loss": loss.facts()}))
        yield Ready(
            outputs,
            made.latents if session.detail == "exact" else None,
            pixel_bytes(image),
            pixel_bytes(made.small),
            loss,
            way,
            report,
            time.perf_counter() - began,
        )

    def _and_back(self, model: Model, made: Made, image: Any, facts: Any) -> Any:
        """Bring it back; return that, its record, the loss and the error map."""
        from napari_flowsr.inference.rescale_up import up

        session, about = self.session, made.latents.about
        exact = session.detail == "exact"
        from_what = {"latents": made.latents} if exact else self._drawing(about)
        events = up(
            made.small, model, tile=session.tile, device=session.device, **from_what
        )
        restored: Restored = yield from _part(events, 1, 2)
        facts = {"source_sha256": about.source_sha256, **facts, "whole_way": True}
        record = restored_record(
            model,
            restored,
            exact=exact,
            small_sha256=about.small_sha256,
            temperature=session.temperature,
            seed=session.seed,
            bits=about.bits,
            nan=session.nan,
            **facts,
        )
        return restored, record, *compare(image, restored.image, about)

    def _drawing(self, about: Any) -> dict[str, Any]:
        session = self.session
        return {"like": about, "temperature": session.temperature, "seed": session.seed}

    # --- back ------------------------------------------------------------------------

    def _back(self) -> Iterator[Any]:
        from napari_flowsr.inference.rescale import load_rescaling
        from napari_flowsr.inference.rescale_up import up
        from napari_flowsr.inference.rescaled import load_latents

        began, session = time.perf_counter(), self.session
        model = load_rescaling(session.model, session.device)
        small, exact = self.source.array, session.detail == "exact"
        about = None
        if self.source.is_whole:  # the record is of all of it
            about = record_of(self.source.layer.metadata)
        latents = None
        if exact:
            latents = session.latents
            if isinstance(latents, str | Path):
                latents = load_latents(latents)
        from_what = {"latents": latents} if exact else self._drawing(about)
        known = exact or about is not None
        restored: Restored = yield from _part(
            up(
                small,
                model,
                axes=None if known else self.source.axes,
                tile=session.tile,
                device=session.device,
                **from_what,
            ),
            0,
            1,
        )
        record = restored_record(
            model,
            restored,
            exact=exact,
            small_sha256=image_hash(small),
            temperature=session.temperature,
            seed=session.seed,
            **self.source.facts(),
        )
        outputs = [self._restored(restored, record)]
        yield Ready(
            outputs,
            None,
            pixel_bytes(small),
            pixel_bytes(restored.image),
            None,
            _way(record),
            dict(restored.report),
            time.perf_counter() - began,
        )

    # --- layers ----------------------------------------------------------------------

    def _output(
        self, kind: str, data: Any, record: dict[str, Any], **options: Any
    ) -> Output:
        title = _TITLES[kind]
        if kind == "restored":
            title += f" ({_way(record)})"
        options["name"] = f"{self.source.name} · {title} · {record['model']}"
        # Layers made from one dict would share it: each gets its own copy.
        options["metadata"] = {NAMESPACE: copy.deepcopy(record | {"kind": kind})}
        return Output(data, options)

    def _placed(self, scale: float) -> dict[str, Any]:
        """Where an output lies whose pixels are ``scale`` times finer.

        The scale is told, not taken from the sizes: an image that is no multiple of it
        was padded, so that the small one reaches over its end.
        """
        layer, box = self.source.layer, self.source.box
        shape = tuple(scale * side for side in box.shape)
        size = self.session.pixel_size_um
        return output_geometry(layer, box, shape, pixel_size_um=size)

    def _small(self, made: Made, record: dict[str, Any]) -> Output:
        about = made.latents.about
        options = look(self.source, "small", self.colormap, made.small)
        if "contrast_limits" in options and about.bits is not None:
            span, top = about.range(0, 0), 2.0**about.bits - 1
            limits = span.to_unit(np.asarray(options["contrast_limits"])) * top
            low, high = np.clip(limits, 0, top).tolist()
            options["contrast_limits"] = (low, high) if low < high else (0.0, top)
        placed = self._placed(1 / about.scale)
        return self._output("small", made.small, record, **placed, **options)

    def _restored(self, restored: Restored, record: dict[str, Any]) -> Output:
        about = restored.about
        options = look(self.source, "restored", self.colormap, restored.image)
        scale = 1.0
        if self.session.direction == "up":
            scale = float(about.scale)
            if "contrast_limits" in options:
                limits = np.asarray(options["contrast_limits"], float)
                unit = about.small_range(0, 0).to_unit(limits)
                low, high = about.range(0, 0).to_intensity(unit).tolist()
                options["contrast_limits"] = (low, high)
        placed = self._placed(scale)
        return self._output("restored", restored.image, record, **placed, **options)

    def _error(self, error: Any, record: dict[str, Any]) -> Output:
        options = {
            "colormap": self.colormap,
            "contrast_limits": (0.0, spread_top(error)),
            "rgb": False,
        }
        placed = self._placed(1.0)
        return self._output("error", error, record, **placed, **options)


def _way(record: dict[str, Any]) -> str:
    """Where the detail of an image that was brought back comes from."""
    if record["exact"]:
        return "exact"
    return "most likely detail" if record["temperature"] == 0 else "detail sampled"


def _part(events: Iterable[Any], number: int, parts: int) -> Any:
    """Pass progress on as that of one of several parts; return the last event."""
    for event in events:
        if not isinstance(event, Progress):
            return event
        done = number + event.done / max(1, event.total)
        yield Progress(round(1000 * done), 1000 * parts, event.message)
    raise RuntimeError("The run ended without its last event.")
