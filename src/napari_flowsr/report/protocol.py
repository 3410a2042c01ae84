"""What the report says of how its figures were made."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from napari_flowsr.metrics.sharpness import HALF_NYQUIST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.report.collect import Entry
    from napari_flowsr.report.plan import Plan

__all__ = ["protocol"]

_MADE = (
    "are made by the degradation of each model's card, with its noise if it names any, "
    "in floating point, not rounded."
)
_GIVEN = (
    "were given, and belong to the images by their names. They are scaled by their own "
    "percentiles. LR-PSNR is by the degradation of each model's card, if that has one."
)
_RESCALING = """
<li><b>Rescaling models</b> make the small images themselves: LR-PSNR compares with
these, and the interpolations of the first table enlarge them. The table of images
brought back rounds them to 8 bits (HCFlow, section 4.1).</li>"""
_PRIOR = """
<li><b>Learned prior</b>: one prediction of the latents instead of samples, without a
temperature (Tsao et al., 2024).</li>"""
_COLOUR = {
    frozenset({1}): "Of colour images the luminance is taken.",
    frozenset({3}): "Colour is compared per channel; grey images are replicated.",
    frozenset(
        {1, 3}
    ): "Models of one channel see the luminance of colour images, those "
    "of three are compared per channel.",
}


def protocol(entries: Sequence[Entry], plan: Plan, lpips: str) -> str:
    """Section on how everything was measured."""
    text = files("napari_flowsr.report").joinpath("protocol.html").read_text("utf-8")
    extent = (
        "whole, but for a rest that makes no whole pixel of the small image"
        if plan.side is None
        else f"their central {plan.side} × {plan.side} pixels"
    )
    if plan.limit is not None:
        extent += f"; at most {plan.limit} images, evenly spaced in their order"
    subjects = [entry.subject for entry in entries]
    channels = frozenset(subject.model.flow.channels for subject in subjects)
    rescaling = _RESCALING if any(s.rescales for s in subjects) else ""
    prior = _PRIOR if any(s.has_prior for s in subjects) else ""
    return Template(text).substitute(
        extent=extent,
        colour=_COLOUR[channels],
        small=_GIVEN if plan.lr else _MADE,
        seed=plan.seed,
        half=f"{HALF_NYQUIST:g}",
        sweep=plan.sweep,
        temperatures=", ".join(f"{t:g}" for t in plan.temperatures),
        further=rescaling + prior,
        lpips=escape(lpips),
    )
