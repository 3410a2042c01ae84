"""The kinds of published files: how their tensors give them away, and their licences.

What is stated about the weights was read in the authors' repositories; where a licence
covers the code and says nothing of the weights, that is what the text says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_flowsr.models.card import NOT_STATED

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Published", "labels", "recognise"]


@dataclass(frozen=True)
class Published:
    """A kind of published file, and how its tensors give it away."""

    kind: str
    """``model`` or ``prior``."""
    family: str
    label: str
    matches: Callable[[list[str]], bool]
    licence: str = NOT_STATED
    temperature: float = 1.0
    remark: str = ""
    """Further sentences of the card's description."""


def _prefix(start: str) -> Callable[[list[str]], bool]:
    return lambda keys: any(key.startswith(start) for key in keys)


def _pattern(expression: str) -> Callable[[list[str]], bool]:
    compiled = re.compile(expression)
    return lambda keys: any(compiled.match(key) for key in keys)


_HCFLOW_LICENCE = (
    "Apache-2.0 (the repository's, whose release has the weights; its authors ask to "
    "heed the non-commercial licence of SRFlow, which it is partly derived from)"
)
_SRFLOW_LICENCE = (
    "CC BY-NC-SA 4.0, academic research only (the repository's; the weights have no "
    "statement of their own)"
)
_SRFLOW_PRIOR_LICENCE = (
    f"{NOT_STATED} (the code beside it carries CC BY-NC-SA 4.0: non-commercial)"
)

# The first match counts.
_PUBLISHED = (
    Published(
        "model",
        "srflow",
        "SRFlow",
        _prefix("flowUpsamplerNet."),
        _SRFLOW_LICENCE,
        temperature=0.9,
    ),
    Published(
        "model",
        "hcflow-rescale",
        "HCFlow rescaling",
        _pattern(r"flow\.layers\.\d+\.haar_weights$"),
        _HCFLOW_LICENCE,
    ),
    Published(
        "model",
        "hcflow",
        "HCFlow",
        _pattern(r"flow\.level\d+_condFlow\."),
        _HCFLOW_LICENCE,
        temperature=0.9,
    ),
    Published(
        "model",
        "linf",
        "LINF",
        _pattern(r"imnet\.last\._weight$"),
        NOT_STATED,
        # The published evaluation at 2x to 4x.
        temperature=0.5,
    ),
    Published(
        "prior",
        "srflow",
        "learned prior of SRFlow-LP",
        _prefix("input_proj0."),
        _SRFLOW_PRIOR_LICENCE,
    ),
    Published(
        "prior",
        "linf",
        "learned prior of LINF-LP",
        # With a UNet, or with the EDSR-like generator.
        lambda keys: (
            _prefix("input_proj.")(keys)
            and (_prefix("outc.")(keys) or _prefix("last_conv.")(keys))
        ),
        NOT_STATED,
    ),
    Published(
        "model",
        "rrdb",
        "RRDB encoder of SRFlow",
        _prefix("RRDB_trunk.0.RDB1.conv1."),
        _SRFLOW_LICENCE,
        temperature=0.0,
        remark=(
            " It has no flow: every sample is the same prediction, and there is no "
            "uncertainty. Networks of ESRGAN have tensors of the same names but are "
            "another function; they give wrong images here."
        ),
    ),
)


def labels() -> tuple[str, ...]:
    """Names of all kinds, for people."""
    return tuple(dict.fromkeys(entry.label for entry in _PUBLISHED))


def recognise(state: Mapping[str, Tensor]) -> Published | None:
    """Which published file these tensors come from, None if from none that is known."""
    keys = list(state)
    return next((known for known in _PUBLISHED if known.matches(keys)), None)
