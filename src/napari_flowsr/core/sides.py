"""Sides of images at a scale. Whole numbers only, hence without torch."""

from __future__ import annotations

__all__ = ["hr_side", "lr_side"]


def hr_side(side: int, scale: float) -> int:
    """HR pixels that ``side`` LR pixels become: the nearest whole number."""
    return round(side * scale)


def lr_side(side: int, scale: float, multiple: int = 1) -> int:
    """Most LR pixels, a multiple of ``multiple``, within ``side`` HR pixels."""
    found = round(side / scale) + 1
    while hr_side(found, scale) > side:
        found -= 1
    return found // multiple * multiple
