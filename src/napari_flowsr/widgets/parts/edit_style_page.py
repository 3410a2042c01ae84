"""The page "Style" of the Edit dock: the fine detail of another image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_flowsr.io.edit_record import edit_step
from napari_flowsr.io.provenance import image_hash
from napari_flowsr.widgets._edit_page import EditContext, Edited
from napari_flowsr.widgets._pasting import plane_of
from napari_flowsr.widgets.parts.fields import narrow
from napari_flowsr.widgets.parts.layer_box import LayerBox

__all__ = ["StylePage"]

MASKED, WHOLE = "inside the mask", "the whole image"


class StylePage(QWidget):
    """Latents of another high-resolution image, decoded given this LR image.

    Parameters
    ----------
    session : EditSession
        Of the dock.
    viewer : napari.Viewer
        Held weakly.
    """

    title = "Style"
    changed = Signal()

    def __init__(self, session: Any, viewer: Any) -> None:
        super().__init__()
        self.session = session
        self.source = LayerBox(viewer, (Image,), "choose an Image layer")
        self.source.setToolTip(
            "High-resolution image whose texture is taken over, pixel by pixel from "
            "its centre; a smaller one goes on mirrored"
        )
        self.where = narrow(QComboBox())
        self.where.addItems((MASKED, WHOLE))
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Source", self.source)
        rows.addRow("Applies to", self.where)
        note = QLabel(
            "Brightness and shapes stay those of the low-resolution image; fine detail "
            "is that of the source."
        )
        note.setWordWrap(True)
        column = QVBoxLayout(self)
        column.addLayout(rows)
        column.addWidget(note)
        column.addStretch(1)
        self.source.changed.connect(self.changed.emit)
        self.where.currentIndexChanged.connect(lambda *_: self.changed.emit())

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.source.release()

    # --- as EditPage says -----------------------------------------------------------

    def problems(self, context: EditContext) -> dict[str, str]:
        layer = self.source.layer
        if layer is None:
            return {"source": "Choose the Image layer whose fine detail is wanted."}
        if layer is context.target:
            return {"source": "The source is the target itself. Choose another layer."}
        if layer.rgb and context.target is not None and not context.target.rgb:
            return {
                "source": f"'{layer.name}' is in colour and the target is not. Choose "
                "a source of one channel."
            }
        if self.where.currentText() == MASKED and context.mask is None:
            return {
                "mask": "There is no mask. Press 'New mask' and paint where the style "
                f"is wanted, or choose '{WHOLE}'."
            }
        return {}

    def prepare(self, context: EditContext) -> Callable[[], Iterable[Any]]:
        layer, viewer = self.source.layer, context.viewer
        source = plane_of(layer, None if viewer is None else viewer.dims)
        whole = self.where.currentText() == WHOLE
        hr, mask = context.target_array(), None if whole else context.mask_array()
        name = layer.name

        def events() -> Iterator[Any]:
            from napari_flowsr.inference.events import Progress
            from napari_flowsr.inference.styling import styling

            post = context.posterior()
            for event in styling(post, source, mask=mask, hr=None if whole else hr):
                if isinstance(event, Progress):
                    yield event
                    continue
                facts = edit_step(
                    "style",
                    mask=mask,
                    style=name,
                    style_sha256=image_hash(source),
                    report=dict(event.report),
                )
                yield Edited(event.array, f"style of '{name}'", facts)

        return events

    def show(  # type: ignore[override]
        self, event: Any, context: EditContext
    ) -> None:
        """Nothing: what it makes are edits."""
