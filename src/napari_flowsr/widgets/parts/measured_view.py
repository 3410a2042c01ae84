"""One result of a measurement: in words, as a plot, and as numbers to take along."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_flowsr.errors import FlowSRError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.widgets._measured import (
    LEVELS,
    Measured,
    Profile,
    Table,
    profile_table,
    region_table,
    table_text,
)
from napari_flowsr.widgets.parts.plot import Plot

__all__ = ["MeasuredView"]


class MeasuredView(QGroupBox):
    """Hidden until there is something to show.

    Parameters
    ----------
    title : str
        Of the box.
    viewer : napari.Viewer
        Whose theme gives the colours; held weakly.
    """

    def __init__(self, title: str, viewer: Any) -> None:
        super().__init__(title)
        self.rows: Table = []
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.plot = Plot(viewer)
        self.copy = QPushButton("Copy numbers")
        self.copy.setToolTip("Tab-separated, as spreadsheets paste it")
        self.save = QPushButton("Save CSV …")
        self.copy.clicked.connect(self.copy_numbers)
        self.save.clicked.connect(self._save_clicked)
        buttons = QHBoxLayout()
        buttons.addWidget(self.copy)
        buttons.addWidget(self.save)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.plot)
        column.addWidget(self.text)
        column.addLayout(buttons)
        self.hide()

    def show_region(self, found: Measured) -> None:
        """Histogram and intervals of a region's measurement."""
        self.rows = region_table(found)
        region = found.region
        self.plot.histogram(found.values, found.bands, found.of_mean, region.label)
        missing = int(np.isnan(found.values).sum())
        lines = [
            f"{level:.0%} of the samples: {low:.4g} to {high:.4g}"
            for level, (low, high) in zip(LEVELS, found.bands, strict=True)
        ]
        lines.append(f"of the mean image (amber line): {found.of_mean:.4g}")
        low, high = found.bands[-1]
        if not low <= found.of_mean <= high:
            lines.append("that is no typical value: the mean is smoother than samples")
        if "px" in region.label:
            lines.append("px are those of the viewer: of a layer whose scale is 1")
        if missing:
            none = f"{missing} of {len(found.values)} samples have no pixel brighter"
            lines = [f"{none} than {region.threshold:g}, and so no {region.label}"]
        above = "" if region.threshold is None else f" above {region.threshold:g}"
        self.text.setText(
            f"<b>{region.label}</b> in '{html.escape(region.name)}'{above}, "
            f"{len(found.values)} samples<br>{'<br>'.join(lines)}"
        )
        self.show()

    def show_profile(self, found: Profile) -> None:
        """Median and bands along a line."""
        self.rows = profile_table(found)
        line = found.line
        self.plot.profile(
            found.distance,
            found.median,
            found.bands,
            (f"distance, {line.unit}", "intensity"),
        )
        self.text.setText(
            f"Median of {len(found.values)} samples along the line in '{line.name}' "
            f"({line.length:.4g} {line.unit}), with the bands that hold 50 % (dark) "
            "and 90 % (light) of them at each point"
        )
        self.show()

    def copy_numbers(self) -> None:
        """Put the numbers into the clipboard."""
        clipboard = QGuiApplication.clipboard()
        clipboard.setText(table_text(self.rows, "\t"))

    def save_numbers(self, path: str) -> None:
        """Write the numbers as CSV.

        Raises
        ------
        ExportError
            It cannot be written.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(table_text(self.rows), encoding="utf-8")

    def _save_clicked(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save numbers", "measurement.csv", "CSV (*.csv)"
        )
        if not path:
            return
        try:
            self.save_numbers(path)
        except FlowSRError as error:
            self.text.setText(str(error))

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.plot.release()
