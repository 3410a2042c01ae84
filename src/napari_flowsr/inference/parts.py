"""One plane of a larger image, computed alone: the same pixels as with the others."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_flowsr.inference.axes import Geometry
from napari_flowsr.inference.intensity import Intensities, Range
from napari_flowsr.inference.source import Source

if TYPE_CHECKING:
    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.inference.options import Options
    from napari_flowsr.models.card import Model

__all__ = ["Survey"]


@dataclass(frozen=True)
class Survey:
    """What was found of a whole image, for computing its planes on other machines.

    Parameters
    ----------
    axes : str
        A letter per axis.
    shape : tuple of int
        Of the image.
    scale : float
        HR pixels per LR pixel.
    ranges, medians : dict
        Of channel and component, as ``"0,0"``; see `inference.intensity.Intensities`.
    filled : int
        Pixels without a value in the whole image.
    largest : float
        As in `Intensities`.
    """

    axes: str
    shape: tuple[int, ...]
    scale: float
    ranges: dict[str, dict[str, Any]]
    medians: dict[str, float]
    filled: int
    largest: float

    @classmethod
    def of(cls, intensities: Intensities) -> Survey:
        """What is known of an image that was read."""
        geometry = intensities.source.geometry
        return cls(
            geometry.axes,
            tuple(geometry.input_shape),
            geometry.scale,
            {f"{c},{s}": asdict(r) for (c, s), r in intensities.ranges.items()},
            {f"{c},{s}": m for (c, s), m in intensities.medians.items()},
            intensities.filled,
            intensities.largest,
        )

    @property
    def geometry(self) -> Geometry:
        """Of the whole image."""
        return Geometry(self.axes, tuple(self.shape), self.scale)

    def plane(
        self, array: Any, number: int, model: Model, options: Options, **bound: Any
    ) -> Posterior:
        """Posterior of one plane of the image.

        Parameters
        ----------
        array : array
            The image; numpy, or lazy and sliced like it.
        number : int
            Of the plane, in C order of the looped axes.
        model : Model
            As for the whole.
        options : Options
            Those of the whole image.
        **bound
            ``temperature`` (a number), ``device`` and ``progress`` of `Posterior`.
        """
        # What is known of an image is kept without torch; computing takes it.
        from napari_flowsr.inference.distribution import Posterior

        whole = self.geometry
        part = array[whole.index(number)]
        axes = "".join(a for a in whole.axes if a in "YXS")
        geometry = Geometry(axes, tuple(int(side) for side in part.shape), self.scale)
        channel = whole.channel(number)

        def own(table: dict[str, Any]) -> dict[tuple[int, int], Any]:
            pairs = ((key.split(","), value) for key, value in table.items())
            return {(0, int(s)): value for (c, s), value in pairs if int(c) == channel}

        ranges = {key: Range(**value) for key, value in own(self.ranges).items()}
        intensities = Intensities(
            Source(part, geometry), ranges, own(self.medians), self.filled, self.largest
        )
        here = replace(options, first_plane=options.first_plane + number)
        bound.setdefault("progress", None)
        return Posterior(model, intensities, options=here, **bound)
