"""What the Edit dock proposes and tells before anything was chosen."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.QtCore import QObject, QTimer

from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_session import EDIT, EditSession
from napari_flowsr.widgets._layers import PREVIEW

__all__ = ["NO_IMAGE", "Proposing", "hint_of"]

NO_IMAGE = (
    "There is neither an LR image nor a target chosen. Choose the low-resolution image "
    "that this tool works on as 'LR image', or a target that is made from one."
)
_MEASURED = (
    "'{}' has no LR image, so that its own reduction takes the place of one. To "
    "re-sample, one usually chooses a sample of Upscale as target; this image itself "
    "would be the LR image."
)
_DRAWN = ("sample", "mean")  # results that are images, best first


def hint_of(session: EditSession) -> str:
    """What to know of a target that is no result and has no LR image, or nothing."""
    target = session.target
    if target is None or session.image is not None or NAMESPACE in target.metadata:
        return ""
    return _MEASURED.format(target.name)


class Proposing(QObject):
    """Chooses a target for a dock as long as no person did.

    Parameters
    ----------
    dock : EditDock
        Owner; held weakly.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self._dock = weakref.ref(dock)
        self._proposal: weakref.ref[Any] | None = None
        self._came: list[weakref.ref[Any]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look)
        self._insertions = dock.viewer.layers.events.inserted
        self._insertions.connect(self._added)

    def propose(self) -> None:
        """The active image, or the newest result of this plugin."""
        dock = self._dock()
        viewer = None if dock is None else dock.viewer
        if dock is None or viewer is None or dock.session.target is not None:
            return
        active = viewer.layers.selection.active
        images = [x for x in viewer.layers if x._type_string == "image"]
        made = [x for x in images if NAMESPACE in x.metadata]
        self._take(active if active in images else next(reversed(made), None))

    def _take(self, layer: Any) -> None:
        dock = self._dock()
        if layer is not None and dock is not None:
            dock.session.target = layer
            self._proposal = weakref.ref(layer)

    def _added(self, event: Any) -> None:
        layer = event.value
        if layer._type_string == "image" and PREVIEW not in layer.metadata:
            self._came.append(weakref.ref(layer))
            # Later: all layers of a result are there then, and know their source.
            self._timer.start(0)

    def _look(self) -> None:
        """Choose of what came, unless a person chose or the dock made it."""
        came, self._came = self._came, []
        dock = self._dock()
        if dock is None or dock.viewer is None or dock.is_running:
            return
        session, layers = dock.session, dock.viewer.layers
        found: list[Any] = [x() for x in came if x() in layers]
        plain = [x for x in found if NAMESPACE not in x.metadata]
        if session.target is None and session.image is None and plain:
            self._take(plain[0])
            return
        if session.target is None or self._is_mere():
            for kind in _DRAWN:
                if results := [x for x in found if _is_drawn(x, kind)]:
                    self._take(results[0])
                    return

    def _is_mere(self) -> bool:
        """Whether the target is a plain image, proposed and not used yet."""
        dock = self._dock()
        proposal = None if self._proposal is None else self._proposal()
        if dock is None or proposal is None or proposal is not dock.session.target:
            return False
        return NAMESPACE not in proposal.metadata and dock.session.mask is None

    def release(self) -> None:
        """Propose nothing from now on."""
        self._timer.stop()
        self._insertions.disconnect(self._added)


def _is_drawn(layer: Any, kind: str) -> bool:
    record = layer.metadata.get(NAMESPACE, {})
    return bool(record.get("kind") == kind and record.get("tool") != EDIT)
