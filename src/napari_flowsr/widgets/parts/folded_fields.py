"""Fields that are seldom changed, folded away until one of them has a problem."""

from __future__ import annotations

from collections.abc import Iterable

from superqt import QCollapsible

from napari_flowsr.widgets.parts.fields import Bindings

__all__ = ["FoldedFields"]


class FoldedFields(QCollapsible):
    """A fold "More options" for fields of a session.

    Parameters
    ----------
    bindings : Bindings
        Of the session.
    """

    def __init__(self, bindings: Bindings) -> None:
        super().__init__("More options")
        self.session, self._bindings = bindings.session, bindings
        self._told: set[str] = set()

    def unfold_for(self, problems: Iterable[str]) -> None:
        """Show the fields if one of them has a problem that it did not have before."""
        own = self._bindings.names_in(self).intersection(problems)
        if own - self._told:
            self.expand(animate=False)
        self._told = own
