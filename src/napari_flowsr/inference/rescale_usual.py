"""Rescaling: what is usual, and how records name it. No torch.

See `inference.rescale`.
"""

from __future__ import annotations

__all__ = ["DEFAULT_MODEL", "HOW_TO_GET_ONE", "TOOL"]

DEFAULT_MODEL = "rescale-4x"
HOW_TO_GET_ONE = (
    "No rescaling model comes with napari-flowsr. Import a published file of HCFlow "
    "for rescaling, or one of the family hcflow-rescale, in the Models dock or with "
    "`napari-flowsr models import FILE --name rescale-4x`"
)
TOOL = "rescale"
"""What made it, in records; upscaled images have no such entry."""
