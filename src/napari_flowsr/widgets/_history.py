"""Undo and redo of edits of an image: only what changed is kept. No Qt.

A `Change` is the box of pixels that an edit changed, before and after; a `History` is
the line of changes, with a place in it. A layer's own data are not held here: who owns
them writes what `History.undo` and `History.redo` return into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_flowsr.errors import OptionError, SizeError

__all__ = ["LIMIT_BYTES", "Change", "History"]

Array = npt.NDArray[Any]

LIMIT_BYTES = 2**30
"""Memory that a history takes unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Change:
    """One edit: the pixels of a box, before and after.

    Parameters
    ----------
    box : tuple of slice
        Per axis of the image.
    before, after : ndarray
        Pixels of the box; copies, as `between` makes them.
    label : str
        What was done, in a few words, for a menu or a button.
    extra : object
        Whatever belongs to the edit, such as the state of a mask; not looked into, but
        counted if it has ``nbytes``.
    record_before, record_after : mapping or None
        The layer's record (``metadata["napari-flowsr"]``), before and after.
    """

    box: tuple[slice, ...]
    before: Array
    after: Array
    label: str = "edit"
    extra: Any = None
    record_before: Mapping[str, Any] | None = field(default=None, repr=False)
    record_after: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def between(
        cls, before: Any, after: Any, label: str = "edit", **more: Any
    ) -> Change | None:
        """Change from one image to another; None where no pixel differs.

        Parameters
        ----------
        before, after : array-like
            The whole image, of one shape and data type.
        label : str
            As of the class.
        **more
            ``extra``, ``record_before``, ``record_after``.

        Raises
        ------
        SizeError
            The two images differ in shape or data type.
        """
        before, after = np.asarray(before), np.asarray(after)
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise SizeError(
                f"The image was {before.shape} {before.dtype} before the edit and is "
                f"{after.shape} {after.dtype} after it; an edit keeps both. Convert "
                "what the edit gave to the shape and data type of the image."
            )
        box = _changed_box(before, after)
        if box is None:
            return None
        return cls(box, before[box].copy(), after[box].copy(), label, **more)

    @property
    def nbytes(self) -> int:
        """Memory of the pixels, and of ``extra`` as far as it tells."""
        other = getattr(self.extra, "nbytes", 0)
        return self.before.nbytes + self.after.nbytes + int(other)

    def undo_in(self, image: Array) -> None:
        """Write what was there before into ``image``."""
        self._write(image, self.before)

    def redo_in(self, image: Array) -> None:
        """Write what the edit made into ``image``."""
        self._write(image, self.after)

    def _write(self, image: Array, pixels: Array) -> None:
        if image[self.box].shape != pixels.shape or image.dtype != pixels.dtype:
            raise SizeError(
                f"The image is {image.shape} {image.dtype}; the edit '{self.label}' "
                f"is of {pixels.shape} {pixels.dtype} at {_where(self.box)}. It "
                "belongs to another image, or this one was replaced meanwhile."
            )
        image[self.box] = pixels


class History:
    """Edits of one image in order, and how many of them are in force.

    Parameters
    ----------
    limit_bytes : int
        Memory for all edits. Beyond it the oldest go; the newest stays, however
        large it is, so that the last edit can always be undone.

    Attributes
    ----------
    forgotten : int
        How many edits went because memory was full.
    changed : psygnal.Signal
        Emitted after every change, so that buttons can follow.
    dropped : psygnal.Signal
        Emitted with the number of edits that can no longer be undone.
    """

    changed = Signal()
    dropped = Signal(int)

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        if limit_bytes < 1:
            raise OptionError(
                f"limit_bytes is {limit_bytes}; it is the memory for edits, at least 1."
            )
        self.limit_bytes = int(limit_bytes)
        self.forgotten = 0
        self._changes: list[Change] = []
        self._done = 0  # how many of them are in force

    # --- what there is ------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def can_undo(self) -> bool:
        """Whether an edit is in force."""
        return self._done > 0

    @property
    def can_redo(self) -> bool:
        """Whether an edit was undone, and no other made since."""
        return self._done < len(self._changes)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the edits in force, the oldest first; `undo` takes the last."""
        return tuple(change.label for change in self._changes[: self._done])

    @property
    def undone_labels(self) -> tuple[str, ...]:
        """Labels of the edits that were undone; `redo` takes the first."""
        return tuple(change.label for change in self._changes[self._done :])

    @property
    def last(self) -> Change | None:
        """The edit that `undo` takes back; None if there is none."""
        return self._changes[self._done - 1] if self.can_undo else None

    @property
    def next(self) -> Change | None:
        """The edit that `redo` makes again; None if there is none."""
        return self._changes[self._done] if self.can_redo else None

    @property
    def undone(self) -> tuple[Change, ...]:
        """The edits that were undone; `redo` takes the first."""
        return tuple(self._changes[self._done :])

    @property
    def nbytes(self) -> int:
        """Memory of all edits."""
        return sum(change.nbytes for change in self._changes)

    def told(self) -> str:
        """What to tell of edits that went; empty if all are there."""
        if not self.forgotten:
            return ""
        went = "edit was" if self.forgotten == 1 else f"{self.forgotten} edits were"
        oldest = "The oldest" if self.forgotten > 1 else "The first"
        return (
            f"{oldest} {went} dropped from the history, which holds "
            f"{self.limit_bytes / 2**20:,.0f} MiB: they cannot be undone."
        )

    # --- what is done ---------------------------------------------------------------

    def push(self, change: Change) -> None:
        """Add an edit that was just made; edits that were undone are gone."""
        del self._changes[self._done :]
        self._changes.append(change)
        self._done = len(self._changes)
        went, held = 0, self.nbytes
        while held > self.limit_bytes and went < len(self._changes) - 1:
            held -= self._changes[went].nbytes
            went += 1
        if went:
            del self._changes[:went]
            self._done -= went
            self.forgotten += went
            self.dropped.emit(went)
        self.changed.emit()

    def undo(self) -> Change | None:
        """Take back the last edit in force; its ``before`` is to be shown.

        Returns None if there is none.
        """
        if not self.can_undo:
            return None
        self._done -= 1
        change = self._changes[self._done]
        self.changed.emit()
        return change

    def redo(self) -> Change | None:
        """Make the edit again that was undone last; its ``after`` is to be shown.

        Returns None if there is none.
        """
        if not self.can_redo:
            return None
        change = self._changes[self._done]
        self._done += 1
        self.changed.emit()
        return change

    def clear(self) -> None:
        """Forget all edits, as for another image."""
        self._changes.clear()
        self._done = self.forgotten = 0
        self.changed.emit()


def _changed_box(before: Array, after: Array) -> tuple[slice, ...] | None:
    """Smallest box that holds all pixels which differ; NaN equals NaN."""
    differs = before != after
    if before.dtype.kind in "fc":
        differs &= ~(np.isnan(before) & np.isnan(after))
    box = []
    for axis in range(differs.ndim):
        others = tuple(a for a in range(differs.ndim) if a != axis)
        (along,) = np.nonzero(differs.any(axis=others))
        if not len(along):
            return None
        box.append(slice(int(along[0]), int(along[-1]) + 1))
    return tuple(box)


def _where(box: tuple[slice, ...]) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in box) + "]"
