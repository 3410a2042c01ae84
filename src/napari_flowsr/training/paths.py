"""Where the files of a training lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["state_path"]


def state_path(output: Path) -> Path:
    """Where the checkpoint of the run that writes ``output`` lies."""
    return output.with_suffix(".training") / "state.pt"
