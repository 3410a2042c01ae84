"""The methods of `Posterior` that explore the space of samples, and measure in it."""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.interrupt import until_cancelled
from napari_flowsr.inference import explored
from napari_flowsr.inference.doubt import with_doubt
from napari_flowsr.inference.events import Event, Finished, Progress, SampleReady
from napari_flowsr.inference.measured import Collection
from napari_flowsr.inference.options import check_callback, check_count, check_progress
from napari_flowsr.inference.outputs import Order
from napari_flowsr.inference.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.drawing import Drawing
    from napari_flowsr.inference.explored import Best
    from napari_flowsr.inference.options import ProgressCallback
    from napari_flowsr.inference.typical import Doubt

__all__ = ["Exploring", "told"]

Array = npt.NDArray[Any]

_HELD_BYTES = 1 << 30
"""Samples that are handed over together take at most this much, or are one."""


class Exploring:
    """Images between and around samples, the best of many, measurements of all.

    All of it is decoded as samples are: in tiles, with the same redraws, report and
    provenance. As events, `explore` and `each` tell what happens meanwhile; the other
    methods consume them.
    """

    _bound: Bound
    _report: dict[str, Any]
    doubt: Callable[[], Doubt]
    progress: ProgressCallback | None

    # --- as events ------------------------------------------------------------

    def _events(self, order: Order, drawing: Drawing | None = None) -> Iterator[Event]:
        keep = "quantiles" in order.outputs and bool(order.quantiles)
        setup = self._bound.setup(order.n, keep=keep)
        if drawing is not None:
            setup = replace(setup, drawing=drawing)
        if order.at_once:
            order = replace(order, at_once=min(order.at_once, setup.limits.batch))
        for event in Run(setup, order).events():
            if isinstance(event, Progress) and self.progress is not None:
                self.progress(event.done, event.total)
            if isinstance(event, Finished):
                event = with_doubt(event, self.doubt())
                self._report = dict(event.result.report)
            yield event

    def _images(
        self,
        n: int,
        drawing: Drawing | None,
        cancelled: Callable[[], bool] | None,
        hold: bool,
    ) -> Iterator[Event]:
        check_callback("cancelled", cancelled, "that tells whether to stop")
        source, shape = self._bound.intensities.source, self._bound.geometry
        size = int(np.prod(shape.output_shape)) * source.dtype.itemsize
        order = Order(
            n,
            frozenset({"samples"}),
            (),
            consistent=self._bound.options.consistent,
            degradation=self._bound.card.degradation,
            preview=False,
            at_once=0 if hold else max(1, _HELD_BYTES // max(1, size)),
        )
        events = self._events(order, drawing)
        return events if cancelled is None else until_cancelled(events, cancelled)

    def explore(
        self,
        drawing: Drawing,
        n: int,
        *,
        hold: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Event]:
        """Decode other latents than those of samples, and tell what happens meanwhile.

        Parameters
        ----------
        drawing : Drawing
            See `inference.drawing`.
        n : int
            How many images it has.
        hold : bool
            Whether the result has the images; else they are handed over one after the
            other (`SampleReady`), and memory does not grow with ``n``.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Yields
        ------
        Progress, SampleReady, Finished
            As `Posterior.stream` does.
        """
        return self._images(check_count(n), drawing, cancelled, hold)

    def each(
        self, n: int, *, cancelled: Callable[[], bool] | None = None
    ) -> Iterator[Event]:
        """Samples 0 .. n - 1, one after the other, without holding them.

        Parameters
        ----------
        n : int
            Samples.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Yields
        ------
        Progress
            After each tile and batch.
        SampleReady
            Each sample, in order. A few at a time are decoded together.
        Finished
            Last, with the report and no samples.
        """
        count = check_count(n)
        if count > 1:
            explored.check_samples_differ(self._bound, "compare")
        return self._images(count, None, cancelled, hold=False)

    # --- as arrays ------------------------------------------------------------

    def _stack(
        self,
        drawing: Drawing,
        n: int,
        cancelled: Callable[[], bool] | None,
        progress: ProgressCallback | None,
    ) -> Array:
        for event in told(self.explore(drawing, n, cancelled=cancelled), progress):
            if isinstance(event, Finished) and event.result.samples is not None:
                return event.result.samples
        raise RuntimeError("The run ended without images.")

    def interpolate(
        self,
        first: int,
        second: int,
        t: float | Sequence[float],
        *,
        cancelled: Callable[[], bool] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Array:
        """Images between two samples, each as probable as a sample.

        Parameters
        ----------
        first, second : int
            Numbers of two different samples.
        t : float or sequence of float
            From 0 (the first) to 1 (the second), an angle on the sphere of equal
            probability; see `core.mixing`.
        cancelled, progress : callable, optional
            As in `Posterior.stream` and `posterior`.

        Returns
        -------
        ndarray
            Of the upscaled shape, or a stack ``(len(t), *upscaled shape)``; dtype and
            range of the image.
        """
        drawing = explored.interpolation(self._bound, first, second, t)
        found = self._stack(drawing, len(drawing.at), cancelled, progress)
        return found[0] if isinstance(t, numbers.Real) else found

    def sweep(
        self,
        temperatures: Sequence[float],
        sample: int = 0,
        *,
        cancelled: Callable[[], bool] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Array:
        """One sample's noise at several temperatures.

        Parameters
        ----------
        temperatures : sequence of float
            Instead of that of the posterior.
        sample : int
            Its number.
        cancelled, progress : callable, optional
            As in `interpolate`.

        Returns
        -------
        ndarray
            ``(len(temperatures), *upscaled shape)``.
        """
        drawing = explored.sweep(self._bound, temperatures, sample)
        return self._stack(drawing, len(drawing.temperatures), cancelled, progress)

    @property
    def level_sides(self) -> tuple[float, ...]:
        """HR pixels along a cell of each level of latents, finest first.

        Some families have one level: then there is no coarse and fine to tell apart.
        """
        return explored.level_sides(self._bound)

    def with_levels(
        self,
        factors: Sequence[float],
        sample: int = 0,
        *,
        cancelled: Callable[[], bool] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Array:
        """One sample whose levels of latents have temperatures of their own.

        Parameters
        ----------
        factors : sequence of float
            Of the temperature, one for each level, finest first (see `level_sides`);
            1 leaves a level as it is, 0 takes its mode. For a model of one level it is
            one factor of the temperature of everything.
        sample : int
            Its number.
        cancelled, progress : callable, optional
            As in `interpolate`.

        Returns
        -------
        ndarray
            Of the upscaled shape.
        """
        drawing = explored.levels(self._bound, factors, sample)
        found: Array = self._stack(drawing, 1, cancelled, progress)[0]
        return found

    def best_of(
        self,
        n: int,
        by: str = "consistency",
        reference: Any = None,
        *,
        cancelled: Callable[[], bool] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Best:
        """Choose the best of samples 0 .. n - 1; they are not held.

        Parameters
        ----------
        n : int
            Samples.
        by : str
            ``"consistency"``: LR-PSNR (dB) with the degradation of the model's card;
            ``"likelihood"``: log-density of the sample (nats, sum over planes; each
            plane needs to fit into memory); ``"reference"``: PSNR to ``reference``
            (dB, peak 1 in normalised intensities), the oracle of SRFlow's supplement,
            section 3.4. All are of the sample as it is returned, rounded to the dtype.
        reference : array-like, optional
            HR image, for ``by="reference"`` alone.
        cancelled, progress : callable, optional
            As in `interpolate`.

        Returns
        -------
        Best
            ``index``, ``scores`` (of all), ``image``.
        """
        choice = explored.Choice(self._bound, by, reference)
        for event in told(self.each(n, cancelled=cancelled), progress):
            if isinstance(event, SampleReady):
                choice.take(event.array)
        return choice.best()

    def apply(
        self,
        function: Callable[[Array], Any],
        n: int = 8,
        *,
        cancelled: Callable[[], bool] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Array:
        """Distribution of a function of an image: its values over n samples.

        Parameters
        ----------
        function : callable
            Gets one sample as `Posterior.sample` gives it and returns a number, or an
            array of the same shape for each sample; such as
            `measured.region_measurement` or `measured.line_profile`.
        n : int
            Samples, numbered from 0. They are not held: memory does not grow with
            ``n`` but for what the function returns.
        cancelled, progress : callable, optional
            As in `interpolate`.

        Returns
        -------
        ndarray
            ``(n,)``, or ``(n, *shape of the array)``.
        """
        found = Collection(function)
        for event in told(self.each(n, cancelled=cancelled), progress):
            if isinstance(event, SampleReady):
                found.take(event.array)
        return found.values()


def told(events: Iterator[Event], progress: ProgressCallback | None) -> Iterator[Event]:
    """Pass events on, and tell a callback of the progress."""
    check_progress(progress)
    for event in events:
        if isinstance(event, Progress) and progress is not None:
            progress(event.done, event.total)
        yield event
