"""News of the collection of models, for all docks that list it. No Qt."""

from __future__ import annotations

from psygnal import Signal

__all__ = ["changes"]


class _Changes:
    """Emitted in the main thread."""

    models = Signal()
    """A model or learned prior was imported, removed or described anew."""


changes = _Changes()
