"""Names of the collections of latents that can be normalised; see `core.normalise`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COLLECTIONS", "check_collections"]

COLLECTIONS = ("global", "local", "spatial")
"""All latents; those of one position and level; those of one channel and level."""


def check_collections(kinds: str | Sequence[str]) -> tuple[str, ...]:
    """Names of collections, checked; `OptionError` lists those that there are."""
    listed = isinstance(kinds, Iterable) and not isinstance(kinds, str)
    given: tuple[Any, ...] = tuple(kinds) if listed else (kinds,)
    if not given or any(kind not in COLLECTIONS for kind in given):
        raise OptionError(
            f"The collections to normalise are {kinds!r}; give one or more of "
            f"{', '.join(COLLECTIONS)}, in the order that they are normalised in."
        )
    return given
