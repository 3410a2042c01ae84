"""From a run's result to layers: data, names, geometry, colours, metadata.

No Qt, no viewer of its own: functions take a layer list and layers, so that they are
tested with a bare viewer model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.inference.events import Result
from napari_flowsr.inference.store import new_array
from napari_flowsr.io.provenance import NAMESPACE, image_hash
from napari_flowsr.widgets._geometry import (
    Box,
    layer_array,
    layer_axes,
    output_geometry,
)
from napari_flowsr.widgets._pyramid import pyramid

__all__ = ["PREVIEW", "UPSCALE", "Output", "Source", "add_outputs", "detached"]
__all__ += ["look", "make_output", "make_outputs", "own_layers", "spread_top"]

UPSCALE = "upscale"
"""What made a layer whose record names no tool."""
PREVIEW = "napari-flowsr-preview"
"""Key in the metadata of a layer that is shown only while the rest is computed."""

_IDENTITY = "napari-flowsr-layer"  # whose output this layer is, in this viewer
_QUANTILES = (0.05, 0.95)
_COPIED = 1 << 28  # bytes of an image that is copied before a run
_EXACT = 1 << 24  # values beyond which every k-th one stands for all
_BRIGHTEST = 0.995  # of the values of a spread lie below the end of its colours
_TITLES = {
    "sample": "samples",
    "mean": "mean",
    "std": "uncertainty (std)",
    "quantile-range": "5–95 % range",
}


@dataclass(frozen=True)
class Source:
    """What a run needs of the input layer, read in the main thread.

    Parameters
    ----------
    layer : napari.layers.Image
        The input; only its attributes are read later.
    box : Box
        The region.
    axes : str
        A letter per data axis.
    name : str
        Of the layer when the run began; it may be renamed meanwhile.
    data : array
        Of the layer when the run began; it may get another meanwhile.
    """

    layer: Any
    box: Box
    axes: str
    name: str
    data: Any = field(compare=False, repr=False)
    _given: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, layer: Any, box: Box) -> Source:
        """Bind a layer and a region."""
        array = layer_array(layer)
        return cls(layer, box, layer_axes(layer), layer.name, array, array)

    def held(self) -> Source:
        """The same, with pixels that nobody changes.

        A run reads window by window: of an image that is changed in place meanwhile
        it would make one that is neither. What is on disk, or large, is not copied.
        """
        data = self.data
        plain = isinstance(data, np.ndarray) and not isinstance(data, np.memmap)
        if not plain or data.nbytes > _COPIED:
            return self
        return replace(self, data=data.copy())

    @property
    def is_changed(self) -> bool:
        """Whether the layer has other pixels now, as far as `held` can tell."""
        now = layer_array(self.layer)
        if now is not self._given:
            return True
        if self.data is now:
            return False
        real = np.dtype(now.dtype).kind == "f"
        return not np.array_equal(now, self.data, equal_nan=real)

    @property
    def array(self) -> Any:
        """Data of the region."""
        return self.data[self.box.slices]

    @property
    def is_whole(self) -> bool:
        """Whether the region is everything."""
        sides = tuple(int(n) for n in self.data.shape[: len(self.box.start)])
        return self.box == Box((0,) * len(sides), sides)

    def facts(self) -> dict[str, Any]:
        """What the provenance needs beyond the posterior's own record."""
        found: dict[str, Any] = {"source_name": self.name}
        if not self.is_whole:
            found["roi"] = [
                list(p) for p in zip(self.box.start, self.box.stop, strict=True)
            ]
            found["source_sha256"] = image_hash(self.data)
        return found


@dataclass(frozen=True)
class Output:
    """A layer to be: data and everything that `add_image` takes."""

    data: npt.NDArray[Any] | list[npt.NDArray[Any]]
    """Several, the finest first, where one is too large to be shown as a whole."""
    options: dict[str, Any]


def _title(source: Source, model: str, kind: str, number: int | None) -> str:
    what = f"sample {number}" if number is not None else _TITLES[kind]
    return f"{source.name} · {what} · {model}"


