"""What the Restore dock computes, apart from how the dock looks. No Qt."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_flowsr.io.catalogue import notices
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model
from napari_flowsr.widgets._geometry import output_geometry
from napari_flowsr.widgets._layers import Output, Source, look, spread_top
from napari_flowsr.widgets._restore_session import RestoreSession
from napari_flowsr.widgets._upscale import Notice

if TYPE_CHECKING:
    from napari_flowsr.inference.restore import Restored

__all__ = ["Ready", "Request", "said"]

_COLORMAP = "coolwarm"  # of what was removed: 0 is its middle


@dataclass(frozen=True)
class Ready:
    """All outputs, and what was found."""

    outputs: list[Output]
    report: dict[str, Any]
    said: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(self.report["seconds"])


def said(report: Mapping[str, Any], strength: float) -> str:
    """What was done, for people."""
    changed = f"Pixels changed by {100 * report['changed']:.2g} % of the range (RMS)."
    if strength == 0:
        return "Strength 0: the image is as it was."
    levels = [level for level in report["noise"] if level > 0]
    if not report["noise"]:
        return changed
    if not levels:
        return (
            "No noise was found, so the image is as it was. For other damage choose a "
            "temperature."
        )
    span = f"{100 * min(levels):.2g}"
    if max(levels) > 1.05 * min(levels):
        span += f" to {100 * max(levels):.2g}"
    return f"Noise of {span} % of the range was found. {changed}"


@dataclass(frozen=True)
class Request:
    """Everything a run needs, fixed when it starts.

    Parameters
    ----------
    source : Source
        Image and region.
    model : str or Model
        As in the session.
    options : dict
        Keywords of `restoring`.
    outputs : tuple of str
        Kinds, as in the session.
    pixel_size_um : float or None
        For sources in pixels.
    """

    source: Source
    model: Any
    options: dict[str, Any]
    outputs: tuple[str, ...]
    pixel_size_um: float | None

    @classmethod
    def of(cls, session: RestoreSession, source: Source) -> Request:
        """Snapshot of a session."""
        size = session.pixel_size_um
        return cls(source, session.model, session.options(), session.outputs, size)

    def events(self) -> Iterator[Any]:
        """Compute, in the worker thread; yields progress, `Notice` and `Ready`."""
        from napari_flowsr.inference.restore import (
            Restored,
            restored_record,
            restoring,
        )
        from napari_flowsr.io.collection import load_model

        model = self.model
        if not isinstance(model, Model):
            model = load_model(model, device=self.options["device"])
        if warned := notices(model.card):
            yield Notice(warned)
        image, axes = self.source.array, self.source.axes
        for event in restoring(image, model, axes=axes, **self.options):
            if not isinstance(event, Restored):
                yield event
                continue
            facts = {**self.options, **self.source.facts(), "axes": axes}
            # Facts about the run, not about what was asked for.
            facts = {k: v for k, v in facts.items() if k not in ("tile", "device")}
            record = restored_record(model, image, event, **facts)
            outputs = [self._output(kind, event, record) for kind in self.outputs]
            report = dict(event.report)
            yield Ready(outputs, report, said(report, self.options["strength"]))

    def _output(self, kind: str, found: Restored, record: dict[str, Any]) -> Output:
        layer, box = self.source.layer, self.source.box
        record = copy.deepcopy(record | {"kind": kind})
        data: Any = found.image
        options = look(self.source, kind, "", data)
        if kind == "removed":
            from napari_flowsr.inference.restore import difference

            data = difference(self.source.array, found.image)
            if layer.rgb:
                data, record["colour"] = data[..., :3].mean(-1), "mean"
            top = spread_top(np.abs(data))
            options = {
                "rgb": False,
                "colormap": _COLORMAP,
                "contrast_limits": (-top, top),
            }
        placed = output_geometry(
            layer, box, found.image.shape, pixel_size_um=self.pixel_size_um
        )
        name = f"{self.source.name} · {kind} · {record['model']}"
        metadata = {NAMESPACE: record}
        return Output(data, {"name": name, "metadata": metadata, **placed, **options})
