"""Ends of the names of files that hold latents. No torch."""

from __future__ import annotations

__all__ = ["EDITED", "LATENTS"]

EDITED = ".flowsr"
"""Of an edited image as latents (`io.flowsr_file`)."""
LATENTS = ".latents.safetensors"
"""Of the latents of a small image, which lie beside it (`inference.rescaled`)."""
