"""Plots of distributions: a histogram with intervals, a curve with bands.

pyqtgraph takes about a second to import, so it is imported when a plot is first shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_flowsr.widgets._viewer import viewer_reference

__all__ = ["AMBER", "BLUE", "Plot"]

Vector = npt.NDArray[np.float64]

_HEIGHT = 190
# Blue and amber can be told apart by everybody and read on dark and on light.
BLUE, AMBER = (70, 140, 220), (235, 150, 30)
_WIDE, _NARROW = 70, 130  # opacity of the 90 % and the 50 % band, of 255
_MOST_BINS = 40


def _colours(theme: str) -> tuple[str, str]:
    """Background and text of a theme of napari."""
    from napari.utils.theme import get_theme

    found = get_theme(theme)
    return found.background.as_hex(), found.text.as_hex()


class Plot(QWidget):
    """A plot in the colours of the viewer's theme.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly; a bare viewer model will do.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer_reference(viewer)
        self._draw: Callable[[], None] | None = None
        self.canvas: Any = None
        """The plot of pyqtgraph, once it was shown."""
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self.setFixedHeight(_HEIGHT)
        self._theme = viewer.events.theme
        self._theme.connect(self._paint)

    def showEvent(self, event: Any) -> None:
        if self.canvas is None:
            import pyqtgraph

            self.canvas = pyqtgraph.PlotWidget()
            self.canvas.setMenuEnabled(False)
            self.canvas.hideButtons()
            self._column.addWidget(self.canvas)
        self._paint()
        super().showEvent(event)

    def histogram(
        self,
        values: Vector,
        bands: tuple[tuple[float, float], ...],
        of_mean: float,
        label: str,
    ) -> None:
        """Show how values are distributed.

        Parameters
        ----------
        values : ndarray
            One per sample.
        bands : tuple of (low, high)
            Intervals, the narrow one first.
        of_mean : float
            The value of the mean image, as a dashed line.
        label : str
            Of the horizontal axis.
        """
        self._draw = lambda: self._draw_histogram(values, bands, of_mean, label)
        self._paint()

    def profile(
        self,
        distance: Vector,
        median: Vector,
        bands: tuple[tuple[Vector, Vector], ...],
        labels: tuple[str, str],
    ) -> None:
        """Show a curve with its bands, the narrow one first."""
        self._draw = lambda: self._draw_profile(distance, median, bands, labels)
        self._paint()

    # --- drawing ------------------------------------------------------------------

    def _paint(self, *_: Any) -> None:
        if self.canvas is None:
            return
        viewer = self._viewer()
        background, text = _colours(viewer.theme if viewer is not None else "dark")
        self.canvas.setBackground(background)
        self.canvas.clear()
        for side in ("left", "bottom"):
            axis = self.canvas.getAxis(side)
            axis.setPen(text)
            axis.setTextPen(text)
            # "mÅ" or "kpx²" would be made of units otherwise. Asked again, it would
            # still scale the numbers by what they were then.
            if axis.autoSIPrefix:
                axis.enableAutoSIPrefix(False)
        self._text = text
        if self._draw is not None:
            self._draw()

    def _draw_histogram(
        self,
        values: Vector,
        bands: tuple[tuple[float, float], ...],
        of_mean: float,
        label: str,
    ) -> None:
        import pyqtgraph

        finite = values[np.isfinite(values)]
        if finite.size < values.size:
            return  # the words say so
        bins = int(np.clip(np.ceil(np.sqrt(finite.size) * 1.5), 4, _MOST_BINS))
        counts, edges = np.histogram(finite, bins=bins)
        narrow_last = tuple(reversed(bands))
        for (low, high), opacity in zip(narrow_last, (_WIDE, _NARROW), strict=False):
            region = pyqtgraph.LinearRegionItem(
                (low, high),
                movable=False,
                brush=(*BLUE, opacity),
                pen=pyqtgraph.mkPen(None),
            )
            self.canvas.addItem(region)
        bars = pyqtgraph.BarGraphItem(
            x=(edges[:-1] + edges[1:]) / 2,
            width=0.85 * (edges[1] - edges[0]),
            height=counts,
            brush=pyqtgraph.mkBrush(self._text),
            pen=pyqtgraph.mkPen(None),
        )
        self.canvas.addItem(bars)
        self.canvas.addItem(
            pyqtgraph.InfiniteLine(of_mean, pen=pyqtgraph.mkPen(AMBER, width=2))
        )
        self.canvas.setLabel("bottom", label, color=self._text)
        self.canvas.setLabel("left", "samples", color=self._text)
        self.canvas.autoRange()

    def _draw_profile(
        self,
        distance: Vector,
        median: Vector,
        bands: tuple[tuple[Vector, Vector], ...],
        labels: tuple[str, str],
    ) -> None:
        import pyqtgraph

        narrow_last = tuple(reversed(bands))
        for (low, high), opacity in zip(narrow_last, (_WIDE, _NARROW), strict=False):
            ends = [pyqtgraph.PlotDataItem(distance, edge) for edge in (low, high)]
            for end in ends:
                end.setPen(None)
                self.canvas.addItem(end)
            band = pyqtgraph.FillBetweenItem(*ends, brush=(*BLUE, opacity))
            self.canvas.addItem(band)
        self.canvas.plot(distance, median, pen=pyqtgraph.mkPen(BLUE, width=2))
        self.canvas.setLabel("bottom", labels[0], color=self._text)
        self.canvas.setLabel("left", labels[1], color=self._text)
        self.canvas.autoRange()

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._theme.disconnect(self._paint)
