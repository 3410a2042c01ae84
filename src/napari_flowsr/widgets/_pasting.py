"""What the pages "Content" and "Style" read of layers, and what they compute. No Qt.

A source lies where it is seen: its pixels come to the target's grid through world
coordinates, so that napari's own transform mode moves, scales and turns it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.errors import FlowSRError, OptionError
from napari_flowsr.inference.intensity import cast
from napari_flowsr.inference.paste import matched
from napari_flowsr.io.edit_record import edit_step
from napari_flowsr.io.provenance import NAMESPACE
from napari_flowsr.widgets._edit_page import EditContext, Edited
from napari_flowsr.widgets._geometry import layer_array, layer_axes
from napari_flowsr.widgets._layers import Output
from napari_flowsr.widgets._masks import Grid

if TYPE_CHECKING:
    from napari_flowsr.inference.distribution import Posterior

__all__ = ["Job", "look_of", "painted", "pasted", "plane_of", "source_on"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
_OUTSIDE = 1e-6  # rounding at the border of the source


def _plane_axes(layer: Any) -> None:
    axes = layer_axes(layer)[: layer.ndim]
    if not axes.endswith("YX"):
        raise OptionError(
            f"The axes of '{layer.name}' are {axes}; Y and X have to be the last two "
            "for pasting. Move them there with numpy.moveaxis."
        )


def plane_of(layer: Any, dims: Any) -> Array:
    """Pixels ``(Y, X)``, or with colour, of a layer at the viewer's position."""
    _plane_axes(layer)
    array, lead = layer_array(layer), layer.ndim - 2
    if not lead:
        return np.asarray(array)
    index = [0] * lead
    offset = 0 if dims is None else dims.ndim - layer.ndim
    if dims is not None and offset >= 0:
        at = layer.world_to_data(np.asarray(dims.point, float)[offset:])
        last = np.asarray(array.shape[:lead]) - 1
        index = np.clip(np.round(at[:lead]), 0, last).astype(int).tolist()
    return np.asarray(array[tuple(index)])


