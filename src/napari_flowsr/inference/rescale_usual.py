"""Rescaling: what is usual, and how records name it. No torch.

See `inference.rescale`.
"""

from __future__ import annotations

__all__ = ["DEFAULT_MODEL", "HOW_TO_GET_ONE", "TOOL"]

DEFAULT_MODEL = "rescale-4x"
HOW_TO_GET_ONE = (
    "The rescaling model that comes with napari-flowsr is not there; install it again. "
    "Or import a published file of HCFlow for rescaling, or one of the family "
    "hcflow-rescale, in the Models dock or with `napari-flowsr models import FILE`"
)
TOOL = "rescale"
"""What made it, in records; upscaled images have no such entry."""
