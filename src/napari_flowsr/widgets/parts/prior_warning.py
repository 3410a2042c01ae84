"""What is to be known of the chosen learned prior before it is used."""

from __future__ import annotations

from pathlib import Path

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QLabel

from napari_flowsr.errors import FlowSRError
from napari_flowsr.io.catalogue import licence_notice
from napari_flowsr.io.prior_files import find_prior, prior_header
from napari_flowsr.models.card import is_stated
from napari_flowsr.widgets._models import changes
from napari_flowsr.widgets._session import Session
from napari_flowsr.widgets.parts.model_card import warning_html

__all__ = ["PriorWarning"]


class PriorWarning(QLabel):
    """Warning for a learned prior without a licence; hidden for others.

    Parameters
    ----------
    session : Session
        Held for its fields ``prior`` and ``prior_model``.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.session = session
        self.texts: tuple[str, ...] = ()
        session.events.prior.connect(self._show)
        session.events.prior_model.connect(self._show)
        # Held weakly. The licence may have been stated since.
        changes.models.connect(self._show)
        self._show()

    def _show(self, *_: object) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]
            chosen = self.session.prior_model
            learned = self.session.prior == "learned"
            self.texts = () if chosen is None or not learned else _notices(chosen)
            self.setText(warning_html(self.texts))
            self.setVisible(bool(self.texts))
            self._keep_whole()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Stay as high as the text needs at the new width."""
        super().resizeEvent(event)
        self._keep_whole()

    def _keep_whole(self) -> None:
        # A form layout asks for the height at another width, and cuts the last line.
        self.setMinimumHeight(max(0, self.heightForWidth(self.width())))


def _notices(prior: str | Path) -> tuple[str, ...]:
    """Of an imported prior; of a published file only reading the whole tells."""
    try:
        path = find_prior(prior)
    except FlowSRError:
        return ()  # the session names the problem
    licence = prior_header(path).get("licence")
    if licence is None or is_stated(licence):
        return ()
    return (licence_notice(path.stem),)
