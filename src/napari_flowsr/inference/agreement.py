"""Whether samples agree with the input well enough, in words for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENOUGH_DB", "disagreement", "worst_agreement"]

ENOUGH_DB = 40.0
"""LR-PSNR below which people are warned: a difference of 1 % of the range."""


def worst_agreement(report: Mapping[str, Any]) -> float | None:
    """LR-PSNR in dB of the sample that agrees least with the input.

    Parameters
    ----------
    report : mapping
        Of a run, see `Posterior.stream`; its ``lr_psnr`` is ``None`` where exact.

    Returns
    -------
    float or None
        Infinite if all are exact; ``None`` if it was not measured, as samples were not
        asked for.
    """
    told = report.get("lr_psnr") or ()
    return min((math.inf if p is None else float(p) for p in told), default=None)


def disagreement(report: Mapping[str, Any]) -> str:
    """Plain words where a sample gives the input back badly, else an empty text.

    Parameters
    ----------
    report : mapping
        Of a run, see `Posterior.stream`.
    """
    worst = worst_agreement(report)
    if worst is None or worst >= ENOUGH_DB:
        return ""
    percent = 100 * 10 ** (-worst / 20)
    return (
        "The samples do not agree well with the input: reduced to its size, they "
        f"differ from it by {percent:.1f} % of its range ({worst:.1f} dB; "
        f"{ENOUGH_DB:.0f} dB or more is to be expected). Trust their detail less than "
        "usual. Perhaps the image is unlike those that the model learned from, has "
        "few grey levels, or the temperature is high."
    )
