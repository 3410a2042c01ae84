"""Whether only what is looked at is computed."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QFormLayout, QWidget

from napari_flowsr.widgets.parts.fields import Bindings
from napari_flowsr.widgets.parts.output_fields import OutputFields

__all__ = ["LazyField"]


class LazyField:
    """A check box that takes the place of samples and kinds of outputs.

    Parameters
    ----------
    rows : QFormLayout
        Where to put it.
    bindings : Bindings
        Of the session.
    output : OutputFields
        Kinds of outputs; the last row is theirs, for the pixel size.
    samples : QWidget
        Number of samples.
    """

    def __init__(
        self,
        rows: QFormLayout,
        bindings: Bindings,
        output: OutputFields,
        samples: QWidget,
    ) -> None:
        self._session, self._output = bindings.session, output
        self._samples = samples
        self.box = QCheckBox("only what is in view")
        self.box.setToolTip(
            "One layer with the first sample, shown at once: tiles are computed as "
            "they come into view, the rest shows the enlarged input until then. For "
            "images of any size; at temperature 0 it is the mode"
        )
        bindings.check_box("lazy", self.box)
        # Before the pixel size, which is wanted in any case.
        rows.insertRow(rows.rowCount() - 1, "", self.box)
        self._session.events.lazy.connect(self._show)
        self._session.events.outputs.connect(self._show)
        self._show()

    def _show(self, *_: Any) -> None:
        lazy = bool(self._session.lazy)
        self._samples.setEnabled(not lazy)
        for box in self._output.kinds.values():
            box.setEnabled(not lazy)
        has_samples = "samples" in self._session.outputs
        self._output.stack.setEnabled(not lazy and has_samples)
