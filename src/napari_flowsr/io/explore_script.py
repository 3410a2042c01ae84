"""Python text that makes the images of an exploration again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "explore_call"]

KINDS = ("interpolation", "sweep", "levels", "best")
"""Of records that `explore_call` has an expression for."""


def explore_call(facts: Mapping[str, Any]) -> str:
    """Expression that makes the array, from a posterior ``post``.

    Parameters
    ----------
    facts : mapping
        Record of a kind in `KINDS`, made of plain values: ``first``, ``second`` and
        ``t`` (a number or a list); ``temperatures`` and ``sample``; ``factors`` and
        ``sample``; or ``n``, ``by`` and ``sample``, the number of the best. A stack may
        have ``values`` for ``t`` or ``temperatures``.
    """
    kind = facts["kind"]
    if kind == "interpolation":
        first, second = int(facts["first"]), int(facts["second"])
        t = _numbers(facts["t"] if "t" in facts else facts["values"])
        return f"post.interpolate({first}, {second}, {t!r})"
    sample = int(facts["sample"])
    if kind == "sweep":
        taus = facts["temperatures"] if "temperatures" in facts else facts["values"]
        return f"post.sweep({_numbers(taus)!r}, {sample})"
    if kind == "levels":
        return f"post.with_levels({_numbers(facts['factors'])!r}, {sample})"
    n, by = int(facts["n"]), facts["by"]
    if by in ("consistency", "likelihood"):
        return f"post.best_of({n}, {by!r}).image"
    if by == "reference":
        # The reference is another image, but which sample was chosen is known.
        return f"post.sample({max(n, sample + 1)})[{sample}]"
    raise ValueError(f"by is {by!r}")


def _numbers(value: Any) -> Any:
    """A finite number, or a list of them, as a literal shows them; NaN has none."""
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number
