"""What all edits of an image have to have in common, so that a script repeats them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COMMON", "differing"]

COMMON = {
    "source_sha256": "low-resolution image",
    "lr": "low-resolution image",
    "roi": "region of the low-resolution image",
    "model_sha256": "model",
    "prior": "prior",
    "prior_sha256": "learned prior",
    "scale": "scale",
    "axes": "order of axes",
    "noise": "noise level",
    "consistent": "agreement with the low-resolution image",
    "nan": "treatment of missing pixels",
    "precision": "precision",
}
"""Entries of records that tell of the posterior of edits, and how to call them."""
_UNTOLD = {"precision": "float32"}
"""What records without an entry were made with."""


def differing(facts: Mapping[str, Any], edit: Mapping[str, Any]) -> str:
    """Why one posterior cannot make an edit as well; empty if it can.

    Parameters
    ----------
    facts : mapping
        The record of the image.
    edit : mapping
        Its entry, which tells what is otherwise than in the record.
    """
    for name, what in COMMON.items():
        if name in edit and edit[name] != facts.get(name, _UNTOLD.get(name)):
            return f"it was made with another {what} than the record tells"
    return ""
