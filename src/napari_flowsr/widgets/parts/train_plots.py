"""Curves of a training: loss, PSNR over bicubic, CRPS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_flowsr.widgets._train_curves import Curve, Curves
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.plot import AMBER, BLUE, Plot

__all__ = ["CurvePlot", "TrainPlots"]

_HEIGHT = 122
_GREEN = (90, 180, 110)
_GAINS = {
    "psnr_predict": ("predicted mean", BLUE),
    "psnr_mode": ("temperature 0", AMBER),
    "psnr_prior": ("learned prior", _GREEN),
}
_FIGURES = {
    "crps": "CRPS {:.4f}",
    "lr_psnr": "agreement with the input {:.1f} dB",
    "bpd": "{:.2f} bits per pixel",
}
_SMOOTH = 40  # parts of a curve over which its strong line averages
_HEADROOM = 0.35  # of the height, for the legend
_SEEN = 0.97  # share of the losses that the plot shows; the first ones may be huge


@dataclass(frozen=True)
class Line:
    """A curve and how it is drawn."""

    name: str
    curve: Curve
    colour: tuple[int, int, int]
    dashed: bool = False
    smooth: bool = False


class CurvePlot(Plot):
    """Lines over steps, with a legend.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    title : str
        Of the vertical axis.
    """

    def __init__(self, viewer: Any, title: str) -> None:
        super().__init__(viewer)
        self.title = title
        self.lines: tuple[Line, ...] = ()
        self._legend: Any = None
        self.setFixedHeight(_HEIGHT)  # the pictures are to be in sight as well

    def show_lines(self, lines: Sequence[Line]) -> None:
        """Draw these instead of the former."""
        self.lines = tuple(lines)
        self._draw = self._draw_lines
        self._paint()

    def _draw_lines(self) -> None:
        import pyqtgraph

        plot = self.canvas
        plot.setMouseEnabled(False, False)  # the wheel scrolls the dock
        if self._legend is None:
            self._legend = plot.addLegend(offset=(-2, 2), colCount=2)
        self._legend.setLabelTextColor(self._text)
        self._legend.setVisible(len(self.lines) > 1)
        plot.showGrid(x=False, y=True, alpha=0.25)
        for line in self.lines:
            x, y = np.asarray(line.curve.steps), np.asarray(line.curve.values)
            style = pyqtgraph.QtCore.Qt.PenStyle
            pen = pyqtgraph.mkPen(
                line.colour,
                width=2,
                style=style.DashLine if line.dashed else style.SolidLine,
            )
            if line.smooth and len(x) > _SMOOTH:
                plot.plot(x, y, pen=pyqtgraph.mkPen((*line.colour, 70)))
                x, y = smoothed(x, y)
            few = {"symbol": "o", "symbolSize": 5, "symbolBrush": line.colour}
            few |= {"symbolPen": None}
            plot.plot(x, y, pen=pen, name=line.name, **(few if len(x) < 30 else {}))
        plot.setLabel("left", self.title, color=self._text)
        plot.autoRange()
        self._set_range()

    def _set_range(self) -> None:
        """Leave the largest losses out; make room for the legend."""
        values = [v for line in self.lines for v in line.curve.values]
        if not values:
            return
        smooth = any(line.smooth for line in self.lines)
        noisy = smooth and len(values) > _SMOOTH
        low, high = min(values), float(np.quantile(values, _SEEN if noisy else 1.0))
        rim = 0.06 * (high - low) or 0.01 * abs(high) or 1e-6
        top = _HEADROOM * (high - low) if len(self.lines) > 1 else 0.0
        self.canvas.setYRange(low - rim, high + rim + top, padding=0)
        if not smooth:
            self.canvas.setXRange(0, max(s for x in self.lines for s in x.curve.steps))


def smoothed(x: Any, y: Any) -> tuple[Any, Any]:
    """Running means over a part of the curve."""
    width = max(2, len(y) // _SMOOTH)
    kernel = np.full(width, 1 / width)
    return np.convolve(x, kernel, "valid"), np.convolve(y, kernel, "valid")


def figures_in_words(curves: Curves) -> str:
    """The latest figures; empty before the first."""
    said = []
    for key, (what, _) in _GAINS.items():
        if gain := curves.gain(key).values:
            said.append(f"{what} {gain[-1]:+.2f} dB over bicubic")
    for key, form in _FIGURES.items():
        if key in curves.figures and (values := curves.figures[key].values):
            said.append(form.format(values[-1]))
    return "Held out, now: " + ", ".join(said) + "." if said else ""


class TrainPlots(QWidget):
    """The three plots, one below the other; a box chooses the stage of the loss.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._curves = Curves()
        self.stage = narrow(QComboBox())
        self.stage.setToolTip("Stages minimise different losses: one is shown")
        self.stage.currentIndexChanged.connect(self._show_loss)
        # Horizontal axes count steps; a label on each would take a plot's worth.
        self.axes = QLabel("All curves are over steps.")
        self.loss = CurvePlot(viewer, "loss")
        self.psnr = CurvePlot(viewer, "dB over bicubic")
        self.crps = CurvePlot(viewer, "CRPS")
        self.words = QLabel()
        self.words.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.stage,
            self.loss,
            self.words,
            self.psnr,
            self.crps,
            self.axes,
        ):
            column.addWidget(widget)
        self.show_curves(self._curves)

    def show_curves(self, curves: Curves) -> None:
        """Draw what is there."""
        self._curves = curves
        stages = list(curves.loss)
        if [self.stage.itemText(i) for i in range(self.stage.count())] != stages:
            self.stage.blockSignals(True)
            self.stage.clear()
            self.stage.addItems(stages)
            self.stage.setCurrentIndex(len(stages) - 1)  # the one that is going on
            self.stage.blockSignals(False)
        self.stage.setVisible(len(stages) > 1)
        self._show_loss()
        gains = [
            Line(what, curves.gain(key), colour, dashed=colour == BLUE)
            for key, (what, colour) in _GAINS.items()
        ]
        gains = [line for line in gains if line.curve.steps]
        crps = curves.figures.get("crps", Curve())
        self.psnr.show_lines(gains)
        self.crps.show_lines([Line("CRPS", crps, BLUE)] if crps.steps else [])
        self.psnr.setVisible(bool(gains))
        self.crps.setVisible(bool(crps.steps))
        told = figures_in_words(curves)
        self.words.setText(told or "Figures of what is held out follow after a while.")

    def _show_loss(self, *_: Any) -> None:
        stage = self.stage.currentText()
        curve = self._curves.loss.get(stage, Curve())
        self.loss.show_lines([Line(f"loss: {stage}", curve, BLUE, smooth=True)])

    def release(self) -> None:
        """Disconnect from the viewer."""
        for plot in (self.loss, self.psnr, self.crps):
            plot.release()
