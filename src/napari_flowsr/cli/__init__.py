"""Command line: ``napari-flowsr``. It needs neither Qt nor a display."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the console script."""
    from napari_flowsr.cli.app import run

    sys.exit(run())
