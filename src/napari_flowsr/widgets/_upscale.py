"""What the Upscale dock computes, apart from how the dock looks. No Qt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from napari_flowsr.inference.agreement import disagreement, worst_agreement
from napari_flowsr.inference.events import Finished, SampleReady
from napari_flowsr.io.catalogue import notices
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.models.card import Model
from napari_flowsr.widgets._layers import Output, Source, make_output, make_outputs
from napari_flowsr.widgets._session import Session

__all__ = ["Notice", "Preview", "Ready", "Request"]

_QUANTILES = (0.05, 0.95)
_WANTED = {"samples": "samples", "mean": "mean", "std": "std", "range": "quantiles"}


@dataclass(frozen=True)
class Preview:
    """The first sample, while the others are computed."""

    output: Output


@dataclass(frozen=True)
class Notice:
    """What is to be known of the loaded model before it is used."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Ready:
    """All outputs, and what was noticed on the way."""

    outputs: list[Output]
    report: dict[str, Any]
    seconds: float

    @property
    def doubts(self) -> list[str]:
        """Warnings, as where the samples agree badly with the input."""
        return _doubts(self.report)

    @property
    def agreement(self) -> str:
        """How well the samples agree with the input; empty if it cannot be said."""
        worst = worst_agreement(self.report)
        if worst is not None and math.isfinite(worst):
            return f"Samples agree with the input to {worst:.0f} dB or better."
        if worst is not None:
            return "Samples agree with the input exactly."
        if not any(_is_sample(output) for output in self.outputs):
            return "Agreement with the input is measured when samples are an output."
        return ""


def _doubts(report: Mapping[str, Any]) -> list[str]:
    doubt = disagreement(report)
    return [*([doubt] if doubt else []), *report.get("notices", ())]


def _is_sample(output: Output) -> bool:
    return bool(output.options["metadata"][NAMESPACE]["kind"] == "sample")


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
        Keywords of `posterior`.
    n : int
        Samples.
    outputs : tuple of str
        Kinds, as in the session.
    stack : bool
        Samples as one layer.
    pixel_size_um : float or None
        For sources in pixels.
    colormap : str
        Of spreads.
    prior_model : str, Path or None
        Learned prior to load with the model.
    """

    source: Source
    model: Any
    options: dict[str, Any]
    n: int
    outputs: tuple[str, ...]
    stack: bool
    pixel_size_um: float | None
    colormap: str
    prior_model: Any = None

    @classmethod
    def of(cls, session: Session, source: Source, colormap: str) -> Request:
        """Snapshot of a session."""
        return cls(
            source=source,
            model=session.model,
            options=session.options(),
            n=session.samples,
            outputs=session.outputs,
            stack=session.stack,
            pixel_size_um=session.pixel_size_um,
            colormap=colormap,
            prior_model=session.prior_model if session.prior == "learned" else None,
        )

    def events(self) -> Iterator[Any]:
        """Compute, in the worker thread; yields progress, `Preview` and `Ready`."""
        from napari_flowsr.inference.posterior import posterior

        model = self.loaded()
        if warned := notices(model.card):
            yield Notice(warned)
        post = posterior(
            self.source.array, model, axes=self.source.axes, **self.options
        )
        looks: dict[str, Any] = {
            "colormap": self.colormap,
            "pixel_size_um": self.pixel_size_um,
            "model": model.card.name,
        }
        wanted = tuple(_WANTED[kind] for kind in self.outputs)
        # Facts about the source are read once: hashing a large image takes a while.
        facts = {**self.source.facts(), "stream": self.n}
        for event in post.stream(self.n, wanted, _QUANTILES):
            if isinstance(event, SampleReady):
                if event.index == 0 and self.n > 1:
                    record = self.record(post, "sample", facts, sample=0)
                    # The input gets its pixel size with the results, not before.
                    now = looks | {"pixel_size_um": None}
                    output = make_output(
                        self.source, "sample", event.array[None], record, stacked=True,
                        **now,
                    )  # fmt: skip
                    yield Preview(output)
            elif isinstance(event, Finished):
                doubts = _doubts(event.result.report)
                facts |= {"warnings": doubts} if doubts else {}
                records = {
                    "sample": self.record(post, "sample", facts, n=self.n),
                    "mean": self.record(post, "mean", facts, n=self.n),
                    "std": self.record(post, "std", facts, n=self.n),
                    "quantile-range": self.record(
                        post, "quantile-range", facts, n=self.n, quantiles=_QUANTILES
                    ),
                }
                outputs = make_outputs(
                    self.source, event.result, records, stack=self.stack, **looks
                )
                report = dict(event.result.report)
                yield Ready(outputs, report, float(report.get("seconds", 0.0)))
            else:
                yield event

    def loaded(self) -> Model:
        """The model, loaded if it was given by name."""
        from napari_flowsr.io.collection import load_model
        from napari_flowsr.io.priors import with_prior

        if not isinstance(self.model, Model):
            device = self.options["device"]
            return load_model(self.model, device=device, prior=self.prior_model)
        if self.prior_model is not None:
            return with_prior(self.model, self.prior_model)
        return self.model

    @staticmethod
    def record(
        post: Any, kind: str, facts: dict[str, Any], **extra: Any
    ) -> dict[str, Any]:
        """Provenance of an output, with facts about the source."""
        # The source's hash is of the whole layer, of which a region may be a part.
        known = {k: v for k, v in facts.items() if k != "source_sha256"}
        record = dict(post.provenance(kind, **known, **extra))
        if "source_sha256" in facts:
            record["source_sha256"] = facts["source_sha256"]
        return record
