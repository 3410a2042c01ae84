"""Reading what people assume of a file that does not say it; shared by the families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["assumed_number"]


def assumed_number(assume: Mapping[str, Any], key: str, default: float) -> float:
    """``assume[key]`` as a number, or ``default``.

    Raises
    ------
    OptionError
        It is no number.
    """
    try:
        return float(assume.get(key, default))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{key} was assumed as {assume[key]!r}; give a number, such as {default:g}."
        ) from error
