"""The page "Content" of the Edit dock: paste or paint, then harmonise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.widgets._edit_page import EditContext
from napari_flowsr.widgets._geometry import layer_array
from napari_flowsr.widgets._pasting import (
    Job,
    look_of,
    painted,
    pasted,
    plane_of,
    source_on,
)
from napari_flowsr.widgets._viewer import viewer_reference
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.layer_box import LayerBox

__all__ = ["ContentPage"]

PASTE, PAINT = "another image layer", "paint on the target"
MASKED, WHOLE = "inside the mask", "all of the source"
_COLLECTIONS: dict[str, str | tuple[str, ...]] = {
    "local (each position)": "local",
    "spatial (each channel)": "spatial",
    "global": "global",
    "spatial, then local": ("spatial", "local"),
}
_LEVELS = 6  # labels that can be painted with
_ENDS = (0.01, 0.99)  # quantiles of the first and the last of them
_FAR = 1_000_000


def _row(*widgets: QWidget) -> QWidget:
    holder = QWidget()  # two of napari's own width do not fit into 320 pixels
    holder.setStyleSheet("QAbstractSpinBox { min-width: 40px; }")
    row = QHBoxLayout(holder)
    row.setSpacing(2)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return holder


class ContentPage(QWidget):
    """Content of another layer, or painted by hand, made to agree with the LR image.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Held weakly.
    """

    title = "Content"
    changed = Signal()

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self._viewer = viewer_reference(viewer)
        boxes = [narrow(QComboBox()) for _ in range(3)]
        self.way, self.region, self.normalisation = boxes
        self.way.addItems((PASTE, PAINT))
        self.region.addItems((MASKED, WHOLE))
        self.normalisation.addItems(list(_COLLECTIONS))
        self.normalisation.setToolTip(
            "Which latents get the statistics of noise together; 'local' is the "
            "paper's for content"
        )
        self._paste_fields(viewer)
        self._paint_fields(viewer)
        self._rows = rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, widget in (
            *(("Content", self.way), ("Source", self.source)),
            *(("", self.mover), ("Flip", self._flips), ("Offset", self._offsets)),
            *(("Part", self.region), ("", self.match), ("Layer", self.paint)),
            *(("", self.new_paint), ("Intensities", self._levels)),
            ("Normalise", self.normalisation),
        ):
            rows.addRow(label, widget)
        note = QLabel(
            "Fine detail of the content is kept; what the low-resolution image does "
            "not show is not. The paste as it was is shown beside; 'Side by side' "
            "below ends that."
        )
        note.setWordWrap(True)
        column = QVBoxLayout(self)
        column.addLayout(rows)
        column.addWidget(note)
        column.addStretch(1)
        for box in boxes:
            box.currentIndexChanged.connect(self._show_fields)
        for choice in (self.source, self.paint):
            choice.changed.connect(self._show_fields)
        self._show_fields()

    # --- fields -------------------------------------------------------------------

    def _paste_fields(self, viewer: Any) -> None:
        self.source = LayerBox(viewer, (Image,), "choose an Image layer")
        self.source.setToolTip("Its pixels are taken from where it lies now")
        self.mover = QPushButton("Move in the viewer")
        self.mover.setToolTip(
            "Selects the source and turns on its transform mode: move, scale, turn"
        )
        self.mover.clicked.connect(self.start_moving)
        self.upside_down, self.mirrored = QCheckBox("vertically"), QCheckBox("sideways")
        self._flips = _row(self.upside_down, self.mirrored)
        self.rows_off, self.columns_off = QSpinBox(), QSpinBox()
        for box, tip in ((self.rows_off, "down"), (self.columns_off, "to the right")):
            box.setRange(-_FAR, _FAR)
            box.setToolTip(f"Pixels of the target that the source is moved {tip}")
            # As wide as all digits wish, they would make the dock too wide.
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._offsets = _row(self.rows_off, self.columns_off)
        self.match = QCheckBox("match intensities")
        self.match.setChecked(True)
        self.match.setToolTip(
            "Give it the brightness and contrast of what surrounds the place"
        )

    def _paint_fields(self, viewer: Any) -> None:
        self.paint = LayerBox(viewer, (Labels,), "choose a Labels layer")
        self.new_paint = QPushButton("New paint layer")
        self.new_paint.setToolTip("An empty one on the target, in paint mode")
        self.new_paint.clicked.connect(self._new_paint_clicked)
        self.levels = [QDoubleSpinBox() for _ in range(_LEVELS)]
        self._levels = QWidget()
        rows = QFormLayout(self._levels)
        rows.setContentsMargins(0, 0, 0, 0)
        for label, box in enumerate(self.levels, 1):
            box.setRange(-1e12, 1e12)
            box.setDecimals(3)
            box.setToolTip(f"Intensity that label {label} paints with")
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            rows.addRow(f"label {label}", box)
        self._levels_of: Any = None

    def _show_fields(self, *_: Any) -> None:
        pastes = self.way.currentText() == PASTE
        placing = (self.source, self.mover, self._flips, self._offsets)
        for widget in (*placing, self.region, self.match):
            self._rows.setRowVisible(widget, pastes)
        for widget in (self.paint, self.new_paint, self._levels):
            self._rows.setRowVisible(widget, not pastes)
        self.mover.setEnabled(self.source.layer is not None)
        if not pastes:
            self.propose_levels()
        self.changed.emit()

    def propose_levels(self) -> None:
        """Quantiles of the target for the labels, once for each target."""
        target = self.session.target
        if target is None or target is self._levels_of:
            return
        self._levels_of = target
        step = max(1, int(np.prod(layer_array(target).shape[-2:])) // 1_000_000)
        values = np.asarray(layer_array(target)).ravel()[::step]
        found = np.quantile(values.astype(float), np.linspace(*_ENDS, _LEVELS))
        for box, value in zip(self.levels, found, strict=True):
            box.setValue(float(value))

    def intensities(self) -> dict[int, float]:
        """Label to intensity."""
        return {label: box.value() for label, box in enumerate(self.levels, 1)}

    # --- in the viewer ----------------------------------------------------------------

    def start_moving(self, *_: Any) -> None:
        """Select the source and turn on napari's transform mode."""
        viewer, layer = self._viewer(), self.source.layer
        if viewer is not None and layer is not None:
            layer.visible = True
            viewer.layers.selection.active = layer
            layer.mode = "transform"

    def add_paint_layer(self) -> Any:
        """Labels layer on the target whose labels look like their intensities.

        Raises
        ------
        FlowSRError
            There is no target, or it does not fit the LR image.
        """
        viewer, target = self._viewer(), self.session.target
        if viewer is None or target is None:
            raise OptionError("Choose a target first: the image to paint on.")
        pairing = self.session.pairing()
        self.propose_levels()
        layer = viewer.add_labels(
            np.zeros(pairing.grid.shape, np.uint8),
            name=f"paint · {target.name}",
            **pairing.placed(),
        )
        layer.colormap = self._colours(target)
        viewer.layers.selection.active = layer
        layer.selected_label, layer.brush_size = 1, int(self.session.brush_size)
        layer.mode = "paint"
        self.paint.choose(layer)
        return layer

    def _colours(self, target: Any) -> Any:
        from napari.utils import DirectLabelColormap

        low, high = (0, 255) if target.rgb else target.contrast_limits
        colours: dict[int | None, Any] = {None: (1, 0, 1, 1), 0: (0, 0, 0, 0)}
        for label, value in self.intensities().items():
            grey = float(np.clip((value - low) / ((high - low) or 1), 0, 1))
            colours[label] = (grey, grey, grey, 1)
        return DirectLabelColormap(color_dict=colours)

    def _new_paint_clicked(self) -> None:
        from napari.utils.notifications import show_error

        try:
            self.add_paint_layer()
        except FlowSRError as error:
            show_error(str(error))

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.source.release()
        self.paint.release()

    # --- as EditPage says -----------------------------------------------------------

    def problems(self, context: EditContext) -> dict[str, str]:
        if self.session.prior == "learned":
            return {
                "prior": "A learned prior predicts one image; harmonising needs the "
                "Gaussian prior. Choose it under More options."
            }
        if self.way.currentText() == PAINT:
            return self._paint_problems()
        if self.source.layer is None:
            return {"source": "Choose the Image layer whose content is to be pasted."}
        if self.source.layer is context.target:
            return {
                "source": "The source is the target itself. Choose another layer, or "
                "duplicate it and move the copy."
            }
        if self.region.currentText() == MASKED and context.mask is None:
            return {
                "mask": "There is no mask. Press 'New mask' and paint where the "
                f"content is wanted, or choose '{WHOLE}'."
            }
        return {}

    def _paint_problems(self) -> dict[str, str]:
        if self.paint.layer is None:
            return {"paint": "Press 'New paint layer', or choose a Labels layer."}
        if self.paint.layer is self.session.mask:
            return {
                "paint": "The paint layer is also the mask. Choose another one, or "
                "press 'New paint layer'."
            }
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        hr = context.target_array()
        if self.way.currentText() == PAINT:
            edited, mask, name = self._painted(context, hr)
        else:
            edited, mask, name = self._pasted(context, hr)
        job = Job(
            context=context,
            hr=hr,
            edited=edited,
            mask=mask,
            name=name,
            normalisation=_COLLECTIONS[self.normalisation.currentText()],
            seed=int(self.session.seed),
            placed=context.placed(),
            looks=look_of(context.target),
        )
        return job.events

    def _grid(self) -> Any:
        """Pixels of the target; `OptionError` unless Y and X are its last axes."""
        pairing = self.session.pairing()
        axes = pairing.axes.removesuffix("S")
        if not axes.endswith("YX"):
            raise OptionError(
                f"The axes of '{pairing.target.name}' are {axes}; Y and X have to be "
                "the last two for pasting and painting. Move them there with "
                "numpy.moveaxis."
            )
        return pairing.grid

    def _painted(self, context: EditContext, hr: Any) -> tuple[Any, Any, str]:
        layer = self.paint.layer
        self._grid()
        labels, coloured = context.labels_array(layer), bool(context.target.rgb)
        edited, inside = painted(hr, labels, self.intensities(), coloured)
        return edited, inside.astype(np.float32), f"'{layer.name}'"

    def _pasted(self, context: EditContext, hr: Any) -> tuple[Any, Any, str]:
        layer, viewer = self.source.layer, context.viewer
        grid, coloured = self._grid(), bool(context.target.rgb)
        values, covered = source_on(
            grid,
            layer,
            plane_of(layer, None if viewer is None else viewer.dims),
            flip=(self.upside_down.isChecked(), self.mirrored.isChecked()),
            offset=(self.rows_off.value(), self.columns_off.value()),
        )
        shape = hr.shape[:-1] if coloured else hr.shape
        mask = np.broadcast_to(covered, shape).astype(np.float32)
        if self.region.currentText() == MASKED:
            wanted = context.mask_array()
            if wanted is not None:
                mask = mask * wanted
        if not mask.any():
            raise OptionError(
                f"Nothing of '{layer.name}' lies in the mask. Move it there, or paint "
                "the mask where it is."
            )
        match = self.match.isChecked()
        edited = pasted(hr, values, mask > 0, coloured, match=match)
        return edited, mask, f"'{layer.name}'"

    def show(  # type: ignore[override]
        self, event: Any, context: EditContext
    ) -> None:
        """Nothing: what it makes are edits."""
