"""Restoring: what is usual, and how records name it. No torch.

See `inference.restore`.
"""

from __future__ import annotations

__all__ = ["DEFAULT_MODEL", "NORMALISATION", "TOOL"]

DEFAULT_MODEL = "micro-4x"
"""Of the command and the dock: it takes away more noise than micro-2x."""
NORMALISATION = ("spatial", "local")
"""Collections of the default, in the order of the paper."""
TOOL = "restore"
"""What made it, in records."""
