"""How an HR layer lies to the LR image behind it: axes, sizes, places. No Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.sides import hr_side, lr_side
from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._geometry import (
    Box,
    layer_array,
    layer_axes,
    output_geometry,
    resolve_roi,
    whole_box,
)
from napari_flowsr.widgets._masks import Grid, check_units
from napari_flowsr.widgets._stacks import stack_axis

__all__ = ["Pairing"]

Array = npt.NDArray[Any]


def _is_stack(target: Any) -> bool:
    """Whether the first axis counts samples, temperatures or steps between samples.

    ``"t"`` is also what people call time: it is taken for steps only where the layer
    is a strip of the Explore page. A series stays one image of more axes.
    """
    if target.ndim < 3:
        return False
    record = target.metadata.get(NAMESPACE)
    label = str(target.axis_labels[0]).strip().lower()
    if label in ("sample", "tau") or label == stack_axis(target):
        return True
    known = isinstance(record, Mapping) and record.get("kind") == "sample"
    return known and "n" in record and "sample" not in record


@dataclass(frozen=True)
class Pairing:
    """A target and its LR image, which fit each other.

    Parameters
    ----------
    target : napari.layers.Image or None
        HR; ``None`` where only the LR image is looked at.
    image : napari.layers.Image or None
        LR; ``None``: the target is reduced.
    box : Box or None
        Part of the LR image that the target shows.
    drop : int
        Leading axes of the target that the LR image does not have: 0, or 1 for a stack.
    axes : str
        A letter per axis of the LR image and of one image of the target.
    scale : float
        HR pixels per LR pixel.
    """

    target: Any
    image: Any
    box: Box | None
    drop: int
    axes: str
    scale: float

    # --- finding it -------------------------------------------------------------------

    @classmethod
    def of(cls, target: Any, image: Any, scales: Sequence[float], roi: Any) -> Pairing:
        """Pair two layers.

        Raises
        ------
        OptionError
            They do not fit each other at any of the scales.
        """
        if not scales:
            # Of a published file only reading the whole of it tells.
            alone = image is None or target is None
            found = None if alone else cls.ratio(target, image)
            scales = () if found is None else (found,)
        if not scales:
            raise OptionError(
                "The scale of this model is not known before it is loaded. Give the "
                "scale under More options."
            )
        if image is None:
            return cls._alone(target, scales)
        if target is None:
            axes, box = layer_axes(image), resolve_roi(image, _of_script(roi), None)
            return cls(None, image, box, 0, axes, float(scales[0]))
        return cls._both(target, image, scales, roi)

    @classmethod
    def _alone(cls, target: Any, scales: Sequence[float]) -> Pairing:
        drop = int(_is_stack(target))
        axes = layer_axes(target)[drop:]
        shape = layer_array(target).shape[drop:]
        sides = {letter: int(shape[axes.index(letter)]) for letter in "YX"}
        for scale in scales:
            if all(_divides(side, scale) for side in sides.values()):
                return cls(target, None, None, drop, axes, float(scale))
        height, width = sides["Y"], sides["X"]
        cut = [lr_side(side, scales[0]) for side in (height, width)]
        whole = " x ".join(str(hr_side(side, scales[0])) for side in cut)
        raise OptionError(
            f"'{target.name}' has {height} x {width} pixels, not a multiple of the "
            f"scale {scales[0]:g}, so that it cannot be reduced to its LR image. Crop "
            f"it to {whole}, or choose the LR image that it was made from."
        )

    @classmethod
    def _both(
        cls, target: Any, image: Any, scales: Sequence[float], roi: Any
    ) -> Pairing:
        if target is image:
            raise OptionError(
                f"Image and target are both '{target.name}'. The image is the low-"
                "resolution one; choose 'downscale of the target' if there is none."
            )
        drop = int(target.ndim - image.ndim)
        if bool(target.rgb) != bool(image.rgb):
            raise OptionError(
                f"Of '{target.name}' and '{image.name}' one is in colour and the other "
                "is not. Choose the image that the target was made from."
            )
        if drop not in (0, 1):
            raise OptionError(
                f"'{target.name}' has {target.ndim} axes and '{image.name}' "
                f"{image.ndim}; a target has those of the image, or one more in front "
                "for samples. Choose the image that it was made from."
            )
        check_units(target, image)
        axes = layer_axes(image)
        box = _box(target, image, roi)
        shape = tuple(layer_array(target).shape[drop : target.ndim])
        for scale in scales:
            if shape == _enlarged(box.shape, axes, scale):
                return cls(target, image, box, drop, axes, float(scale))
        expected = " or ".join(
            " x ".join(map(str, _enlarged(box.shape, axes, scale))) for scale in scales
        )
        raise OptionError(
            f"'{target.name}' has {' x '.join(map(str, shape))} pixels; an HR image of "
            f"'{image.name}' ({' x '.join(map(str, box.shape))}) has {expected} with "
            "this model. Choose the image that the target was made from, another "
            "model or scale, or 'downscale of the target'."
        )

    @staticmethod
    def ratio(target: Any, image: Any) -> float | None:
        """HR pixels per LR pixel as the sizes tell; of the shown part, if it is one."""
        try:
            box, axes = _box(target, image, "whole"), layer_axes(image)
        except (FlowSRError, AttributeError):
            return None
        shape = tuple(layer_array(target).shape[target.ndim - image.ndim : target.ndim])
        if len(shape) != len(box.shape):
            return None
        pairs = [(shape[axes.index(a)], box.shape[axes.index(a)]) for a in "YX"]
        record = target.metadata.get(NAMESPACE)
        told = record.get("scale") if isinstance(record, Mapping) else None
        for scale in filter(None, (told, *(larger / side for larger, side in pairs))):
            if all(hr_side(side, scale) == larger for larger, side in pairs):
                return float(scale)
        return None

    # --- what follows from it ---------------------------------------------------------

    @property
    def grid(self) -> Grid:
        """HR pixels of one image of the target, or of the image that has none yet."""
        if self.target is not None or self.box is None:
            return Grid.of(self.target, self.drop)
        from napari.layers import Image

        shape = _enlarged(self.box.shape, self.axes, self.scale)
        empty = np.broadcast_to(np.uint8(0), shape)
        options = {"name": self.image.name, "contrast_limits": (0, 1), "rgb": False}
        return Grid.of(Image(empty, **options, **self.placed()))

    def index(self, dims: Any) -> tuple[int, ...]:
        """Which image of a stack is shown; empty where there is one."""
        if not self.drop:
            return ()
        offset = dims.ndim - self.target.ndim if dims is not None else 0
        if dims is None or offset < 0:
            return (0,)
        at = self.target.world_to_data(np.asarray(dims.point, float)[offset:])
        last = layer_array(self.target).shape[0] - 1
        return (int(np.clip(np.round(at[0]), 0, last)),)

    def placed(
        self, leading: Sequence[str] = (), *, on_lr: bool = False
    ) -> dict[str, Any]:
        """Keywords of `add_image` for an array on the HR grid, or the LR grid."""
        image, box = self.image, self.box
        if image is not None and box is not None and (on_lr or self.target is None):
            scale = 1.0 if on_lr else self.scale
            shape = _enlarged(box.shape, self.axes, scale)
            placed = output_geometry(image, box, shape)
        else:
            box = whole_box(self.target)
            sides = list(map(float, box.shape))
            if on_lr:
                for axis in ("Y", "X"):
                    at = self.drop + self.axes.index(axis)
                    sides[at] = lr_side(int(sides[at]), self.scale)
            placed = _without(output_geometry(self.target, box, sides), self.drop)
        return _with(placed, tuple(leading))


def _divides(side: int, scale: float) -> bool:
    small = lr_side(side, scale)
    return small > 0 and hr_side(small, scale) == side


def _enlarged(shape: Sequence[int], axes: str, scale: float) -> tuple[int, ...]:
    return tuple(
        hr_side(n, scale) if letter in "YX" else int(n)
        for n, letter in zip(shape, axes, strict=False)
    )


def _of_script(roi: Any) -> Any:
    """A region in numbers; other ones are of no matter here."""
    return roi if isinstance(roi, tuple) else "whole"


def _box(target: Any, image: Any, roi: Any) -> Box:
    """Part of the image that the target shows: as its record tells, or all."""
    if isinstance(roi, tuple):
        return resolve_roi(image, roi, None)
    record = target.metadata.get(NAMESPACE)
    told = record.get("roi") if isinstance(record, Mapping) else None
    whole = whole_box(image)
    if told and len(told) == image.ndim:
        start, stop = zip(*told, strict=True)
        if all(b <= n for b, n in zip(stop, whole.stop, strict=True)):
            return Box(tuple(map(int, start)), tuple(map(int, stop)))
    return whole


def _without(placed: dict[str, Any], drop: int) -> dict[str, Any]:
    """Geometry without the first axes."""
    out = {name: placed[name][drop:] for name in ("scale", "translate")}
    out |= {name: placed[name][drop:] for name in ("units", "axis_labels")}
    for name in ("rotate", "shear", "affine"):
        out[name] = placed[name][drop:, drop:]
    return out


def _with(placed: dict[str, Any], leading: tuple[str, ...]) -> dict[str, Any]:
    """Geometry with further axes in front."""
    n, extra = len(placed["scale"]), len(leading)
    if not extra:
        return placed
    out = {
        "scale": np.concatenate([np.ones(extra), placed["scale"]]),
        "translate": np.concatenate([np.zeros(extra), placed["translate"]]),
        "units": ("pixel",) * extra + tuple(placed["units"]),
        "axis_labels": leading + tuple(placed["axis_labels"]),
    }
    for name in ("rotate", "shear", "affine"):
        side = n + (name == "affine")
        matrix = np.eye(side + extra)
        matrix[extra:, extra:] = placed[name]
        out[name] = matrix
    return out
