"""What the page "Explore" of the Edit dock computes, apart from its looks. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_page import EditContext, NewLayers
from napari_flowsr.widgets._geometry import whole_box
from napari_flowsr.widgets._layers import Output, Source, look
from napari_flowsr.widgets._stacks import STACK, VALUES

__all__ = ["Frame", "Levels", "Scores", "Strip"]
__all__ += ["best", "between", "sweep", "with_levels"]

Array = npt.NDArray[Any]

SCORES = {
    "consistency": ("dB", "Agreement with the LR image"),
    "likelihood": ("nats", "Log-likelihood under the model"),
    "reference": ("dB", "PSNR to the reference"),
}
"""Unit of a score, and what it is."""


@dataclass(frozen=True)
class Strip:
    """A stack was made: what its first axis counts, and the numbers along it."""

    axis: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Levels:
    """Levels of latents that the model has: HR pixels along a cell, finest first."""

    model: str
    sides: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """Score of each sample, higher is better, and the number of the best."""

    by: str
    scores: tuple[float, ...]
    index: int


@dataclass(frozen=True)
class Frame:
    """Where results lie and how they look, read in the main thread.

    Parameters
    ----------
    context : EditContext
        Of the run.
    name : str
        Of the layer that is explored.
    looks : dict
        Colours, as keywords of `add_image`.
    placed : dict
        Geometry, likewise.
    axis : str
        Label of the stack's first axis; empty for one image.
    """

    context: EditContext
    name: str
    looks: dict[str, Any]
    placed: dict[str, Any]
    axis: str = ""

    @classmethod
    def of(cls, context: EditContext, axis: str = "") -> Frame:
        """Read the layers as they are now."""
        layer = context.target if context.target is not None else context.image
        looks = look(Source.of(layer, whole_box(layer)), "sample", "", None)
        placed = context.placed(*([axis] if axis else []))
        return cls(context, layer.name, looks, placed, axis)

    def layer(
        self, post: Any, data: Array, kind: str, title: str, **facts: Any
    ) -> Output:
        """One layer to be."""
        record = self.context.record(post, kind, **facts)
        name = f"{self.name} · {title} · {post.model.card.name}"
        options = {"name": name, "metadata": {NAMESPACE: record}}
        return Output(data, options | self.placed | self.looks)

    def stacked(
        self,
        post: Any,
        images: Array,
        kind: str,
        title: str,
        values: Sequence[float],
        **facts: Any,
    ) -> Output:
        """A stack to be, whose first axis counts ``values``."""
        known = {STACK: self.axis, VALUES: list(values), **facts}
        return self.layer(post, images, kind, title, **known)


def between(
    frame: Frame, first: int, second: int, steps: int
) -> Callable[[], Iterator[Any]]:
    """Images on the way from one sample to another, as a stack."""
    values = tuple(float(t) for t in np.linspace(0, 1, steps))

    def events() -> Iterator[Any]:
        post = frame.context.posterior()
        report = frame.context.report
        images = post.interpolate(first, second, values, progress=report)
        facts = {"first": first, "second": second}
        title = f"samples {first} to {second}"
        made = frame.stacked(post, images, "interpolation", title, values, **facts)
        said = f"{steps} images from sample {first} to sample {second}."
        yield NewLayers((made,), said)
        yield Strip(frame.axis, values)

    return events


def sweep(
    frame: Frame, values: tuple[float, ...], sample: int
) -> Callable[[], Iterator[Any]]:
    """One sample at several temperatures, as a stack."""

    def events() -> Iterator[Any]:
        post = frame.context.posterior()
        images = post.sweep(values, sample, progress=frame.context.report)
        title = f"sample {sample}, τ {values[0]:g} to {values[-1]:g}"
        made = frame.stacked(post, images, "sweep", title, values, sample=sample)
        yield NewLayers((made,), f"Sample {sample} at {len(values)} temperatures.")
        yield Strip(frame.axis, values)

    return events


def with_levels(
    frame: Frame, factors: tuple[float, ...], model: str, sample: int
) -> Callable[[], Iterator[Any]]:
    """One sample with a temperature of its own at each level.

    ``factors`` are of the model named ``model``, finest level first; those of another
    one are all taken as 1.
    """

    def events() -> Iterator[Any]:
        post = frame.context.posterior()
        name, sides = post.model.card.name, post.level_sides
        yield Levels(name, sides)
        own = (name, len(sides)) == (model, len(factors))
        used = factors if own else (1.0,) * len(sides)
        image = post.with_levels(used, sample, progress=frame.context.report)
        facts = {"factors": list(used), "sample": sample}
        made = frame.layer(post, image, "levels", f"levels of sample {sample}", **facts)
        told = ", ".join(f"{factor:g}" for factor in reversed(used))
        yield NewLayers((made,), f"Temperature × {told} (coarse to fine).")

    return events


def best(
    frame: Frame, n: int, by: str, reference: Array | None
) -> Callable[[], Iterator[Any]]:
    """Best of n samples."""

    def events() -> Iterator[Any]:
        post = frame.context.posterior()
        found = post.best_of(n, by, reference, progress=frame.context.report)
        scores = tuple(float(score) for score in found.scores)
        index = int(found.index)
        facts = {"sample": index, "n": n, "by": by, "scores": list(scores)}
        title = f"best of {n} (sample {index})"
        made = frame.layer(post, found.image, "best", title, **facts)
        unit = SCORES[by][0]
        said = f"Sample {index} is the best of {n}: {scores[index]:.2f} {unit}."
        yield NewLayers((made,), said)
        yield Scores(by, scores, index)

    return events


def reference_array(context: EditContext, layer: Any) -> Array:
    """Pixels of a reference on the HR grid.

    Raises
    ------
    OptionError
        It does not cover the whole image, or cannot be matched to it.
    """
    array = np.asarray(context.labels_array(layer))
    if not np.isfinite(array).all():
        raise OptionError(
            f"The reference '{layer.name}' does not cover the whole image. Choose an "
            "image of the same field of view."
        )
    return array