def source_on(
    grid: Grid,
    layer: Any,
    pixels: Array,
    *,
    flip: tuple[bool, bool] = (False, False),
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[npt.NDArray[np.float64], Mask]:
    """Pixels of a layer on the Y and X of a grid, linearly, antialiased.

    Parameters
    ----------
    grid : Grid
        Wanted.
    layer : napari.layers.Image
        Tells where they lie.
    pixels : ndarray
        Of `plane_of`.
    flip : tuple of bool
        Upside down, left to right, in place.
    offset : tuple of float
        Rows and columns of the grid by which it is moved.

    Returns
    -------
    values : ndarray
        ``(Y, X)``, or with colour.
    covered : ndarray of bool
        ``(Y, X)``: where the layer reaches.

    Raises
    ------
    OptionError
        It does not reach the grid, or cannot be matched to it.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    own, wanted = (g.without(g.ndim - 2) for g in (Grid.of(layer), grid))
    matrix = wanted.to(own)
    # Steps in the source from one pixel of the grid to the next: 1 if as fine.
    steps = np.hypot(matrix[:2, 0], matrix[:2, 1])
    sigma = np.maximum(0.0, (steps - 1) / 2)
    rows, columns = np.indices(wanted.shape, dtype=float)
    at = np.stack([rows - offset[0], columns - offset[1]])
    places = np.tensordot(matrix[:2, :2], at, 1) + matrix[:2, 2][:, None, None]
    size = np.asarray(pixels.shape[:2], float)[:, None, None]
    covered = np.all((places > -0.5 - _OUTSIDE) & (places < size - 0.5), axis=0)
    if not covered.any():
        raise OptionError(
            f"'{layer.name}' does not cover any pixel of '{grid.name}' where it lies "
            "now. Move it onto the image (its transform mode, or the offset)."
        )
    upside = np.asarray(flip)[:, None, None]
    places = np.where(upside, size - 1 - places, places)
    parts = [pixels] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    values = [
        map_coordinates(
            gaussian_filter(part.astype(float), sigma), places, order=1, mode="nearest"
        )
        for part in parts
    ]
    return values[0] if pixels.ndim == 2 else np.stack(values, -1), covered


def pasted(
    hr: Array, values: Array, inside: Mask, coloured: bool, *, match: bool
) -> Array:
    """Copy of an image ``(..., Y, X[, S])`` with values where a mask says.

    Parameters
    ----------
    hr : ndarray
        Of any looped axes.
    values : ndarray
        ``(Y, X)``, or with colour.
    inside : ndarray of bool
        ``(..., Y, X)``.
    coloured : bool
        Whether the last axis of ``hr`` is colour.
    match : bool
        Give them the brightness and contrast of the surroundings.
    """
    out, whole = hr.copy(), (slice(None), slice(None))
    if not coloured and values.ndim == 3:
        values = values[..., :3].mean(-1)
    if coloured and values.ndim == 2:
        values = np.repeat(values[..., None], hr.shape[-1], -1)
    if coloured and values.shape[-1] != hr.shape[-1]:
        values = values[..., : min(3, hr.shape[-1])]
    for index in np.ndindex(*inside.shape[:-2]):
        plane, here = out[index], inside[index]
        if not here.any():
            continue
        some = plane[..., : values.shape[-1]] if coloured else plane
        new = matched(values, some, here, whole) if match else values
        some[here] = cast(np.asarray(new, np.float64)[here], hr.dtype)
    return out


def painted(
    hr: Array, labels: Array, levels: Mapping[int, float], coloured: bool
) -> tuple[Array, Mask]:
    """Copy of an image with an intensity for each painted label, and where they are.

    Raises
    ------
    OptionError
        Nothing is painted, or with a label that has no intensity.
    """
    used = [int(v) for v in np.unique(labels) if v != 0]
    if not used:
        raise OptionError("Nothing is painted. Paint on the paint layer first.")
    if missing := [v for v in used if v not in levels]:
        raise OptionError(
            f"Label {missing[0]} has no intensity; those that have are 1 to "
            f"{max(levels)}. Paint with one of these."
        )
    values = np.zeros(labels.shape)
    for label in used:
        values[labels == label] = levels[label]
    inside = labels != 0
    out = hr.copy()
    view = out[..., :3] if coloured else out
    new = cast(values, hr.dtype)[inside]
    view[inside] = new[:, None] if coloured else new
    return out, inside


def look_of(target: Any) -> dict[str, Any]:
    """Colours of a layer, as keywords of `add_image`."""
    if target.rgb:
        return {"rgb": True}
    return {
        "rgb": False,
        "colormap": target.colormap,
        "contrast_limits": tuple(target.contrast_limits),
        "gamma": target.gamma,
    }


def _decibel(post: Posterior, hr: Array) -> float | None:
    try:
        return post.consistency(hr)[0]
    except FlowSRError:  # not to be told in single precision; the edit itself is
        return None


def _temperature(post: Posterior) -> float | None:
    """That of the run, if it is one number."""
    values = post._bound.temperature.values
    return values if isinstance(values, float) else None


@dataclass(frozen=True)
class Job:
    """Content to harmonise, read in the main thread; run in the worker's.

    Parameters
    ----------
    context : EditContext
        Of the run.
    hr, edited : ndarray
        The target, and the same with the content.
    mask : ndarray
        Looped axes, Y and X: 0 (keep) to 1.
    name : str
        Of the content, in words.
    normalisation : str or tuple of str
        Of `inference.transfer.transfer_content`.
    seed : int
        Of the new statistics.
    placed, looks : dict
        Keywords of `add_image` for the paste.
    """

    context: EditContext
    hr: Array
    edited: Array
    mask: Array
    name: str
    normalisation: str | tuple[str, ...]
    seed: int
    placed: dict[str, Any]
    looks: dict[str, Any]

    def events(self) -> Iterator[Any]:
        """Progress, and the edit."""
        from napari_flowsr.inference.events import Progress
        from napari_flowsr.inference.transfer import transferring

        post = self.context.posterior()
        for event in transferring(
            post,
            self.hr,
            self.edited,
            self.mask,
            normalisation=self.normalisation,
            seed=self.seed,
        ):
            if isinstance(event, Progress):
                yield event
            else:
                yield self._finished(post, event)

    def _finished(self, post: Posterior, event: Any) -> Edited:
        before, after = (_decibel(post, a) for a in (self.edited, event.array))
        label = f"content of {self.name} harmonised"
        if before is not None and after is not None:
            label += f", agreement with the LR image {before:.1f} → {after:.1f} dB"
        kinds = self.normalisation
        facts = edit_step(
            "transfer",
            mask=self.mask,
            **self._pixels(),
            seed=self.seed,
            temperature=_temperature(post),
            collections=[kinds] if isinstance(kinds, str) else list(kinds),
            content=self.name,
            lr_psnr_before=before,
            lr_psnr=after,
            report=dict(event.report),
        )
        return Edited(event.array, label, facts, (self._beside(post),))

    def _pixels(self) -> dict[str, Any]:
        """What was pasted, and the box that it is in."""
        found = np.nonzero(self.edited != self.hr)
        if not len(found[0]):
            return {}
        box = [slice(int(a.min()), int(a.max()) + 1) for a in found]
        return {"pixels": self.edited[tuple(box)], "box": box}

    def _beside(self, post: Posterior) -> Output:
        """The paste as it was, not harmonised."""
        record = self.context.record(post, "pasted", content=self.name)
        options = {
            "name": f"{self.context.target.name} · pasted",
            "metadata": {NAMESPACE: copy.deepcopy(record)},
            "visible": False,
            **self.placed,
            **self.looks,
        }
        return Output(self.edited, options)
