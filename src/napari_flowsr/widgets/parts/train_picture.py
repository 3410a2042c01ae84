"""A crop that is measured on: LR, bicubic, temperature 0, a sample, the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QComboBox, QSizePolicy, QVBoxLayout, QWidget

from napari_flowsr.training.events import Picture
from napari_flowsr.widgets.parts.fields import narrow

__all__ = ["Panels", "PictureView"]

LABELS = {
    "lr": "input",
    "bicubic": "bicubic",
    "mode": "prediction",
    "sample": "sample",
    "hr": "truth",
}
_GAP, _WIDEST = 4, 200
_NARROW = 320  # px; below it two beside each other


class Panels(QWidget):
    """Images beside and below each other, each with its name below."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, QImage, bool]] = []
        """Label, image, and whether it is shown in its pixels."""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_picture(self, picture: Picture) -> None:
        """Show one crop."""
        self.images = []
        for name, label in LABELS.items():
            array = getattr(picture, name)
            if array is not None:
                text = label
                if name in ("lr", "hr"):
                    text = f"{label}, {array.shape[-2]} × {array.shape[-1]}"
                self.images.append((text, to_image(array), name == "lr"))
        self._fit()
        self.update()

    # --- layout -------------------------------------------------------------------

    @property
    def columns(self) -> int:
        """Images beside each other."""
        return 2 if self.width() < _NARROW else 3

    @property
    def side(self) -> int:
        """Width of an image in pixels of the screen."""
        return min(_WIDEST, (self.width() + _GAP) // self.columns - _GAP)

    def _cell_height(self) -> int:
        if not self.images:
            return 0
        tallest = max(i.height() / i.width() for _, i, _ in self.images)
        return round(self.side * tallest) + self.fontMetrics().height() + _GAP

    def _fit(self) -> None:
        rows = -(-len(self.images) // self.columns)
        self.setFixedHeight(max(1, rows * self._cell_height()))

    def sizeHint(self) -> QSize:
        return QSize(_NARROW, self.height())

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        text = self.fontMetrics().height()
        for number, (label, image, in_pixels) in enumerate(self.images):
            row, column = divmod(number, self.columns)
            x, y = column * (self.side + _GAP), row * self._cell_height()
            height = self._cell_height() - text - _GAP
            # Interpolated, the pixels of the input would not be seen for what they are.
            painter.setRenderHint(
                QPainter.RenderHint.SmoothPixmapTransform, not in_pixels
            )
            painter.drawImage(QRect(x, y, self.side, height), image)
            place = QRect(x, y + height, self.side, text)
            painter.setPen(self.palette().windowText().color())
            painter.drawText(place, Qt.AlignmentFlag.AlignHCenter, label)
        painter.end()


def to_image(array: npt.NDArray[Any]) -> QImage:
    """``(C, H, W)`` in ``[0, 1]``, of one channel or three, to an image of Qt."""
    rgb = np.nan_to_num(array.astype(np.float32)).clip(0, 1)
    rgb = np.repeat(rgb, 3, 0) if rgb.shape[0] == 1 else rgb[:3]
    levels = (rgb * 255).round().astype(np.uint8)
    pixels = np.ascontiguousarray(levels.transpose(1, 2, 0))
    height, width = pixels.shape[:2]
    image = QImage(
        pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
    )
    return image.copy()  # of memory that is its own


class PictureView(QWidget):
    """The crops of a validation, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = narrow(QComboBox())
        self.choice.setToolTip("Which of the held-out images is shown")
        self.panels = Panels()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.choice)
        column.addWidget(self.panels)
        self._pictures: tuple[Picture, ...] = ()
        self.choice.currentIndexChanged.connect(self._show)
        self.show_pictures(())

    def show_pictures(self, pictures: Sequence[Picture]) -> None:
        """Show the new ones, of the same image as before."""
        self._pictures = tuple(pictures)
        names = [one.name for one in self._pictures]
        if [self.choice.itemText(i) for i in range(self.choice.count())] != names:
            self.choice.blockSignals(True)
            self.choice.clear()
            self.choice.addItems(names)
            self.choice.blockSignals(False)
        self.choice.setVisible(len(names) > 1)
        self.setVisible(bool(names))
        self._show()

    def _show(self, *_: Any) -> None:
        index = self.choice.currentIndex()
        if 0 <= index < len(self._pictures):
            self.panels.show_picture(self._pictures[index])
