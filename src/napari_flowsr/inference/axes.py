"""Axes of an image: which are Y, X and colour, and what shape the result has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_flowsr.core.sides import hr_side
from napari_flowsr.errors import AxesError, ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Geometry", "parse_axes"]

# Names given to leading axes that the caller did not name, from the last one outwards.
_UNNAMED = "ZTQRPONMLKJIHGFEDBA"
_MOST_COLOURS = 4
_EXAMPLE = (
    "Give one letter per axis, such as 'YX', 'CYX', 'TZCYX' or 'YXS' (S: RGB last)."
)


def parse_axes(axes: str | None, shape: Sequence[int]) -> str:
    """Check an axes string against a shape, or name the axes of an unnamed array.

    Parameters
    ----------
    axes : str or None
        One letter per axis, any case. Y and X are needed; S (RGB or RGBA) must be last;
        C is looped over with intensities normalised per channel; any other letter is
        looped over. Without it the last two axes are Y and X.
    shape : sequence of int
        Of the array.

    Returns
    -------
    str
        Upper case, one letter per axis.

    Raises
    ------
    ImageError
        Fewer than two axes, or an axis of length 0.
    AxesError
        Not a string, or one that does not fit the shape; or the last axis could be
        colour or channels.
    """
    shape = tuple(int(side) for side in shape)
    if len(shape) < 2:
        raise ImageError(
            f"The image has shape {shape}; at least two axes (Y and X) are needed. "
            "Pass a 2-D array."
        )
    if 0 in shape:
        raise ImageError(
            f"The image has shape {shape} and so no pixels. Pass an image in which "
            "every axis has at least length 1."
        )
    if axes is None:
        return _guess(shape)
    if not isinstance(axes, str):
        raise _not_a_string(axes)
    named = axes.upper()
    if len(named) != len(shape):
        raise AxesError(
            f"axes is {axes!r} ({len(named)} letters), but the image has {len(shape)} "
            f"axes, shape {shape}. {_EXAMPLE}"
        )
    _check_letters(named, axes, shape)
    return named


def _not_a_string(axes: object) -> AxesError:
    letters = list(axes) if isinstance(axes, list | tuple) else []
    if letters and all(isinstance(letter, str) for letter in letters):
        remedy = f"Pass axes={''.join(letters)!r}."
    else:
        remedy = _EXAMPLE
    return AxesError(
        f"axes is {axes!r}, of type {type(axes).__name__}; it must be a string. "
        f"{remedy}"
    )


def _guess(shape: tuple[int, ...]) -> str:
    if len(shape) >= 3 and shape[-1] in (3, 4):
        raise AxesError(
            f"The image has shape {shape}, whose last axis of length {shape[-1]} may "
            "be colour or space, and no axes were given. Give axes='...YXS' for RGB or "
            "RGBA, or axes='...YX' for a narrow image (--axes in a shell)."
        )
    leading = len(shape) - 2
    if leading > len(_UNNAMED):
        raise AxesError(
            f"The image has {len(shape)} axes; at most {len(_UNNAMED) + 2} are "
            "supported. Index the others."
        )
    plain = _unnamed(leading) + "YX"
    if leading and shape[-1] < 3 and min(shape[-3:-1]) > _MOST_COLOURS:
        raise AxesError(
            f"The image has shape {shape}, whose last axis of length {shape[-1]} looks "
            "like channels rather than the width of an image, and no axes were given. "
            f"Give axes='{_unnamed(leading - 1)}YXC' for channels (or image[..., 0] "
            f"for the first alone), or axes='{plain}' for planes that are "
            f"{shape[-1]} wide (--axes in a shell)."
        )
    return plain


def _unnamed(count: int) -> str:
    return _UNNAMED[:count][::-1]


def _check_letters(named: str, axes: str, shape: tuple[int, ...]) -> None:
    if not (named.isascii() and named.isalpha()) or len(set(named)) != len(named):
        raise AxesError(
            f"axes is {axes!r}; it must consist of different letters. {_EXAMPLE}"
        )
    missing = [letter for letter in "YX" if letter not in named]
    if missing:
        raise AxesError(
            f"axes is {axes!r}, without {' and '.join(missing)}. {_EXAMPLE}"
        )
    if "S" in named and not named.endswith("S"):
        raise AxesError(
            f"axes is {axes!r}; S (RGB or RGBA) must be the last axis. Move it with "
            "numpy.moveaxis, or call it C if it holds channels."
        )
    if "S" in named and shape[-1] not in (3, 4):
        raise AxesError(
            f"axes is {axes!r}, but the S axis has length {shape[-1]}; RGB has 3 and "
            "RGBA has 4. Call it C if it holds channels."
        )


@dataclass(frozen=True)
class Geometry:
    """How input and output lie to each other.

    Parameters
    ----------
    axes : str
        Upper-case letters, one per axis of the image (samples not counted).
    input_shape : tuple of int
        Shape of the image.
    scale : float
        Of Y and X, as asked for.
    """

    axes: str
    input_shape: tuple[int, ...]
    scale: float

    @property
    def scales(self) -> tuple[float, ...]:
        """HR pixels per LR pixel of each axis: ``scale`` for Y and X, 1 for others.

        At a scale that does not give whole sides it is the ratio of the rounded ones:
        input and output cover the same field of view.
        """
        pairs = zip(self.input_shape, self.output_shape, strict=True)
        return tuple(larger / side for side, larger in pairs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(
            hr_side(side, self.scale) if axis in "YX" else side
            for axis, side in zip(self.axes, self.input_shape, strict=True)
        )

    @property
    def upscaled(self) -> Geometry:
        """Geometry of one sample as an image of its own."""
        return Geometry(self.axes, self.output_shape, 1.0)

    @property
    def lr_size(self) -> tuple[int, int]:
        """``(h, w)``."""
        return self._plane(self.input_shape)

    @property
    def hr_size(self) -> tuple[int, int]:
        """``(H, W)``."""
        return self._plane(self.output_shape)

    def _plane(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return shape[self.axes.index("Y")], shape[self.axes.index("X")]

    @property
    def components(self) -> int:
        """Length of the S axis; 1 without."""
        return self.input_shape[-1] if "S" in self.axes else 1

    @property
    def loop_axes(self) -> tuple[int, ...]:
        """Positions of the axes that are looped over."""
        return tuple(i for i, a in enumerate(self.axes) if a not in "YXS")

    @property
    def loop_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that are looped over."""
        return tuple(self.input_shape[i] for i in self.loop_axes)

    @property
    def planes(self) -> int:
        """Number of 2-D planes; an RGB plane counts once."""
        return math.prod(self.loop_shape)

    def index(
        self, plane: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> tuple[int | slice, ...]:
        """Index of a box of a plane in the array.

        Planes are counted in C order of the loop axes.
        """
        index: list[int | slice] = [slice(None)] * len(self.axes)
        index[self.axes.index("Y")], index[self.axes.index("X")] = rows, columns
        for position in reversed(self.loop_axes):
            plane, index[position] = divmod(plane, self.input_shape[position])
        return tuple(index)

    def channel(self, plane: int) -> int:
        """Position of the plane along C; 0 without."""
        if "C" not in self.axes:
            return 0
        found = self.index(plane)[self.axes.index("C")]
        return found if isinstance(found, int) else 0

    @property
    def transposed(self) -> bool:
        """Whether X comes before Y in the array."""
        return self.axes.index("X") < self.axes.index("Y")
