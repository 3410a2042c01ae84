"""The page "Doubt" of the Edit dock: how likely the target is, how usual its input."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_page import EditContext, NewLayers
from napari_flowsr.widgets._layers import Output
from napari_flowsr.widgets.parts.explore_forms import spin
from napari_flowsr.widgets.parts.run_bar import WARNING

__all__ = ["DoubtPage"]

_TELLING = 1.0  # bits per dimension: half or twice as likely, in each of them
_COLORMAP = "viridis"  # apart from that of spreads: bright is unlikely, not uncertain
_SAMPLES = 4  # of the model's own that the target is compared with

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Told:
    """Whether the LR image is like those that the model learned from."""

    text: str
    is_outside: bool


@dataclass(frozen=True)
class _Mapped:
    """What the map says, in words."""

    text: str


class DoubtPage(QWidget):
    """A map of bits per dimension, and a word on the LR image.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Not used.
    """

    title = "Doubt"
    changed = Signal()

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        said = QLabel(
            "How likely the model finds each tile of the target, given the LR image; "
            "and whether that image is like those that the model learned from."
        )
        self.tile = spin(8, 1024, 32, "Side of a tile in pixels of the LR image")
        self.compare = QCheckBox("compared with its own samples")
        self.compare.setToolTip(
            f"Take off what {_SAMPLES} samples of the model have in the same tile: "
            "texture costs more bits than smooth regions, also where it is right"
        )
        self.compare.setChecked(True)
        self.usual, self.meaning = QLabel(), QLabel()
        rows = QFormLayout()
        rows.addRow("Tile", self.tile)
        rows.addRow(self.compare)
        column = QVBoxLayout(self)
        column.addWidget(said)
        column.addLayout(rows)
        for label in (said, self.usual, self.meaning):
            label.setWordWrap(True)
        for label in (self.usual, self.meaning):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.hide()
            column.addWidget(label)
        column.addStretch(1)

    # --- as EditPage says ---------------------------------------------------------

    def problems(self, context: EditContext) -> dict[str, str]:
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        hr, tile = context.target_array(), self.tile.value()
        samples = _SAMPLES if self.compare.isChecked() else 0
        name, placed = context.target.name, context.placed()
        self.usual.hide()
        self.meaning.hide()

        def events() -> Iterator[Any]:
            post = context.posterior()
            usual = post.doubt()
            yield _Told(usual.text, usual.is_outside)
            bits = yield from _bits(post, hr, tile)
            if samples:
                bits = bits - (yield from _own(post, tile, samples))
            facts = {"tile": tile, "compared_with": samples}
            record = context.record(post, "bits", **facts, typicality=usual.facts())
            kind = "bits per dimension" + (" over samples" if samples else "")
            options = {
                "name": f"{name} · {kind} · {post.model.card.name}",
                "metadata": {NAMESPACE: record},
                "colormap": _COLORMAP,
                "opacity": 0.6,  # what it is about shows through
                "contrast_limits": _limits(bits, samples),
                "rgb": False,
            }
            layer = Output(bits, options | placed)
            yield _Mapped(_meaning(bits, samples))
            yield NewLayers((layer,), f"Bits per dimension in tiles of {tile} pixels.")

        return events

    def show(  # type: ignore[override]
        self, event: Any, context: EditContext
    ) -> None:
        if isinstance(event, _Told):
            self.usual.setText(event.text)
            self.usual.setStyleSheet(WARNING if event.is_outside else "")
            self.usual.show()
        elif isinstance(event, _Mapped):
            self.meaning.setText(event.text)
            self.meaning.show()


def _bits(post: Any, hr: Any, tile: int) -> Generator[Any, None, Map]:
    """Progress; returns the map."""
    from napari_flowsr.inference.doubt import measuring_bits
    from napari_flowsr.inference.events import Progress

    for event in measuring_bits(post._bound, hr, tile):
        if isinstance(event, Progress):
            yield event
        else:
            return np.asarray(event.array, np.float32)
    raise RuntimeError("The density was not measured.")


def _own(post: Any, tile: int, n: int) -> Generator[Any, None, Map]:
    """Progress; returns the mean map of the model's own samples."""
    from napari_flowsr.inference.events import SampleReady

    total: Any = 0.0
    for event in post.each(n):
        if isinstance(event, SampleReady):
            total = total + (yield from _bits(post, event.array, tile))
    return np.asarray(total / n, np.float32)


def _limits(bits: Map, samples: int) -> tuple[float, float]:
    """Ends of the colours; compared with samples, no less than a bit around 0.

    Otherwise differences that mean nothing would look like the worst ones.
    """
    finite = bits[np.isfinite(bits)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if samples:
        return min(low, -_TELLING), max(high, _TELLING)
    return low, high if high > low else low + 1.0


def _meaning(bits: Map, samples: int) -> str:
    finite = bits[np.isfinite(bits)]
    if not finite.size:
        return "The image is constant: it has no density."
    low, high, middle = finite.min(), finite.max(), np.median(finite)
    span = f"{low:.2f} to {high:.2f}, median {middle:.2f} bits per dimension."
    if samples:
        return (
            f"{span} Around 0 a tile is as likely as what the model draws itself; "
            "bright tiles, far above 0, hold detail that the model would not draw "
            "there: an artefact, an edit that does not fit, or an image unlike those "
            "that it learned from. Far below 0 a tile is smoother than samples are."
        )
    return (
        f"{span} Bright tiles are less likely. Texture always costs more bits than "
        "smooth regions: compare tiles of like content, or images of one model."
    )