def spread_top(data: npt.NDArray[Any]) -> float:
    """Upper limit of a spread: a few extreme pixels would leave the rest black."""
    if not data.size:
        return 1.0
    flat = data.reshape(-1)
    data = flat[:: 1 + flat.size // _EXACT]
    return float(np.quantile(data, _BRIGHTEST)) or float(np.max(data)) or 1.0


def look(source: Source, kind: str, colormap: str, data: Any) -> dict[str, Any]:
    """Colours: those of the input for images, fixed limits from 0 for spreads."""
    layer = source.layer
    if kind in ("std", "quantile-range"):
        return {
            "colormap": colormap,
            "contrast_limits": (0.0, spread_top(data)),
            "rgb": False,
        }
    if layer.rgb:
        return {"rgb": True}
    return {
        "rgb": False,
        "colormap": layer.colormap,
        "contrast_limits": tuple(layer.contrast_limits),
        "gamma": layer.gamma,
    }


def make_output(
    source: Source,
    kind: str,
    data: npt.NDArray[Any],
    record: Mapping[str, Any],
    *,
    colormap: str = "inferno",
    pixel_size_um: float | None = None,
    number: int | None = None,
    model: str = "",
    stacked: bool = False,
) -> Output:
    """One output layer.

    Parameters
    ----------
    source : Source
        Where it comes from.
    kind : str
        ``"sample"``, ``"mean"``, ``"std"`` or ``"quantile-range"``.
    data : ndarray
        Of the upscaled shape, with a sample axis in front if ``stacked``.
    record : mapping
        Provenance.
    colormap : str
        For spreads.
    pixel_size_um : float, optional
        As in `Session`.
    number : int, optional
        Of a sample that has a layer of its own.
    model : str
        Name, for the title.
    stacked : bool
        Samples as one layer.
    """
    facts = dict(record)
    coloured = bool(source.layer.rgb)
    if coloured and kind in ("std", "quantile-range"):
        data, facts["colour"] = data.mean(-1), "mean"
    elif coloured and kind == "mean" and np.dtype(source.array.dtype).kind in "iu":
        dtype = np.dtype(source.array.dtype)
        data, facts["rounded_to"] = np.rint(data).astype(dtype), dtype.name
    hr_shape = data.shape[1:] if stacked else data.shape
    placed = output_geometry(
        source.layer,
        source.box,
        hr_shape,
        leading=("sample",) if stacked else (),
        pixel_size_um=pixel_size_um,
    )
    options = {
        "name": _title(source, model, kind, number),
        # Layers made from one dict would share it: each gets its own copy.
        "metadata": {NAMESPACE: copy.deepcopy(facts)},
        **placed,
        **look(source, kind, colormap, data),
    }
    levels = pyramid(data, rgb=bool(options["rgb"]))
    if len(levels) == 1:
        return Output(data, options)
    return Output(levels, {**options, "multiscale": True})


def make_outputs(
    source: Source,
    result: Result,
    records: Mapping[str, Mapping[str, Any]],
    *,
    stack: bool,
    **options: Any,
) -> list[Output]:
    """All layers of a result, bottom to top: samples, mean, spread.

    Parameters
    ----------
    source : Source
        Where they come from.
    result : Result
        What was computed.
    records : mapping
        Kind to provenance.
    stack : bool
        Samples as one layer.
    **options
        Of `make_output`.
    """
    found = []
    if result.samples is not None and stack:
        found.append(
            make_output(
                source,
                "sample",
                result.samples,
                records["sample"],
                stacked=True,
                **options,
            )
        )
    elif result.samples is not None:
        for number, sample in enumerate(result.samples):
            record = {k: v for k, v in records["sample"].items() if k != "n"}
            record["sample"] = number
            found.append(
                make_output(source, "sample", sample, record, number=number, **options)
            )
    for kind in ("mean", "std"):
        array = getattr(result, kind)
        if array is not None:
            found.append(make_output(source, kind, array, records[kind], **options))
    if result.quantiles:
        low, high = (result.quantiles[q] for q in _QUANTILES)
        kind = "quantile-range"
        width = np.subtract(high, low, out=new_array(high.shape, high.dtype))
        found.append(make_output(source, kind, width, records[kind], **options))
    return found


def own_layers(layers: Any, source: Source, tool: str = UPSCALE) -> list[Any]:
    """Layers that a tool made from this source, told by their metadata alone.

    They know their source by its identity, so that it may be renamed, and themselves,
    so that a duplicate that the user made of one is not one of them.
    """
    found = []
    for layer in layers:
        record = layer.metadata.get(NAMESPACE)
        if not isinstance(record, Mapping) or record.get("tool", UPSCALE) != tool:
            continue
        identity = layer.metadata.get(_IDENTITY)
        if identity is None:
            own = record.get("source_name") == source.name
        else:
            own = identity == _identity(source, layer)
        if own:
            found.append(layer)
    return found


def _identity(source: Source, layer: Any) -> dict[str, str]:
    return {"source": str(source.layer.unique_id), "layer": str(layer.unique_id)}


def detached(layer: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a copy of a layer that no run replaces; it keeps its source."""
    identity = {**layer.metadata.get(_IDENTITY, {}), "layer": ""}
    return {NAMESPACE: copy.deepcopy(dict(record)), _IDENTITY: identity}


def add_outputs(
    viewer: Any, source: Source, outputs: list[Output], tool: str = UPSCALE
) -> list[Any]:
    """Put outputs into the viewer in place of the tool's older ones.

    What the user did to an older layer's look (visibility, opacity, blending) is kept
    for the new one of its kind. Of what is new the samples are looked at first; the
    rest is one click away. The user's own layers are never touched.
    """
    old = own_layers(viewer.layers, source, tool)
    looks = {_kind(layer): _user_look(layer) for layer in old}
    for layer in old:
        viewer.layers.remove(layer)
    added: list[Any] = []
    for output in outputs:
        layer = viewer.add_image(output.data, **output.options)
        layer.metadata[_IDENTITY] = _identity(source, layer)
        hidden = {"visible": not added or _kind(layer)[0] == "sample"}
        for name, value in looks.get(_kind(layer), hidden).items():
            setattr(layer, name, value)
        added.append(layer)
    return added


def _kind(layer: Any) -> tuple[Any, Any]:
    record = layer.metadata[NAMESPACE]
    return record.get("kind"), record.get("sample")


def _user_look(layer: Any) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in ("visible", "opacity", "blending")}
